package cmd

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// natsListener enables the listener for NATS clients.
func natsListener(c *Config) { c.NATS.Listen = "127.0.0.1:0" }

// newNATSWorld returns a world on a server with a NATS listener.
func newNATSWorld(t *testing.T, change ...func(*Config)) (*world, *server) {
	t.Helper()
	s := start(t, append(change, natsListener)...)
	return newWorld(t, s), s
}

func (s *server) natsURL() string { return s.app.backend.server.URL() }

// natsClient is a NATS client that records permission errors and the end of the connection.
type natsClient struct {
	*nats.Conn
	inbox  string
	errs   chan error
	closed chan struct{}
}

// dialNATS connects to the NATS listener, without reconnecting.
func (s *server) dialNATS(user, password, inbox string) (*natsClient, error) {
	c := &natsClient{inbox: inbox, errs: make(chan error, 256), closed: make(chan struct{})}
	var err error
	c.Conn, err = nats.Connect(s.natsURL(), nats.UserInfo(user, password), nats.CustomInboxPrefix(inbox), nats.NoReconnect(), nats.Timeout(waitTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.errs <- err }),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }))
	return c, err
}

func (s *server) natsClient(t testing.TB, user, password, inbox string) *natsClient {
	t.Helper()
	c, err := s.dialNATS(user, password, inbox)
	if err != nil {
		t.Fatalf("log in to NATS: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// attachment adds an attachment and returns its context.
func (s *server) attachment(t testing.TB, name string, role kv.Role, filter string) natsauth.Context {
	t.Helper()
	_, c, err := s.services().Attachments.Add(t.Context(), name, role, filter)
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != s.natsURL() || c.User != name || len(c.Password) < 32 || (c.InboxPrefix == "") != (role != kv.RoleConsumer) {
		t.Errorf("context: %s %s %s, and a password of %d", c.URL, c.User, c.InboxPrefix, len(c.Password))
	}
	return c
}

// asAttachment connects with only the settings of a context.
func (s *server) asAttachment(t testing.TB, c natsauth.Context) *natsClient {
	t.Helper()
	if c.InboxPrefix == "" {
		c.InboxPrefix = nats.InboxPrefix[:len(nats.InboxPrefix)-1]
	}
	return s.natsClient(t, c.User, c.Password, c.InboxPrefix)
}

// asUser connects with the account and password of a user.
func (s *server) asUser(t testing.TB, p *member) *natsClient {
	t.Helper()
	return s.natsClient(t, p.account, p.password, subject.Inbox(p.id))
}

func (c *natsClient) wantClosed(t testing.TB, why string) {
	t.Helper()
	select {
	case <-c.closed:
	case <-time.After(waitTimeout):
		t.Fatalf("%s: the connection is still open", why)
	}
}

// TestNATSLogin checks that the error is the same for all invalid credentials.
func TestNATSLogin(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p, other := w.newMember(t, 0), w.newMember(t, 0)
	p.login(t)
	other.login(t)
	disabled := w.newMember(t, 0)
	disabled.login(t)
	if err := s.services().Accounts.SetDisabled(t.Context(), disabled.id, true); err != nil {
		t.Fatal(err)
	}
	archive := s.attachment(t, "archive", kv.RoleConsumer, "")
	w.secret(archive.Password)
	admin := s.app.backend.server
	for what, c := range map[string]struct {
		user, password string
		good           bool
	}{
		"account and password":               {p.account, p.password, true},
		"account in capitals":                {strings.ToUpper(p.account), p.password, true},
		"id and token":                       {p.id, p.token, true},
		"id and password":                    {p.id, p.password, true},
		"attachment":                         {archive.User, archive.Password, true},
		"nothing":                            {"", "", false},
		"no password":                        {p.account, "", false},
		"a wrong password":                   {p.account, p.password + "x", false},
		"an unknown account":                 {"nobody", p.password, false},
		"another's password":                 {p.account, other.password, false},
		"another's token":                    {p.id, other.token, false},
		"account and token":                  {p.account, p.token, false},
		"an unknown id":                      {kv.NewID(), p.token, false},
		"a token of nobody":                  {p.id, kv.NewID(), false},
		"a disabled account":                 {disabled.account, disabled.password, false},
		"a disabled account's id":            {disabled.id, disabled.password, false},
		"a disabled account's token":         {disabled.id, disabled.token, false},
		"a wrong secret":                     {archive.User, kv.NewID() + kv.NewID(), false},
		"an unknown attachment":              {"archives", archive.Password, false},
		"an attachment's name as a pattern":  {"*", archive.Password, false},
		"a connection's name":                {"attach:archive", archive.Password, false},
		"a user's connection's name":         {"user:" + p.id, p.password, false},
		"the callout's user":                 {"auth", admin.URL(), false},
		"the system's user, a user's secret": {"sys", p.password, false},
		"the administrator's name":           {"admin", archive.Password, false},
	} {
		nc, err := s.dialNATS(c.user, c.password, "_INBOX.x")
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
		if _, _, err := s.services().Attachments.Add(t.Context(), name, kv.RoleAdmin, ""); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("attachment %q: %v", name, err)
		}
	}
	for _, c := range []struct{ role, filter string }{{"consumer", "a..b"}, {"consumer", "a b"}, {"consumer", ">.a"}, {"consumer", "a*"}, {"bridge", "a"}, {"root", ""}} {
		if _, _, err := s.services().Attachments.Add(t.Context(), "x", kv.Role(c.role), c.filter); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("role %s, filter %q: %v", c.role, c.filter, err)
		}
	}
}

// TestNATSLoginLimit checks that failed logins through NATS count like those through HTTP, and do not affect
// attachments.
func TestNATSLoginLimit(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t, func(c *Config) { c.Limits.LoginFailures = Rate{3, time.Hour} })
	p := w.newMember(t, 0)
	archive := s.attachment(t, "archive", kv.RoleConsumer, "")
	for n := range 3 {
		if _, err := s.dialNATS(p.account, fmt.Sprint("wrong", n), "_INBOX.x"); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatal(err)
		}
	}
	if _, err := s.dialNATS(p.account, p.password, "_INBOX.x"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("after too many failures: %v", err)
	}
	tunnel := w.dial(t, 0, "/im/login?"+query("account", p.account, "password", p.password))
	tunnel.want(t, replyBody(403))
	s.asAttachment(t, archive)
}

