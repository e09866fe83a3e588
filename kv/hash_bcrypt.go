package kv

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"golang.org/x/crypto/bcrypt"
)

// bcryptHash is a hash such as $2b$12$ with 22 characters of salt and 31 of the key.
type bcryptHash struct {
	text   []byte
	rounds uint64
	sha256 bool // of the hexadecimal SHA-256 of the password, as Django computes it
}

const (
	bcryptLength   = 60
	bcryptKeyStart = 29
	minBcryptCost  = uint64(bcrypt.MinCost)
)

// bcryptBase64 is the encoding of bcrypt.
var bcryptBase64 = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

// parseBcrypt parses a hash of the versions 2a, 2b and 2y, which are the same for passwords in UTF-8. 2x is that of a
// faulty implementation.
func parseBcrypt(s string, hashed bool) (storedHash, error) {
	if len(s) != bcryptLength || s[0] != '$' || s[1] != '2' || s[3] != '$' || s[6] != '$' {
		return nil, unusable("not a bcrypt hash of 60 characters")
	}
	if s[2] != 'a' && s[2] != 'b' && s[2] != 'y' {
		return nil, unusable("bcrypt of a version other than 2a, 2b and 2y")
	}
	n, err := strconv.ParseUint(s[4:6], 10, 8)
	switch {
	case err != nil || n < minBcryptCost:
		return nil, unusable("bcrypt with an invalid cost")
	case n > maxBcryptCost:
		return nil, unusable("bcrypt with cost %d, the maximum is %d", n, maxBcryptCost)
	}
	if _, err := bcryptBase64.DecodeString(s[7:bcryptKeyStart]); err != nil {
		return nil, unusable("bcrypt with an invalid salt")
	}
	if _, err := bcryptBase64.Strict().DecodeString(s[bcryptKeyStart:]); err != nil {
		return nil, unusable("bcrypt with an invalid key")
	}
	return bcryptHash{[]byte(s), 1 << n, hashed}, nil
}

func (h bcryptHash) cost() cost { return cost{bcryptRounds, h.rounds, 4 << 10} }

// matches implements storedHash. bcrypt ignores what follows the first 72 bytes of a password.
func (h bcryptHash) matches(password string) bool {
	if h.sha256 {
		sum := sha256.Sum256([]byte(password))
		password = hex.EncodeToString(sum[:])
	}
	return bcrypt.CompareHashAndPassword(h.text, []byte(password)) == nil
}
