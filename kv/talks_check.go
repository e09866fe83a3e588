package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrTalkBroken: records of a conversation are missing although later and earlier ones exist.
var ErrTalkBroken = errors.New("a conversation lacks records")

// link is what a check remembers of the newest record of a conversation that it has read.
type link struct{ seq, index, last uint64 }

// Check reads all records, and checks that each of them follows the one before it. It calls each with the conversations
// that have records.
//
// Errors: ErrTalkBroken.
func (t *Talks) Check(ctx context.Context, each func(Pair) error) error {
	links := make(map[pairKey]link)
	suspects := make(map[pairKey]bool)
	err := t.Scan(ctx, func(r *Record) error {
		key := r.Pair.compact()
		before, found := links[key]
		// The first record that is left of a conversation may follow records that have expired.
		if found && r.index > 1 && (r.prev != before.seq || r.index != before.index+1 || r.First != before.last+1) {
			suspects[key] = true
		}
		links[key] = link{r.Seq, r.index, r.Last}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kv: check conversations: %w", err)
	}
	broken := 0
	var first Pair
	for key := range suspects { // some may have been erased during the scan
		whole, err := t.whole(ctx, key.pair())
		if err != nil {
			return fmt.Errorf("kv: check conversations: %w", err)
		}
		if p := key.pair(); !whole {
			if broken++; broken == 1 || p.key() < first.key() {
				first = p
			}
		}
	}
	for key := range links {
		if err := each(key.pair()); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("kv: %w: %d, such as that of %s and %s", ErrTalkBroken, broken, first.A, first.B)
	}
	return nil
}

// whole reports whether the stream has all records of a conversation from its newest one back to the first one that has
// not expired.
func (t *Talks) whole(ctx context.Context, p Pair) (bool, error) {
	for try := 1; ; try++ {
		head, err := t.Last(ctx, p)
		if err != nil || head == nil {
			return true, err
		}
		for r := head; ; {
			if r.index <= 1 {
				return true, nil
			}
			earlier, err := t.follow(ctx, r, r.prev)
			if errors.Is(err, ErrNoDialogue) {
				t.mu.Lock()
				t.firstRead = t.firstRead.Add(-firstAge) // the record may have expired a moment ago
				t.mu.Unlock()
				first, err := t.first(ctx)
				if err != nil || r.prev < first {
					return true, err
				}
				break
			}
			if err != nil {
				return false, err
			}
			if earlier.index+1 != r.index || earlier.Last+1 != r.First {
				break
			}
			r = earlier
		}
		if now, err := t.Last(ctx, p); err != nil || now != nil && now.Seq == head.Seq || try == maxEraseRounds {
			return false, err
		}
	}
}

// sweepTalks checks the stream of conversations, and removes conversations of users that do not exist. With dry it only
// counts them.
func (f *orphanFinder) sweepTalks(ctx context.Context, t *Talks, dry bool) error {
	var orphans []Pair
	broken := t.Check(ctx, func(p Pair) error {
		if !f.exists(p.A) || !f.exists(p.B) {
			orphans = append(orphans, p)
		}
		return nil
	})
	if broken != nil && !errors.Is(broken, ErrTalkBroken) {
		return broken
	}
	if len(orphans) == 0 {
		return broken
	}
	// Check again: a user may have registered meanwhile.
	if err := f.users.barrier(ctx); err != nil {
		return err
	}
	clear(f.lookedUp)
	for chunk := range slices.Chunk(orphans, lookUpKeys) {
		ids := make([]string, 0, 2*len(chunk))
		for _, p := range chunk {
			ids = append(ids, p.A, p.B)
		}
		if err := f.lookUp(ctx, ids); err != nil {
			return err
		}
		for _, p := range chunk {
			if f.exists(p.A) && f.exists(p.B) {
				continue
			}
			if !dry {
				head, err := t.Last(ctx, p)
				if err == nil && head != nil {
					err = t.remove(ctx, p, head.Seq)
				}
				if err != nil {
					return err
				}
			}
			f.found.Talks++
		}
	}
	return broken
}
