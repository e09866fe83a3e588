package kv

import (
	"context"
	"fmt"
	"slices"
)

// Sweep reads every key of the buckets in use, and removes the keys that belong to a user who does not exist. With dry
// it only counts them. The server may run meanwhile. A million accounts take some minutes.
//
// Errors: ErrNoState.
func (s *Store) Sweep(ctx context.Context, dry bool) (Findings, error) {
	i := newInspector(s.Users)
	if err := i.survey(ctx, func([]entry) {}); err != nil {
		return i.found, fmt.Errorf("kv: sweep %s: %w", s.Users.b.stream(), err)
	}
	for _, part := range []struct {
		b    *bucket
		rule func(context.Context, []entry) ([]ruling, error)
	}{{s.Users.b, i.inUsers}, {s.Rosters.b, i.inRosters}, {s.Tokens.b, i.inTokens}} {
		err := part.b.pages(ctx, 0, func(entries []entry) error {
			rulings, err := part.rule(ctx, entries)
			if err != nil {
				return err
			}
			rulings = slices.DeleteFunc(rulings, func(r ruling) bool { return r.counter == nil })
			if len(rulings) == 0 {
				return nil
			}
			// Check again: the key may be part of a change that was under way.
			if err := s.Users.barrier(ctx); err != nil {
				return err
			}
			if rulings, err = i.recheck(ctx, part.b, rulings, part.rule); err != nil {
				return err
			}
			for _, r := range rulings {
				if r.counter == nil {
					continue
				}
				if !dry && r.counter != &i.found.Unknown {
					if err := part.b.apply(ctx, r); conflicting(err) {
						continue // it has changed since
					} else if err != nil {
						return err
					}
				}
				*r.counter += r.found
			}
			return nil
		})
		if err != nil {
			return i.found, fmt.Errorf("kv: sweep %s: %w", part.b.stream(), err)
		}
	}
	return i.found, nil
}

// recheck rules again on the keys that have not changed since, and reads their users for that.
func (i *inspector) recheck(ctx context.Context, b *bucket, rulings []ruling, rule func(context.Context, []entry) ([]ruling, error)) ([]ruling, error) {
	clear(i.lookedUp)
	keys := make([]string, len(rulings))
	for n, r := range rulings {
		keys[n] = r.key
	}
	now, err := b.getMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, r := range rulings {
		if e, ok := now[r.key]; ok && e.revision == r.revision {
			entries = append(entries, e)
		}
	}
	return rule(ctx, entries)
}

// barrier returns when all changes of users that were under way when it was called are complete.
func (u *Users) barrier(ctx context.Context) error {
	key := newWorkKey()
	note, err := work{}.note(key)
	if err != nil {
		return err
	}
	if _, err := u.b.write(ctx, note); err != nil {
		return err
	}
	return u.b.purge(ctx, key, 0)
}

// apply corrects or removes a key, as the ruling says.
func (b *bucket) apply(ctx context.Context, r ruling) error {
	k, _ := kindOf(b.at.Load().kinds, r.key)
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
