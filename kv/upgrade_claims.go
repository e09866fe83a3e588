package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Users of format 0 and 1 have no claims of looks, and keys of a fold that left the case of Cherokee. An upgrade moves
// these keys and writes the claims. Its steps may be repeated, by several nodes at the same time, while others serve.

// upgradeFold moves the claims and names whose keys are of the fold of formats 0 and 1.
func (s *Store) upgradeFold(ctx context.Context, p *progress) error {
	b := s.Users.b
	return p.read(ctx, b, "folding accounts", func(entries []entry) error {
		for _, e := range entries {
			if e.deleted || !strings.HasPrefix(e.key, userKey("")) {
				continue
			}
			r, err := decodeUserRecord(e)
			if err != nil {
				return err
			}
			if !strings.ContainsFunc(r.Account+r.Name, func(c rune) bool { return foldCherokee(c) != c }) {
				continue
			}
			if err := s.moveClaim(ctx, r); err != nil {
				return err
			}
			if name := r.nameKey(); name != "" {
				if err := b.move(ctx, nameKey(foldOf1(r.Name), r.ID, r.NameAt), name, ""); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// moveClaim moves the claim of a user's account. If another user has the account in the new fold, the claim stays: the
// administrator must decide.
func (s *Store) moveClaim(ctx context.Context, r userRecord) error {
	err := s.Users.b.move(ctx, accountKey(foldOf1(r.Account)), accountKey(FoldAccount(r.Account)), r.ID)
	if errors.Is(err, ErrAccountExists) {
		s.opts.Log.Error("a user cannot log in, since its account differs from that of another user only by case: "+
			"export the user, delete one of the two, and import the user with another account", "user", r.ID)
		return nil
	}
	return err
}

// move writes a key with the value of another one, and purges the other one if its value is the given one. A missing
// key is no error. Errors: ErrAccountExists if the new key has another value.
func (b *bucket) move(ctx context.Context, from, to, value string) error {
	if from == to {
		return nil
	}
	return compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := b.get(ctx, from, true)
		if errors.Is(err, errKeyNotFound) || err == nil && string(e.value) != value {
			return nil
		}
		if err != nil {
			return err
		}
		moved, err := b.get(ctx, to, true)
		switch {
		case errors.Is(err, errKeyNotFound):
			_, err = b.write(ctx, putAt(to, e.value, 0))
		case err == nil && string(moved.value) != value:
			err = ErrAccountExists
		}
		if err != nil {
			return err
		}
		return b.purge(ctx, from, e.revision+1)
	})
}

// claimLooks writes the claims of the looks of all users that have none, in the order in which the accounts were
// created. A user whose look is taken gets no claim, and keeps its account.
func (s *Store) claimLooks(ctx context.Context, p *progress) error {
	return p.read(ctx, s.Users.b, "claiming the looks of accounts", func(entries []entry) error {
		var ids []string
		for _, e := range entries {
			if id := string(e.value); !e.deleted && isClaim(e.key) && ValidID(id) {
				ids = append(ids, id)
			}
		}
		for chunk := range slices.Chunk(ids, bulkBatch/maxLooks) {
			err := compareAndSwap(ctx, func(ctx context.Context) error { return s.Users.claimLooksOf(ctx, chunk) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// claimLooksOf writes the claims of the looks of some users, the first ones first. A look that is taken is left out.
func (u *Users) claimLooksOf(ctx context.Context, ids []string) error {
	users, err := u.GetMany(ctx, ids)
	if err != nil {
		return err
	}
	var keys []string
	owner := make(map[string]string)
	for _, id := range ids {
		user, ok := users[id]
		if !ok {
			continue
		}
		for _, key := range lookKeys(user.Account) {
			if _, taken := owner[key]; !taken {
				keys, owner[key] = append(keys, key), id
			}
		}
	}
	taken, err := u.b.getMany(ctx, keys)
	if err != nil {
		return err
	}
	var writes []write
	for _, key := range keys {
		if _, ok := taken[key]; !ok {
			writes = append(writes, putAt(key, []byte(owner[key]), 0))
		}
	}
	if len(writes) == 0 {
		return nil
	}
	_, err = u.b.write(ctx, writes...)
	return err
}

// read calls do with the pages of a bucket as a step of the upgrade.
func (p *progress) read(ctx context.Context, b *bucket, step string, do func([]entry) error) error {
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	p.begin(step, stream.CachedInfo().State.Msgs)
	return b.pages(ctx, 0, func(entries []entry) error {
		defer p.add(entries)
		return do(entries)
	})
}
