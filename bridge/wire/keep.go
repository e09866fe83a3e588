package wire

import (
	"bytes"
	"slices"
)

// MaxNumber is the largest number of a dialogue that a client may send: JavaScript has no larger exact integer.
const MaxNumber = 1 << 53

// A KeepKind tells what a frame from a session with keep is.
type KeepKind int

// The kinds of frames. A frame without the key of another kind is a dialogue.
const (
	KeepDialogue KeepKind = iota
	KeepGot               // acknowledges the dialogues up to N
	KeepRead              // tells that the user has read the dialogues up to N
	KeepTyping            // tells that the user types
	KeepPing              // asks for a pong
)

// A KeepFrame is a frame from a session with keep. Its fields alias the parsed frame and are valid until that is
// overwritten.
type KeepFrame struct {
	Kind KeepKind
	Send // of KeepDialogue
	// Numbers of earlier dialogues, of KeepDialogue; 0: none. At most one of Reacts, Edits and Deletes is set.
	Re, Reacts, Edits, Deletes uint64
	// File is the id of a file, decoded, of KeepDialogue; empty: none. A dialogue with a file changes no other one.
	File []byte

	With []byte    // id of the friend, decoded and trimmed; of KeepGot, KeepRead and KeepTyping
	N    uint64    // of KeepGot and KeepRead
	Ping RawString // of KeepPing
}

// Places of the keys of a frame in the values of a scan.
const (
	keepID = iota
	keepTo
	keepPayload
	keepRe
	keepReacts
	keepEdits
	keepDeletes
	keepGot
	keepRead
	keepTyping
	keepPing
	keepWith
	keepFile
	keepCount
)

var keepKeys = [keepCount]string{"id", "toFriend", "payload", "re", "reacts", "edits", "deletes", "got", "read", "typing", "ping", "with", "file"}

// ParseKeep parses a frame from a session with keep. A dialogue has the codes of [ParseSend], in the same order, and
// its payload may be empty if it deletes a dialogue. All other faults are [ProtocolError]. If the frame is JSON and has
// one id, ID is set with any code, so that the answer can have it.
func ParseKeep(frame []byte) (KeepFrame, Code) {
	var v [keepCount][]byte
	found := scanObject(frame, keepKeys[:], v[:])
	var f KeepFrame
	kinds := 0
	for at, kind := range [...]KeepKind{KeepGot, KeepRead, KeepTyping, KeepPing} {
		if v[keepGot+at] != nil {
			f.Kind = kind
			kinds++
		}
	}
	if kinds == 0 {
		return parseKeepDialogue(&v, found == sound)
	}
	ok := found == sound && kinds == 1 && v[keepPayload] == nil
	switch f.Kind {
	case KeepGot:
		f.N, ok = parseNumber(v[keepGot], ok)
	case KeepRead:
		f.N, ok = parseNumber(v[keepRead], ok)
	case KeepTyping:
		ok = ok && v[keepTyping][0] == 't'
	case KeepPing:
		f.Ping = v[keepPing]
		ok = ok && f.Ping[0] == '"'
	}
	if ok && f.Kind != KeepPing {
		f.With, ok = trimmedText(v[keepWith])
		ok = ok && len(f.With) > 0
	}
	if !ok {
		send, _ := parseSend(v[keepID], nil, nil, false, false)
		return KeepFrame{Kind: f.Kind, Send: send}, ProtocolError
	}
	return f, 0
}

func parseKeepDialogue(v *[keepCount][]byte, ok bool) (f KeepFrame, code Code) {
	changes := 0
	for at, n := range [...]*uint64{&f.Re, &f.Reacts, &f.Edits, &f.Deletes} {
		raw := v[keepRe+at]
		if raw == nil {
			continue
		}
		*n, ok = parseNumber(raw, ok)
		if n != &f.Re {
			changes++
		}
	}
	if raw := v[keepFile]; raw != nil {
		var text bool
		f.File, text = trimmedText(raw)
		ok = ok && text && len(f.File) > 0 && len(f.File) <= MaxFileID && changes == 0
	}
	f.Send, code = parseSend(v[keepID], v[keepTo], v[keepPayload], ok && changes <= 1, v[keepDeletes] != nil)
	if code == ProtocolError {
		return KeepFrame{Send: f.Send}, code
	}
	return f, code
}

// parseNumber parses a scanned value as the number of a dialogue, from 1. It returns false if ok is false.
func parseNumber(raw []byte, ok bool) (uint64, bool) {
	if !ok {
		return 0, false
	}
	n, ok := parseDigits(raw)
	return n, ok && n > 0
}

// parseDigits parses an integer up to MaxNumber, in digits.
func parseDigits[T string | []byte](s T) (uint64, bool) {
	if len(s) == 0 || len(s) > len("9007199254740992") {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	if n > MaxNumber {
		return 0, false
	}
	return n, true
}

// trimmedText decodes and trims a scanned value. It returns false if the value is not a string.
func trimmedText(raw []byte) ([]byte, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return nil, false
	}
	text, ok := RawString(raw).text()
	return slices.Clip(bytes.TrimSpace(text)), ok
}
