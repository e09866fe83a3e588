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

const (
	// maxTalkDialogues and maxTalkBytes bound the dialogues of one answer.
	maxTalkDialogues = 200
	maxTalkBytes     = 256 << 10
)

// Talk is a part of a conversation as one of its users sees it, for export and import.
type Talk struct {
	User string `json:"user"` // id
	With string `json:"with"` // id of the other user
	// Numbers of dialogues: the newest one, and how far the two users have come.
	Last     uint64 `json:"last"`
	Got      uint64 `json:"got"`
	Read     uint64 `json:"read"`
	Forgot   uint64 `json:"forgot"` // the dialogues up to this one are hidden from the user
	PeerGot  uint64 `json:"peerGot"`
	PeerRead uint64 `json:"peerRead"`

	Dialogues []Dialogue `json:"dialogues"` // ascending, without gaps
}

// Dialogue is a dialogue of a conversation as one of its users sees it.
type Dialogue struct {
	N       uint64          `json:"n"`
	From    string          `json:"from"`
	ID      json.RawMessage `json:"id"`      // a string
	Payload json.RawMessage `json:"payload"` // a string
	At      time.Time       `json:"at"`
	Re      uint64          `json:"re,omitempty"`
	Reacts  uint64          `json:"reacts,omitempty"`
	Edits   uint64          `json:"edits,omitempty"`
	Deletes uint64          `json:"deletes,omitempty"`
	Edited  bool            `json:"edited,omitempty"`
	Deleted bool            `json:"deleted,omitempty"`
}

// ExportTalks requests the conversations of users.
type ExportTalks struct {
	Users []string `json:"users"`           // ids, at most MaxRecords
	After string   `json:"after,omitempty"` // the Next of the previous page
}

// Talks is a page of conversations. A long conversation is in several pages.
type Talks struct {
	Talks []Talk `json:"talks"`
	Next  string `json:"next"` // cursor of the next page, "" on the last
}

// ImportTalks has a page of conversations.
type ImportTalks struct {
	Talks []Talk `json:"talks"`
}

// ShowTalk requests dialogues of a conversation: those before Before, or the newest.
type ShowTalk struct {
	User   string `json:"user"`
	With   string `json:"with"`
	Before uint64 `json:"before,omitempty"`
	Limit  int    `json:"limit,omitempty"` // 1 to 200; 0 is 50
}

// ShownTalk is a part of a conversation as a user sees it. First and Last are the numbers of the oldest and the newest
// dialogue that the user may read, 0 for none.
type ShownTalk struct {
	Dialogues []Dialogue `json:"dialogues"`
	First     uint64     `json:"first"`
	Last      uint64     `json:"last"`
}

// PurgeTalks selects dialogues to erase: all of a user, those of its conversation with another user, or those that were
// stored before a time.
type PurgeTalks struct {
	User   string    `json:"user,omitempty"`
	With   string    `json:"with,omitempty"`
	Before time.Time `json:"before,omitzero"`
}

// PurgedTalks counts what was erased.
type PurgedTalks struct {
	Conversations int    `json:"conversations"` // that were erased as a whole
	Records       uint64 `json:"records"`       // that were before the time
}

func (s *Service) talkEndpoints() []endpoint {
	const dialogue = `{"n", "from", "id", "payload", "at", "re", "reacts", "edits", "deletes", "edited", "deleted"}`
	const talk = `{"user", "with", "last", "got", "read", "forgot", "peerGot", "peerRead", "dialogues": [` + dialogue + `]}`
	return []endpoint{
		{"talk", "export", "Export the conversations of users, as these users see them",
			`{"users": up to 100 ids, "after": cursor}`, `{"talks": [` + talk + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.exportTalks)},
		{"talk", "import", "Store exported conversations. Those that exist already are kept",
			`{"talks": [` + talk + `]}`, `{"results": [{"id": that of the user, "state": created, there or failed, "error"}]}, in the order of the talks`,
			"invalid, failed", handler(s.importTalks)},
		{"talk", "show", "Show dialogues of a conversation as a user sees them. It needs the setting admin.read_dialogues",
			`{"user", "with", "before": n, "limit": 1 to 200}`, `{"dialogues": [` + dialogue + `], "first", "last"}`,
			"not_found, invalid, failed", handler(s.showTalk)},
		{"talk", "purge", "Erase the conversations of a user, that of two users, or all dialogues that were stored before a time",
			`{"user"}, {"user", "with"} or {"before": time}`, `{"conversations", "records"}`,
			"not_found, invalid, failed", handler(s.purgeTalks)},
	}
}

// storedTalks returns the stream of conversations. Codes: NotFound.
func (s *Service) storedTalks(ctx context.Context) (*kv.Talks, error) {
	t, err := s.o.Store.StoredTalks(ctx)
	if err == nil && t == nil {
		err = failure(NotFound, "no conversations are kept")
	}
	return t, err
}

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
				if talk.With < with || talk.With == with && after >= talk.Last {
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

// talksOf returns the conversations of a user that have dialogues or cursors, sorted by the other user, without their
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
		if c.Last > 0 {
			all = append(all, Talk{User: id, With: with, Last: c.Last, Got: c.Got, Read: c.Read, Forgot: c.Forgot, PeerGot: c.PeerGot, PeerRead: c.PeerRead})
		}
	}
	slices.SortFunc(all, func(a, b Talk) int { return strings.Compare(a.With, b.With) })
	return all, nil
}

