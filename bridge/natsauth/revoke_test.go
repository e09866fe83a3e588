package natsauth_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestRevoked checks that every change that revokes access closes the connections.
func TestRevoked(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	ctx := t.Context()
	stays := s.AsUser(t, s.Register(t))

	byPassword := func(p bridgetest.User) *bridgetest.Client { return s.AsUser(t, p) }
	byToken := func(p bridgetest.User) *bridgetest.Client { return s.ByToken(t, p) }
	for what, c := range map[string]struct {
		connect func(bridgetest.User) *bridgetest.Client
		revoke  func(bridgetest.User) error
	}{
		"disabled": {byPassword, func(p bridgetest.User) error { return s.Accounts.SetDisabled(ctx, p.ID, true) }},
		"deleted":  {byPassword, func(p bridgetest.User) error { return s.Accounts.Delete(ctx, p.ID) }},
		"password": {byPassword, func(p bridgetest.User) error {
			s.Secret("another one")
			return s.Accounts.SetPassword(ctx, p.ID, "another one")
		}},
		"disabled, by token": {byToken, func(p bridgetest.User) error { return s.Accounts.SetDisabled(ctx, p.ID, true) }},
		"logged out":         {byToken, func(p bridgetest.User) error { return s.Accounts.Logout(ctx, p.ID, p.Token) }},
		"profile": {byPassword, func(p bridgetest.User) error {
			s.Secret("yet another")
			if got := call(t, s, p, "POST", "/im/profile/update", map[string]string{"password": "yet another"}); got != replyBody(200) {
				return errors.New(got)
			}
			return nil
		}},
	} {
		p := s.Register(t)
		nc := c.connect(p)
		if err := c.revoke(p); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		nc.WantClosed(t, what)
	}
	for what, revoke := range map[string]func(name string) error{
		"rotated": func(name string) error { _, _, err := s.Attachments.Rotate(ctx, name); return err },
		"removed": func(name string) error { return s.Attachments.Remove(ctx, name) },
	} {
		for _, role := range []kv.Role{kv.RoleConsumer, kv.RoleBridge, kv.RoleAdmin} {
			c := s.AddAttachment(t, what+"-"+string(role), role, "")
			nc := s.AsAttachment(t, c)
			if err := revoke(c.User); err != nil {
				t.Fatal(err)
			}
			nc.WantClosed(t, what)
			if _, err := s.Dial(c.User, c.Password); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s: login as %s: got error %v", what, role, err)
			}
		}
	}
	if err := s.Attachments.Remove(ctx, "removed-admin"); !errors.Is(err, kv.ErrAttachmentNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := stays.FlushTimeout(bridgetest.WaitTimeout); err != nil || stays.IsClosed() {
		t.Errorf("the connection of another user: got error %v", err)
	}
}

// TestRevokedMeanwhile checks that a login during the disabling of the account leaves no connection.
func TestRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p := s.Register(t)
	first := make(chan struct{}, 1)
	all := make(chan []*bridgetest.Client)
	for range 4 {
		go func() {
			var mine []*bridgetest.Client
			for {
				c, err := s.Dial(p.Account, p.Password)
				if err != nil {
					all <- mine
					return
				}
				mine = append(mine, c)
				select {
				case first <- struct{}{}:
				default:
				}
			}
		}()
	}
	<-first
	if err := s.Accounts.SetDisabled(t.Context(), p.ID, true); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, c := range <-all {
			c.WantClosed(t, "disabled")
		}
	}
}

// TestRevokedCrowd closes more connections than fit on one page.
func TestRevokedCrowd(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{ConnectionsPage: 32})
	p := s.Register(t)
	clients := make([]*bridgetest.Client, 75)
	for i := range clients {
		clients[i] = s.ByToken(t, p)
	}
	if err := s.Accounts.SetDisabled(t.Context(), p.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.WantClosed(t, "disabled")
	}
}
