package wire

import (
	"bytes"
	"slices"
)

// A Send is the frame with which a session sends a dialogue:
//
//	{"id":"7","toFriend":"61810e42…","payload":"How are you?"}
//
// Its fields alias the parsed frame and are valid until that is overwritten.
type Send struct {
	ID      RawString // nil if absent, empty or white space
	To      []byte    // toFriend, decoded and trimmed
	Payload RawString
}

// IDEmpty reports whether the dialogue has no id. The caller answers it with [DialogueIDEmpty], but only after it has
// checked whether the two users are friends: the protocol requires this order.
func (s Send) IDEmpty() bool { return s.ID == nil }

// ParseSend parses a dialogue from a session or a NATS client. The code is 0 if it is valid, or else the first of
// [ProtocolError], [FriendIDEmpty] and [PayloadEmpty] that applies. If the frame is JSON and has one id, ID is set
// with any code, so that the answer can have it.
func ParseSend(frame []byte) (Send, Code) {
	var v [3][]byte
	found := scanObject(frame, sendKeys[:], v[:])
	return parseSend(v[0], v[1], v[2], found == sound, false)
}

// parseSend parses the scanned values of a dialogue. ok is false if the frame has a fault. bare allows an empty payload.
func parseSend(id, to, payload []byte, ok, bare bool) (Send, Code) {
	v := [...][]byte{id, to, payload}
	strings := stringsOnly(v[:])
	s := Send{ID: v[0], Payload: v[2]}
	if s.ID.blank() {
		s.ID = nil
	}
	if !ok || !strings {
		return Send{ID: s.ID}, ProtocolError
	}
	if v[1] != nil {
		text, isText := RawString(v[1]).text()
		if !isText {
			return Send{ID: s.ID}, ProtocolError
		}
		s.To = slices.Clip(bytes.TrimSpace(text))
	}
	switch {
	case len(s.To) == 0:
		return s, FriendIDEmpty
	case !bare && len(s.Payload) <= len(`""`):
		return s, PayloadEmpty
	}
	return s, 0
}

var sendKeys = [...]string{"id", "toFriend", "payload"}

// A Dialogue is a dialogue as its receiver gets it:
//
//	{"id":"7","from":"f69f9777…","payload":"How are you?"}
//
// Its fields alias the parsed bytes and are valid until these are overwritten.
type Dialogue struct {
	ID      RawString
	From    []byte // decoded
	Payload RawString
}

// AppendDialogue appends the dialogue as its receiver gets it, both over NATS and on its sockets. id and payload are
// those that [ParseSend] returned, byte for byte.
func AppendDialogue(dst []byte, id RawString, from string, payload RawString) []byte {
	return appendDialogue(dst, id, from, "", payload)
}

// AppendEcho appends the dialogue as the other sessions of its sender get it: as [AppendDialogue], with toFriend after
// from.
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

// appendRaw appends r, or an empty string if r is nil, so that the frame stays valid JSON.
func appendRaw(dst []byte, r RawString) []byte {
	if len(r) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, r...)
}

// ParseDialogue parses the output of [AppendDialogue]. It returns false unless id, from and payload are present and
// strings, and from and payload are not empty.
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
	ID   RawString // nil if the answer has none
}

// ParseReply parses the code and the id of an answer and ignores its other keys. It returns false unless the answer
// has a code of one to three digits.
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

// ParseTaken parses a receiver's answer to a dialogue over NATS. An empty answer and code 200 acknowledge the dialogue
// and are [Success]. 512 is [NotFriends]. Any other answer does not acknowledge it and is [SendFailed].
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
