package kv

import "context"

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

// Get returns the cursors of a user, by the id of the friend.
func (c *Cursors) Get(ctx context.Context, user string) (map[string]Cursor, error) { panic("later") }

// Advance merges cursors into the document of a user. Documents of several nodes merge. The document of a deleted user is
// not written.
func (c *Cursors) Advance(ctx context.Context, user string, changes []Cursor) error { panic("later") }
