package kv

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// scryptHash is a hash by scrypt.
type scryptHash struct {
	n, r, p   int
	salt, key []byte
}

// newScrypt checks the parameters. own are the parameters of new hashes.
func newScrypt(own params, n, r, p uint64, salt, key []byte) (storedHash, error) {
	if err := checkSizes(salt, key); err != nil {
		return nil, err
	}
	if n < 2 || n > 1<<30 || bits.OnesCount64(n) != 1 || r < 1 || r > 1<<10 || p < 1 || p > 1<<10 {
		return nil, unusable("scrypt with invalid parameters")
	}
	most := max(uint64(own.memoryKiB), maxStoredKiB) << 10
	if memory := 128 * n * r; memory > most {
		return nil, unusable("scrypt with N=%d, r=%d takes %d MiB, the maximum is %d or passwords.memory", n, r, memory>>20, most>>20)
	}
	if work := n * r * p; work > max(own.blocks()<<10/128, maxScryptBlocks) {
		return nil, unusable("scrypt with N=%d, r=%d, p=%d is more than this server computes", n, r, p)
	}
	return scryptHash{int(n), int(r), int(p), salt, key}, nil
}

func (h scryptHash) cost() cost {
	return cost{scryptBlocks, uint64(h.n) * uint64(h.r) * uint64(h.p), 128 * uint64(h.r) * uint64(h.n+h.p)}
}

func (h scryptHash) matches(password string) bool {
	return equal(h.key, scryptKey(password, h.salt, h.n, h.r, h.p, len(h.key)))
}

func scryptKey(password string, salt []byte, n, r, p, size int) []byte {
	key, err := scrypt.Key([]byte(password), salt, n, r, p, size)
	if err != nil {
		panic(err) // newScrypt has checked the parameters
	}
	return key
}

// parseDjangoScrypt parses N$salt$r$p$key, with the salt as text and the key in base64.
func parseDjangoScrypt(s string, own params) (storedHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 5 {
		return nil, unusable("scrypt without N, salt, r, p and key")
	}
	var parameters [3]uint64
	for i, place := range []int{0, 2, 3} {
		n, err := number("a parameter of scrypt", parts[place], 1<<30)
		if err != nil {
			return nil, err
		}
		parameters[i] = uint64(n)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[4])
	if err != nil {
		return nil, unusable("scrypt with an invalid key")
	}
	return newScrypt(own, parameters[0], parameters[1], parameters[2], []byte(parts[1]), key)
}

// parsePHCScrypt parses ln=16,r=8,p=1$salt$key, as passlib writes it.
func parsePHCScrypt(s string, own params) (storedHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return nil, unusable("scrypt without parameters, salt and key")
	}
	var ln, r, p uint64
	if _, err := fmt.Sscanf(parts[0], "ln=%d,r=%d,p=%d", &ln, &r, &p); err != nil || parts[0] != fmt.Sprintf("ln=%d,r=%d,p=%d", ln, r, p) || ln > 30 {
		return nil, unusable("scrypt with invalid parameters")
	}
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(parts[1])
	key, keyErr := base64.RawStdEncoding.Strict().DecodeString(parts[2])
	if saltErr != nil || keyErr != nil {
		return nil, unusable("scrypt with an invalid salt or key")
	}
	return newScrypt(own, 1<<ln, r, p, salt, key)
}

// cryptDigits are the digits of crypt(3), from 0 to 63.
const cryptDigits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// cryptNumber decodes digits of crypt(3), the lowest first.
func cryptNumber(s string) (n uint64, ok bool) {
	for i := range len(s) {
		digit := strings.IndexByte(cryptDigits, s[i])
		if digit < 0 {
			return 0, false
		}
		n |= uint64(digit) << (6 * i)
	}
	return n, true
}

// cryptBytes decodes bytes: four digits of crypt(3) are three bytes, the lowest first.
func cryptBytes(s string) (b []byte, ok bool) {
	for s != "" {
		group := s[:min(4, len(s))]
		s = s[len(group):]
		n, ok := cryptNumber(group)
		if !ok || len(group) == 1 || n>>(8*(len(group)-1)) != 0 {
			return nil, false
		}
		for range len(group) - 1 {
			b, n = append(b, byte(n)), n>>8
		}
	}
	return b, true
}

// parseCryptScrypt parses a hash of crypt(3): a digit for N, five for r, five for p, the salt as text, and the key.
func parseCryptScrypt(s string, own params) (storedHash, error) {
	settings, text, found := strings.Cut(s, "$")
	if !found || len(settings) < 11 {
		return nil, unusable("scrypt without parameters, salt and key")
	}
	ln, lnOK := cryptNumber(settings[:1])
	r, rOK := cryptNumber(settings[1:6])
	p, pOK := cryptNumber(settings[6:11])
	key, keyOK := cryptBytes(text)
	if !lnOK || !rOK || !pOK || !keyOK || ln > 30 {
		return nil, unusable("scrypt with invalid parameters or an invalid key")
	}
	return newScrypt(own, 1<<ln, r, p, []byte(settings[11:]), key)
}

// parseSpringScrypt parses parameters$salt$key. The parameters are hexadecimal: the logarithm of N, r and p in one byte
// each.
func parseSpringScrypt(s string, own params) (storedHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return nil, unusable("scrypt without parameters, salt and key")
	}
	all, err := strconv.ParseUint(parts[0], 16, 32)
	if err != nil || all>>16 > 30 {
		return nil, unusable("scrypt with invalid parameters")
	}
	salt, saltErr := base64.StdEncoding.Strict().DecodeString(parts[1])
	key, keyErr := base64.StdEncoding.Strict().DecodeString(parts[2])
	if saltErr != nil || keyErr != nil {
		return nil, unusable("scrypt with an invalid salt or key")
	}
	return newScrypt(own, 1<<(all>>16), all>>8&0xff, all&0xff, salt, key)
}
