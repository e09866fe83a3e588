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
	// restoreReads bounds how many accounts are looked up concurrently.
	restoreReads = 32
	// restoreUsers is how many accounts are written in one atomic batch: each has a few keys.
	restoreUsers = bulkBatch / userKeys
)

// Restored is the result of Restore for one account.
type Restored struct {
	User    User // as it is stored now
	Created bool // false: it existed and was not changed
	Err     error
}

// Restore creates the accounts that do not exist, with their ids, password hashes and times of creation. A user
// without an id is the existing user of that account, or gets a new id. Restore does not change existing accounts. It
// returns one result for each user.
//
// Errors in the results: ErrAccountExists if the account or the id belongs to another user, ErrAccountLooksAlike,
// ErrAccountEmpty, ErrUserNotFound for an invalid id, ErrConflict.
func (u *Users) Restore(ctx context.Context, users []User) []Restored {
	all := make([]Restored, 0, len(users))
	for chunk := range slices.Chunk(users, restoreUsers) {
		all = append(all, u.restoreBatch(ctx, chunk)...)
	}
	return all
}

// WouldRestore returns the results that Restore would have for each of the users alone. It creates no account.
func (u *Users) WouldRestore(ctx context.Context, users []User) []Restored {
	all := make([]Restored, len(users))
	var group errgroup.Group
	group.SetLimit(restoreReads)
	for i, user := range users {
		group.Go(func() error {
			p := u.plan(ctx, user)
			all[i] = Restored{User: p.user, Created: p.err == nil && len(p.writes) > 0, Err: p.err}
			return nil
		})
	}
	_ = group.Wait() // each plan has its own error
	return all
}

// restoreBatch writes all new accounts in one batch, which costs hardly more than one account. If another caller
// creates one of them meanwhile, it restores them one by one.
func (u *Users) restoreBatch(ctx context.Context, users []User) []Restored {
	plans := make([]restorePlan, len(users))
	var group errgroup.Group
	group.SetLimit(restoreReads)
	for i, user := range users {
		group.Go(func() error { plans[i] = u.plan(ctx, user); return nil })
	}
	_ = group.Wait() // each plan has its own error
	taken := make(map[string]bool)
	var writes []write
	for i := range plans {
		p := &plans[i]
		if len(p.writes) == 0 {
			continue
		}
		if p.alone = slices.ContainsFunc(p.writes, func(w write) bool { return taken[w.key] }); p.alone {
			continue // it occurs twice: the second one is restored after the first
		}
		for _, w := range p.writes {
			taken[w.key] = true
		}
		writes = append(writes, p.writes...)
	}
	var err error
	if len(writes) > 0 {
		_, err = u.b.write(ctx, writes...)
	}
	retry := Conflicting(err) || tooManyBatches(err)
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
			all[i] = Restored{User: p.user, Created: err == nil, Err: err}
		}
		if err := all[i].Err; err != nil {
			all[i].Err = fmt.Errorf("kv: restore an account: %w", err)
		}
	}
	return all
}

// restoreOne restores one account in a batch of its own.
func (u *Users) restoreOne(ctx context.Context, user User) (r Restored) {
	r.Err = compareAndSwap(ctx, func(ctx context.Context) error {
		p := u.plan(ctx, user)
		if r = (Restored{User: p.user, Created: len(p.writes) > 0}); p.err != nil || !r.Created {
			return p.err
		}
		_, err := u.b.write(ctx, p.writes...)
		return err
	})
	r.Created = r.Created && r.Err == nil
	return r
}

// restorePlan has the writes that restore one account. An account without writes exists already.
type restorePlan struct {
	user   User
	writes []write
	err    error
	alone  bool // must not be in a batch with the others
}

// plan decides how to restore an account.
func (u *Users) plan(ctx context.Context, user User) restorePlan {
	folded := FoldAccount(user.Account)
	switch {
	case folded == "":
		return restorePlan{err: ErrAccountEmpty}
	case user.ID != "" && !ValidID(user.ID):
		return restorePlan{err: ErrUserNotFound}
	}
	// The record is read before the claim: one batch writes both, and an existing record is enough. A deleted user
	// has a delete marker, whose revision the write must expect.
	var record entry
	if user.ID != "" {
		e, exists, err := u.peek(ctx, userKey(user.ID))
		if err != nil {
			return restorePlan{err: err}
		}
		if exists {
			have, err := decodeUser(e)
			if err == nil && FoldAccount(have.Account) != folded {
				err = ErrAccountExists
			}
			return restorePlan{user: have, err: err}
		}
		record = e
	}
	// The looks are read before the claim of the account, for the same reason.
	taken := u.lookFree(ctx, user.Account)
	if taken != nil && !errors.Is(taken, ErrAccountLooksAlike) {
		return restorePlan{err: taken}
	}
	id, claimed, err := u.claim(ctx, accountKey(folded))
	if err != nil {
		return restorePlan{err: err}
	}
	if claimed {
		if user.ID != "" && user.ID != id {
			return restorePlan{err: ErrAccountExists}
		}
		have, _, err := u.read(ctx, id, true)
		return restorePlan{user: have, err: err}
	}
	if taken != nil {
		return restorePlan{err: taken}
	}
	if user.ID == "" {
		user.ID = NewID()
	}
	if user.Created.IsZero() {
		user.Created = now()
	}
	r := userRecord{User: user, NameAt: record.revision}
	body, err := json.Marshal(r)
	if err != nil {
		return restorePlan{err: fmt.Errorf("encode a user: %w", err)}
	}
	writes := claims(user)
	if key := r.nameKey(); key != "" {
		writes = append(writes, putAt(key, nil, 0))
	}
	writes = append(writes, ownedWrites(user)...)
	return restorePlan{user: user, writes: append(writes, putAt(userKey(user.ID), body, record.revision))}
}

// peek reads a key that may be missing or deleted.
func (u *Users) peek(ctx context.Context, key string) (e entry, exists bool, err error) {
	e, err = u.b.get(ctx, key, true)
	if errors.Is(err, errKeyNotFound) {
		return entry{}, false, nil
	}
	return e, err == nil && !e.deleted, err
}
