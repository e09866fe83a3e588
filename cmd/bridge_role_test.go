package cmd

import (
	"net/url"
	"strings"
	"testing"

	"imctl/kv"
)

// TestNATSBridgeRole attaches a second server with an attachment of role bridge. Both servers serve the same users.
func TestNATSBridgeRole(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	c := s.attachment(t, "second", kv.RoleBridge, "")
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(c.User, c.Password)
	second := start(t, func(config *Config) { config.NATS.URL = u.String() })
	w2 := newWorld(t, second)
	w2.secret(c.Password)
	a, b := w.newMember(t, 0), w2.newMember(t, 0)
	a.login(t)
	b.login(t)
	a.befriend(t, b)
	a.tunnel.send(t, dialogue(`"1"`, b.id, `"over there"`))
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"over there"`))
	a.tunnel.want(t, replyFrame(`"1"`, 200))
	b.tunnel.send(t, dialogue(`"2"`, a.id, `"over here"`))
	a.tunnel.want(t, dialogueFrame(`"2"`, b.id, `"over here"`))
	b.tunnel.want(t, replyFrame(`"2"`, 200))
	// A change on one server is in force on the other, and closes NATS connections that only the other can close.
	client := s.asUser(t, a)
	if err := second.services().Accounts.SetDisabled(t.Context(), a.id, true); err != nil {
		t.Fatal(err)
	}
	a.tunnel.wantClose(t, 1008)
	client.WantClosed(t, "disabled")
	for what, log := range map[string]string{"first": s.log.String(), "second": second.log.String()} {
		if strings.Contains(strings.ToLower(log), "permissions violation") {
			t.Errorf("the %s server lacks a permission: %s", what, log)
		}
	}
	if !strings.Contains(second.log.String(), "second"+calloutSuffix) {
		t.Error("the second server does not log that NATS clients cannot log in")
	}
}
