package bridgetest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// Client is a NATS client that does not reconnect, and records permission errors and the end of its connection.
type Client struct {
	*nats.Conn
	Errs   chan error
	Closed chan struct{} // closed when the connection is
}

// Dial connects to the NATS server at url. inbox is the prefix of inboxes, or "" for the default.
func Dial(url, user, password, inbox string) (*Client, error) {
	c := &Client{Errs: make(chan error, 256), Closed: make(chan struct{})}
	opts := []nats.Option{nats.UserInfo(user, password), nats.NoReconnect(), nats.Timeout(WaitTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Errs <- err }),
		nats.ClosedHandler(func(*nats.Conn) { close(c.Closed) })}
	if inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(inbox))
	}
	var err error
	c.Conn, err = nats.Connect(url, opts...)
	return c, err
}

// Connect is Dial for a test, which closes the connection at its end.
func Connect(t testing.TB, url, user, password, inbox string) *Client {
	t.Helper()
	c, err := Dial(url, user, password, inbox)
	if err != nil {
		t.Fatalf("log in to NATS: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// AddAttachment adds an attachment to a server whose NATS clients connect to url.
func AddAttachment(t testing.TB, s *bridge.Services, url, name string, role kv.Role, filter string) natsauth.Context {
	t.Helper()
	_, c, err := s.Attachments.Add(t.Context(), name, role, filter)
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != url || c.User != name || len(c.Password) < 32 || (c.InboxPrefix == "") != role.IsTrusted() {
		t.Errorf("context: %s %s %s, and a password of %d", c.URL, c.User, c.InboxPrefix, len(c.Password))
	}
	return c
}

// Dial connects with any credentials.
func (s *Server) Dial(user, password string) (*Client, error) {
	return Dial(s.NATS.URL(), user, password, "_INBOX.x")
}

// AddAttachment adds an attachment. Its password is a secret.
func (s *Server) AddAttachment(t testing.TB, name string, role kv.Role, filter string) natsauth.Context {
	t.Helper()
	c := AddAttachment(t, s.Services, s.NATS.URL(), name, role, filter)
	s.Secret(c.Password)
	return c
}

// AsAttachment connects with only the settings of a context.
func (s *Server) AsAttachment(t testing.TB, c natsauth.Context) *Client {
	t.Helper()
	return Connect(t, c.URL, c.User, c.Password, c.InboxPrefix)
}

// AsUser connects with the account and password of a user.
func (s *Server) AsUser(t testing.TB, u User) *Client {
	t.Helper()
	return Connect(t, s.NATS.URL(), u.Account, u.Password, subject.Inbox(u.ID))
}

// ByToken connects with the id and the token of a user.
func (s *Server) ByToken(t testing.TB, u User) *Client {
	t.Helper()
	return Connect(t, s.NATS.URL(), u.ID, u.Token, subject.Inbox(u.ID))
}

// Ask sends a request and returns the text of the answer.
func (c *Client) Ask(t testing.TB, subject, request string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), WaitTimeout)
	defer cancel()
	m, err := c.RequestWithContext(ctx, subject, []byte(request))
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return string(m.Data)
}

// WantAnswer sends a request and compares the answer with want.
func (c *Client) WantAnswer(t testing.TB, subject, request, want string) {
	t.Helper()
	if got := c.Ask(t, subject, request); got != want {
		t.Errorf("%s %s:\n got %s\nwant %s", subject, request, got, want)
	}
}

// WantClosed waits until the server has closed the connection. why is the reason for it.
func (c *Client) WantClosed(t testing.TB, why string) {
	t.Helper()
	select {
	case <-c.Closed:
	case <-time.After(WaitTimeout):
		t.Fatalf("%s: the connection is still open", why)
	}
}
