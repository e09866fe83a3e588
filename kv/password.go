package kv

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// HasherOptions are the parameters of argon2id and the limits of a Hasher.
type HasherOptions struct {
	MemoryKiB uint32             // for one hash; default 19 MiB
	Passes    uint32             // default 2
	MinLength int                // of a new password, in characters of NFC; default 1
	MaxLength int                // of a password, in characters of NFC; default 256
	Queue     Queue              // hands out the places to hash; default one for every two cores, at least 1, in order
	Wait      time.Duration      // for a place of the default queue; default 10s
	Remember  int                // verified credentials kept in memory; default 65536, none if negative
	Reserve   func(bytes uint64) // called before each hash with the memory that it allocates; default none
}

// Queue hands out places to hash. Enter waits for one, and the caller calls leave when it is done. A caller keeps its
// place if its context ends meanwhile, so clients that give up and retry never cause more concurrent hashes than there
// are places.
//
// Errors: ErrBusy.
type Queue interface {
	Enter(ctx context.Context) (leave func(), err error)
}

// HashingPlaces returns how many hashes may run at once: the other cores are for dialogues.
func HashingPlaces() int { return max(1, runtime.GOMAXPROCS(0)/2) }

func (opts HasherOptions) withDefaults() HasherOptions {
	if opts.MemoryKiB == 0 {
		opts.MemoryKiB = 19 << 10
	}
	if opts.Passes == 0 {
		opts.Passes = 2
	}
	if opts.MinLength == 0 {
		opts.MinLength = 1
	}
	if opts.MaxLength == 0 {
		opts.MaxLength = 256
	}
	if opts.Wait == 0 {
		opts.Wait = 10 * time.Second
	}
	if opts.Queue == nil {
		opts.Queue = places{make(chan struct{}, HashingPlaces()), opts.Wait}
	}
	if opts.Remember == 0 {
		opts.Remember = 1 << 16
	}
	if opts.Reserve == nil {
		opts.Reserve = func(uint64) {}
	}
	return opts
}

// Hasher hashes and verifies passwords. It bounds the number of concurrent hashes. It remembers verified credentials,
// so that clients that all reconnect at the same time need no hashes. It is safe for concurrent use and needs no
// Close.
type Hasher struct {
	opts   HasherOptions
	params params

	// The keys of verified are HMAC-SHA256(secret, hash \0 password). So no password can be guessed from them without
	// the secret, and a changed password, which has another hash, is not found. nil: nothing is remembered.
	secret   [32]byte
	verified *lru.Cache[[sha256.Size]byte, struct{}]

	// dummy is verified for accounts that do not exist, so that they take as long as those that do. Its key is random, so
	// no password has this hash.
	dummy phc

	costliest [algorithms]atomic.Uint64 // work of the costliest hash of each algorithm that was verified; see equalize
	onHash    func(cost)                // called before each hash, if set by a test
}

// Verdict is the result of Verify.
type Verdict struct {
	OK    bool // the password is right
	Stale bool // the password is right, but must be hashed again: the parameters have changed, or another server hashed it
}

// NewHasher returns a Hasher.
func NewHasher(opts HasherOptions) *Hasher {
	opts = opts.withDefaults()
	h := &Hasher{
		opts: opts,
		params: params{
			memoryKiB: min(max(opts.MemoryKiB, minMemoryKiB), maxMemoryKiB),
			passes:    min(opts.Passes, maxPasses),
			lanes:     1,
		},
	}
	rand.Read(h.secret[:])
	h.dummy = h.params.random()
	if opts.Remember > 0 {
		h.verified, _ = lru.New[[sha256.Size]byte, struct{}](opts.Remember) // fails only for sizes below 1
	}
	return h
}

// Hash returns a PHC string for the password. Errors: ErrPasswordTooLong, ErrBusy.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if h.tooLong(password) {
		return "", ErrPasswordTooLong
	}
	leave, err := h.opts.Queue.Enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	h.reserve(h.params.cost())
	return h.params.derive(password).String(), nil
}

// Verify reports whether the password is the one that was hashed. An empty hash stands for an account that does not
// exist: no password is right. All passwords that are not right cost the same, whatever the hash. If the hash is
// unusable, the error does not show it.
//
// Errors: ErrHashUnusable, ErrBusy.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (Verdict, error) {
	if h.tooLong(password) {
		return Verdict{}, nil // for any account, so this shows nothing about it
	}
	stored, unusable := h.parse(hash)
	right := Verdict{OK: true, Stale: h.stale(stored)}
	key := h.cacheKey(hash, password)
	if h.remembers(key) {
		return right, nil
	}
	leave, err := h.opts.Queue.Enter(ctx)
	if err != nil {
		return Verdict{}, err
	}
	defer leave()
	if h.remembers(key) { // another call verified it while this one waited for its slot
		return right, nil
	}
	if matches := h.matches(stored, password); !matches || hash == "" || unusable != nil {
		h.equalize(stored.cost())
		return Verdict{}, unusable
	}
	if h.verified != nil {
		h.verified.Add(key, struct{}{})
	}
	return right, nil
}

// cacheKey returns the key of verified for credentials.
func (h *Hasher) cacheKey(hash, password string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.secret[:])
	mac.Write([]byte(hash))
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	mac.Sum(sum[:0])
	return sum
}

// remembers reports whether the credentials with this key were verified before.
func (h *Hasher) remembers(key [sha256.Size]byte) bool {
	if h.verified == nil {
		return false
	}
	_, ok := h.verified.Get(key)
	return ok
}

// places is a Queue that hands out places in order, for a process that serves no clients.
type places struct {
	taken chan struct{} // holds a value for each hash in progress
	wait  time.Duration
}

// Enter implements Queue.
func (p places) Enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	leave = func() { <-p.taken }
	select {
	case p.taken <- struct{}{}:
		return leave, nil
	default:
	}
	timeout := time.NewTimer(p.wait)
	defer timeout.Stop()
	select {
	case p.taken <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, ErrBusy
	}
}
