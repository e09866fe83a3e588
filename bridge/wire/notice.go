package wire

import (
	"bytes"
	"strconv"
)

// A Notice is what a notice is about: its code, and the id of the user that it shows.
type Notice struct {
	Code Code
	ID   string
	N    uint64 // number of a dialogue, of 303 and 304
	Own  bool   // of 304: the user itself has read the dialogues
}

// ParseNotice returns what a frame that this package has composed is about. ok is false for any other frame, such as a
// dialogue.
func ParseNotice(frame []byte) (n Notice, ok bool) {
	const head, id = `{"code":`, `"id":"`
	rest, ok := bytes.CutPrefix(frame, []byte(head))
	if !ok {
		return Notice{}, false
	}
	number, rest, _ := bytes.Cut(rest, []byte(","))
	code, err := strconv.Atoi(string(number))
	if err != nil {
		return Notice{}, false
	}
	switch n.Code = Code(code); n.Code {
	case FriendOffline, FriendOnline, RefreshProfile, FriendApply, FriendAdded, FriendRemoved, DialogueDelivered, DialogueRead, FriendTyping, Marked:
	default:
		return Notice{}, false
	}
	// The id is the first one in each of these frames, and has no escapes.
	_, rest, ok = bytes.Cut(rest, []byte(id))
	if !ok {
		return Notice{}, false
	}
	user, rest, ok := bytes.Cut(rest, []byte(`"`))
	n.ID = string(user)
	if ok && (n.Code == DialogueDelivered || n.Code == DialogueRead) {
		rest, n.Own = bytes.CutSuffix(rest, []byte(ownEnd))
		rest = bytes.TrimSuffix(rest, []byte("}"))
		number, found := bytes.CutPrefix(rest, []byte(`,"n":`))
		n.N, ok = parseNumber(number, found)
	}
	return n, ok
}

// Relation reports whether the notice tells of a friendship or a request, and not of a friend's presence or profile.
func (n Notice) Relation() bool {
	return n.Code == FriendApply || n.Code == FriendAdded || n.Code == FriendRemoved
}

// Supersedes reports whether a client that gets n next needs not get the earlier notice before. A request after the
// end of a friendship does not supersede that end. A number supersedes smaller ones only: notices of several nodes may
// overtake each other.
func (n Notice) Supersedes(earlier Notice) bool {
	if n.ID != earlier.ID {
		return false
	}
	switch n.Code {
	case FriendOffline, FriendOnline:
		return earlier.Code == FriendOffline || earlier.Code == FriendOnline
	case DialogueDelivered, DialogueRead:
		return earlier.Code == n.Code && earlier.Own == n.Own && earlier.N <= n.N
	case RefreshProfile, FriendApply, FriendTyping, Marked:
		return earlier.Code == n.Code
	case FriendAdded, FriendRemoved:
		return earlier.Relation()
	}
	return false
}
