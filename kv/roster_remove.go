package kv

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// removeBatch is how many rosters of others change in one atomic batch. Each may have 150 KB.
const removeBatch = 32

// RemoveUser removes a deleted user from all rosters, and replaces the user's own roster and cursors by delete markers.
// Each step writes some rosters of others and the user's own in one batch, so both ends agree at any time, and another
// call completes a removal that was interrupted. RemoveUser returns the changes made, as removals by the deleted
// user, also if it fails.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (r *Rosters) RemoveUser(ctx context.Context, id string) ([]Change, error) {
	var all []Change
	for done := false; !done; {
		var changes []Change
		err := compareAndSwap(ctx, func(ctx context.Context) (err error) {
			changes, done, err = r.removeStep(ctx, id)
			return err
		})
		if err != nil {
			return all, fmt.Errorf("kv: remove a user from the rosters: %w", err)
		}
		all = append(all, changes...)
	}
	return all, nil
}

// removeStep takes one step. done reports whether the delete marker is written.
func (r *Rosters) removeStep(ctx context.Context, id string) (changes []Change, done bool, err error) {
	own, err := r.read(ctx, id)
	if err != nil || own.deleted {
		return nil, own.deleted, err
	}
	others := own.named()
	done = len(others) <= removeBatch
	others = others[:min(len(others), removeBatch)]
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
		kind, _ := part(&own.party, &other.party) // its error only says that the two were not friends
		change := Change{Kind: kind, A: id, B: other.id, Quiet: other.quiet || other.unheard, Unheard: other.unheard}
		var written bool
		if !other.deleted {
			if writes, written, err = other.write(writes); err != nil {
				return nil, false, err
			}
		}
		if written {
			change.RevisionB = uint64(len(writes)) // for now, the position in the batch
		}
		changes = append(changes, change)
	}
	if done {
		writes = append(writes, put(cursorsKey(id), nil).asMarker(), putAt(id, nil, own.revision).asMarker())
	} else if writes, _, err = own.write(writes); err != nil {
		return nil, false, err
	}
	last, err := r.b.write(ctx, writes...)
	if err != nil {
		return nil, false, err
	}
	for i := range changes {
		changes[i].RevisionA = last
		if position := changes[i].RevisionB; position > 0 {
			changes[i].RevisionB = last - uint64(len(writes)) + position
		}
	}
	return changes, done, nil
}

// named returns the ids of all friends, and of the users with requests to or from the owner, each once and sorted. It
// leaves out invalid ids. A deleted user may stay blocked: ids are never reused.
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

// readAll reads rosters concurrently.
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
