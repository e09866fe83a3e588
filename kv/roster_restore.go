package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// restoreBatch is how many rosters change in one atomic batch.
const restoreBatch = 256

// RosterSnapshot is a user's roster at an earlier time.
type RosterSnapshot struct {
	Friends  []Friend
	Requests []Request // pending requests to the user
	Asked    []Request // pending requests of the user; From is the user who was asked
	Blocked  []string  // ids of the users whom the user blocks

	BefriendedBy []string // ids of the services that have befriended the user by themselves
}

// Snapshot returns a user's roster in the form that Restore takes. It also has the user's pending requests, which are
// in the rosters of others.
//
// Errors: ErrUserNotFound for an invalid id.
func (r *Rosters) Snapshot(ctx context.Context, id string) (RosterSnapshot, error) {
	own, err := r.read(ctx, id)
	if err != nil {
		return RosterSnapshot{}, fmt.Errorf("kv: take a snapshot of a roster: %w", err)
	}
	snapshot := RosterSnapshot{Friends: own.Friends, Requests: own.Requests, Blocked: own.Blocked, BefriendedBy: own.BefriendedBy}
	others, err := r.readAll(ctx, slices.DeleteFunc(slices.Clone(own.Asked), func(id string) bool { return !ValidID(id) }))
	if err != nil {
		return RosterSnapshot{}, fmt.Errorf("kv: take a snapshot of a roster: %w", err)
	}
	for _, other := range others {
		if q, ok := other.Roster.Request(id); ok { // else it was answered meanwhile, or is unheard
			snapshot.Asked = append(snapshot.Asked, Request{From: other.id, Note: q.Note, Since: q.Since})
		}
	}
	return snapshot, nil
}

// UserSnapshot is the snapshot of the roster of the user with this id.
type UserSnapshot struct {
	ID string
	RosterSnapshot
}

// Restore adds to the rosters what they lack of the snapshots, always at both ends, and returns the changes, also if
// it fails. It keeps existing entries: friends keep aliases that they were given since. It ignores the limits of
// rosters, which may have been different at the time of the snapshot. The users of the snapshots must have accounts;
// their rosters replace delete markers. Other users whose rosters are deleted are left out.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (r *Rosters) Restore(ctx context.Context, snapshots ...UserSnapshot) ([]Change, error) {
	return r.restore(ctx, r.writeRestored, snapshots)
}

// WouldRestore returns the changes that Restore would make, without their revisions. It changes nothing.
func (r *Rosters) WouldRestore(ctx context.Context, snapshots ...UserSnapshot) ([]Change, error) {
	return r.restore(ctx, func(context.Context, []rosterEntry, []Change) error { return nil }, snapshots)
}

// writeRosters writes the rosters that changed, and sets their revisions in the changes.
type writeRosters func(context.Context, []rosterEntry, []Change) error

func (r *Rosters) restore(ctx context.Context, write writeRosters, snapshots []UserSnapshot) ([]Change, error) {
	restored := make(map[string]bool)
	var bonds []bond
	for _, s := range snapshots {
		restored[s.ID] = true
		bonds = append(bonds, s.bonds()...)
	}
	var changes []Change
	for len(bonds) > 0 {
		n := batchLength(bonds)
		restoredChanges, err := r.restoreBonds(ctx, write, restored, bonds[:n])
		changes = append(changes, restoredChanges...)
		if err != nil {
			return changes, fmt.Errorf("kv: restore rosters: %w", err)
		}
		bonds = bonds[n:]
	}
	return changes, nil
}

// batchLength returns how many of the bonds fit into one batch, which costs hardly more than a single bond.
func batchLength(bonds []bond) int {
	ids := make(map[string]bool)
	for n, b := range bonds {
		ids[b.own], ids[b.other] = true, true
		if len(ids) > restoreBatch && n > 0 {
			return n
		}
	}
	return len(bonds)
}

// errTooLarge: the rosters are too large for one batch.
var errTooLarge = errors.New("too large for one batch")

// restoreBonds restores bonds in one batch, or in as many as are needed.
func (r *Rosters) restoreBonds(ctx context.Context, write writeRosters, restored map[string]bool, bonds []bond) (changes []Change, err error) {
	err = compareAndSwap(ctx, func(ctx context.Context) (err error) {
		changes, err = r.restoreBatch(ctx, write, restored, bonds)
		return err
	})
	if !errors.Is(err, errTooLarge) {
		return changes, err
	}
	first, err := r.restoreBonds(ctx, write, restored, bonds[:len(bonds)/2])
	if err != nil {
		return first, err
	}
	rest, err := r.restoreBonds(ctx, write, restored, bonds[len(bonds)/2:])
	return append(first, rest...), err
}

