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
// The first step writes a note of the remaining steps, the last step removes the note. A start that finds a note takes
// the remaining steps. So a start reads only the notes, not a million records.

// work is a note of the remaining steps of a change.
type work struct {
	// Purge lists the keys to purge, in the version that they had when the note was written.
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

// finish purges the messages of the keys before that revision, and removes the note.
func (b *bucket) finish(ctx context.Context, key string, w work, before uint64) error {
	for _, k := range w.Purge {
		if err := b.purge(ctx, k, before); err != nil {
			return err
		}
	}
	return b.purge(ctx, key, 0)
}

// Finished counts the changes that Finish completed.
type Finished struct {
	Users int // deleted users whose accounts are free again
	Names int // removed names that no user has
}

// Finish completes the changes that a process left unfinished when it ended. It does not affect calls that are under way
// on other nodes. It returns what it did, also with an error, and the ids of the users whose deletion has begun. The
// caller must complete these deletions.
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
		return done, nil, fmt.Errorf("kv: complete unfinished changes: %w", err)
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

// deletes reports whether the deletion that the note begins is still to be completed.
func (u *Users) deletes(ctx context.Context, id, note string) (bool, error) {
	r, _, err := u.readRecord(ctx, id, true)
	if errors.Is(err, ErrUserNotFound) {
		return false, nil
	}
	return err == nil && r.Deletion == note, err
}
