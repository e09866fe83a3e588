package natsauth_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/kv"
)

// floodCalls is how many calls of a kind a program makes in one go. allowedCalls of them are within its rate, divided by
// what a call counts as.
const (
	floodCalls   = 1500
	allowedCalls = 200
)

// hourly returns a rate that does not recover during a test.
func hourly(n int) governor.Rate { return governor.Rate{Events: n, Per: 100 * time.Hour} }

// crowd is a server with users that programs ask for.
type crowd struct {
	*bridgetest.Server
	ids   []string // of the users
	other *bridgetest.Client
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{Server: bridgetest.Start(t, bridgetest.Options{})}
	users := make([]kv.User, 100)
	for n := range users {
		users[n] = kv.User{Account: fmt.Sprintf("person-%d", n), Profile: kv.Profile{Name: fmt.Sprintf("Person %d", n)}}
	}
	for _, r := range c.Accounts.Restore(t.Context(), users) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		c.ids = append(c.ids, r.User.ID)
	}
	c.other = c.AsAttachment(t, c.AddAttachment(t, "other", kv.RoleReader, ""))
	return c
}

// attach adds a program, and returns its client and the id of the user that it speaks for, which a reader has not.
func (c *crowd) attach(t *testing.T, name string, role kv.Role) (*bridgetest.Client, string) {
	t.Helper()
	if role == kv.RoleService {
		self := c.Register(t)
		return c.AsAttachment(t, c.AddService(t, name, self, true)), self.ID
	}
	client := c.AsAttachment(t, c.AddAttachment(t, name, role, ""))
	if role == kv.RoleReader {
		return client, ""
	}
	var registered struct{ ID string }
	body := client.Ask(t, "im.gateway."+name+".register", `{"account":"`+name+`_ada"}`)
	if err := json.Unmarshal([]byte(body), &registered); err != nil || !kv.ValidID(registered.ID) {
		t.Fatalf("register: %s, %v", body, err)
	}
	return client, registered.ID
}

// openSession opens a session of a gateway.
func openSession(t *testing.T, by *bridgetest.Client, name string) string {
	t.Helper()
	var opened struct{ Session string }
	body := by.Ask(t, "im.gateway."+name+".open", `{}`)
	if err := json.Unmarshal([]byte(body), &opened); err != nil || opened.Session == "" {
		t.Fatalf("open: %s, %v", body, err)
	}
	return opened.Session
}

// flooding is a flood of calls. answers gets all answers.
type flooding struct {
	name    string
	answers chan *nats.Msg
}