// part returns a conversation with its dialogues after a number, as many as fit into an answer.
func (s *Service) part(ctx context.Context, stream *kv.Talks, talk Talk, after uint64) (Talk, error) {
	page, err := stream.Read(ctx, kv.PairOf(talk.User, talk.With), talk.User, kv.Range{After: max(after, talk.Forgot), Limit: maxTalkDialogues, Forgot: talk.Forgot})
	if err == nil && after == 0 && talk.Forgot == 0 { // After 0 stands for the newest
		page, err = s.oldest(ctx, stream, talk, page)
	}
	talk.Dialogues = fit(page.Dialogues)
	return talk, err
}

// oldest returns the oldest dialogues of a conversation, if page has the newest ones.
func (s *Service) oldest(ctx context.Context, stream *kv.Talks, talk Talk, page kv.Page) (kv.Page, error) {
	if len(page.Dialogues) == 0 || page.Dialogues[0].N == page.First {
		return page, nil
	}
	return stream.Read(ctx, kv.PairOf(talk.User, talk.With), talk.User, kv.Range{Before: page.First + maxTalkDialogues, Limit: maxTalkDialogues})
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
	// The numbers that are known of an existing conversation may not grow beyond it.
	head, err := stream.Last(ctx, kv.PairOf(talk.User, talk.With))
	if err != nil || head == nil {
		return err
	}
	cursors := s.o.Store.StoredCursors()
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

// bothOf returns the ids of two users. The second one may be an id of a user that does not exist any more.
func (s *Service) bothOf(ctx context.Context, user, with string) (a, b string, err error) {
	u, err := s.resolve(ctx, user)
	if err != nil {
		return "", "", err
	}
	if id := strings.TrimPrefix(with, "id:"); kv.ValidID(id) {
		return u.ID, id, nil
	}
	v, err := s.resolve(ctx, with)
	return u.ID, v.ID, err
}

func (s *Service) showTalk(ctx context.Context, r ShowTalk) (ShownTalk, error) {
	if !s.o.ReadDialogues {
		return ShownTalk{}, failure(Invalid, "administrators may not read conversations: set admin.read_dialogues to true in the configuration of the server")
	}
	if r.Limit < 0 || r.Limit > maxTalkDialogues {
		return ShownTalk{}, failure(Invalid, "limit must be from 1 to %d", maxTalkDialogues)
	}
	if r.Limit == 0 {
		r.Limit = 50
	}
	stream, err := s.storedTalks(ctx)
	if err != nil {
		return ShownTalk{}, err
	}
	user, with, err := s.bothOf(ctx, r.User, r.With)
	if err != nil {
		return ShownTalk{}, err
	}
	cursors, err := s.o.Store.StoredCursors().Get(ctx, user)
	if err != nil {
		return ShownTalk{}, err
	}
	return fitPage(s, r.Limit, maxTalkDialogues, func(limit int) (ShownTalk, error) {
		page, err := stream.Read(ctx, kv.PairOf(user, with), user, kv.Range{Before: r.Before, Limit: limit, Forgot: cursors[with].Forgot})
		shown := ShownTalk{Dialogues: []Dialogue{}, First: page.First, Last: page.Last}
		for i := range page.Dialogues {
			shown.Dialogues = append(shown.Dialogues, fit(page.Dialogues[i:i+1])...)
		}
		return shown, err
	})
}

func (s *Service) purgeTalks(ctx context.Context, r PurgeTalks) (done PurgedTalks, err error) {
	if (r.User == "") == r.Before.IsZero() || r.With != "" && r.User == "" {
		return done, failure(Invalid, "name a user, a user and with, or a time before")
	}
	if err := s.o.Store.Writable(); err != nil {
		return done, err
	}
	stream, err := s.storedTalks(ctx)
	if err != nil {
		return done, err
	}
	if r.User == "" {
		done.Records, err = stream.RemoveBefore(ctx, r.Before)
		return done, err
	}
	var pairs []kv.Pair
	if r.With != "" {
		a, b, err := s.bothOf(ctx, r.User, r.With)
		if err != nil {
			return done, err
		}
		pairs = []kv.Pair{kv.PairOf(a, b)}
	} else {
		u, err := s.resolve(ctx, r.User)
		if err != nil {
			return done, err
		}
		if pairs, err = stream.PairsOf(ctx, u.ID); err != nil {
			return done, err
		}
	}
	for _, p := range pairs {
		head, err := stream.Last(ctx, p)
		if err != nil {
			return done, err
		}
		if head == nil {
			continue
		}
		if err := stream.Erase(ctx, p); err != nil {
			return done, err
		}
		if len(head.Dialogues) > 0 {
			done.Conversations++
		}
	}
	return done, nil
}
