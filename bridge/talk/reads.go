package talk

import (
	"context"
	"maps"
	"slices"
	"strings"

	"imctl/bridge/wire"
	"imctl/kv"
)

// pairsAtOnce is how many conversations one request reads.
const pairsAtOnce = 256

// Got notes that a client of user has all dialogues with another user up to n. Read implies Got. They return at once.
// A number beyond the newest dialogue counts as that one.
func (s *Service) Got(user, with string, n uint64)  { s.tracker.advance(user, with, n, 0) }
func (s *Service) Read(user, with string, n uint64) { s.tracker.advance(user, with, n, n) }

// Seen notes that the conversation of two users has a dialogue n, which a frame of another node shows. An
// acknowledgement of it then needs no read.
func (s *Service) Seen(x, y string, n uint64) { s.tracker.committed(kv.PairOf(x, y), n) }

// Cursors returns how far a user has come, by the id of the friend, with what is not written yet.
func (s *Service) Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error) {
	cursors, err := s.opts.Cursors.Get(ctx, user)
	if err != nil {
		return nil, err
	}
	if cursors == nil {
		cursors = make(map[string]kv.Cursor)
	}
	s.tracker.inMemory(user, cursors)
	return cursors, nil
}

// Flush writes the cursors of a user, at the end of a session. It does not wait for that.
func (s *Service) Flush(user string) { s.tracker.flushUser(user) }

// Forget hides a conversation up to now from a user. When both users have done so, it is erased. A commit at the same
// time conflicts with that, and is numbered anew.
func (s *Service) Forget(ctx context.Context, user, with string) error {
	p := kv.PairOf(user, with)
	head, err := s.opts.Talks.Last(ctx, p)
	if err != nil || head == nil {
		return err
	}
	last := head.Last
	if err := s.opts.Cursors.Advance(ctx, user, []kv.Cursor{{With: with, Last: last, Forgot: last}}); err != nil {
		return err
	}
	theirs, err := s.opts.Cursors.Get(ctx, with)
	if err != nil || theirs[user].Forgot < last {
		return err
	}
	return s.opts.Talks.EraseUpTo(ctx, p, last)
}

// Mark changes the marks of a conversation of a user, and returns them when they are stored. known says that the other
// user is a friend.
//
// Errors: wire.NotFriends if it is not, and the user has no conversation with it.
func (s *Service) Mark(ctx context.Context, user, with string, known bool, change kv.MarkChange) (kv.Marks, error) {
	if !known {
		cursors, err := s.Cursors(ctx, user)
		if err != nil {
			return 0, err
		}
		if _, ok := cursors[with]; !ok {
			return 0, wire.NotFriends
		}
	}
	return s.opts.Cursors.Mark(ctx, user, with, change)
}

// History returns a part of a conversation as a user sees it.
func (s *Service) History(ctx context.Context, user, with string, r kv.Range) (kv.Page, error) {
	cursors, err := s.opts.Cursors.Get(ctx, user)
	if err != nil {
		return kv.Page{}, err
	}
	r.Forgot = max(r.Forgot, cursors[with].Forgot)
	return s.opts.Talks.Read(ctx, kv.PairOf(user, with), user, r)
}

// Talk is a conversation of a user: its cursor and its newest dialogue as the user sees it; nil if there is none to
// see, or none at all in a conversation that the user has marked.
type Talk struct {
	kv.Cursor
	Entry *kv.Dialogue
}

// Talks returns the conversations of a user that have marks, or dialogues that it has not forgotten: those with friends,
// and those in its cursors. They are sorted by the id of the friend.
func (s *Service) Talks(ctx context.Context, user string, friends []string) ([]Talk, error) {
	cursors, err := s.Cursors(ctx, user)
	if err != nil {
		return nil, err
	}
	return s.TalksOf(ctx, user, partners(friends, cursors), cursors)
}

// TalksOf returns the conversations of a user with these others that have marks, or dialogues that it has not forgotten.
// others are sorted. cursors are those of Cursors.
func (s *Service) TalksOf(ctx context.Context, user string, others []string, cursors map[string]kv.Cursor) ([]Talk, error) {
	var talks []Talk
	err := s.heads(ctx, user, others, func(other string, head *kv.Record) error {
		c := cursors[other]
		c.With = other
		talk, ok, err := s.talk(ctx, user, c, head)
		if ok {
			talks = append(talks, talk)
		}
		return err
	})
	for _, other := range others {
		c := cursors[other]
		at, listed := slices.BinarySearchFunc(talks, other, func(t Talk, id string) int { return strings.Compare(t.With, id) })
		if c.Marks.Any() && !listed {
			talks = slices.Insert(talks, at, Talk{Cursor: s.seen(c)})
		}
	}
	return talks, err
}

// seen returns a cursor as its user sees it.
func (s *Service) seen(c kv.Cursor) kv.Cursor {
	if !s.opts.Receipts {
		c.PeerRead = 0
	}
	return c
}

// heads calls do with the newest record of each conversation of a user with others that has one.
func (s *Service) heads(ctx context.Context, user string, others []string, do func(other string, head *kv.Record) error) error {
	for chunk := range slices.Chunk(others, pairsAtOnce) {
		pairs := make([]kv.Pair, len(chunk))
		for i, other := range chunk {
			pairs[i] = kv.PairOf(user, other)
		}
		heads, err := s.opts.Talks.LastOf(ctx, pairs)
		if err != nil {
			return err
		}
		for i, p := range pairs {
			if heads[p] == nil {
				continue
			}
			if err := do(chunk[i], heads[p]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Undelivered returns the users in whose conversations with a user no client of that user has the newest dialogue, by
// its cursors.
func (s *Service) Undelivered(ctx context.Context, user string, r kv.Roster, cursors map[string]kv.Cursor) (others []string, err error) {
	err = s.heads(ctx, user, Partners(r, cursors), func(other string, head *kv.Record) error {
		if undelivered(head, user, max(cursors[other].Got, cursors[other].Forgot)) {
			others = append(others, other)
		}
		return nil
	})
	return others, err
}

// undelivered reports whether a conversation may have dialogues of the other user after a number.
func undelivered(head *kv.Record, user string, got uint64) bool {
	if head.Last <= got {
		return false
	}
	return head.First > got+1 || slices.ContainsFunc(head.Dialogues, func(d kv.Dialogue) bool { return d.N > got && d.From != user })
}

// Partners returns the ids of the users with whom a user may have conversations: its friends, and those in its cursors.
func Partners(r kv.Roster, cursors map[string]kv.Cursor) []string {
	ids := make([]string, len(r.Friends))
	for i, f := range r.Friends {
		ids[i] = f.ID
	}
	return partners(ids, cursors)
}

func partners(friends []string, cursors map[string]kv.Cursor) []string {
	ids := slices.AppendSeq(slices.Clone(friends), maps.Keys(cursors))
	slices.Sort(ids)
	return slices.Compact(ids)
}

// talk returns a conversation with that newest record. ok is false if the user sees none of its dialogues.
func (s *Service) talk(ctx context.Context, user string, c kv.Cursor, head *kv.Record) (_ Talk, ok bool, _ error) {
	if head == nil || len(head.Dialogues) == 0 || head.Last <= c.Forgot {
		return Talk{}, false, nil
	}
	shown, err := s.opts.Talks.Shown(ctx, head, head, user)
	if err != nil {
		return Talk{}, false, err
	}
	c.Last = head.Last
	t := Talk{Cursor: s.seen(c)}
	if n := len(shown); n > 0 {
		t.Entry = &shown[n-1]
	}
	return t, true, nil
}