// flood makes floodCalls calls, and does not wait for the answers.
func flood(t *testing.T, by *bridgetest.Client, name, subject, body string) flooding {
	t.Helper()
	f := flooding{name, make(chan *nats.Msg, floodCalls)}
	inbox := by.NewInbox()
	if _, err := by.ChanSubscribe(inbox, f.answers); err != nil {
		t.Fatal(err)
	}
	for range floodCalls {
		if err := by.PublishRequest(subject, inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := by.Flush(); err != nil { // the server has them all
		t.Fatal(err)
	}
	return f
}

// want waits for all answers. It checks that all but the allowed calls were refused, and told when to try again.
func (f flooding) want(t *testing.T, allowed int) {
	t.Helper()
	served, timeout := 0, time.After(2*bridgetest.WaitTimeout)
	for n := range floodCalls {
		var m *nats.Msg
		select {
		case m = <-f.answers:
		case <-timeout:
			t.Fatalf("%s: %d of %d calls are answered", f.name, n, floodCalls)
		}
		wait := m.Header.Get("Retry-After")
		if seconds, err := strconv.Atoi(wait); wait != "" && (err != nil || seconds < 1) {
			t.Fatalf("%s: Retry-After: %q", f.name, wait)
		}
		// A dialogue is refused as for a session, and has waited for its sender's rate before.
		late := strings.HasPrefix(string(m.Data), `{"code":507,`)
		refused := late || strings.HasPrefix(string(m.Data), `{"code":403,"message":"Protocol Error","ok":false`)
		if (refused && !late) != (wait != "") {
			t.Fatalf("%s: the answer %s has Retry-After %q", f.name, m.Data, wait)
		}
		if !refused {
			served++
		}
	}
	if served != allowed {
		t.Errorf("%s: %d calls are served, want %d", f.name, served, allowed)
	}
}

// people has people log in, call and talk, and another program call, and fails the test unless all of them are served.
func (c *crowd) people(t *testing.T) {
	t.Helper()
	a, b := c.RegisterFriends(t)
	here, _ := c.Login(t, a)
	there, _ := c.Login(t, b)
	if got := call(t, c.Server, a, "GET", "/im/friends/blocked", nil); !strings.Contains(got, `"code":200,`) {
		t.Errorf("a call: %s", got)
	}
	here.Send(t, dialogue(`"1"`, b.ID, `"hello"`))
	there.Want(t, dialogueFrame(`"1"`, a.ID, `"hello"`))
	here.Want(t, replyFrame(`"1"`, 200))
	bot := c.AsUser(t, c.Register(t))
	defer bot.Close()
	if got := ask(t, c.other, "other", "log", ""); got.Code != 200 {
		t.Errorf("a call of another program: %+v", got)
	}
	here.Close(t)
	there.Close(t)
}

// TestPrograms has a program of each role flood the server with each kind of its calls, while people log in, call and
// talk, and another program calls.
func TestPrograms(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	hundred := `{"ids":["` + strings.Join(c.ids, `","`) + `"]}`
	for n, row := range []struct {
		role                kv.Role
		name, subject, body string
		counts              int // as how many calls
	}{
		{kv.RoleReader, "users", "im.read.NAME.users", `{}`, 10},
		{kv.RoleReader, "user", "im.read.NAME.user", `{"account":"person-7"}`, 1},
		{kv.RoleReader, "friends", "im.read.NAME.friends", `{"id":"` + c.ids[0] + `"}`, 1},
		{kv.RoleReader, "presence of 100", "im.read.NAME.presence", hundred, 11},
		{kv.RoleReader, "presence of one", "im.read.NAME.presence", `{"ids":["` + c.ids[0] + `"]}`, 1},
		{kv.RoleReader, "log", "im.read.NAME.log", ``, 1},
		{kv.RoleService, "users for a service", "im.read.NAME.users", `{}`, 10},
		{kv.RoleService, "self", "im.service.NAME.self", ``, 1},
		{kv.RoleService, "befriend", "im.service.NAME.befriend", `{"id":"` + c.ids[1] + `"}`, 1},
		{kv.RoleService, "call of a user", "im.call.USER.info", `{}`, 1},
		{kv.RoleGateway, "users of a gateway", "im.gateway.NAME.users", `{}`, 100},
		{kv.RoleGateway, "register", "im.gateway.NAME.register", `{"account":"NAME_ada"}`, 1},
		{kv.RoleGateway, "call of a gateway", "im.gateway.NAME.call.USER.info", `{}`, 1},
		{kv.RoleGateway, "open", "im.gateway.NAME.open", `{}`, 100},
		{kv.RoleGateway, "online", "im.gateway.NAME.online.SESSION", strings.Replace(hundred, "ids", "users", 1), 11},
		{kv.RoleService, "send", "im.send.USER", dialogue(`"1"`, c.ids[0], `"x"`), 1},
		{kv.RoleGateway, "send of a gateway", "im.gateway.NAME.send.USER", dialogue(`"1"`, c.ids[0], `"x"`), 1},
	} {
		c.SetLimits(governor.Options{})
		name := fmt.Sprintf("%s-%d", row.role, n)
		by, user := c.attach(t, name, row.role)
		session := ""
		if row.name == "online" {
			session = openSession(t, by, name)
		}
		rate := hourly(allowedCalls)
		c.SetLimits(governor.Options{ProgramCalls: rate, GatewayCalls: rate, Calls: rate, Dialogues: rate, GatewayDialogues: rate})
		filled := strings.NewReplacer("NAME", name, "USER", user, "SESSION", session)
		f := flood(t, by, row.name, filled.Replace(row.subject), filled.Replace(row.body))
		c.people(t)
		f.want(t, allowedCalls/row.counts)
	}
}
