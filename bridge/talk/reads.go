package talk

import (
	"context"
	"maps"
	"slices"

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
// see.
type Talk struct {
	kv.Cursor
	Entry *kv.Dialogue
}

// Talks returns the conversations of a user that have dialogues that it has not forgotten: those with friends, and
// those in its cursors. They are sorted by the id of the friend.
func (s *Service) Talks(ctx context.Context, user string, friends []string) ([]Talk, error) {
	cursors, err := s.Cursors(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, friend := range friends {
		if _, ok := cursors[friend]; !ok {
			cursors[friend] = kv.Cursor{With: friend}
		}
	}
	var talks []Talk
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(cursors)), pairsAtOnce) {
		pairs := make([]kv.Pair, len(chunk))
		for i, with := range chunk {
			pairs[i] = kv.PairOf(user, with)
		}
		heads, err := s.opts.Talks.LastOf(ctx, pairs)
		if err != nil {
			return nil, err
		}
		for i, with := range chunk {
			talk, ok, err := s.talk(ctx, user, cursors[with], heads[pairs[i]])
			if err != nil {
				return nil, err
			}
			if ok {
				talks = append(talks, talk)
			}
		}
	}
	return talks, nil
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
	if !s.opts.Receipts {
		c.PeerRead = 0
	}
	t := Talk{Cursor: c}
	if n := len(shown); n > 0 {
		t.Entry = &shown[n-1]
	}
	return t, true, nil
}
