package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"imctl/kv"
)

func (s *Service) exportTalks(ctx context.Context, r ExportTalks) (Talks, error) {
	page := Talks{Talks: []Talk{}}
	if len(r.Users) > MaxRecords {
		return page, failure(Invalid, "at most %d users can be exported per request", MaxRecords)
	}
	stream, err := s.o.Store.StoredTalks(ctx)
	if err != nil || stream == nil {
		return page, err
	}
	var user, with string
	var after uint64
	if r.After != "" {
		var number string
		user, with, _ = strings.Cut(r.After, ".")
		with, number, _ = strings.Cut(with, ".")
		if after, err = strconv.ParseUint(number, 10, 64); err != nil || !slices.Contains(r.Users, user) {
			return page, failure(Invalid, "after is not a cursor")
		}
		r.Users = r.Users[slices.Index(r.Users, user):]
	}
	size := 0
	for _, id := range r.Users {
		talks, err := s.talksOf(ctx, stream, id)
		if err != nil {
			return page, err
		}
		for _, talk := range talks {
			from := uint64(0)
			if id == user {
				if talk.With < with || talk.With == with && after > 0 && after >= talk.Last {
					continue
				}
				if talk.With == with {
					from = after
				}
			}
			for more := true; more; {
				if size >= maxTalkBytes || len(page.Talks) >= maxTalkDialogues {
					page.Next = id + "." + talk.With + "." + strconv.FormatUint(from, 10)
					return page, nil
				}
				part, err := s.part(ctx, stream, talk, from)
				if err != nil {
					return page, err
				}
				if n := len(part.Dialogues); n > 0 || from == 0 {
					page.Talks = append(page.Talks, part)
					size += talkSize(part.Dialogues)
				}
				if more = len(part.Dialogues) > 0; more {
					from = part.Dialogues[len(part.Dialogues)-1].N
					more = from < talk.Last
				}
			}
		}
	}
	return page, nil
}

