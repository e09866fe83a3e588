package kv

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID returns 128 random bits as 32 lower-case hex digits: an account's id, or a token.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// ValidID tells whether s has the form of an id. Ids come from outside and become parts of NATS
// subjects, where a dot or a wildcard would reach other people's keys; so every method checks
// them here first, and what is no id is nobody's.
func ValidID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