// bond has the entries of a snapshot that concern one other user. For the user itself it has none.
type bond struct {
	own, other     string
	friend         *Friend
	request, asked *Request
	blocked        bool
	befriended     bool // other is a service that has befriended own
}

// bonds returns the bonds of a snapshot: one for the user itself, so that the user's delete marker is replaced, and
// one for each other user. It leaves out invalid ids.
func (s UserSnapshot) bonds() []bond {
	all := []bond{{own: s.ID, other: s.ID}}
	indexes := make(map[string]int)
	with := func(other string) *bond {
		if !ValidID(other) || other == s.ID {
			return new(bond)
		}
		i, ok := indexes[other]
		if !ok {
			i = len(all)
			indexes[other], all = i, append(all, bond{own: s.ID, other: other})
		}
		return &all[i]
	}
	for _, f := range s.Friends {
		with(f.ID).friend = &f
	}
	for _, q := range s.Requests {
		with(q.From).request = &q
	}
	for _, q := range s.Asked {
		with(q.From).asked = &q
	}
	for _, id := range s.Blocked {
		with(id).blocked = true
	}
	for _, id := range s.BefriendedBy {
		with(id).befriended = true
	}
	return all
}

// restoreBatch restores bonds in one batch. It replaces the delete marker of a restored user by a roster. Errors:
// errTooLarge.
func (r *Rosters) restoreBatch(ctx context.Context, write writeRosters, restored map[string]bool, bonds []bond) ([]Change, error) {
	var ids []string
	indexes := make(map[string]int) // of the ids
	for _, b := range bonds {
		for _, id := range [...]string{b.own, b.other} {
			if _, ok := indexes[id]; !ok {
				indexes[id], ids = len(ids), append(ids, id)
			}
		}
	}
	unlock, err := r.locks.Lock(ctx, ids...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ends, err := r.readAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range ends {
		size += len(ends[i].raw)
		if ends[i].deleted && restored[ends[i].id] {
			ends[i].deleted, ends[i].raw = false, []byte("deleted") // differs from every roster, so that the roster is written
		}
	}
	if size > bulkBytes && len(bonds) > 1 {
		return nil, errTooLarge
	}
	var changes []Change
	for _, b := range bonds {
		if own, other := &ends[indexes[b.own]], &ends[indexes[b.other]]; !own.deleted && !other.deleted && own != other {
			changes = append(changes, b.restore(&own.party, &other.party)...)
		}
	}
	return changes, write(ctx, ends, changes)
}

// writeRestored writes the rosters that changed, and sets their revisions in the changes.
func (r *Rosters) writeRestored(ctx context.Context, ends []rosterEntry, changes []Change) (err error) {
	var writes []write
	positions := make(map[string]int) // in the batch, from 1
	for i := range ends {
		if ends[i].deleted {
			continue
		}
		var written bool
		if writes, written, err = ends[i].write(writes); err != nil {
			return err
		}
		if written {
			positions[ends[i].id] = len(writes)
		}
	}
	if len(writes) == 0 {
		return nil
	}
	last, err := r.b.write(ctx, writes...)
	if err != nil {
		return err
	}
	revision := func(id string) uint64 {
		if position := positions[id]; position > 0 {
			return last - uint64(len(writes)-position)
		}
		return 0
	}
	for i := range changes {
		changes[i].RevisionA, changes[i].RevisionB = revision(changes[i].A), revision(changes[i].B)
	}
	return nil
}

// restore applies the rules, and returns what they changed.
func (b bond) restore(own, other *party) (changes []Change) {
	note := func(k Kind, a, c *party) {
		if k == Unchanged {
			return
		}
		change := Change{Kind: k, A: a.id, B: c.id}
		change.FriendOfA, _ = a.Friend(c.id)
		change.FriendOfB, _ = c.Friend(a.id)
		change.Request, _ = c.Roster.Request(a.id)
		changes = append(changes, change)
	}
	if b.friend != nil {
		note(restoreFriend(own, other, *b.friend), own, other)
	}
	if b.request != nil {
		note(restoreRequest(other, own, *b.request), other, own)
	}
	if b.asked != nil {
		note(restoreRequest(own, other, *b.asked), own, other)
	}
	if b.blocked {
		kind, _ := block(own, other) // a full list stays as it is
		note(kind, own, other)
	}
	if b.befriended && !slices.Contains(own.BefriendedBy, other.id) {
		own.BefriendedBy = append(own.BefriendedBy, other.id)
	}
	return changes
}
