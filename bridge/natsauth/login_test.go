package natsauth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/kv"
)

// TestLogin checks that the error is the same for all invalid credentials.
func TestLogin(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p, other, disabled := s.Register(t), s.Register(t), s.Register(t)
	if err := s.Accounts.SetDisabled(t.Context(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	archive := s.AddAttachment(t, "archive", kv.RoleConsumer, "")
	for what, c := range map[string]struct {
		user, password string
		good           bool
	}{
		"account and password":               {p.Account, p.Password, true},
		"account in capitals":                {strings.ToUpper(p.Account), p.Password, true},
		"id and token":                       {p.ID, p.Token, true},
		"id and password":                    {p.ID, p.Password, true},
		"attachment":                         {archive.User, archive.Password, true},
		"nothing":                            {"", "", false},
		"no password":                        {p.Account, "", false},
		"a wrong password":                   {p.Account, p.Password + "x", false},
		"an unknown account":                 {"nobody", p.Password, false},
		"another's password":                 {p.Account, other.Password, false},
		"another's token":                    {p.ID, other.Token, false},
		"account and token":                  {p.Account, p.Token, false},
		"an unknown id":                      {kv.NewID(), p.Token, false},
		"an unknown token":                   {p.ID, kv.NewID(), false},
		"a disabled account":                 {disabled.Account, disabled.Password, false},
		"a disabled account's id":            {disabled.ID, disabled.Password, false},
		"a disabled account's token":         {disabled.ID, disabled.Token, false},
		"a wrong secret":                     {archive.User, kv.NewID() + kv.NewID(), false},
		"an unknown attachment":              {"archives", archive.Password, false},
		"an attachment's name as a pattern":  {"*", archive.Password, false},
		"a connection's name":                {"attach:archive", archive.Password, false},
		"a user's connection's name":         {"user:" + p.ID, p.Password, false},
		"the callout's user":                 {"auth", s.NATS.URL(), false},
		"the system's user, a user's secret": {"sys", p.Password, false},
		"the administrator's name":           {"admin", archive.Password, false},
	} {
		nc, err := s.Dial(c.user, c.password)
		switch {
		case c.good && err != nil:
			t.Errorf("%s: %v", what, err)
		case !c.good && !errors.Is(err, nats.ErrAuthorization):
			t.Errorf("%s: got %v, want %v", what, err, nats.ErrAuthorization)
		}
		if err == nil {
			nc.Close()
		}
	}
	// The names of static users are reserved.
	for _, name := range []string{"admin", "bridge", "auth", "sys", "a.b", ""} {
		if _, _, err := s.Attachments.Add(t.Context(), name, kv.RoleAdmin, ""); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("attachment %q: %v", name, err)
		}
	}
	for _, c := range []struct{ role, filter string }{{"consumer", "a..b"}, {"consumer", "a b"}, {"consumer", ">.a"}, {"consumer", "a*"}, {"bridge", "a"}, {"root", ""}} {
		if _, _, err := s.Attachments.Add(t.Context(), "x", kv.Role(c.role), c.filter); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("role %s, filter %q: %v", c.role, c.filter, err)
		}
	}
}

// TestLoginLimit checks that failed logins through NATS count like those through HTTP, and do not affect
// attachments.
func TestLoginLimit(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{Limits: governor.Options{LoginFailures: governor.Rate{Events: 3, Per: time.Hour}}})
	p := s.Register(t)
	archive := s.AddAttachment(t, "archive", kv.RoleConsumer, "")
	for n := range 3 {
		if _, err := s.Dial(p.Account, fmt.Sprint("wrong", n)); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatal(err)
		}
	}
	// The connection is closed without a refusal: these credentials are not checked.
	if _, err := s.Dial(p.Account, p.Password); err == nil || errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("after too many failures: %v", err)
	}
	s.OpenSession(t, p).Want(t, replyBody(403))
	s.AsAttachment(t, archive)
}

// TestLoginExpires checks that a connection ends when its token expires.
func TestLoginExpires(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{TokenTTL: 3 * time.Second})
	p := s.Register(t)
	byToken := s.ByToken(t, p)
	byPassword := s.AsUser(t, p)
	byToken.WantClosed(t, "the token has expired")
	if byPassword.IsClosed() {
		t.Error("the connection with a password was closed too")
	}
	// The bucket drops the token at about the same time. The server stops after that, not during it.
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is removed", func() bool {
		stream, err := js.Stream(t.Context(), "KV_im_tokens")
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
}
