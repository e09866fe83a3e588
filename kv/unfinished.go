package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Some changes take several steps: a purge cannot be part of an atomic batch, and a deletion concerns several
// buckets. The first step writes a note of the remaining steps, and the last step removes it. A start that finds a
// note takes the remaining steps. So a start reads only the notes, and not a million records.

// unfinished is a note of the remaining steps of a change.
type unfinished struct {
	// Purge lists the keys to purge, in the version that they had when the note was written.
	Purge []string `json:"purge,omitempty"`
	// Delete is the id of a user whose deletion has begun.
	Delete string `json:"delete,omitempty"`
}

const notePrefix = "work."

func newNoteKey() string { return notePrefix + NewID() }

// write returns the write of the note.
func (n unfinished) write(key string) (write, error) {
	value, err := json.Marshal(n)
	if err != nil {
		return write{}, fmt.Errorf("encode a note: %w", err)
	}
	return putAt(key, value, 0), nil
}

// finish takes the remaining steps: it purges the messages of the note's keys before that revision, and removes the
// note.
func (b *bucket) finish(ctx context.Context, key string, note unfinished, before uint64) error {
	for _, k := range note.Purge {
		if err := b.purge(ctx, k, before); err != nil {
			return err
		}
	}
	return b.purge(ctx, key, 0)
}

// Completed counts the changes that CompleteUnfinished has completed.
type Completed struct {
	Users int // deleted users whose accounts are free again
	Names int // removed names that no user has
}

// CompleteUnfinished completes the changes that a process left unfinished when it ended. It does not affect calls in
// progress on other nodes. It returns what it completed, also if it fails, and the ids of the users whose deletion
// has begun. The caller must complete these deletions.
//
// Errors: only those of NATS and ctx.
func (u *Users) CompleteUnfinished(ctx context.Context) (done Completed, deleting []string, err error) {
	notes, err := u.notes(ctx)
	for i := 0; err == nil && i < len(notes); i++ {
		var note unfinished
		if err = json.Unmarshal(notes[i].value, &note); err != nil {
			err = damaged(notes[i])
			break
		}
		if note.Delete != "" {
			var begun bool
			if begun, err = u.isDeleting(ctx, note.Delete, notes[i].key); begun {
				deleting = append(deleting, note.Delete)
			}
			if err != nil || begun {
				continue
			}
		}
		for _, key := range note.Purge {
			switch {
			case isClaim(key):
				done.Users++
			case strings.HasPrefix(key, "name.") && !slices.ContainsFunc(note.Purge, isClaim):
				done.Names++
			}
		}
		err = u.b.finish(ctx, notes[i].key, note, notes[i].revision+1)
	}
	if err != nil {
		return done, nil, fmt.Errorf("kv: complete unfinished changes: %w", err)
	}
	return done, deleting, nil
}

// isClaim reports whether a key is the claim of an account.
func isClaim(key string) bool { return strings.HasPrefix(key, "account.") }

// notes returns all notes.
func (u *Users) notes(ctx context.Context) ([]entry, error) {
	var all []entry
	for e, err := range u.b.list(ctx, notePrefix+"*") {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// isDeleting reports whether the deletion of a user that began with this note is not complete.
func (u *Users) isDeleting(ctx context.Context, id, noteKey string) (bool, error) {
	r, _, err := u.readRecord(ctx, id, true)
	if errors.Is(err, ErrUserNotFound) {
		return false, nil
	}
	return err == nil && r.Deletion == noteKey, err
}
