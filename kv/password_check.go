package kv

import (
	"fmt"
	"math/bits"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// Check returns an error for a password that no user may choose. Errors: ErrPasswordTooShort, ErrPasswordTooLong.
func (h *Hasher) Check(password string) error {
	if h.tooLong(password) {
		return ErrPasswordTooLong
	}
	if n := characters(password); n < h.opts.MinLength {
		return fmt.Errorf("%w: it has %d characters, the minimum is %d", ErrPasswordTooShort, n, h.opts.MinLength)
	}
	return nil
}

// maxComposed is how many bytes NFC combines into one character at most: four characters of four bytes.
const maxComposed = 4 * utf8.UTFMax

// TooLong reports whether a password is longer than the longest valid one.
func (h *Hasher) TooLong(password string) bool { return h.tooLong(password) }

func (h *Hasher) tooLong(password string) bool {
	n := h.opts.MaxLength
	return len(password) > n && (len(password) > n*maxComposed || characters(password) > n)
}

// characters returns the number of characters of a text in NFC.
func characters(s string) int { return utf8.RuneCountInString(norm.NFC.String(s)) }

// CheckHash returns an error for a hash that no password can be verified with. It accepts the empty hash, with which
// no password verifies.
//
// Errors: ErrHashUnusable.
func (h *Hasher) CheckHash(hash string) error {
	_, err := h.parse(hash)
	return err
}

// parse returns the hash to compute for a stored one. It is the dummy for an empty and for an unusable hash.
//
// Errors: ErrHashUnusable.
func (h *Hasher) parse(hash string) (storedHash, error) {
	if hash == "" {
		return h.dummy, nil
	}
	stored, err := parseHash(hash, h.params)
	if err != nil {
		return h.dummy, fmt.Errorf("kv: read a password hash: %w", err)
	}
	return stored, nil
}

// stale reports whether a stored hash is not as a new one would be.
func (h *Hasher) stale(stored storedHash) bool {
	own, ok := stored.(phc)
	return !ok || own.params != h.params
}

// matches reports whether the password has the hash, and notes what the hash costs.
func (h *Hasher) matches(stored storedHash, password string) bool {
	c := stored.cost()
	for costliest := &h.costliest[c.by]; ; {
		before := costliest.Load()
		if c.work <= before || costliest.CompareAndSwap(before, c.work) {
			break
		}
	}
	h.reserve(c)
	return stored.matches(password)
}

// equalize does the work that a hash lacks to the costliest ones of all algorithms. Old and imported hashes have other
// costs than the dummy of unknown accounts: without this work, the time of a failed login would tell whether the account
// exists. The units of the algorithms cannot be compared, so a failed login does the work of each algorithm in use.
func (h *Hasher) equalize(done cost) {
	for by := range algorithms {
		target, work := h.costliest[by].Load(), uint64(0)
		if by == argon2Blocks {
			target = max(target, h.params.work())
		}
		if by == done.by {
			work = done.work
		}
		if work < target {
			h.spend(by, target-work)
		}
	}
}

// spend does that much work of an algorithm.
func (h *Hasher) spend(by algorithm, work uint64) {
	switch by {
	case argon2Blocks:
		if work < minMemoryKiB {
			return
		}
		own := uint64(h.params.memoryKiB)
		passes := (work + own - 1) / own
		p := params{memoryKiB: uint32(work / passes), passes: uint32(passes), lanes: 1}
		h.reserve(p.cost())
		p.derive("")
	case bcryptRounds:
		for n := minBcryptCost; n <= maxBcryptCost; n++ { // the work is a sum of powers of two
			if work&(1<<n) != 0 {
				h.reserve(cost{by, 1 << n, 4 << 10})
				_, _ = bcrypt.GenerateFromPassword(nil, int(n)) // fails only for invalid costs
			}
		}
	case scryptBlocks:
		const r = 8
		for most := uint64(h.params.memoryKiB) << 10 / (128 * r); work >= 2*r; {
			n := uint64(1) << (bits.Len64(min(work/r, max(most, 2))) - 1)
			work -= n * r
			h.reserve(cost{by, n * r, 128 * r * n})
			scryptKey("", nil, int(n), r, 1, keySize)
		}
	default:
		h.reserve(cost{by, work, 1 << 10})
		_, size := by.digest()
		pbkdf2Key(by, "", make([]byte, saltSize), int(work), size)
	}
}

// reserve is called before each hash.
func (h *Hasher) reserve(c cost) {
	if h.onHash != nil {
		h.onHash(c)
	}
	h.opts.Reserve(c.memory)
}

// Lengths returns the length of the shortest new and of the longest password, in characters.
func (h *Hasher) Lengths() (least, most int) { return h.opts.MinLength, h.opts.MaxLength }
