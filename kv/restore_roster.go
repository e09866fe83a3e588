package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// restoreAtOnce is how many rosters change in one atomic batch.
const restoreAtOnce = 256

// Restoration is what a user's roster said at another time: of others who are there now.
type Restoration struct {
	Friends  []Friend
	Requests []Request // to the user
	Asked    []Request // of the user; From is who was asked
}

// Remember returns what Restore takes: the user's roster, and with it what the user asked others, which is in theirs.
func (r *Rosters) Remember(ctx context.Context, id string) (Restoration, error) {
	own, err := r.read(ctx, id)
	if err != nil {
		return Restoration{}, fmt.Errorf("kv: remember a roster: %w", err)
	}
	was := Restoration{Friends: own.Friends, Requests: own.Requests}
	others, err := r.readAll(ctx, slices.DeleteFunc(slices.Clone(own.Asked), func(id string) bool { return !ValidID(id) }))
	if err != nil {
		return Restoration{}, fmt.Errorf("kv: remember a roster: %w", err)
	}
	for _, other := range others {
		if q, ok := other.Roster.Request(id); ok { // else it was answered meanwhile
			was.Asked = append(was.Asked, Request{From: other.id, Note: q.Note, Since: q.Since})
		}
	}
	return was, nil
}

// Remembered is what a user's roster said.
type Remembered struct {
	ID string
	Restoration
}

// Restore adds to the rosters what they lack of restorations, always at both ends, and returns what changed, also
// beside an error. What is there is left alone: friends keep aliases that they have given meanwhile. The bounds on
// rosters do not count, since they may have been others at that time. Who is remembered has an account again, even if
// it was deleted a moment ago.
//
// Errors: ErrUserNotFound for what is no id, ErrConflict.
func (r *Rosters) Restore(ctx context.Context, all ...Remembered) ([]Change, error) {
	back := make(map[string]bool)
	var bonds []bond
	for _, m := range all {
		back[m.ID] = true
		bonds = append(bonds, m.bonds()...)
	}
	var changes []Change
	for len(bonds) > 0 {
		n := together(bonds)
		some, err := r.restoreTogether(ctx, back, bonds[:n])
		changes = append(changes, some...)
		if err != nil {
			return changes, fmt.Errorf("kv: restore rosters: %w", err)
		}
		bonds = bonds[n:]
	}
	return changes, nil
}

// together is how many of the bonds can be restored in one batch. It costs hardly more than one of them.
func together(bonds []bond) int {
	ids := make(map[string]bool)
	for n, b := range bonds {
		ids[b.own], ids[b.other] = true, true
		if len(ids) > restoreAtOnce && n > 0 {
			return n
		}
	}
	return len(bonds)
}

// errTooLarge: the rosters are too large for one batch.
var errTooLarge = errors.New("too large for one batch")

// restoreTogether restores bonds in one batch, or in as many as it takes.
func (r *Rosters) restoreTogether(ctx context.Context, back map[string]bool, bonds []bond) (changes []Change, err error) {
	err = swap(ctx, func(ctx context.Context) (err error) {
		changes, err = r.restoreSome(ctx, back, bonds)
		return err
	})
	if !errors.Is(err, errTooLarge) {
		return changes, err
	}
	first, err := r.restoreTogether(ctx, back, bonds[:len(bonds)/2])
	if err != nil {
		return first, err
	}
	rest, err := r.restoreTogether(ctx, back, bonds[len(bonds)/2:])
	return append(first, rest...), err
}

// bond is what there was between a user and one other; of who had nobody it is empty.
type bond struct {
	own, other     string
	friend         *Friend
	request, asked *Request
}

// bonds gathers what was said of each other user. What is no id, and the user itself, is nobody.
func (m Remembered) bonds() []bond {
	all := []bond{{own: m.ID, other: m.ID}}
	places := make(map[string]int)
	with := func(other string) *bond {
		if !ValidID(other) || other == m.ID {
			return new(bond)
		}
		i, ok := places[other]
		if !ok {
			i = len(all)
			places[other], all = i, append(all, bond{own: m.ID, other: other})
		}
		return &all[i]
	}
	for _, f := range m.Friends {
		with(f.ID).friend = &f
	}
	for _, q := range m.Requests {
		with(q.From).request = &q
	}
	for _, q := range m.Asked {
		with(q.From).asked = &q
	}
	return all
}

// restoreSome takes one step. It puts a roster in the place of a delete marker too, if its user is back. Errors:
// errTooLarge.
func (r *Rosters) restoreSome(ctx context.Context, back map[string]bool, bonds []bond) ([]Change, error) {
	var ids []string
	places := make(map[string]int) // of the ids
	for _, b := range bonds {
		for _, id := range [...]string{b.own, b.other} {
			if _, ok := places[id]; !ok {
				places[id], ids = len(ids), append(ids, id)
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
		if ends[i].gone && back[ends[i].id] {
			ends[i].gone, ends[i].raw = false, []byte("gone") // which differs from every roster, so that one is written
		}
	}
	if size > bulkBytes && len(bonds) > 1 {
		return nil, errTooLarge
	}
	var changes []Change
	for _, b := range bonds {
		if own, other := &ends[places[b.own]], &ends[places[b.other]]; !own.gone && !other.gone && own != other {
			changes = append(changes, b.restore(&own.party, &other.party)...)
		}
	}
	return changes, r.writeRestored(ctx, ends, changes)
}

// writeRestored writes the rosters that changed, and notes in the changes their revisions.
func (r *Rosters) writeRestored(ctx context.Context, ends []rosterEntry, changes []Change) (err error) {
	var writes []write
	places := make(map[string]int) // of what is written
	for i := range ends {
		if ends[i].gone {
			continue
		}
		var wrote bool
		if writes, wrote, err = ends[i].write(writes); err != nil {
			return err
		}
		if wrote {
			places[ends[i].id] = len(writes)
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
		if place := places[id]; place > 0 {
			return last - uint64(len(writes)-place)
		}
		return 0
	}
	for i := range changes {
		changes[i].RevisionA, changes[i].RevisionB = revision(changes[i].A), revision(changes[i].B)
	}
	return nil
}

// restore applies the rules, and says what they changed.
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
	return changes
}
