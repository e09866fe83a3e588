package kv

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"
)

// pbkdf2Hash is a hash by PBKDF2 with HMAC.
type pbkdf2Hash struct {
	by         algorithm // sha1Rounds, sha256Rounds or sha512Rounds
	iterations int
	salt, key  []byte
}

// digest returns the hash function of an algorithm, and the size of its hashes.
func (a algorithm) digest() (func() hash.Hash, int) {
	switch a {
	case sha1Rounds:
		return sha1.New, sha1.Size
	case sha512Rounds:
		return sha512.New, sha512.Size
	default:
		return sha256.New, sha256.Size
	}
}

// pbkdf2Key returns the key of a password, with size bytes.
func pbkdf2Key(by algorithm, password string, salt []byte, iterations, size int) []byte {
	digest, _ := by.digest()
	key, err := pbkdf2.Key(digest, password, salt, iterations, size)
	if err != nil {
		panic(err) // only the FIPS mode refuses short salts, and imctl is not built for it
	}
	return key
}

// pbkdf2Rounds returns the iterations of a key: each digest's size of it takes all of them.
func pbkdf2Rounds(by algorithm, iterations, size int) uint64 {
	_, block := by.digest()
	return uint64(iterations) * uint64((size+block-1)/block)
}

func newPBKDF2(by algorithm, iterations int, salt, key []byte) (storedHash, error) {
	if err := checkSizes(salt, key); err != nil {
		return nil, err
	}
	if rounds := pbkdf2Rounds(by, iterations, len(key)); rounds > maxIterations {
		return nil, unusable("PBKDF2 with %d iterations, the maximum is %d", rounds, maxIterations)
	}
	return pbkdf2Hash{by, iterations, salt, key}, nil
}

func (h pbkdf2Hash) cost() cost {
	return cost{h.by, pbkdf2Rounds(h.by, h.iterations, len(h.key)), 1 << 10}
}

func (h pbkdf2Hash) matches(password string) bool {
	return equal(h.key, pbkdf2Key(h.by, password, h.salt, h.iterations, len(h.key)))
}

// splitPBKDF2 splits iterations$salt$key.
func splitPBKDF2(s string) (iterations int, salt, key string, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return 0, "", "", unusable("PBKDF2 without iterations, salt and key")
	}
	iterations, err = number("the number of iterations", parts[0], maxIterations)
	return iterations, parts[1], parts[2], err
}

// djangoPBKDF2 parses iterations$salt$key, with the salt as text and the key in base64.
func djangoPBKDF2(by algorithm) func(string, params) (storedHash, error) {
	return func(s string, _ params) (storedHash, error) {
		iterations, salt, text, err := splitPBKDF2(s)
		if err != nil {
			return nil, err
		}
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, unusable("PBKDF2 with an invalid key")
		}
		return newPBKDF2(by, iterations, []byte(salt), key)
	}
}

// passlibBase64 decodes base64 without padding, with a dot for the plus sign. Some programs write the plus sign.
func passlibBase64(s string) ([]byte, error) {
	return base64.RawStdEncoding.Strict().DecodeString(strings.ReplaceAll(s, ".", "+"))
}

// passlibPBKDF2 parses iterations$salt$key.
func passlibPBKDF2(by algorithm) func(string, params) (storedHash, error) {
	return func(s string, _ params) (storedHash, error) {
		iterations, saltText, keyText, err := splitPBKDF2(s)
		if err != nil {
			return nil, err
		}
		salt, saltErr := passlibBase64(saltText)
		key, keyErr := passlibBase64(keyText)
		if saltErr != nil || keyErr != nil {
			return nil, unusable("PBKDF2 with an invalid salt or key")
		}
		return newPBKDF2(by, iterations, salt, key)
	}
}

// springPBKDF2 parses the salt and the key in hexadecimal digits. The hash does not tell the iterations: they are those of
// Spring Security's defaults of that version.
func springPBKDF2(by algorithm, iterations, saltSize int) func(string, params) (storedHash, error) {
	return func(s string, _ params) (storedHash, error) {
		all, err := hex.DecodeString(s)
		if err != nil || len(all) != saltSize+32 {
			return nil, unusable("PBKDF2 of Spring Security without %d hexadecimal digits", 2*(saltSize+32))
		}
		return newPBKDF2(by, iterations, all[:saltSize], all[saltSize:])
	}
}