// TestNATSLoginExpires checks that a connection ends when its token expires.
func TestNATSLoginExpires(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t, func(c *Config) { c.Tokens.TTL = 3 * time.Second })
	p := w.newMember(t, 0)
	p.login(t)
	byToken := s.natsClient(t, p.id, p.token, subject.Inbox(p.id))
	byPassword := s.asUser(t, p)
	byToken.wantClosed(t, "the token has expired")
	if byPassword.IsClosed() {
		t.Error("the connection with a password was closed too")
	}
}

// TestNATSRevoked checks that every change that revokes access closes the connections.
func TestNATSRevoked(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	ctx, services := t.Context(), s.services()
	bystander := w.newMember(t, 0)
	bystander.login(t)
	stays := s.asUser(t, bystander)

	byPassword := func(p *member) *natsClient { return s.asUser(t, p) }
	byToken := func(p *member) *natsClient { return s.natsClient(t, p.id, p.token, subject.Inbox(p.id)) }
	for what, c := range map[string]struct {
		connect func(*member) *natsClient
		revoke  func(*member) error
	}{
		"disabled": {byPassword, func(p *member) error { return services.Accounts.SetDisabled(ctx, p.id, true) }},
		"deleted":  {byPassword, func(p *member) error { return services.Accounts.Delete(ctx, p.id) }},
		"password": {byPassword, func(p *member) error {
			w.secret("another one")
			return services.Accounts.SetPassword(ctx, p.id, "another one")
		}},
		"disabled, by token": {byToken, func(p *member) error { return services.Accounts.SetDisabled(ctx, p.id, true) }},
		"logged out":         {byToken, func(p *member) error { return services.Accounts.Logout(ctx, p.id, p.token) }},
		"profile": {byPassword, func(p *member) error {
			w.secret("yet another")
			w.do(t, 0, "POST", "/im/profile/update", `{"id":"`+p.id+`","token":"`+p.token+`","password":"yet another"}`).want(t, "profile", replyBody(200))
			return nil
		}},
	} {
		p := w.newMember(t, 0)
		p.login(t)
		nc := c.connect(p)
		if err := c.revoke(p); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		nc.wantClosed(t, what)
	}
	for what, revoke := range map[string]func(name string) error{
		"rotated": func(name string) error { _, _, err := services.Attachments.Rotate(ctx, name); return err },
		"removed": func(name string) error { return services.Attachments.Remove(ctx, name) },
	} {
		for _, role := range []kv.Role{kv.RoleConsumer, kv.RoleBridge, kv.RoleAdmin} {
			c := s.attachment(t, what+"-"+string(role), role, "")
			nc := s.asAttachment(t, c)
			if err := revoke(c.User); err != nil {
				t.Fatal(err)
			}
			nc.wantClosed(t, what)
			if _, err := s.dialNATS(c.User, c.Password, "_INBOX.x"); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s: login as %s: got error %v", what, role, err)
			}
		}
	}
	if err := services.Attachments.Remove(ctx, "removed-admin"); !errors.Is(err, kv.ErrAttachmentNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := stays.FlushTimeout(waitTimeout); err != nil || stays.IsClosed() {
		t.Errorf("the connection of another user: got error %v", err)
	}
}

// TestNATSRevokedMeanwhile checks that a login during the disabling of the account leaves no connection.
func TestNATSRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p := w.newMember(t, 0)
	p.login(t)
	first := make(chan struct{}, 1)
	all := make(chan []*natsClient)
	for range 4 {
		go func() {
			var mine []*natsClient
			for {
				c, err := s.dialNATS(p.account, p.password, "_INBOX.x")
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
	if err := s.services().Accounts.SetDisabled(t.Context(), p.id, true); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, c := range <-all {
			c.wantClosed(t, "disabled")
		}
	}
}

// TestNATSRevokedCrowd closes more connections than fit on one page.
func TestNATSRevokedCrowd(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p := w.newMember(t, 0)
	p.login(t)
	clients := make([]*natsClient, 1100)
	for i := range clients {
		clients[i] = s.natsClient(t, p.id, p.token, "_INBOX.x")
	}
	if err := s.services().Accounts.SetDisabled(t.Context(), p.id, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.wantClosed(t, "disabled")
	}
}
