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
	// Read the record before the claim: one batch writes both, and an existing record is enough. A deleted user has a
	// delete marker, and the write must expect its revision.
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
	writes := []write{putAt(accountKey(folded), []byte(user.ID), 0)}
	if key := r.nameKey(); key != "" {
		writes = append(writes, putAt(key, nil, 0))
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
