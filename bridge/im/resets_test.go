package im

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		code := newResetCode()
		if len(code) != 8 || strings.Trim(code, resetAlphabet) != "" || seen[code] {
			t.Fatalf("code %q", code)
		}
		seen[code] = true
		for _, by := range []string{code, formatResetCode(code), strings.ToLower(formatResetCode(code)), " " + code[:3] + " " + code[3:] + " "} {
			if parseResetCode(by) != code {
				t.Fatalf("%q is %q", by, parseResetCode(by))
			}
		}
	}
	if len(resetAlphabet) != 32 || strings.ContainsAny(resetAlphabet, "0O1Il") {
		t.Error("the alphabet")
	}
	// Every character is as likely as another.
	count := make(map[rune]int)
	for range 4000 {
		for _, r := range newResetCode() {
			count[r]++
		}
	}
	for _, r := range resetAlphabet {
		if n := count[r]; n < 800 || n > 1200 { // 1000, give or take more than six deviations
			t.Errorf("%c came %d times", r, n)
		}
	}
}

// TestNewCode: only the user with the account and the address gets a code.
func TestNewCode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, disabled := f.register(t, "ann"), f.register(t, "disabled")
	if err := f.accounts.SetDisabled(t.Context(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what, account, mail string
		refuse, want        bool
	}{
		{what: "own address", account: "ann", mail: ann.Mail, want: true},
		{what: "in another case, with spaces", account: " ANN ", mail: " ANN@example.org", want: true},
		{what: "unknown account", account: "nobody", mail: ann.Mail},
		{what: "another's address", account: "ann", mail: disabled.Mail},
		{what: "no address", account: "ann"},
		{what: "two addresses", account: "ann", mail: ann.Mail + ",x@example.org"},
		{what: "disabled", account: "disabled", mail: disabled.Mail},
		{what: "limit", account: "ann", mail: ann.Mail, refuse: true},
	} {
		_, code, err := f.resets.NewCode(t.Context(), row.account, row.mail, func(id string) bool { return id == ann.ID && !row.refuse })
		if err != nil || (code != "") != row.want {
			t.Errorf("%s: got a code: %t, %v, want one: %t", row.what, code != "", err, row.want)
		}
	}
	f.readOnly.Store(true)
	if _, _, err := f.resets.NewCode(t.Context(), "ann", ann.Mail, func(string) bool { return true }); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("read-only: got %v, want %v", err, kv.ErrReadOnly)
	}
}

// TestResetPassword: a code is valid once, for its account alone, and not after too many wrong ones.
func TestResetPassword(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	reset := func(account, code, password string) func(context.Context) error {
		return func(ctx context.Context) error { return f.resets.ResetPassword(ctx, account, code, password) }
	}
	login := func(password string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := f.accounts.Authenticate(ctx, "ann", password); return err }
	}
	done := append([]string{"event ann password"}, expelled("ann", "password changed")...)
	f.issue(t, ann)
	replaced, code := f.code(t, ann), f.code(t, ann)
	f.run(t, []step{
		{what: "unknown account", call: reset("nobody", code, "x"), err: wire.WrongCredentials},
		{what: "account without a code", call: reset("bob", code, "x"), err: wire.WrongCredentials},
		{what: "replaced code", call: reset("ann", replaced, "x"), err: wire.WrongCredentials},
		{what: "password too long", call: reset("ann", code, strings.Repeat("x", 257)), err: kv.ErrPasswordTooLong},
		{what: "the old password", call: login(password)},
		{what: "code", call: reset(" ANN ", strings.ToLower(strings.ReplaceAll(code, "-", " ")), "by code"), want: done},
		{what: "the old password after the code", call: login(password), err: wire.WrongCredentials},
		{what: "the new password", call: login("by code")},
		{what: "used code", call: reset("ann", code, "x"), err: wire.WrongCredentials},
	})
	if tokens := f.tokens(t, ann); len(tokens) > 0 {
		t.Errorf("%d tokens are left", len(tokens))
	}
	code = f.code(t, ann)
	steps := []step{{what: "another's code", call: reset("ann", f.code(t, bob), "x"), err: wire.WrongCredentials}}
	for range resetTries - 1 {
		steps = append(steps, step{what: "wrong code", call: reset("ann", "AAAA-AAAA", "x"), err: wire.WrongCredentials})
	}
	f.run(t, append(steps, step{what: "the right code after too many tries", call: reset("ann", code, "x"), err: wire.WrongCredentials}))
	f.run(t, []step{{what: "the next code", call: reset("ann", f.code(t, ann), "by code"), want: done}})
	code = f.code(t, ann)
	if err := f.accounts.SetDisabled(t.Context(), ann.ID, true); err != nil {
		t.Fatal(err)
	}
	f.run(t, []step{{what: "disabled", call: reset("ann", code, "x"), err: wire.WrongCredentials}})
}

// TestResetPasswordConcurrently: of many concurrent tries with the right code, one succeeds.
func TestResetPasswordConcurrently(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	code := f.code(t, f.register(t, "ann"))
	var mu sync.Mutex // guards set
	var set []string
	var wg sync.WaitGroup
	for n := range resetTries {
		wg.Go(func() {
			password := fmt.Sprint("by try ", n)
			err := f.resets.ResetPassword(t.Context(), "ann", code, password)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				set = append(set, password)
			} else if !errors.Is(err, wire.WrongCredentials) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(set) != 1 {
		t.Fatalf("%d tries succeeded, want 1", len(set))
	}
	if _, err := f.accounts.Authenticate(t.Context(), "ann", set[0]); err != nil {
		t.Errorf("the password of the successful try: %v", err)
	}
}
