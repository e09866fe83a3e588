package kv

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// quick has the smallest parameters of argon2id, so that tests are fast.
var quick = HasherOptions{MemoryKiB: 8, Passes: 1}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := NewHasher(quick)
	ctx := testContext(t)
	hash, err := h.Hash(ctx, " pass word ")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Fatalf("%q, %v", hash, err)
	}
	if again, _ := h.Hash(ctx, " pass word "); again == hash {
		t.Error("two hashes of one password are equal, so they have no salt")
	}
	for range 2 { // the second time from memory
		for password, want := range map[string]bool{" pass word ": true, "pass word": false, "": false, " pass word \x00": false} {
			if v, err := h.Verify(ctx, hash, password); v.OK != want || v.Stale || err != nil {
				t.Errorf("Verify(%q) = %+v, %v; want %v", password, v, err, want)
			}
		}
	}
	if v, err := h.Verify(ctx, "", " pass word "); v.OK || err != nil {
		t.Errorf("Verify for a missing account = %+v, %v; want false", v, err)
	}
}

// The hash is from the tests of the reference implementation:
// https://github.com/P-H-C/phc-winner-argon2/blob/master/src/test.c
func TestVerifyKnownHash(t *testing.T) {
	t.Parallel()
	const hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	h := NewHasher(quick)
	if v, err := h.Verify(testContext(t), hash, "password"); err != nil || v != (Verdict{OK: true, Stale: true}) {
		t.Errorf("Verify = %+v, %v; want OK and Stale", v, err)
	}
	if v, err := h.Verify(testContext(t), hash, "passwore"); err != nil || v != (Verdict{}) {
		t.Errorf("Verify of a wrong password = %+v, %v", v, err)
	}
}

func TestStaleHashes(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	old := NewHasher(quick)
	hash, err := old.Hash(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []HasherOptions{{MemoryKiB: 16, Passes: 1}, {MemoryKiB: 8, Passes: 2}} {
		h := NewHasher(o)
		for range 2 { // remembered credentials are stale too
			if v, err := h.Verify(ctx, hash, "x"); err != nil || v != (Verdict{OK: true, Stale: true}) {
				t.Errorf("%+v: Verify = %+v, %v; want OK and Stale", o, v, err)
			}
		}
		fresh, err := h.Hash(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := h.Verify(ctx, fresh, "x"); err != nil || v != (Verdict{OK: true}) {
			t.Errorf("%+v: Verify of a new hash = %+v, %v; want OK", o, v, err)
		}
	}
}

func TestVerifyRefusesOtherHashes(t *testing.T) {
	t.Parallel()
	h := NewHasher(quick)
	const salt, key = "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	for _, hash := range []string{
		"hunter2",
		"$2a$10$hunter2",
		"$argon2d$v=19$m=256,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=256,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key, // 4 TiB
		"$argon2id$v=19$m=256,t=4294967295,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=256,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=256,t=2,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=256,t=2,p=255$" + salt + "$" + key,
		"$argon2id$v=19$m=256,t=2,p=1,x=2$" + salt + "$" + key,
		"$argon2id$v=19$m=0256,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=256,t=2,p=1$c2hv$" + key,
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + key + "==",
		"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + key + "$",
	} {
		_, err := h.Verify(testContext(t), hash, "password")
		if !errors.Is(err, ErrHashUnusable) {
			t.Errorf("%s: %v", hash, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), key)) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err == nil && h.String() != s {
			t.Errorf("%q is read as %q", s, h)
		}
	})
}

func TestPasswordLength(t *testing.T) {
	t.Parallel()
	o := quick
	o.MaxLength = 10
	h := NewHasher(o)
	ctx := testContext(t)
	for password, fits := range map[string]bool{
		strings.Repeat("x", 10): true,
		strings.Repeat("x", 11): false,
		strings.Repeat("ü", 10): true, // characters, not bytes
		strings.Repeat("ü", 11): false,
	} {
		hash, err := h.Hash(ctx, password)
		if fits != (err == nil) || !fits && !errors.Is(err, ErrPasswordTooLong) {
			t.Errorf("Hash(%q): %v", password, err)
		}
		if v, err := h.Verify(ctx, hash, password); v.OK != fits || err != nil {
			t.Errorf("Verify(%q) = %+v, %v", password, v, err)
		}
	}
}

