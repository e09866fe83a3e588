package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
	if err := r.write(ctx, put(resetKey(userID), nil), record); err != nil {
		return fmt.Errorf("kv: keep a code: %w", err)
	}
	return nil
}

// Try takes one of the tries that a user's code has left and returns the hash to try it against. Tries count before
// they are made, so that many at once are not more than were allowed. Errors: ErrNoReset, ErrConflict.
func (r *Resets) Try(ctx context.Context, userID string) (string, error) {
	var record resetRecord
	err := swap(ctx, func(ctx context.Context) error {
		var revision uint64
		var err error
		if record, revision, err = r.read(ctx, userID); err != nil {
			return err
		}
		if record.Tries <= 0 {
			return ErrNoReset
		}
		record.Tries--
		return r.write(ctx, putAt(resetKey(userID), nil, revision), record)
	})
	if err != nil {
		return "", fmt.Errorf("kv: try a code: %w", err)
	}
	return record.Hash, nil
}

// Take uses the code up that has this hash. Of several calls at once one succeeds. Errors: ErrNoReset, ErrConflict.
func (r *Resets) Take(ctx context.Context, userID, hash string) error {
	err := swap(ctx, func(ctx context.Context) error {
		record, revision, err := r.read(ctx, userID)
		if err == nil && record.Hash != hash {
			err = ErrNoReset
		}
		if err != nil {
			return err
		}
		_, err = r.b.write(ctx, putAt(resetKey(userID), nil, revision).asMarker(markerTTL))
		return err
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
	if err := r.b.purge(ctx, resetKey(userID), 0); err != nil {
		return fmt.Errorf("kv: drop a code: %w", err)
	}
	return nil
}

func (r *Resets) read(ctx context.Context, userID string) (resetRecord, uint64, error) {
	if !ValidID(userID) {
		return resetRecord{}, 0, ErrNoReset
	}
	e, err := r.b.get(ctx, resetKey(userID), true)
	if errors.Is(err, errNoKey) || err == nil && e.deleted {
		return resetRecord{}, 0, ErrNoReset
	}
	if err != nil {
		return resetRecord{}, 0, err
	}
	var record resetRecord
	if json.Unmarshal(e.value, &record) != nil || !now().Before(record.Expires) {
		return resetRecord{}, 0, ErrNoReset
	}
	return record, e.revision, nil
}

// write writes a record that the server removes soon after it has expired.
func (r *Resets) write(ctx context.Context, w write, record resetRecord) (err error) {
	if w.value, err = json.Marshal(record); err != nil {
		return err
	}
	if err := r.b.writable(); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	msg := r.b.msg(w)
	left := max(time.Until(record.Expires), 0).Truncate(time.Second) + time.Second // NATS counts in whole seconds
	msg.Header.Set(jetstream.MsgTTLHeader, left.String())
	if _, err = r.b.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("write to %s: %w", r.b.stream(), err)
	}
	return nil
}
