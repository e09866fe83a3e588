package kv

import (
	"errors"
	"time"
)

// ErrNoDialogue: the conversation has no dialogue with that number, or has it no longer.
var ErrNoDialogue = errors.New("no such dialogue")

// Pair is a conversation of two users: their ids, the smaller one first.
type Pair struct{ A, B string }

// PairOf returns the conversation of two users, in either order.
func PairOf(x, y string) Pair {
	if y < x {
		x, y = y, x
	}
	return Pair{x, y}
}

// Other returns the other user of the conversation.
func (p Pair) Other(user string) string {
	if user == p.A {
		return p.B
	}
	return p.A
}

// Dialogue is a dialogue of a conversation that is kept.
type Dialogue struct {
	N       uint64    // its number in the conversation, from 1, without gaps
	From    string    // id of its sender
	ID      []byte    // the sender's id of it: a JSON string, byte for byte
	Payload []byte    // a JSON string, byte for byte
	At      time.Time // when the server took it: UTC, milliseconds
	Kept    bool      // ID is unique among those of the sender in this conversation
	Hidden  bool      // the friend blocks the sender, and must not see it
	Live    bool      // a client of the friend had it before it was stored, so sessions without numbers are not sent it

	// File is the file that the dialogue names, in its JSON form, byte for byte; nil: none.
	File []byte

	// Numbers of dialogues of the same conversation; 0: none.
	Re, Reacts, Edits, Deletes uint64

	// Set by reads for a user: a later dialogue has replaced or removed the payload.
	Edited, Deleted bool
}

// Changes reports whether the dialogue changes an earlier one.
func (d *Dialogue) Changes() bool { return d.Edits != 0 || d.Deletes != 0 }
