package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Cursor is how far a user and its friend have come in their conversation. All fields are numbers of dialogues, and only
// grow.
type Cursor struct {
	With              string // id of the friend
	Last              uint64 // the newest dialogue when the cursor was written
	Got, Read, Forgot uint64 // of the user: on one of its clients, read, hidden up to
	PeerGot, PeerRead uint64 // of the friend
}

// Merge returns the maximum of each number.
func (c Cursor) Merge(d Cursor) Cursor {
	return Cursor{c.With, max(c.Last, d.Last), max(c.Got, d.Got), max(c.Read, d.Read), max(c.Forgot, d.Forgot),
		max(c.PeerGot, d.PeerGot), max(c.PeerRead, d.PeerRead)}
}

// Cursors are the cursors of all users: one document a user, in the bucket of friendships.
type Cursors struct{ b *bucket }

const cursorsPrefix = "cursors."

func cursorsKey(user string) string { return cursorsPrefix + user }

// Get returns the cursors of a user, by the id of the friend. A user without cursors has none. It never uses an
// outdated replica.
//
// Errors: ErrUserNotFound for an invalid id.
func (c *Cursors) Get(ctx context.Context, user string) (map[string]Cursor, error) {
	if !ValidID(user) {
		return nil, fmt.Errorf("kv: get cursors: %w", ErrUserNotFound)
	}
	all, _, err := c.read(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("kv: get cursors: %w", err)
	}
	return all, nil
}

// read returns the cursors of a user and their entry, which is the zero entry if there is none.
func (c *Cursors) read(ctx context.Context, user string) (map[string]Cursor, entry, error) {
	e, err := c.b.get(ctx, cursorsKey(user), true)
	if errors.Is(err, errKeyNotFound) {
		return make(map[string]Cursor), entry{}, nil
	}
	if err != nil {
		return nil, entry{}, err
	}
	if e.deleted {
		return make(map[string]Cursor), e, nil
	}
	all, err := decodeCursors(e.value)
	if err != nil {
		return nil, entry{}, damaged(e)
	}
	return all, e, nil
}

// Advance merges cursors into the document of a user. Documents of several nodes merge. The document of a deleted user is
// not written.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (c *Cursors) Advance(ctx context.Context, user string, changes []Cursor) error {
	for _, change := range changes {
		if !ValidID(change.With) {
			return fmt.Errorf("kv: advance cursors: %w: %q", ErrUserNotFound, change.With)
		}
	}
	if !ValidID(user) {
		return fmt.Errorf("kv: advance cursors: %w", ErrUserNotFound)
	}
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		all, e, err := c.read(ctx, user)
		if err != nil {
			return err
		}
		for _, change := range changes {
			all[change.With] = change.Merge(all[change.With])
		}
		value := encodeCursors(all)
		if bytes.Equal(value, e.value) || len(all) == 0 {
			return nil
		}
		if e.revision == 0 || e.deleted {
			// The deletion of a user writes both delete markers in one batch. So if it happens after this read, the write
			// conflicts.
			if deleted, err := c.userDeleted(ctx, user); err != nil || deleted {
				return err
			}
		}
		_, err = c.b.write(ctx, putAt(cursorsKey(user), value, e.revision))
		return err
	})
	if err != nil {
		return fmt.Errorf("kv: advance cursors: %w", err)
	}
	return nil
}

// userDeleted reports whether a user's roster is a delete marker.
func (c *Cursors) userDeleted(ctx context.Context, user string) (bool, error) {
	e, err := c.b.get(ctx, user, true)
	if errors.Is(err, errKeyNotFound) {
		return false, nil
	}
	return e.deleted, err
}

const cursorsVersion = 1

// errCursors: a value is no document of cursors.
var errCursors = errors.New("not a document of cursors")

// encodeCursors returns the document of a user: the version, and for each friend, sorted, the 16 bytes of its id and
// six numbers. A friend takes about 28 bytes.
func encodeCursors(all map[string]Cursor) []byte {
	value := []byte{cursorsVersion}
	for _, with := range slices.Sorted(maps.Keys(all)) {
		c := all[with]
		id, _ := parseID(with)
		value = append(value, id[:]...)
		for _, n := range [...]uint64{c.Last, c.Got, c.Read, c.Forgot, c.PeerGot, c.PeerRead} {
			value = binary.AppendUvarint(value, n)
		}
	}
	return value
}

// decodeCursors is the inverse of encodeCursors. Errors: errCursors.
func decodeCursors(value []byte) (map[string]Cursor, error) {
	d := decoder{data: value}
	version := d.bytes(1)
	if d.failed || version[0] != cursorsVersion {
		return nil, errCursors
	}
	all, before := make(map[string]Cursor), ""
	for len(d.data) > 0 {
		with := hex.EncodeToString(d.bytes(16))
		all[with] = Cursor{with, d.uvarint(), d.uvarint(), d.uvarint(), d.uvarint(), d.uvarint(), d.uvarint()}
		if d.failed || with <= before {
			return nil, errCursors
		}
		before = with
	}
	return all, nil
}
