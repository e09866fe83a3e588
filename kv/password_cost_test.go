package kv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const knownSaltAndKey = "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

// spent returns the work that a call makes h do.
func spent(h *Hasher, call func()) (work uint64) {
	h.onHash = func(c cost) { work += c.work }
	defer func() { h.onHash = nil }()
	call()
	return work
}

// A hash that costs more than the bounds is refused and never computed. CheckHash refuses it too.
func TestHashBounds(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, test := range []struct {
		configured HasherOptions
		params     string
		usable     bool
	}{
		{quick, "m=65536,t=4,p=4", true},
		{quick, "m=47104,t=1,p=1", true},
		{quick, "m=19456,t=2,p=1", true},
		{quick, "m=65537,t=1,p=1", false},
		{quick, "m=1048576,t=1,p=1", false},
		{quick, "m=1048576,t=1,p=16", false},
		{quick, "m=65536,t=5,p=1", false},
		{quick, "m=65536,t=1,p=8", true},
		{quick, "m=65536,t=1,p=9", false},
		{quick, "m=8,t=64,p=1", true},
		{quick, "m=8,t=65,p=1", false},
		{HasherOptions{MemoryKiB: 128 << 10, Passes: 1}, "m=131072,t=2,p=1", true},
		{HasherOptions{MemoryKiB: 128 << 10, Passes: 1}, "m=131073,t=1,p=1", false},
		{HasherOptions{MemoryKiB: 128 << 10, Passes: 1}, "m=131072,t=3,p=1", false},
		{HasherOptions{MemoryKiB: 128 << 10, Passes: 8}, "m=131072,t=8,p=1", true},
	} {
		h := NewHasher(test.configured)
		hash := "$argon2id$v=19$" + test.params + knownSaltAndKey
		if err := h.CheckHash(hash); (err == nil) != test.usable || !test.usable && !errors.Is(err, ErrHashUnusable) {
			t.Errorf("%+v: CheckHash of %s: %v", test.configured, test.params, err)
		}
		if test.usable {
			continue
		}
		h.onHash = func(c cost) {
			if c.work > h.params.work() {
				t.Errorf("%s: %+v is computed", test.params, c)
			}
		}
		h.dummy = quickPHC(t)
		if v, err := h.Verify(ctx, hash, "password"); v.OK || !errors.Is(err, ErrHashUnusable) || strings.Contains(err.Error(), "c29tZX") {
			t.Errorf("Verify with %s = %+v, %v; want %v", test.params, v, err, ErrHashUnusable)
		}
	}
}

func quickPHC(t *testing.T) phc {
	t.Helper()
	p := params{memoryKiB: 8, passes: 1, lanes: 1}
	return p.derive("x")
}

// A login that fails does the same work for an unknown account, for existing ones with hashes of any parameters, and
// for one with an unusable hash.
func TestFailuresCostTheSame(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	h := NewHasher(HasherOptions{MemoryKiB: 256, Passes: 2})
	own, err := h.Hash(ctx, "right")
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string]string{"unknown": "", "own": own, "unusable": "hunter2"}
	for _, p := range []string{"m=64,t=1,p=1", "m=200,t=2,p=1", "m=1000,t=3,p=1", "m=512,t=1,p=1"} {
		hashes[p] = "$argon2id$v=19$" + p + knownSaltAndKey
	}
	fail := func(hash string) uint64 {
		return spent(h, func() {
			if v, err := h.Verify(ctx, hash, "wrong"); v.OK || err != nil && !errors.Is(err, ErrHashUnusable) {
				t.Errorf("Verify of a wrong password = %+v, %v", v, err)
			}
		})
	}
	fail(hashes["m=1000,t=3,p=1"]) // the costliest hash so far
	const want = 3000
	for what, hash := range hashes {
		if got := fail(hash); got > want || got < want*97/100 { // a pass of the least memory is not worth it
			t.Errorf("%s: a failed login does work of %d, want %d", what, got, want)
		}
	}
	if got := spent(h, func() { _, _ = h.Verify(ctx, own, "right") }); got != 512 {
		t.Errorf("a right password costs %d, want 512", got)
	}
}

// Passwords are counted in characters of NFC.
func TestCheckPassword(t *testing.T) {
	t.Parallel()
	o := quick
	o.MinLength, o.MaxLength = 3, 10
	h := NewHasher(o)
	for password, want := range map[string]error{
		"":                                ErrPasswordTooShort,
		"ab":                              ErrPasswordTooShort,
		"abc":                             nil,
		"u\u0308u\u0308":                  ErrPasswordTooShort,
		"u\u0308u\u0308u\u0308":           nil,
		"\u1112\u1161\u11ab":              ErrPasswordTooShort, // one syllable
		strings.Repeat("u\u0308", 10):     nil,
		strings.Repeat("u\u0308", 11):     ErrPasswordTooLong,
		strings.Repeat("x", 11):           ErrPasswordTooLong,
		strings.Repeat("x", 1<<20):        ErrPasswordTooLong,
		"x" + strings.Repeat("\u0301", 9): nil,
	} {
		if err := h.Check(password); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("Check(%.40q): %v, want %v", password, err, want)
		}
	}
	if err := NewHasher(quick).Check("x"); err != nil {
		t.Errorf("Check with defaults: %v", err)
	}
	// The least length is a rule for new passwords.
	if _, err := h.Hash(testContext(t), "x"); err != nil {
		t.Errorf("Hash of a short code: %v", err)
	}
}

// An unknown account costs as many reads as an existing one.
func TestByAccountReads(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	mustCreate(t, s, "known", "Known")
	reads, err := s.Users.b.nc.SubscribeSync(s.Users.b.directAPI() + ".>")
	if err != nil {
		t.Fatal(err)
	}
	count := func(account string) string {
		_, err := s.Users.ByAccount(ctx, account)
		if err != nil && !errors.Is(err, ErrUserNotFound) {
			t.Fatal(err)
		}
		if err := s.Users.b.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		n, _, err := reads.Pending()
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := reads.NextMsgWithContext(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprint(n, " reads")
	}
	if known, unknown := count("known"), count("unknown"); known != unknown || known == "0 reads" {
		t.Errorf("a known account costs %s, an unknown one %s", known, unknown)
	}
}