// While all slots are in use, a call that waits too long fails with ErrBusy. A call gets a slot that becomes free.
func TestHashSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := quick
		o.Wait = 10 * time.Second
		o.Queue = places{make(chan struct{}, 2), o.Wait}
		h := NewHasher(o)
		var leave []func()
		for range 2 {
			l, err := h.opts.Queue.Enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, l)
		}
		start := time.Now()
		if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) || time.Since(start) != o.Wait {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := h.Verify(t.Context(), "", "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("Verify for a missing account: %v, want %v", err, ErrBusy)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hash after the end of its context: %v, want %v", err, context.DeadlineExceeded)
		}
		time.AfterFunc(5*time.Second, leave[0])
		start = time.Now()
		if _, err := h.Hash(t.Context(), "x"); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		leave[1]()
		if len(o.Queue.(places).taken) != 0 {
			t.Errorf("%d slots are in use, want none", len(o.Queue.(places).taken))
		}
	})
}

// Remembered credentials need no slot, so clients that reconnect can log in while all slots are in use.
func TestRememberedCredentialsNeedNoSlot(t *testing.T) {
	t.Parallel()
	o := quick
	o.Queue, o.Remember = places{make(chan struct{}, 1), time.Nanosecond}, 2
	h := NewHasher(o)
	ctx := testContext(t)
	hashes := map[string]string{}
	for _, password := range []string{"first", "second", "third"} {
		hash, err := h.Hash(ctx, password)
		if err != nil {
			t.Fatal(err)
		}
		hashes[password] = hash
		if v, err := h.Verify(ctx, hash, password); !v.OK || err != nil {
			t.Fatal(v, err)
		}
	}
	leave, err := h.opts.Queue.Enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	for _, tc := range []struct {
		hash, password string
		want           error
	}{
		{hashes["third"], "third", nil},
		{hashes["second"], "second", nil},
		{hashes["first"], "first", ErrBusy},       // only two are remembered
		{hashes["third"], "second", ErrBusy},      // the pair is remembered, not the password
		{hashes["third"], "wrong", ErrBusy},       // a wrong password is not remembered
		{hashes["third"], "wrong", ErrBusy},       //
		{"", "third", ErrBusy},                    // a missing account is not remembered
		{hashes["third"] + "$", "third", ErrBusy}, // a damaged hash waits like a missing account
	} {
		v, err := h.Verify(ctx, tc.hash, tc.password)
		if !errors.Is(err, tc.want) || v.OK != (tc.want == nil) {
			t.Errorf("Verify(…, %q) = %+v, %v; want %v", tc.password, v, err, tc.want)
		}
	}
}

func TestRememberNothing(t *testing.T) {
	t.Parallel()
	o := quick
	o.Remember = -1
	h := NewHasher(o)
	hash, err := h.Hash(testContext(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, err := h.Verify(testContext(t), hash, "x"); !v.OK || err != nil {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

// An unknown account takes as long as a known one with a wrong password. Times on a busy machine prove nothing, so
// the test compares the parameters of the dummy, on which the time depends.
func TestUnknownAccountsTakeAsLong(t *testing.T) {
	t.Parallel()
	h := NewHasher(HasherOptions{MemoryKiB: 64, Passes: 3})
	hash, err := h.Hash(testContext(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	real, err := parsePHC(hash)
	if err != nil {
		t.Fatal(err)
	}
	if real.params != h.dummy.params || len(real.salt) != len(h.dummy.salt) || len(real.key) != len(h.dummy.key) {
		t.Errorf("the dummy is %v, a real hash %v", h.dummy, real)
	}
	h.dummy = h.params.derive("x")
	if v, err := h.Verify(testContext(t), "", "x"); v.OK || err != nil {
		t.Errorf("Verify with the password of the dummy = %+v, %v; want false", v, err)
	}
}

func BenchmarkVerify(b *testing.B) {
	h := NewHasher(HasherOptions{Remember: -1})
	hash, err := h.Hash(b.Context(), "x")
	if err != nil {
		b.Fatal(err)
	}
	for _, bc := range []struct{ name, hash string }{{"known", hash}, {"unknown", ""}} {
		b.Run(bc.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Verify(b.Context(), bc.hash, "y"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("remembered", func(b *testing.B) {
		h := NewHasher(HasherOptions{})
		for b.Loop() {
			if _, err := h.Verify(b.Context(), hash, "x"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A new Hasher computes nothing, so that a start needs no memory for a hash. Each later hash is announced with its
// memory, that of a login to an unknown account too.
func TestReserve(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	var reserved []uint64
	h := NewHasher(HasherOptions{MemoryKiB: 64, Passes: 1, Reserve: func(bytes uint64) { reserved = append(reserved, bytes) }})
	if len(reserved) > 0 {
		t.Errorf("NewHasher computes hashes: %v", reserved)
	}
	if _, err := h.Hash(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	if v, err := h.Verify(ctx, "", "secret"); err != nil || v.OK {
		t.Errorf("Verify for an unknown account = %+v, %v", v, err)
	}
	if want := []uint64{64 << 10, 64 << 10}; !slices.Equal(reserved, want) {
		t.Errorf("reserved %v, want %v", reserved, want)
	}
}
