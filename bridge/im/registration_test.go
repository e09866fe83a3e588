package im

import (
	"errors"
	"testing"

	"imctl/kv"
)

// TestRegisterClient: a refused client causes no hash and learns nothing about accounts, and a failed registration does
// not use the invite.
func TestRegisterClient(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.register(t, "ann")
	_, invite, err := f.store.Invites.Create(t.Context(), kv.Invite{Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	if mode := f.accounts.Registration(); mode != RegistrationOpen {
		t.Errorf("the default is %s", mode)
	}
	for _, row := range []struct {
		what            string
		mode            Registration
		account, invite string
		err             error
	}{
		{what: "closed", mode: RegistrationClosed, account: "bob", invite: invite, err: ErrNotInvited},
		{what: "closed, a taken account", mode: RegistrationClosed, account: "ann", invite: invite, err: ErrNotInvited},
		{what: "no invite", mode: RegistrationInvite, account: "bob", err: ErrNotInvited},
		{what: "no invite, a taken account", mode: RegistrationInvite, account: "ann", err: ErrNotInvited},
		{what: "unknown invite", mode: RegistrationInvite, account: "ann", invite: "x" + invite, err: ErrNotInvited},
		{what: "open, an invite that is not used", mode: RegistrationOpen, account: "eve", invite: invite},
		{what: "a taken account", mode: RegistrationInvite, account: "ann", invite: invite, err: kv.ErrAccountExists},
		{what: "invited", mode: RegistrationInvite, account: "bob", invite: invite},
		{what: "used up", mode: RegistrationInvite, account: "carol", invite: invite, err: ErrNotInvited},
		{what: "unknown mode", mode: "other", account: "carol", invite: invite, err: ErrNotInvited},
	} {
		f.accounts.SetRegistration(row.mode)
		_, err := f.accounts.RegisterClient(t.Context(), kv.User{Account: row.account}, password, row.invite, "192.0.2.1")
		if !errors.Is(err, row.err) {
			t.Errorf("%s: got %v, want %v", row.what, err, row.err)
		}
	}
	f.accounts.SetRegistration(RegistrationClosed)
	if _, err := f.accounts.Register(t.Context(), kv.User{Account: "dan"}, password); err != nil {
		t.Errorf("an administrator: %v", err)
	}
}
