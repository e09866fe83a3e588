package kv

import (
	"fmt"
	"unicode/utf8"

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
func (h *Hasher) parse(hash string) (phc, error) {
	if hash == "" {
		return h.dummy, nil
	}
	stored, err := parsePHC(hash)
	if err != nil {
		return h.dummy, fmt.Errorf("kv: read a password hash: %w", err)
	}
	if !stored.within(h.params) {
		return h.dummy, fmt.Errorf("kv: read a password hash: %w: m=%d,t=%d is more than this server computes", ErrHashUnusable, stored.memoryKiB, stored.passes)
	}
	return stored, nil
}

// matches reports whether the password has the hash, and notes what the hash costs.
func (h *Hasher) matches(stored phc, password string) bool {
	for work := stored.work(); ; {
		before := h.costliest.Load()
		if work <= before || h.costliest.CompareAndSwap(before, work) {
			break
		}
	}
	h.reserve(stored.params)
	return stored.matches(password)
}

// equalize does the work that a hash with the given parameters lacks to the costliest one. Old and imported hashes have
// other parameters than the dummy of unknown accounts: without this work, the time of a failed login would tell whether
// the account exists.
func (h *Hasher) equalize(done params) {
	target, work := h.costliest.Load(), done.work()
	if target < work+minMemoryKiB {
		return
	}
	lacking := target - work
	own := uint64(h.params.memoryKiB)
	passes := (lacking + own - 1) / own
	p := params{memoryKiB: uint32(lacking / passes), passes: uint32(passes), lanes: 1}
	h.reserve(p)
	p.derive("")
}

// reserve is called before each hash.
func (h *Hasher) reserve(p params) {
	if h.onHash != nil {
		h.onHash(p)
	}
	h.opts.Reserve(uint64(p.memoryKiB) << 10)
}

// Lengths returns the length of the shortest new and of the longest password, in characters.
func (h *Hasher) Lengths() (least, most int) { return h.opts.MinLength, h.opts.MaxLength }
