package kv

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"time"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"
)

// HasherOptions are argon2id's parameters and the bounds of what hashing may take.
type HasherOptions struct {
	MemoryKiB uint32        // for one hash; default 19 MiB
	Passes    uint32        // default 2
	MaxLength int           // of a password, in characters; default 256
	Parallel  int           // hashes at once; default half the cores, at least 1
	Wait      time.Duration // for a place to hash; default 10s
	Remember  int           // credentials that verified, kept in memory; default 65536, none below 0
}

func (o HasherOptions) withDefaults() HasherOptions {
	if o.MemoryKiB == 0 {
		o.MemoryKiB = 19 << 10
	}
	if o.Passes == 0 {
		o.Passes = 2
	}
	if o.MaxLength == 0 {
		o.MaxLength = 256
	}
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.NumCPU()/2)
	}
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Remember == 0 {
		o.Remember = 1 << 16
	}
	return o
}

// Hasher hashes and verifies passwords, a bounded number at once. Credentials that verified are
// remembered, so that everybody's reconnecting at once is not everybody's hashing at once. It is
// safe for concurrent use and has nothing to be closed.
type Hasher struct {
	o      HasherOptions
	params params
	places chan struct{}

	// What verified is remembered under HMAC-SHA256(secret, hash \0 password): memory then holds
	// nothing from which a password could be guessed without the secret, and a changed password
	// is forgotten by its other hash. Nil: nothing is remembered.
	secret   [32]byte
	verified *lru.Cache[[sha256.Size]byte, struct{}]

	// dummy is verified for accounts that don't exist, so that they take as long as those that do.
	dummy phc
}

// Verdict is what verifying found.
type Verdict struct {
	OK    bool // the password is right
	Stale bool // it is right, and hashed with other parameters than today's: hash it again
}

// NewHasher takes one hash's time: it makes the hash that stands in for unknown accounts.
func NewHasher(o HasherOptions) *Hasher {
	o = o.withDefaults()
	h := &Hasher{
		o: o,
		params: params{
			memoryKiB: min(max(o.MemoryKiB, minMemoryKiB), maxMemoryKiB),
			passes:    min(o.Passes, maxPasses),
			lanes:     1,
		},
		places: make(chan struct{}, o.Parallel),
	}
	rand.Read(h.secret[:])
	if o.Remember > 0 {
		h.verified, _ = lru.New[[sha256.Size]byte, struct{}](o.Remember) // fails only below 1
	}
	h.dummy = h.params.derive(NewID())
	return h
}

// Hash returns a PHC string for the password. Errors: ErrPasswordTooLong, ErrBusy.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if h.tooLong(password) {
		return "", ErrPasswordTooLong
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return h.params.derive(password).String(), nil
}

// Verify tells whether the password is the one that was hashed. An empty hash stands for an account
// that does not exist: it never verifies, and takes as long as one that does. A hash that can't be
// read is an error that shows nothing of it.
//
// Errors: ErrBusy.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (Verdict, error) {
	if h.tooLong(password) {
		return Verdict{}, nil // told by the password alone, whatever the account
	}
	stored := h.dummy
	if hash != "" {
		var err error
		if stored, err = parsePHC(hash); err != nil {
			return Verdict{}, fmt.Errorf("kv: verify a password: %w", err)
		}
	}
	right := Verdict{OK: true, Stale: stored.params != h.params}
	mark := h.mark(hash, password)
	if h.remembers(mark) {
		return right, nil
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return Verdict{}, err
	}
	defer leave()
	if h.remembers(mark) { // verified while this call waited for its place
		return right, nil
	}
	if matches := stored.matches(password); !matches || hash == "" {
		return Verdict{}, nil
	}
	if h.verified != nil {
		h.verified.Add(mark, struct{}{})
	}
	return right, nil
}

func (h *Hasher) tooLong(password string) bool {
	return len(password) > h.o.MaxLength && utf8.RuneCountInString(password) > h.o.MaxLength
}

func (h *Hasher) mark(hash, password string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.secret[:])
	mac.Write([]byte(hash))
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	mac.Sum(sum[:0])
	return sum
}

func (h *Hasher) remembers(mark [sha256.Size]byte) bool {
	if h.verified == nil {
		return false
	}
	_, ok := h.verified.Get(mark)
	return ok
}

// enter waits for a place to hash. Whoever has one hashes in its own goroutine and leaves when the
// work is done: a caller whose context ends meanwhile keeps its place, so giving up and trying again
// never makes more hashes run than there are places.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	leave = func() { <-h.places }
	select {
	case h.places <- struct{}{}:
		return leave, nil
	default:
	}
	patience := time.NewTimer(h.o.Wait)
	defer patience.Stop()
	select {
	case h.places <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, ErrBusy
	}
}