// talksOf returns the conversations of a user that have dialogues, cursors or marks, sorted by the other user, without their
// dialogues.
func (s *Service) talksOf(ctx context.Context, stream *kv.Talks, id string) ([]Talk, error) {
	cursors, err := s.o.Store.StoredCursors().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	roster, err := s.o.Store.Rosters.Snapshot(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, f := range roster.Friends {
		if _, ok := cursors[f.ID]; !ok {
			cursors[f.ID] = kv.Cursor{With: f.ID}
		}
	}
	pairs := make([]kv.Pair, 0, len(cursors))
	for with := range cursors {
		pairs = append(pairs, kv.PairOf(id, with))
	}
	newest, err := stream.LastOf(ctx, pairs)
	if err != nil {
		return nil, err
	}
	var all []Talk
	for with, c := range cursors {
		if head := newest[kv.PairOf(id, with)]; head != nil {
			c.Last = max(c.Last, head.Last)
		}
		if c.Last > 0 || c.Marks.Any() {
			all = append(all, Talk{User: id, With: with, Last: c.Last, Got: c.Got, Read: c.Read, Forgot: c.Forgot, PeerGot: c.PeerGot, PeerRead: c.PeerRead,
				Pinned: c.Marks.Pinned(), Archived: c.Marks.Archived(), Muted: c.Marks.Muted()})
		}
	}
	slices.SortFunc(all, func(a, b Talk) int { return strings.Compare(a.With, b.With) })
	return all, nil
}

// part returns a conversation with its dialogues after a number, as many as fit into an answer.
func (s *Service) part(ctx context.Context, stream *kv.Talks, talk Talk, after uint64) (Talk, error) {
	page, err := stream.Read(ctx, kv.PairOf(talk.User, talk.With), talk.User, kv.Range{After: after, Forward: true, Limit: maxTalkDialogues, Forgot: talk.Forgot})
	talk.Dialogues = fit(page.Dialogues)
	return talk, err
}

// fit returns the first dialogues that fit into an answer, at least one.
func fit(dialogues []kv.Dialogue) []Dialogue {
	all := make([]Dialogue, 0, len(dialogues))
	size := 0
	for i := range dialogues {
		d := &dialogues[i]
		if size += len(d.ID) + len(d.Payload); i > 0 && size > maxTalkBytes {
			break
		}
		all = append(all, Dialogue{N: d.N, From: d.From, ID: orEmptyText(d.ID), Payload: orEmptyText(d.Payload), At: d.At,
			Re: d.Re, Reacts: d.Reacts, Edits: d.Edits, Deletes: d.Deletes, Edited: d.Edited, Deleted: d.Deleted})
	}
	return all
}

// orEmptyText returns text, or an empty JSON string in place of no text.
func orEmptyText(text []byte) json.RawMessage {
	if len(text) == 0 {
		return json.RawMessage(`""`)
	}
	return text
}

func talkSize(dialogues []Dialogue) (size int) {
	for i := range dialogues {
		size += len(dialogues[i].ID) + len(dialogues[i].Payload)
	}
	return size
}

func (s *Service) importTalks(ctx context.Context, r ImportTalks) (ImportResult, error) {
	stream, err := s.storedTalks(ctx)
	if err != nil {
		return ImportResult{}, err
	}
	var ids []string
	for i := range r.Talks {
		ids = append(ids, r.Talks[i].User, r.Talks[i].With)
	}
	users, err := s.o.Store.Users.GetMany(ctx, slices.DeleteFunc(ids, func(id string) bool { return !kv.ValidID(id) }))
	if err != nil {
		return ImportResult{}, err
	}
	results := make([]Imported, len(r.Talks))
	for i := range r.Talks {
		talk := &r.Talks[i]
		results[i] = Imported{ID: talk.User, State: StateThere}
		if err := s.importTalk(ctx, stream, talk, users, &results[i]); err != nil {
			results[i] = Imported{ID: talk.User, State: StateFailed, Error: s.explain(endpoint{noun: "talk", verb: "import"}, err).Message}
		}
	}
	return ImportResult{results}, ctx.Err()
}

func (s *Service) importTalk(ctx context.Context, stream *kv.Talks, talk *Talk, users map[string]kv.User, result *Imported) error {
	dialogues, err := talk.stored()
	if err != nil {
		return err
	}
	for _, id := range []string{talk.User, talk.With} {
		if _, ok := users[id]; !ok {
			result.State, result.Missing = StateThere, 1
			return nil
		}
	}
	n, err := stream.Import(ctx, kv.PairOf(talk.User, talk.With), dialogues)
	if err != nil {
		return err
	}
	if n > 0 {
		result.State, result.Dialogues = StateCreated, n
	}
	cursors := s.o.Store.StoredCursors()
	if marks := kv.NewMarks(talk.Pinned, talk.Archived, talk.Muted); marks != 0 {
		if err := cursors.Advance(ctx, talk.User, []kv.Cursor{{With: talk.With, Marks: marks}}); err != nil {
			return err
		}
	}
	// The numbers that are known of an existing conversation may not grow beyond it.
	head, err := stream.Last(ctx, kv.PairOf(talk.User, talk.With))
	if err != nil || head == nil {
		return err
	}
	to := func(n uint64) uint64 { return min(n, head.Last) }
	err = cursors.Advance(ctx, talk.User, []kv.Cursor{{With: talk.With, Last: head.Last, Got: to(talk.Got), Read: to(talk.Read), Forgot: to(talk.Forgot),
		PeerGot: to(talk.PeerGot), PeerRead: to(talk.PeerRead)}})
	if err != nil {
		return err
	}
	return cursors.Advance(ctx, talk.With, []kv.Cursor{{With: talk.User, Last: head.Last, Got: to(talk.PeerGot), Read: to(talk.PeerRead),
		PeerGot: to(talk.Got), PeerRead: to(talk.Read)}})
}

// stored returns the dialogues of a conversation as they are stored. Codes: Invalid.
func (t *Talk) stored() ([]kv.Dialogue, error) {
	if !kv.ValidID(t.User) || !kv.ValidID(t.With) || t.User == t.With {
		return nil, failure(Invalid, "user and with must be the ids of two users")
	}
	deleted := make(map[uint64]bool) // by a later dialogue of these
	for i := range t.Dialogues {
		deleted[t.Dialogues[i].Deletes] = true
	}
	all := make([]kv.Dialogue, len(t.Dialogues))
	for i := range t.Dialogues {
		d := &t.Dialogues[i]
		switch {
		case d.N == 0 || i > 0 && d.N != t.Dialogues[i-1].N+1:
			return nil, failure(Invalid, "the n of the dialogues must ascend from 1 or more, without gaps")
		case d.From != t.User && d.From != t.With:
			return nil, failure(Invalid, "dialogue %d: from is neither of the two users", d.N)
		case !isText(d.ID) || !isText(d.Payload):
			return nil, failure(Invalid, "dialogue %d: id and payload must be texts", d.N)
		case max(d.Re, d.Reacts, d.Edits, d.Deletes) >= d.N:
			return nil, failure(Invalid, "dialogue %d: re, reacts, edits and deletes must name an earlier dialogue", d.N)
		case d.At.IsZero():
			return nil, failure(Invalid, "dialogue %d: at is missing", d.N)
		}
		all[i] = kv.Dialogue{N: d.N, From: d.From, ID: d.ID, Payload: d.Payload, At: d.At.UTC().Truncate(time.Millisecond),
			Re: d.Re, Reacts: d.Reacts, Edits: d.Edits, Deletes: d.Deletes,
			Hidden: d.Deleted && d.From == t.With && !deleted[d.N]} // the friend's view is not known
	}
	return all, nil
}

// isText reports whether data is a JSON string.
func isText(data []byte) bool {
	data = bytes.TrimSpace(data)
	return len(data) > 0 && data[0] == '"' && utf8.Valid(data) && json.Valid(data)
}
