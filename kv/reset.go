package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Resets are the codes by which people who forgot their password set a new one: at most one for each user, under a key
// that the server removes when its time is over. What is kept is a hash of the code. It should be a Hasher's: from a
// fast one, whoever has a copy of the bucket could find so short a code in time.
type Resets struct {
	b *bucket
}

type resetRecord struct {
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
	Tries   int       `json:"tries"` // that are left
}

func resetKey(id string) string { return "reset." + id }

// Put keeps the hash of a user's code for a while and a number of tries, in place of an earlier one. Errors:
// ErrUserNotFound if userID is no id at all.
func (r *Resets) Put(ctx context.Context, userID, hash string, life time.Duration, tries int) error {
	if !ValidID(userID) {
		return fmt.Errorf("kv: keep a code: %w", ErrUserNotFound)
	}
	record := resetRecord{Hash: hash, Expires: now().Add(life), Tries: tries}
	err := swap(ctx, func(ctx context.Context) error {
		e, err := r.b.get(ctx, resetKey(userID), true)
		if err != nil && !errors.Is(err, errNoKey) {
			return err
		}
		return r.write(ctx, userID, e, record)
	})
	if err != nil {
		return fmt.Errorf("kv: keep a code: %w", err)
	}
	return nil
}

// Try takes one of the tries that a user's code has left and returns the hash to try it against. Tries count before
// they are made, so that many at once are not more than were allowed. Errors: ErrNoReset, ErrConflict.
func (r *Resets) Try(ctx context.Context, userID string) (string, error) {
	var record resetRecord
	err := swap(ctx, func(ctx context.Context) error {
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
		return "", fmt.Errorf("kv: try a code: %w", err)
	}
	return record.Hash, nil
}

// Take uses the code up that has this hash. Of several calls at once one succeeds. Errors: ErrNoReset, ErrConflict.
func (r *Resets) Take(ctx context.Context, userID, hash string) error {
	err := swap(ctx, func(ctx context.Context) error {
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
		return fmt.Errorf("kv: use a code: %w", err)
	}
	return nil
}

// Drop makes the user's code, if there is one, good for nothing.
func (r *Resets) Drop(ctx context.Context, userID string) error {
	if !ValidID(userID) {
		return nil
	}
	err := swap(ctx, func(ctx context.Context) error {
		e, err := r.b.get(ctx, resetKey(userID), true)
		if errors.Is(err, errNoKey) || err == nil && e.deleted {
			return nil
		}
		if err != nil {
			return err
		}
		return r.erase(ctx, userID, e)
	})
	if err != nil {
		return fmt.Errorf("kv: drop a code: %w", err)
	}
	return nil
}

func (r *Resets) read(ctx context.Context, userID string) (resetRecord, entry, error) {
	if !ValidID(userID) {
		return resetRecord{}, entry{}, ErrNoReset
	}
	e, err := r.b.get(ctx, resetKey(userID), true)
	if errors.Is(err, errNoKey) || err == nil && e.deleted {
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

// write replaces e with a record. The server removes it some time after it has expired.
func (r *Resets) write(ctx context.Context, userID string, e entry, record resetRecord) error {
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = r.b.write(ctx, putFor(resetKey(userID), value, e, max(time.Until(record.Expires), 0)))
	return err
}

// erase replaces e with a delete marker that lives at least as long.
func (r *Resets) erase(ctx context.Context, userID string, e entry) error {
	_, err := r.b.write(ctx, putFor(resetKey(userID), nil, e, 0).asMarker())
	return err
}
