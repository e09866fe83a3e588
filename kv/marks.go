package kv

import (
	"context"
	"fmt"
)

// Marks are what a user has marked a conversation with. The three lowest bits are the marks, and the others count the
// changes. So the greater of two Marks is the later one, and cursors merge by the maximum of each number.
type Marks uint64

const (
	markPinned Marks = 1 << iota
	markArchived
	markMuted

	markBits = iota
	allMarks = 1<<markBits - 1
)

// NewMarks returns marks as the first change of a conversation sets them. Without any mark it returns 0.
func NewMarks(pinned, archived, muted bool) Marks {
	return Marks(0).With(MarkChange{&pinned, &archived, &muted})
}

// Pinned reports whether the conversation is at the top of the user's list.
func (m Marks) Pinned() bool { return m&markPinned != 0 }

// Archived reports whether the conversation is out of the user's list.
func (m Marks) Archived() bool { return m&markArchived != 0 }

// Muted reports whether the user wants no notifications of the conversation.
func (m Marks) Muted() bool { return m&markMuted != 0 }

// Any reports whether a mark is set.
func (m Marks) Any() bool { return m&allMarks != 0 }

// MarkChange is a change of marks. A nil field leaves its mark as it is.
type MarkChange struct{ Pinned, Archived, Muted *bool }

// With returns the marks after a change. A change that sets nothing new returns m.
func (m Marks) With(c MarkChange) Marks {
	bits := m & allMarks
	for bit, set := range map[Marks]*bool{markPinned: c.Pinned, markArchived: c.Archived, markMuted: c.Muted} {
		switch {
		case set == nil:
		case *set:
			bits |= bit
		default:
			bits &^= bit
		}
	}
	if bits == m&allMarks {
		return m
	}
	return (m>>markBits+1)<<markBits | bits
}

// Mark changes the marks of a conversation of a user, and returns the marks after the change. It returns when the
// document is written. The document of a deleted user is not written.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (c *Cursors) Mark(ctx context.Context, user, with string, change MarkChange) (marks Marks, err error) {
	if !ValidID(user) || !ValidID(with) {
		return 0, fmt.Errorf("kv: mark a conversation: %w", ErrUserNotFound)
	}
	err = c.update(ctx, user, func(all map[string]Cursor) {
		cursor := all[with]
		cursor.With, cursor.Marks = with, cursor.Marks.With(change)
		marks = cursor.Marks
		if cursor != (Cursor{With: with}) {
			all[with] = cursor
		}
	})
	if err != nil {
		return 0, fmt.Errorf("kv: mark a conversation: %w", err)
	}
	return marks, nil
}
