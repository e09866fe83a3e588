package bridge

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// ticket makes the call for a ticket, and returns the answer's code and ticket.
func (n *node) ticket(t testing.TB, fields map[string]any) (wire.Code, string) {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(n.base+"/im/session", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Code    wire.Code
		Ticket  string
		Expires int
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if (got.Code == wire.Success) != (len(got.Ticket) > 64 && got.Expires == 30) {
		t.Errorf("the answer is %s", text)
	}
	return got.Code, got.Ticket
}

func byPassword(u kv.User) map[string]any {
	return map[string]any{"account": u.Account, "password": testPassword}
}

// refused fails the test unless a login with the query is refused with the code.
func (n *node) refused(t testing.TB, what string, query url.Values, code wire.Code) {
	t.Helper()
	_, frame := n.dial(t, query)
	var got wire.Frame
	if err := json.Unmarshal(frame, &got); err != nil || got.Code != code {
		t.Errorf("%s: got %s, %v, want code %d", what, frame, err, code)
	}
}

// TestTickets: a ticket opens one tunnel, on any node. What ends the sessions of a user ends its tickets.
func TestTickets(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, t.TempDir(), -1).ClientURL()
	here, there := startNode(t, server), startNode(t, server)
	users := here.users(t, "u", 1)
	u := users[0]
	taken := func(text string) url.Values { return url.Values{"ticket": {text}} }
	get := func(n *node, fields map[string]any) string {
		t.Helper()
		code, text := n.ticket(t, fields)
		if code != wire.Success {
			t.Fatalf("the call for a ticket is answered %d", code)
		}
		return text
	}

	// All that crosses NATS meanwhile must not have the token.
	nc := natstest.Connect(t, server)
	var mu sync.Mutex
	var crossed strings.Builder
	if _, err := nc.Subscribe(">", func(m *nats.Msg) { mu.Lock(); defer mu.Unlock(); crossed.Write(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	asked := byPassword(u)
	asked["push"] = 1
	first := get(here, asked)
	s := there.open(t, taken(first))
	for _, n := range []*node{here, there} {
		n.refused(t, "the second use", taken(first), wire.WrongCredentials)
	}
	sessions, err := here.services.Cluster.Sessions(t.Context(), cluster.ListSessions{User: u.ID})
	if err != nil || len(sessions) != 1 || !sessions[0].Push {
		t.Errorf("the sessions are %+v, %v, want one with push", sessions, err)
	}
	byToken := map[string]any{"id": u.ID, "token": s.login.Token}
	if again := here.open(t, taken(get(there, byToken))); again.login.Token != s.login.Token {
		t.Error("a login by token with a ticket got another token")
	}
	if own := here.open(t, taken(get(here, byToken))); own.login.Token != s.login.Token {
		t.Error("a login by token with a ticket of the same node got another token")
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if all := crossed.String(); !strings.Contains(all, `"op":"ticket"`) || strings.Contains(all, s.login.Token) || strings.Contains(all, first[:64]) {
		t.Error("NATS carried no command for a ticket, or a secret")
	}
	mu.Unlock()

	for _, row := range []struct {
		what   string
		fields map[string]any
		end    func() error
		code   wire.Code
	}{
		{"after logout", byToken, func() error { return there.services.Accounts.Logout(t.Context(), u.ID, s.login.Token) }, wire.AuthIllegal},
		{"after the end of all sessions", byPassword(u), func() error { return there.services.Accounts.EndOtherSessions(t.Context(), u.ID, "") }, wire.WrongCredentials},
		{"of a disabled account", byPassword(u), func() error { return there.services.Accounts.SetDisabled(t.Context(), u.ID, true) }, wire.WrongCredentials},
		{"after another password", byPassword(u), func() error {
			return there.services.Accounts.SetPassword(t.Context(), u.ID, "another one")
		}, wire.WrongCredentials},
	} {
		if err := there.services.Accounts.SetDisabled(t.Context(), u.ID, false); err != nil {
			t.Fatal(err)
		}
		text := get(here, row.fields)
		if err := row.end(); err != nil {
			t.Fatal(err)
		}
		here.refused(t, row.what, taken(text), row.code)
	}
}

// TestTicketsRefused: the call for a ticket has the codes of a login, and a wrong ticket is a wrong password.
func TestTicketsRefused(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	u := n.users(t, "u", 1)[0]
	never := strings.Repeat("0", 32)
	for _, row := range []struct {
		fields map[string]any
		code   wire.Code
	}{
		{map[string]any{}, wire.WrongCredentials}, {map[string]any{"account": u.Account, "password": "wrong"}, wire.WrongCredentials},
		{map[string]any{"account": "nobody", "password": testPassword}, wire.WrongCredentials},
		{map[string]any{"account": strings.Repeat("u", 65), "password": testPassword}, wire.WrongCredentials},
		{map[string]any{"id": u.ID}, wire.AuthEmpty}, {map[string]any{"token": never}, wire.AccountIDEmpty},
		{map[string]any{"id": u.ID, "token": never}, wire.AuthIllegal},
		{map[string]any{"account": u.Account, "password": testPassword, "id": u.ID, "token": never}, wire.ProtocolError},
		{map[string]any{"account": u.Account, "password": testPassword, "push": 2}, wire.ProtocolError},
		{map[string]any{"account": 1, "password": testPassword}, wire.ProtocolError},
		{map[string]any{"account": u.Account, "password": testPassword, "more": strings.Repeat("x", 64<<10)}, wire.ProtocolError},
	} {
		if code, _ := n.ticket(t, row.fields); code != row.code {
			t.Errorf("%.100v: got code %d, want %d", row.fields, code, row.code)
		}
	}
	secret := strings.Repeat("ab", 32)
	for _, text := range []string{"x", secret, secret + n.node.ID, secret + "0123456789abcdef", secret + "*", secret + "a.b", secret + " ", secret + strings.Repeat("n", 65),
		strings.Repeat("xy", 32) + n.node.ID} {
		n.refused(t, text, url.Values{"ticket": {text}}, wire.WrongCredentials)
	}
	_, text := n.ticket(t, byPassword(u))
	n.refused(t, "beside a password", url.Values{"ticket": {text}, "password": {testPassword}}, wire.ProtocolError)
	n.open(t, url.Values{"ticket": {text}}) // the malformed login has not used it
}
