package kv

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// params are argon2id's. Parallelism stays 1: the hasher bounds whole hashes instead, so that one
// login can't take every core.
type params struct {
	memoryKiB uint32
	passes    uint32
	lanes     uint8
}

const (
	saltSize = 16
	keySize  = 32

	// What a stored hash may ask for at most. Records can be imported: one that asks for more
	// would be a way to make the server run out of memory.
	minMemoryKiB = 8
	maxMemoryKiB = 1 << 20
	maxPasses    = 64
	maxLanes     = 16
)

// errHash: the stored string is no argon2id hash that could be verified.
var errHash = errors.New("not a usable argon2id hash")

// phc is a parsed hash in the PHC string format,
// https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md:
// $argon2id$v=19$m=19456,t=2,p=1$salt$key
type phc struct {
	params
	salt, key []byte
}

func (h phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.memoryKiB, h.passes, h.lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// parsePHC returns errHash for whatever argon2id could not or should not compute. The error never
// holds any of s.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errHash
	}
	var h phc
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memoryKiB, &h.passes, &h.lanes); err != nil {
		return phc{}, errHash
	}
	// Scanning is lenient about what follows and about leading zeros; this is not.
	if parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memoryKiB, h.passes, h.lanes) {
		return phc{}, errHash
	}
	if h.memoryKiB < minMemoryKiB || h.memoryKiB > maxMemoryKiB || h.passes < 1 || h.passes > maxPasses || h.lanes < 1 || h.lanes > maxLanes {
		return phc{}, errHash
	}
	b64 := base64.RawStdEncoding.Strict()
	var err error
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return phc{}, errHash
	}
	if h.key, err = b64.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return phc{}, errHash
	}
	return h, nil
}

// derive hashes a password with a new salt.
func (p params) derive(password string) phc {
	h := phc{params: p, salt: make([]byte, saltSize)}
	rand.Read(h.salt) // never fails: crypto/rand ends the process instead
	h.key = h.compute(password, keySize)
	return h
}

func (h phc) compute(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memoryKiB, h.lanes, uint32(size))
}

// matches verifies a password, in time that does not depend on how much of it is right.
func (h phc) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.key, h.compute(password, len(h.key))) == 1
}
