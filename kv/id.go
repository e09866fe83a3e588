package kv

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID returns 128 random bits as 32 lower-case hex digits, for the id of an account or a token.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// idLength is the length of an id.
const idLength = 32

// ValidID reports whether s has the form of an id. Clients send ids, which become parts of NATS subjects, where a dot
// or a wildcard would match keys of other users. So every method checks its ids first. An invalid id belongs to no
// user.
func ValidID(s string) bool {
	if len(s) != idLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
