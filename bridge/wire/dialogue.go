package wire

import (
	"bytes"
	"slices"
)

// A Send is the frame by which a session sends a dialogue:
//
//	{"id":"7","toFriend":"61810e42…","payload":"How are you?"}
//
// All three are part of the frame that was parsed and hold while it is not overwritten.
type Send struct {
	ID      RawString // nil where it is absent, empty or white space
	To      []byte    // toFriend, decoded and trimmed
	Payload RawString
}

// IDEmpty tells whether the dialogue goes without an id. The caller answers it with [DialogueIDEmpty], but only after it has
// asked whether the two are friends: that is the order in which the protocol checks.
func (s Send) IDEmpty() bool { return s.ID == nil }

// ParseSend parses a dialogue as a session or a NATS client sends it. The code is 0 for a good one, else, in this
// order, [ProtocolError], [FriendIDEmpty] or [PayloadEmpty]. Where the frame is JSON and has one id, the
// id is there with any code, so that the answer can carry it.
func ParseSend(frame []byte) (Send, Code) {
	var v [3][]byte
	found := scanObject(frame, sendKeys[:], v[:])
	strings := stringsOnly(v[:])
	s := Send{ID: v[0], Payload: v[2]}
	if s.ID.blank() {
		s.ID = nil
	}
	if found != sound || !strings {
		return Send{ID: s.ID}, ProtocolError
	}
	if v[1] != nil {
		to, ok := RawString(v[1]).text()
		if !ok {
			return Send{ID: s.ID}, ProtocolError
		}
		s.To = slices.Clip(bytes.TrimSpace(to))
	}
	switch {
	case len(s.To) == 0:
		return s, FriendIDEmpty
	case len(s.Payload) <= len(`""`):
		return s, PayloadEmpty
	}
	return s, 0
}

var sendKeys = [...]string{"id", "toFriend", "payload"}

// A Dialogue is a dialogue on its way to the friend:
//
//	{"id":"7","from":"f69f9777…","payload":"How are you?"}
//
// All three are part of the bytes that were parsed and hold while these are not overwritten.
type Dialogue struct {
	ID      RawString
	From    []byte // decoded
	Payload RawString
}

// AppendDialogue appends the dialogue as the friend gets it, over NATS and on its sockets alike. The id
// and the payload are the ones that [ParseSend] returned, and go out as they came in.
func AppendDialogue(dst []byte, id RawString, from string, payload RawString) []byte {
	return appendDialogue(dst, id, from, "", payload)
}

// AppendEcho appends the dialogue as the sender's own other sessions get it: like [AppendDialogue], with
// toFriend after from.
func AppendEcho(dst []byte, id RawString, from, to string, payload RawString) []byte {
	return appendDialogue(dst, id, from, to, payload)
}

func appendDialogue(dst []byte, id RawString, from, to string, payload RawString) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendRaw(dst, id)
	dst = append(dst, `,"from":`...)
	dst = appendString(dst, from)
	if to != "" {
		dst = append(dst, `,"toFriend":`...)
		dst = appendString(dst, to)
	}
	dst = append(dst, `,"payload":`...)
	dst = appendRaw(dst, payload)
	return append(dst, '}')
}

// appendRaw keeps the frame JSON where a caller has nothing to put.
func appendRaw(dst []byte, r RawString) []byte {
	if len(r) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, r...)
}

// ParseDialogue parses what [AppendDialogue] wrote. It is false unless id, from and payload are
// all there, each a string, and from and payload not empty.
func ParseDialogue(b []byte) (Dialogue, bool) {
	var v [3][]byte
	if scanObject(b, dialogueKeys[:], v[:]) != sound || !stringsOnly(v[:]) {
		return Dialogue{}, false
	}
	from, ok := RawString(v[1]).text()
	if !ok || len(from) == 0 || v[0] == nil || len(v[2]) <= len(`""`) {
		return Dialogue{}, false
	}
	return Dialogue{ID: v[0], From: from, Payload: v[2]}, true
}

var dialogueKeys = [...]string{"id", "from", "payload"}

// A Reply is an answer as a client reads it.
type Reply struct {
	Code Code
	ID   RawString // nil where the answer has none
}

// ParseReply parses the code and the id of an answer, whatever else it carries. It is false for what is not an answer
// with a number of up to three digits for a code.
func ParseReply(b []byte) (Reply, bool) {
	var v [2][]byte
	if scanObject(b, replyKeys[:], v[:]) != sound || len(v[0]) == 0 || len(v[0]) > 3 {
		return Reply{}, false
	}
	var c Code
	for _, d := range v[0] {
		if d < '0' || d > '9' {
			return Reply{}, false
		}
		c = c*10 + Code(d-'0')
	}
	if !stringsOnly(v[1:]) {
		return Reply{}, false
	}
	return Reply{Code: c, ID: v[1]}, true
}

var replyKeys = [...]string{"code", "id"}

// ParseTaken parses the answer of one who was handed a dialogue over NATS. Nothing at all and a code of 200 are [Success], 512 is
// [NotFriends]. Everything else is [SendFailed]: whoever did not say that it took the dialogue has not.
func ParseTaken(b []byte) Code {
	if len(bytes.TrimSpace(b)) == 0 {
		return Success
	}
	r, ok := ParseReply(b)
	if ok && (r.Code == Success || r.Code == NotFriends) {
		return r.Code
	}
	return SendFailed
}
