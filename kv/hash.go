package kv

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// algorithm is what the work of a hash consists of.
type algorithm int

// The algorithms, and the units of their work.
const (
	argon2Blocks algorithm = iota // of 1 KiB
	bcryptRounds                  // 2 to the power of the cost
	scryptBlocks                  // of 128 bytes
	sha1Rounds                    // iterations of PBKDF2
	sha256Rounds                  // the same
	sha512Rounds                  // the same
	algorithms
)

// cost is what the computation of a hash costs.
type cost struct {
	by     algorithm
	work   uint64 // in the units of the algorithm
	memory uint64 // in bytes
}

// storedHash is a parsed password hash.
type storedHash interface {
	// cost returns what matches costs at most.
	cost() cost
	// matches reports whether the password has this hash. It compares in constant time.
	matches(password string) bool
}

const (
	// maxHashText bounds the text of a stored hash, in bytes.
	maxHashText = 1 << 10

	// The limits of the hashes of other servers: each takes a core for about a second. Their memory is bounded as that
	// of argon2.
	maxBcryptCost   = 14
	maxIterations   = 2_000_000
	maxScryptBlocks = maxStoredWork << 10 / 128
)

// unusable returns an ErrHashUnusable that says why. The reason must not contain any secret part of the hash.
func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrHashUnusable, fmt.Sprintf(format, args...))
}

var errUnknownFormat = unusable("unknown format")

// hashFormats are the formats of stored hashes, by their prefixes. Their parsers get the text after the prefix.
var hashFormats = []struct {
	prefix string
	parse  func(text string, own params) (storedHash, error)
}{
	{"$argon2", func(s string, own params) (storedHash, error) { return parseArgon2("$argon2"+s, own) }},
	{"argon2$argon2", func(s string, own params) (storedHash, error) { return parseArgon2("$argon2"+s, own) }}, // Django

	{"$2", func(s string, _ params) (storedHash, error) { return parseBcrypt("$2"+s, false) }},
	{"bcrypt$", func(s string, _ params) (storedHash, error) { return parseBcrypt(s, false) }},       // Django
	{"bcrypt_sha256$", func(s string, _ params) (storedHash, error) { return parseBcrypt(s, true) }}, // Django

	{"pbkdf2_sha1$", djangoPBKDF2(sha1Rounds)},
	{"pbkdf2_sha256$", djangoPBKDF2(sha256Rounds)},
	{"$pbkdf2$", passlibPBKDF2(sha1Rounds)},
	{"$pbkdf2-sha256$", passlibPBKDF2(sha256Rounds)},
	{"$pbkdf2-sha512$", passlibPBKDF2(sha512Rounds)},
	{"{pbkdf2}", springPBKDF2(sha1Rounds, 185_000, 8)},
	{"{pbkdf2@SpringSecurity_v5_8}", springPBKDF2(sha256Rounds, 310_000, 16)},

	{"scrypt$", parseDjangoScrypt},
	{"$scrypt$", parsePHCScrypt},
	{"$7$", parseCryptScrypt},
	{"{scrypt}$", parseSpringScrypt},
	{"{scrypt@SpringSecurity_v5_8}$", parseSpringScrypt},

	{"SCRAM-SHA-1$", parseSCRAM(sha1Rounds)},
	{"SCRAM-SHA-256$", parseSCRAM(sha256Rounds)},
	{"SCRAM-SHA-512$", parseSCRAM(sha512Rounds)},
}

// springPrefixes are the ids that Spring Security puts before a hash that is complete without them.
var springPrefixes = []string{"{bcrypt}", "{argon2}", "{argon2@SpringSecurity_v5_8}"}

// parseHash parses a stored hash. own are the parameters of new hashes, which raise the limits of stored ones. Its error
// does not contain any secret part of s. Errors: ErrHashUnusable.
func parseHash(s string, own params) (storedHash, error) {
	if len(s) > maxHashText {
		return nil, unusable("longer than %d bytes", maxHashText)
	}
	for _, prefix := range springPrefixes {
		if rest, ok := strings.CutPrefix(s, prefix); ok && strings.HasPrefix(rest, "$") {
			s = rest
		}
	}
	for _, format := range hashFormats {
		if rest, ok := strings.CutPrefix(s, format.prefix); ok {
			h, err := format.parse(rest, own)
			if err != nil && !errors.Is(err, ErrHashUnusable) {
				err = unusable("%v", err)
			}
			return h, err
		}
	}
	return nil, errUnknownFormat
}

// parseArgon2 parses an argon2i or argon2id hash in the PHC format.
func parseArgon2(s string, own params) (storedHash, error) {
	h, err := parsePHC(s)
	if err != nil {
		return nil, err
	}
	if !h.within(own) {
		return nil, tooCostly(h.params)
	}
	return h, nil
}

// number parses a decimal number without a sign or leading zeros, from 1 to most.
func number(what, s string, most uint64) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	switch {
	case err != nil || strconv.FormatUint(n, 10) != s || n == 0:
		return 0, unusable("%s is not a number from 1", what)
	case n > most:
		return 0, unusable("%s is %d, the maximum is %d", what, n, most)
	}
	return int(n), nil
}

// equal compares two keys in constant time.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// checkSizes refuses unusual sizes. A key of PBKDF2 or scrypt that was cut off would match too, and be easier to guess.
func checkSizes(salt, key []byte) error {
	if len(salt) < 4 || len(salt) > 128 {
		return unusable("a salt of %d bytes", len(salt))
	}
	switch len(key) {
	case 20, 32, 64:
		return nil
	}
	return unusable("a key of %d bytes, which is none of 20, 32 and 64", len(key))
}
