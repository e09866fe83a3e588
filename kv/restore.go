package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

const (
	// restoreReads bounds how many accounts are looked up side by side.
	restoreReads = 32
	// restoreAtOnce is how many rosters change in one atomic batch.
	restoreAtOnce = 256
	// restoreUsers is how many accounts are written in one atomic batch: each has three keys.
	restoreUsers = bulkBatch / 3
)

// CheckHash returns an error for what no password could be verified against. The empty hash is good: nobody gets in by it.
func CheckHash(hash string) error {
	if hash == "" {
		return nil
	}
	_, err := parsePHC(hash)
	return err
}

// Restored is what became of an account that Restore was given.
type Restored struct {
	User User // as it is now
	Made bool // false: it was there already, and is as it was
	Err  error
}

// Restore makes the accounts that are not there yet, as they were: with id, hash of the password, time of creation.
// One without an id gets one, or is the account that has its name already. What is there is left alone. The answer has
// one entry for each user, with these errors: ErrAccountExists where account or id belongs to another, ErrAccountEmpty,
// ErrUserNotFound for what is no id, ErrConflict.
func (u *Users) Restore(ctx context.Context, users []User) []Restored {
	all := make([]Restored, 0, len(users))
	for some := range slices.Chunk(users, restoreUsers) {
		all = append(all, u.restoreSome(ctx, some)...)
	}
	return all
}

// restoreSome writes what has to be written in one batch, since that costs hardly more than one account. Where somebody
// else makes one of them meanwhile, each is tried by itself.
func (u *Users) restoreSome(ctx context.Context, users []User) []Restored {
	plans := make([]restorePlan, len(users))
	var group errgroup.Group
	group.SetLimit(restoreReads)
	for i, user := range users {
		group.Go(func() error { plans[i] = u.plan(ctx, user); return nil })
	}
	_ = group.Wait() // every plan has its own error
	taken := make(map[string]bool)
	var writes []write
	for i := range plans {
		p := &plans[i]
		if len(p.writes) == 0 {
			continue
		}
		if p.alone = taken[p.writes[0].key] || taken[p.user.ID]; p.alone {
			continue // twice in one call: the second is tried when the first is there
		}
		taken[p.writes[0].key], taken[p.user.ID] = true, true
		writes = append(writes, p.writes...)
	}
	var err error
	if len(writes) > 0 {
		_, err = u.b.write(ctx, writes...)
	}
	retry := conflicting(err) || crowded(err)
	all := make([]Restored, len(users))
	for i, p := range plans {
		switch {
		case p.err != nil:
			all[i].Err = p.err
		case len(p.writes) == 0:
			all[i].User = p.user
		case p.alone || retry:
			all[i] = u.restoreOne(ctx, users[i])
		default:
			all[i] = Restored{User: p.user, Made: err == nil, Err: err}
		}
		if err := all[i].Err; err != nil {
			all[i].Err = fmt.Errorf("kv: restore an account: %w", err)
		}
	}
	return all
}

func (u *Users) restoreOne(ctx context.Context, user User) (r Restored) {
	r.Err = swap(ctx, func(ctx context.Context) error {
		p := u.plan(ctx, user)
		if r = (Restored{User: p.user, Made: len(p.writes) > 0}); p.err != nil || !r.Made {
			return p.err
		}
		_, err := u.b.write(ctx, p.writes...)
		return err
	})
	r.Made = r.Made && r.Err == nil
	return r
}

// restorePlan is what has to be done for one account. Without writes it is there.
type restorePlan struct {
	user   User
	writes []write // the claim is the first
	err    error
	alone  bool
}

func (u *Users) plan(ctx context.Context, user User) restorePlan {
	folded := FoldAccount(user.Account)
	switch {
	case folded == "":
		return restorePlan{err: ErrAccountEmpty}
	case user.ID != "" && !ValidID(user.ID):
		return restorePlan{err: ErrUserNotFound}
	}
	// The record before the claim: both come at once, and a record that is found is enough. An id that was deleted
	// lately has left delete markers, whose revisions count.
	var record entry
	if user.ID != "" {
		e, there, err := u.peek(ctx, userKey(user.ID))
		if err != nil {
			return restorePlan{err: err}
		}
		if there {
			have, err := decodeUser(e)
			if err == nil && FoldAccount(have.Account) != folded {
				err = ErrAccountExists
			}
			return restorePlan{user: have, err: err}
		}
		record = e
	}
	claim, claimed, err := u.peek(ctx, accountKey(folded))
	if err != nil {
		return restorePlan{err: err}
	}
	if claimed {
		if id := string(claim.value); user.ID != "" && user.ID != id {
			return restorePlan{err: ErrAccountExists}
		}
		have, _, err := u.read(ctx, string(claim.value), true)
		return restorePlan{user: have, err: err}
	}
	if user.ID == "" {
		user.ID = NewID()
	}
	if user.Created.IsZero() {
		user.Created = now()
	}
	body, err := json.Marshal(user)
	if err != nil {
		return restorePlan{err: fmt.Errorf("encode a user: %w", err)}
	}
	writes := []write{putAt(accountKey(folded), []byte(user.ID), claim.revision)}
	if name := FoldAccount(user.Name); name != "" {
		key, _, err := u.peek(ctx, nameKey(name, user.ID))
		if err != nil {
			return restorePlan{err: err}
		}
		writes = append(writes, putAt(nameKey(name, user.ID), nil, key.revision))
	}
	return restorePlan{user: user, writes: append(writes, putAt(userKey(user.ID), body, record.revision))}
}

// peek reads a key that may not be there.
func (u *Users) peek(ctx context.Context, key string) (e entry, there bool, err error) {
	e, err = u.b.get(ctx, key, true)
	if errors.Is(err, errNoKey) {
		return entry{}, false, nil
	}
	return e, err == nil && !e.deleted, err
}

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
	unlock, err := r.locks.lock(ctx, ids...)
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
