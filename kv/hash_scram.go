package kv

import (
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/xdg-go/stringprep"
)

// SCRAM has the credentials that a server keeps for SCRAM, as RFC 5802 defines them.
type SCRAM struct {
	Iterations           int
	Salt                 []byte
	StoredKey, ServerKey []byte // of 20, 32 or 64 bytes: of SHA-1, SHA-256 or SHA-512
}

// String returns the credentials in the format of RFC 5803, which PostgreSQL has too:
// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey
func (s SCRAM) String() string {
	b64 := base64.StdEncoding.EncodeToString
	name := map[int]string{20: "SCRAM-SHA-1", 32: "SCRAM-SHA-256", 64: "SCRAM-SHA-512"}[len(s.StoredKey)]
	return fmt.Sprintf("%s$%d:%s$%s:%s", name, s.Iterations, b64(s.Salt), b64(s.StoredKey), b64(s.ServerKey))
}

// scramHash is a hash of SCRAM.
type scramHash struct {
	by algorithm
	SCRAM
}

// parseSCRAM parses iterations:salt$StoredKey:ServerKey.
func parseSCRAM(by algorithm) func(string, params) (storedHash, error) {
	return func(s string, _ params) (storedHash, error) {
		settings, keys, found := strings.Cut(s, "$")
		iterations, salt, _ := strings.Cut(settings, ":")
		stored, server, foundKeys := strings.Cut(keys, ":")
		if !found || !foundKeys {
			return nil, unusable("SCRAM without iterations, salt and keys")
		}
		h := scramHash{by: by}
		var err error
		if h.Iterations, err = number("the number of iterations", iterations, maxIterations/scramForms); err != nil {
			return nil, err
		}
		for _, part := range []struct {
			text string
			to   *[]byte
		}{{salt, &h.Salt}, {stored, &h.StoredKey}, {server, &h.ServerKey}} {
			if *part.to, err = base64.StdEncoding.Strict().DecodeString(part.text); err != nil {
				return nil, unusable("SCRAM with an invalid salt or key")
			}
		}
		if _, size := by.digest(); len(h.StoredKey) != size || len(h.ServerKey) != size {
			return nil, unusable("SCRAM with a key that is not of %d bytes", size)
		}
		return h, checkSizes(h.Salt, h.StoredKey)
	}
}

// scramForms is in how many forms a password is tried.
const scramForms = 2

// cost implements storedHash. It counts all forms also for a password that has only one, so that the time of a failed
// login does not depend on the password.
func (h scramHash) cost() cost {
	return cost{h.by, uint64(h.Iterations) * scramForms, 1 << 10}
}

// matches implements storedHash. SCRAM prepares a password by SASLprep before it hashes it. Some servers hash it as it is,
// so matches tries both.
func (h scramHash) matches(password string) bool {
	prepared, err := stringprep.SASLprep.Prepare(password)
	if err != nil { // the password has a character that SASLprep prohibits
		prepared = password
	}
	asIs := h.has(password)
	return h.has(prepared) || asIs
}

// has reports whether these bytes have the hash.
func (h scramHash) has(password string) bool {
	stored, server := h.keys(h.by, password)
	right := equal(h.StoredKey, stored)
	return equal(h.ServerKey, server) && right
}

// keys returns the StoredKey and the ServerKey of a password.
func (s SCRAM) keys(by algorithm, password string) (stored, server []byte) {
	digest, size := by.digest()
	sum := func(key []byte, text string) []byte {
		mac := hmac.New(digest, key)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	salted := pbkdf2Key(by, password, s.Salt, s.Iterations, size)
	client := digest()
	client.Write(sum(salted, "Client Key"))
	return client.Sum(nil), sum(salted, "Server Key")
}
