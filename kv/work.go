package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Some changes take several steps: a purge can't be part of an atomic batch, and a deletion concerns several buckets.
// The first step writes a note of what is left to do, the last one removes it. A start that finds a note takes the
// remaining steps, so it reads the notes and not a million records.

// work is a note of steps that are left to do.
type work struct {
	// Purge are keys, none of which is needed any more as it was when the note was written.
	Purge []string `json:"purge,omitempty"`
	// Delete is the id of a user whose deletion has begun.
	Delete string `json:"delete,omitempty"`
}

const workPrefix = "work."

func newWorkKey() string { return workPrefix + NewID() }

// note returns the write of a note.
func (w work) note(key string) (write, error) {
	value, err := json.Marshal(w)
	if err != nil {
		return write{}, fmt.Errorf("encode a note: %w", err)
	}
	return putAt(key, value, 0), nil
}

// finish purges the keys as they were before that revision, and removes the note.
func (b *bucket) finish(ctx context.Context, key string, w work, before uint64) error {
	for _, k := range w.Purge {
		if err := b.purge(ctx, k, before); err != nil {
			return err
		}
	}
	return b.purge(ctx, key, 0)
}

// Finished counts what was left half done and is done now.
type Finished struct {
	Users int // whose accounts are free again
	Names int // names that users no longer have
}

// Finish takes the steps that were left undone when a process ended in the middle of a call. It does not disturb calls
// that are under way on other nodes. Returns what it did, also beside an error, and the ids of users whose
// deletion has begun and is not done, for the caller to complete.
func (u *Users) Finish(ctx context.Context) (done Finished, deleting []string, err error) {
	notes, err := u.notes(ctx)
	for i := 0; err == nil && i < len(notes); i++ {
		var w work
		if err = json.Unmarshal(notes[i].value, &w); err != nil {
			err = fmt.Errorf("the note at %s, revision %d, is damaged", notes[i].key, notes[i].revision)
			break
		}
		if w.Delete != "" {
			var began bool
			if began, err = u.deletes(ctx, w.Delete, notes[i].key); began {
				deleting = append(deleting, w.Delete)
			}
			if err != nil || began {
				continue
			}
		}
		for _, key := range w.Purge {
			switch {
			case strings.HasPrefix(key, "account."):
				done.Users++
			case strings.HasPrefix(key, "name.") && !slices.ContainsFunc(w.Purge, isClaim):
				done.Names++
			}
		}
		err = u.b.finish(ctx, notes[i].key, w, notes[i].revision+1)
	}
	if err != nil {
		return done, nil, fmt.Errorf("kv: finish what was left undone: %w", err)
	}
	return done, deleting, nil
}

func isClaim(key string) bool { return strings.HasPrefix(key, "account.") }

func (u *Users) notes(ctx context.Context) ([]entry, error) {
	const most = 256
	var all []entry
	for after := uint64(0); ; {
		p, err := u.b.next(ctx, workPrefix+"*", after, most)
		if err != nil {
			return nil, err
		}
		all = append(all, p.entries...)
		if p.pending == 0 || len(p.entries) == 0 {
			return all, nil
		}
		after = p.last()
	}
}

// deletes tells whether the user is still being deleted, as that note says.
func (u *Users) deletes(ctx context.Context, id, note string) (bool, error) {
	r, _, err := u.readRecord(ctx, id, true)
	if errors.Is(err, ErrUserNotFound) {
		return false, nil
	}
	return err == nil && r.Deletion == note, err
}
