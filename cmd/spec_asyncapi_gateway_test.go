package cmd

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// gatewayCalls maps the calls of a gateway to the operations of the document.
var gatewayCalls = map[string]string{"register": "registerForGateway", "users": "listForGateway", "open": "openGateway", "online": "bringOnline", "offline": "takeOffline"}

// gateways exchanges the messages of a gateway with a server, and validates them. kept tells that the server keeps
// conversations.
func (a *asyncAPI) gateways(t *testing.T, w *world, s *server, person *member, kept bool) {
	credentials := s.attachment(t, "matrix", kv.RoleGateway, "")
	w.secret(credentials.Password)
	g := s.asAttachment(t, credentials)
	questions := make(chan *nats.Msg, 64)
	for leaf, take := range map[string]nats.MsgHandler{
		"dialogue": func(m *nats.Msg) {
			message := "dialogue"
			switch {
			case string(m.Data) == `{"id":"","from":"","payload":""}`:
				message = "question"
				questions <- m
			case strings.Contains(string(m.Data), `,"n":`):
				message = "keptDialogue"
			}
			a.saw(t, "deliverToGateway", message, m.Data)
			const answer = `{"code":200}`
			a.saw(t, "deliverToGateway/reply", "taken", []byte(answer))
			if err := m.Respond([]byte(answer)); err != nil {
				t.Error(err)
			}
		},
		"notice": func(m *nats.Msg) {
			if (reply{body: string(m.Data)}).code() == 524 {
				a.saw(t, "tellGateway", "friendAdded", m.Data)
			}
		},
	} {
		if _, err := g.Subscribe("im.gateway.matrix."+leaf+".*", take); err != nil {
			t.Fatal(err)
		}
	}
	call := func(name, on, body string, code int, beyond ...bool) (answer struct{ ID, Session string }) {
		t.Helper()
		message := "gateway" + strings.ToUpper(name[:1]) + name[1:]
		a.allows(t, gatewayCalls[name], message+"Call", body, code, len(beyond) > 0)
		got := g.Ask(t, "im.gateway.matrix."+name+on, body)
		a.saw(t, gatewayCalls[name]+"/reply", message+"Answer", []byte(got))
		if (reply{body: got}).code() != code {
			t.Errorf("%s %s: %s, want %d", name, body, got, code)
		}
		if err := json.Unmarshal([]byte(got), &answer); err != nil {
			t.Error(err)
		}
		return answer
	}
	ada := call("register", "", `{"account":"matrix_ada","name":"Ada","sign":null}`, 200).ID
	call("register", "", `{"account":"ada"}`, 403, true) // not one of its accounts
	call("users", "", `{"limit":10}`, 200)
	call("users", "", `{"limit":1001}`, 403)
	session := "." + call("open", "", `{}`, 200).Session
	declared := fmt.Sprintf(`{"users":[%q]}`, ada)
	call("online", session, declared, 200)
	call("online", session, `{"users":"all"}`, 403)
	call("offline", session, declared, 200)
	call("offline", session, `{"users":1}`, 403)
	call("online", session, declared, 200)
	if got := g.Ask(t, "im.gateway.matrix.call."+ada+".request", `{"to":"`+person.id+`"}`); got != replyBody(200) {
		t.Errorf("request: %s", got)
	}
	person.call(t, "add", "from", ada, "name", "Ada").want(t, "add", replyBody(200))
	a.says(t, person.tunnel, dialogue(`"1"`, ada, `"p"`), 200, false)
	select {
	case <-questions:
	case <-time.After(waitTimeout):
		t.Error("the server has not asked whether the gateway is connected")
	}
	want := replyFrame(`"2"`, 200)
	if kept {
		want = `{"code":202,"message":"Dialogue Kept","ok":true,"id":"2","n":2,`
	}
	if got := g.Ask(t, "im.gateway.matrix.send."+ada, dialogue(`"2"`, person.id, `"p"`)); !strings.HasPrefix(got, want) {
		t.Errorf("send: %s", got)
	}
	eventually(t, "the notice", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.seen["tellGateway friendAdded FriendAdded"]
	})
	call("offline", session, `{}`, 200)
	call("open", "", `[]`, 403)
}
