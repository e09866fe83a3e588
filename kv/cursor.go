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
	Marks             Marks  // of the user
}

// Merge returns the maximum of each number.
func (c Cursor) Merge(d Cursor) Cursor {
	return Cursor{c.With, max(c.Last, d.Last), max(c.Got, d.Got), max(c.Read, d.Read), max(c.Forgot, d.Forgot),
		max(c.PeerGot, d.PeerGot), max(c.PeerRead, d.PeerRead), max(c.Marks, d.Marks)}
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
	err := c.update(ctx, user, func(all map[string]Cursor) {
		for _, change := range changes {
			all[change.With] = change.Merge(all[change.With])
		}
	})
	if err != nil {
		return fmt.Errorf("kv: advance cursors: %w", err)
	}
	return nil
}

// update changes the document of a user, unless the user is deleted. It calls change for each attempt.
func (c *Cursors) update(ctx context.Context, user string, change func(all map[string]Cursor)) error {
	return compareAndSwap(ctx, func(ctx context.Context) error {
		all, e, err := c.read(ctx, user)
		if err != nil {
			return err
		}
		change(all)
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
}

// userDeleted reports whether a user's roster is a delete marker.
func (c *Cursors) userDeleted(ctx context.Context, user string) (bool, error) {
	e, err := c.b.get(ctx, user, true)
	if errors.Is(err, errKeyNotFound) {
		return false, nil
	}
	return e.deleted, err
}

// The versions of the document. Version 2 has a seventh number, the marks. A document without marks is still written in
// version 1, so that older nodes can read it.
const (
	cursorsVersion = 1
	marksVersion   = 2
)

// errCursors: a value is no document of cursors.
var errCursors = errors.New("not a document of cursors")

// encodeCursors returns the document of a user: the version, and for each friend, sorted, the 16 bytes of its id and
// six numbers, or seven in version 2. A friend takes about 28 bytes.
func encodeCursors(all map[string]Cursor) []byte {
	value, numbers := []byte{cursorsVersion}, 6
	for _, c := range all {
		if c.Marks != 0 {
			value[0], numbers = marksVersion, 7
			break
		}
	}
	for _, with := range slices.Sorted(maps.Keys(all)) {
		c := all[with]
		id, _ := parseID(with)
		value = append(value, id[:]...)
		all := [...]uint64{c.Last, c.Got, c.Read, c.Forgot, c.PeerGot, c.PeerRead, uint64(c.Marks)}
		for _, n := range all[:numbers] {
			value = binary.AppendUvarint(value, n)
		}
	}
	return value
}

// decodeCursors is the inverse of encodeCursors. Errors: errCursors.
func decodeCursors(value []byte) (map[string]Cursor, error) {
	d := decoder{data: value}
	version := d.bytes(1)
	if d.failed || version[0] != cursorsVersion && version[0] != marksVersion {
		return nil, errCursors
	}
	all, before := make(map[string]Cursor), ""
	for len(d.data) > 0 {
		with := hex.EncodeToString(d.bytes(16))
		c := Cursor{With: with, Last: d.uvarint(), Got: d.uvarint(), Read: d.uvarint(), Forgot: d.uvarint(), PeerGot: d.uvarint(), PeerRead: d.uvarint()}
		if version[0] == marksVersion {
			c.Marks = Marks(d.uvarint())
		}
		if d.failed || with <= before {
			return nil, errCursors
		}
		all[with], before = c, with
	}
	return all, nil
}
