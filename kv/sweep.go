package kv

import (
	"context"
	"fmt"
	"slices"
)

// Sweep reads all keys of the buckets in use, all records of conversations, and the list of all files. It removes keys,
// conversations and files that belong to no existing user, or with dry only counts them. It checks that no conversation
// lacks records. Servers may run meanwhile. A million accounts take some minutes. Sweep returns the counts, also if it
// fails.
//
// Errors: ErrReadOnly, ErrTalkBroken, and those of NATS and ctx.
func (s *Store) Sweep(ctx context.Context, dry bool) (Findings, error) {
	f := newOrphanFinder(s.Users)
	if err := f.readUsers(ctx, func([]entry) {}); err != nil {
		return f.found, fmt.Errorf("kv: sweep %s: %w", s.Users.b.stream(), err)
	}
	for _, part := range []struct {
		b     *bucket
		check func(context.Context, []entry) ([]decision, error)
	}{{s.Users.b, f.checkUserKeys}, {s.Rosters.b, f.checkRosters}, {s.Tokens.b, f.checkTokens}} {
		err := part.b.pages(ctx, 0, func(entries []entry) error {
			decisions, err := part.check(ctx, entries)
			if err != nil {
				return err
			}
			decisions = slices.DeleteFunc(decisions, func(r decision) bool { return r.counter == nil })
			if len(decisions) == 0 {
				return nil
			}
			// Check again: the keys may be part of a change in progress.
			if err := s.Users.barrier(ctx); err != nil {
				return err
			}
			if decisions, err = f.recheck(ctx, part.b, decisions, part.check); err != nil {
				return err
			}
			for _, r := range decisions {
				if r.counter == nil {
					continue
				}
				if !dry && r.counter != &f.found.Unknown {
					if err := part.b.apply(ctx, r); Conflicting(err) {
						continue // the key has changed since
					} else if err != nil {
						return err
					}
				}
				*r.counter += r.count
			}
			return nil
		})
		if err != nil {
			return f.found, fmt.Errorf("kv: sweep %s: %w", part.b.stream(), err)
		}
	}
	talks, err := s.StoredTalks(ctx)
	if err == nil && talks != nil {
		err = f.sweepTalks(ctx, talks, dry)
	}
	if err != nil {
		return f.found, fmt.Errorf("kv: sweep conversations: %w", err)
	}
	files, err := s.StoredFiles(ctx)
	if err == nil && files != nil {
		err = f.sweepFiles(ctx, files, dry)
	}
	if err != nil {
		return f.found, fmt.Errorf("kv: sweep files: %w", err)
	}
	return f.found, nil
}

// recheck decides again on the keys that have not changed since, and reads their users again.
func (f *orphanFinder) recheck(ctx context.Context, b *bucket, decisions []decision, check func(context.Context, []entry) ([]decision, error)) ([]decision, error) {
	clear(f.lookedUp)
	keys := make([]string, len(decisions))
	for n, r := range decisions {
		keys[n] = r.key
	}
	current, err := b.getMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, r := range decisions {
		if e, ok := current[r.key]; ok && e.revision == r.revision {
			entries = append(entries, e)
		}
	}
	return check(ctx, entries)
}

// barrier waits until all changes of users are complete that were in progress when it was called: the server handles
// its write after theirs.
func (u *Users) barrier(ctx context.Context) error {
	key := newNoteKey()
	w, err := unfinished{}.write(key)
	if err != nil {
		return err
	}
	if _, err := u.b.write(ctx, w); err != nil {
		return err
	}
	return u.b.purge(ctx, key, 0)
}

// apply corrects or removes a key by the decision.
func (b *bucket) apply(ctx context.Context, r decision) error {
	k, _ := kindOf(b.kinds(), r.key)
	var err error
	switch {
	case r.keep:
		_, err = b.write(ctx, putAt(r.key, r.want, r.revision))
	case k.rule == once:
		err = b.purge(ctx, r.key, r.revision+1)
	case k.rule == expiring:
		_, err = b.write(ctx, putFor(r.key, nil, r.entry, 0).asMarker())
	default:
		_, err = b.write(ctx, putAt(r.key, nil, r.revision).asMarker())
	}
	return err
}
