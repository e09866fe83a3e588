package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Resets stores codes that users get by mail, for forgotten passwords or to verify an address: at most one of a purpose
// for each user, in a key that expires. It stores only a hash of the code. The hash should be a Hasher's: with a fast
// hash, a reader of the bucket could find so short a code before it expires.
type Resets struct {
	b      *bucket
	suffix string // of the keys, by the purpose
}

// mailCodeSuffix is the suffix of the codes that verify an address.
const mailCodeSuffix = ".mail"

type resetRecord struct {
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
	Tries   int       `json:"tries"` // remaining
}

func resetKey(id string) string { return "reset." + id }

func (r *Resets) key(id string) string { return resetKey(id) + r.suffix }

// Put stores the hash of a user's code, which is valid for the time life and a number of tries. It replaces an
// earlier code.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (r *Resets) Put(ctx context.Context, userID, hash string, life time.Duration, tries int) error {
	if !ValidID(userID) {
		return fmt.Errorf("kv: store a reset code: %w", ErrUserNotFound)
	}
	record := resetRecord{Hash: hash, Expires: now().Add(life), Tries: tries}
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := r.b.get(ctx, r.key(userID), true)
		if err != nil && !errors.Is(err, errKeyNotFound) {
			return err
		}
		return r.write(ctx, userID, e, record)
	})
	if err != nil {
		return fmt.Errorf("kv: store a reset code: %w", err)
	}
	return nil
}

// Try uses one of the remaining tries of a user's code, and returns the hash to compare with. It counts a try before
// the caller compares, so that concurrent tries do not exceed the limit.
//
// Errors: ErrNoReset, ErrConflict.
func (r *Resets) Try(ctx context.Context, userID string) (string, error) {
	var record resetRecord
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		var e entry
		var err error
		if record, e, err = r.read(ctx, userID); err != nil {
			return err
		}
		if record.Tries <= 0 {
			return ErrNoReset
		}
		record.Tries--
		return r.write(ctx, userID, e, record)
	})
	if err != nil {
		return "", fmt.Errorf("kv: try a reset code: %w", err)
	}
	return record.Hash, nil
}

// Use removes the user's code if it has this hash. Of several concurrent calls one succeeds.
//
// Errors: ErrNoReset, ErrConflict.
func (r *Resets) Use(ctx context.Context, userID, hash string) error {
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		record, e, err := r.read(ctx, userID)
		if err == nil && record.Hash != hash {
			err = ErrNoReset
		}
		if err != nil {
			return err
		}
		return r.erase(ctx, userID, e)
	})
	if err != nil {
		return fmt.Errorf("kv: use a reset code: %w", err)
	}
	return nil
}

// Remove removes the user's code. A missing code is no error.
//
// Errors: ErrConflict.
func (r *Resets) Remove(ctx context.Context, userID string) error {
	if !ValidID(userID) {
		return nil
	}
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := r.b.get(ctx, r.key(userID), true)
		if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
			return nil
		}
		if err != nil {
			return err
		}
		return r.erase(ctx, userID, e)
	})
	if err != nil {
		return fmt.Errorf("kv: remove a reset code: %w", err)
	}
	return nil
}

// read returns a user's valid code. Errors: ErrNoReset.
func (r *Resets) read(ctx context.Context, userID string) (resetRecord, entry, error) {
	if !ValidID(userID) {
		return resetRecord{}, entry{}, ErrNoReset
	}
	e, err := r.b.get(ctx, r.key(userID), true)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return resetRecord{}, entry{}, ErrNoReset
	}
	if err != nil {
		return resetRecord{}, entry{}, err
	}
	var record resetRecord
	if json.Unmarshal(e.value, &record) != nil || !now().Before(record.Expires) {
		return resetRecord{}, entry{}, ErrNoReset
	}
	return record, e, nil
}

// write replaces e by a record. The server removes the record some time after it has expired.
func (r *Resets) write(ctx context.Context, userID string, e entry, record resetRecord) error {
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = r.b.write(ctx, putFor(r.key(userID), value, e, max(time.Until(record.Expires), 0)))
	return err
}

// erase replaces e by a delete marker that lives at least as long.
func (r *Resets) erase(ctx context.Context, userID string, e entry) error {
	_, err := r.b.write(ctx, putFor(r.key(userID), nil, e, 0).asMarker())
	return err
}
