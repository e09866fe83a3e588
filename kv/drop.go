package kv

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// dropAtOnce is how many others' rosters change in one atomic batch. Each may have 150 KB.
const dropAtOnce = 32

// Drop takes a deleted account out of everybody's roster, and puts a delete marker where its own
// was. Each step writes some others' rosters and its own at once, so at any time both ends agree and a
// call that stopped halfway is finished by the next. Returns the changes that were made, as removals by
// the deleted user, also beside an error.
//
// Errors: ErrUserNotFound for what is no id, ErrConflict.
func (r *Rosters) Drop(ctx context.Context, id string) ([]Change, error) {
	var all []Change
	for done := false; !done; {
		var changes []Change
		err := swap(ctx, func(ctx context.Context) (err error) {
			changes, done, err = r.dropSome(ctx, id)
			return err
		})
		if err != nil {
			return all, fmt.Errorf("kv: drop a roster: %w", err)
		}
		all = append(all, changes...)
	}
	return all, nil
}

// dropSome takes one step; done tells that the marker stands.
func (r *Rosters) dropSome(ctx context.Context, id string) (changes []Change, done bool, err error) {
	own, err := r.read(ctx, id)
	if err != nil || own.gone {
		return nil, own.gone, err
	}
	others := own.named()
	done = len(others) <= dropAtOnce
	others = others[:min(len(others), dropAtOnce)]
	unlock, err := r.locks.Lock(ctx, append(slices.Clone(others), id)...)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	ends, err := r.readAll(ctx, others)
	if err != nil {
		return nil, false, err
	}
	var writes []write
	for i := range ends {
		other := &ends[i]
		kind, _ := remove(&own.party, &other.party) // friends or not, they part
		change := Change{Kind: kind, A: id, B: other.id}
		var wrote bool
		if !other.gone {
			if writes, wrote, err = other.write(writes); err != nil {
				return nil, false, err
			}
		}
		if wrote {
			change.RevisionB = uint64(len(writes)) // its place for now
		}
		changes = append(changes, change)
	}
	if done {
		writes = append(writes, putAt(id, nil, own.revision).asMarker())
	} else if writes, _, err = own.write(writes); err != nil {
		return nil, false, err
	}
	last, err := r.b.write(ctx, writes...)
	if err != nil {
		return nil, false, err
	}
	for i := range changes {
		changes[i].RevisionA = last
		if place := changes[i].RevisionB; place > 0 {
			changes[i].RevisionB = last - uint64(len(writes)) + place
		}
	}
	return changes, done, nil
}

// named returns everybody whom the roster names, each once. What is no id is nobody.
func (r Roster) named() []string {
	var ids []string
	for _, f := range r.Friends {
		ids = append(ids, f.ID)
	}
	for _, q := range r.Requests {
		ids = append(ids, q.From)
	}
	ids = append(ids, r.Asked...)
	ids = slices.DeleteFunc(ids, func(id string) bool { return !ValidID(id) })
	slices.Sort(ids)
	return slices.Compact(ids)
}

// readAll reads rosters side by side.
func (r *Rosters) readAll(ctx context.Context, ids []string) ([]rosterEntry, error) {
	entries := make([]rosterEntry, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	for i, id := range ids {
		group.Go(func() (err error) {
			entries[i], err = r.read(ctx, id)
			return err
		})
	}
	return entries, group.Wait()
}
