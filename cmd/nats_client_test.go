package cmd

import (
	"testing"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// natsListener enables the listener for NATS clients.
func natsListener(c *Config) { c.NATS.Listen = "127.0.0.1:0" }

// newNATSWorld returns a world on a server with a NATS listener.
func newNATSWorld(t *testing.T, more ...func(*Config)) (*world, *server) {
	t.Helper()
	s := start(t, append(more, natsListener)...)
	return newWorld(t, s), s
}

func (s *server) natsURL() string { return s.app.backend.server.URL() }

// attachment adds an attachment and returns its context.
func (s *server) attachment(t testing.TB, name string, role kv.Role, filter string) natsauth.Context {
	t.Helper()
	return bridgetest.AddAttachment(t, s.services(), s.natsURL(), name, role, filter)
}

// asAttachment connects with the credentials of a context, which may be from another server.
func (s *server) asAttachment(t testing.TB, c natsauth.Context) *bridgetest.Client {
	t.Helper()
	return bridgetest.Connect(t, s.natsURL(), c.User, c.Password, c.InboxPrefix)
}

// asUser connects with the account and password of a user.
func (s *server) asUser(t testing.TB, p *member) *bridgetest.Client {
	t.Helper()
	return bridgetest.Connect(t, s.natsURL(), p.account, p.password, subject.Inbox(p.id))
}
