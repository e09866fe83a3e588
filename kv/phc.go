package kv

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// params are the parameters of argon2. New hashes are argon2id with one lane: the Hasher bounds concurrent hashes instead,
// so that one login cannot use all cores.
type params struct {
	memoryKiB uint32
	passes    uint32
	lanes     uint8
	argon2i   bool // and not argon2id
}

const (
	saltSize = 16
	keySize  = 32

	// The limits of new hashes.
	minMemoryKiB = 8
	maxMemoryKiB = 1 << 20
	maxPasses    = 64

	// The limits of a stored hash, if the settings do not allow more. Records can be imported, and a hash with larger
	// parameters could make a failed login use up the memory or the cores.
	maxStoredKiB  = 64 << 10         // of memory
	maxStoredWork = 4 * maxStoredKiB // memory in KiB times passes
	maxLanes      = 8
)

// within reports whether a stored hash with these parameters may be computed, if own are those of new hashes.
func (p params) within(own params) bool {
	return p.memoryKiB <= max(own.memoryKiB, maxStoredKiB) && p.blocks() <= max(own.blocks(), maxStoredWork)
}

// blocks returns how many blocks of 1 KiB argon2 computes.
func (p params) blocks() uint64 { return uint64(p.memoryKiB) * uint64(p.passes) }

// work returns the blocks that argon2 computes one after the other, which is a measure of its time.
func (p params) work() uint64 { return p.blocks() / uint64(min(int(p.lanes), runtime.NumCPU())) }

// phc is a parsed hash in the PHC string format,
// https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md:
// $argon2id$v=19$m=19456,t=2,p=1$salt$key
// Hashes of other servers may be argon2i.
type phc struct {
	params
	salt, key []byte
}

// String returns the hash in the PHC string format.
func (h phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s", h.variant(), argon2.Version,
		h.memoryKiB, h.passes, h.lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// variant returns the name of the algorithm.
func (p params) variant() string {
	if p.argon2i {
		return "argon2i"
	}
	return "argon2id"
}

// cost returns what a hash with these parameters costs.
func (p params) cost() cost { return cost{argon2Blocks, p.work(), uint64(p.memoryKiB) << 10} }

// tooCostly returns the error of a stored hash with more than the limits.
func tooCostly(p params) error {
	return unusable("%s with m=%d,t=%d,p=%d costs more than %d MiB, %d passes over %d MiB, %d lanes, or the settings passwords.memory and passwords.passes",
		p.variant(), p.memoryKiB, p.passes, p.lanes, maxStoredKiB>>10, maxStoredWork/maxStoredKiB, maxStoredKiB>>10, maxLanes)
}

// parsePHC parses a hash of argon2i or argon2id. Its error does not contain any part of s. Errors: ErrHashUnusable.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" && parts[1] != "argon2i" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, unusable("not argon2id or argon2i of version %d in the PHC format", argon2.Version)
	}
	h := phc{params: params{argon2i: parts[1] == "argon2i"}}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memoryKiB, &h.passes, &h.lanes); err != nil {
		return phc{}, unusable("argon2 with invalid parameters")
	}
	// Sscanf ignores leading zeros and a trailing text. They are errors here.
	if parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memoryKiB, h.passes, h.lanes) {
		return phc{}, unusable("argon2 with invalid parameters")
	}
	if h.memoryKiB < minMemoryKiB || h.memoryKiB > maxMemoryKiB || h.passes < 1 || h.passes > maxPasses || h.lanes < 1 || h.lanes > maxLanes {
		return phc{}, tooCostly(h.params)
	}
	b64 := base64.RawStdEncoding.Strict()
	var err error
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return phc{}, unusable("argon2 with an invalid salt or key")
	}
	if h.key, err = b64.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return phc{}, unusable("argon2 with an invalid salt or key")
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

// random returns a hash that no password has. It computes nothing.
func (p params) random() phc {
	h := phc{params: p, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	rand.Read(h.salt)
	rand.Read(h.key)
	return h
}

// compute returns the key of a password, with size bytes.
func (h phc) compute(password string, size int) []byte {
	key := argon2.IDKey
	if h.argon2i {
		key = argon2.Key
	}
	return key([]byte(password), h.salt, h.passes, h.memoryKiB, h.lanes, uint32(size))
}

// matches reports whether the password has this hash. It compares in constant time.
func (h phc) matches(password string) bool {
	return equal(h.key, h.compute(password, len(h.key)))
}
