package im

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// outbox is a Mail that records what it should send.
type outbox struct{ mails []string }

func (o *outbox) SendCode(user string) { o.mails = append(o.mails, "code "+user) }
func (o *outbox) SendNote(user, address string, n Note) {
	o.mails = append(o.mails, fmt.Sprintf("note %s %s %d", user, address, n))
}

// take returns the mails, and forgets them.
func (o *outbox) take() []string {
	mails := o.mails
	o.mails = nil
	return mails
}

func allowAll(string) bool { return true }

// TestMails: a new account and a new address get a code, and the old address, if it was verified, gets a note of each
// change of password and address.
func TestMails(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	mail := new(outbox)
	f.accounts.SetMail(mail)
	create := func(account string, unverified bool) kv.User {
		t.Helper()
		u, err := f.accounts.Register(t.Context(), kv.User{Account: account, Mail: account + "@example.org", MailUnverified: unverified}, password)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	byAdmin, ann := create("admin", false), create("ann", true)
	want := func(what string, mails ...string) {
		t.Helper()
		if got := mail.take(); !slices.Equal(got, mails) {
			t.Errorf("%s: got the mails %q, want %q", what, got, mails)
		}
	}
	want("registration", "code "+ann.ID)
	update := func(u kv.User, p ProfileUpdate) {
		t.Helper()
		right := password
		p.Proof, p.SetProfile = Proof{Password: &right}, func(p *wire.ProfileFields) { p.Sign += "." }
		if err := f.accounts.UpdateProfile(t.Context(), f.current(t, u.ID), p); err != nil {
			t.Fatal(err)
		}
	}
	address, same := "new@example.org", password
	update(ann, ProfileUpdate{Mail: &address, Password: &same})
	want("changes at an address that is not verified", "code "+ann.ID)
	update(byAdmin, ProfileUpdate{Password: &same})
	want("password", fmt.Sprintf("note %s admin@example.org %d", byAdmin.ID, PasswordChanged))
	update(byAdmin, ProfileUpdate{})
	update(byAdmin, ProfileUpdate{Mail: &byAdmin.Mail})
	want("neither")
	update(byAdmin, ProfileUpdate{Mail: &address})
	want("address", fmt.Sprintf("note %s admin@example.org %d", byAdmin.ID, MailChanged), "code "+byAdmin.ID)
	if err := f.accounts.SetPassword(t.Context(), ann.ID, "by the administrator"); err != nil {
		t.Fatal(err)
	}
	want("password by an administrator, no verified address")
	byAdmin = create("other", false)
	if err := f.resets.ResetPassword(t.Context(), "other", f.code(t, byAdmin), "by code"); err != nil {
		t.Fatal(err)
	}
	want("password by code", fmt.Sprintf("note %s other@example.org %d", byAdmin.ID, PasswordChanged))
}

// TestVerifyMail: a code verifies the address that it was mailed to, once, and no other one. An address that is not
// verified gets no code for a forgotten password.
func TestVerifyMail(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.accounts.SetMail(new(outbox))
	ann, err := f.accounts.Register(t.Context(), kv.User{Account: "ann", Mail: "ann@example.org", MailUnverified: true}, password)
	if err != nil {
		t.Fatal(err)
	}
	code := func() string {
		t.Helper()
		address, code, err := f.resets.NewMailCode(t.Context(), ann.ID, allowAll)
		if err != nil || code == "" || address != f.current(t, ann.ID).Mail {
			t.Fatalf("got code %q for %q, %v", code, address, err)
		}
		return code
	}
	forgot := func(what string, want bool) {
		t.Helper()
		_, code, err := f.resets.NewCode(t.Context(), "ann", f.current(t, ann.ID).Mail, allowAll)
		if err != nil || (code != "") != want {
			t.Errorf("%s: got a code for a forgotten password: %t, %v", what, code != "", err)
		}
	}
	verify := func(code string) func(context.Context) error {
		return func(ctx context.Context) error { return f.resets.VerifyMail(ctx, f.current(t, ann.ID), code) }
	}
	forgot("not verified", false)
	f.run(t, []step{{what: "no code", call: verify("AAAA-AAAA"), err: wire.WrongCredentials}})
	old := code()
	if _, refused, err := f.resets.NewMailCode(t.Context(), ann.ID, func(string) bool { return false }); refused != "" || err != nil {
		t.Errorf("over the limit: got a code: %t, %v", refused != "", err)
	}
	address, right := "other@example.org", password
	if err := f.accounts.UpdateProfile(t.Context(), f.current(t, ann.ID), ProfileUpdate{Mail: &address,
		Proof: Proof{Password: &right}, SetProfile: func(*wire.ProfileFields) {}}); err != nil {
		t.Fatal(err)
	}
	f.run(t, []step{{what: "the code of another address", call: verify(old), err: wire.WrongCredentials}})
	replaced, current := code(), code()
	f.run(t, []step{
		{what: "replaced code", call: verify(replaced), err: wire.WrongCredentials},
		{what: "code", call: verify(current)},
		{what: "verified already", call: verify("x")},
	})
	if f.current(t, ann.ID).MailUnverified {
		t.Error("the address is not verified")
	}
	forgot("verified", true)
	if _, again, err := f.resets.NewMailCode(t.Context(), ann.ID, allowAll); again != "" || err != nil {
		t.Errorf("verified: got another code: %t, %v", again != "", err)
	}
	if _, err := f.store.Users.Update(t.Context(), ann.ID, func(u *kv.User) error { u.MailUnverified = true; return nil }); err != nil {
		t.Fatal(err)
	}
	f.run(t, []step{{what: "used code", call: verify(current), err: wire.WrongCredentials}})
	last := code()
	for range resetTries {
		if err := verify("AAAA-AAAA")(t.Context()); !errors.Is(err, wire.WrongCredentials) {
			t.Errorf("wrong code: %v", err)
		}
	}
	f.run(t, []step{{what: "after too many wrong ones", call: verify(last), err: wire.WrongCredentials}})
}

// TestWithoutMail: on a server that sends no mail, every address counts as verified, also when it sends mail later.
func TestWithoutMail(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, err := f.accounts.Register(t.Context(), kv.User{Account: "ann", Mail: "ann@example.org", MailUnverified: true}, password)
	if err != nil || ann.MailUnverified {
		t.Errorf("unverified: %t, %v", ann.MailUnverified, err)
	}
	address, right := "other@example.org", password
	if err := f.accounts.UpdateProfile(t.Context(), ann, ProfileUpdate{Mail: &address,
		Proof: Proof{Password: &right}, SetProfile: func(*wire.ProfileFields) {}}); err != nil {
		t.Fatal(err)
	}
	if f.current(t, ann.ID).MailUnverified {
		t.Error("the new address is not verified")
	}
}
