package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/gateway"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
	"imctl/kv"
)

// program is a gateway in a test.
type program struct {
	*bridgetest.Client
	name      string
	session   string
	dialogues chan *nats.Msg
	notices   chan *nats.Msg
}

// attach adds a gateway and connects as its program.
func attach(t *testing.T, s *bridgetest.Server, name string) *program {
	t.Helper()
	return connect(t, &program{Client: s.AsAttachment(t, s.AddAttachment(t, name, kv.RoleGateway, "")), name: name})
}

// connect subscribes to what the server relays.
func connect(t *testing.T, p *program) *program {
	t.Helper()
	p.dialogues, p.notices = make(chan *nats.Msg, 1024), make(chan *nats.Msg, 1024)
	for leaf, in := range map[string]chan *nats.Msg{"dialogue": p.dialogues, "notice": p.notices} {
		if _, err := p.ChanSubscribe("im.gateway."+p.name+"."+leaf+".*", in); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	return p
}

// call makes a call of the gateway.
func (p *program) call(t *testing.T, call string, request any) (r gateway.Result) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.Ask(t, "im.gateway."+p.name+"."+call, string(body))), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// want makes a call whose answer has that code.
func (p *program) want(t *testing.T, code wire.Code, call string, request any) gateway.Result {
	t.Helper()
	r := p.call(t, call, request)
	if r.Code != code || r.OK != code.OK() || r.Message != code.Message() {
		t.Fatalf("%s %v: %+v, want %v", call, request, r, code)
	}
	return r
}

// object is a JSON object.
type object = map[string]any

// user registers a user of the gateway and returns its id.
func (p *program) user(t *testing.T, account string) string {
	t.Helper()
	return p.want(t, wire.Success, "register", object{"account": account}).ID
}

// open opens a session.
func (p *program) open(t *testing.T) {
	t.Helper()
	p.session = p.want(t, wire.Success, "open", object{}).Session
}

// online brings users online.
func (p *program) online(t *testing.T, users ...string) {
	t.Helper()
	if r := p.want(t, wire.Success, "online."+p.session, object{"users": users}); len(r.Refused) > 0 {
		t.Fatalf("refused: %v", r.Refused)
	}
}

// next returns the next dialogue that is no question whether the gateway is there.
func (p *program) next(t *testing.T) *nats.Msg {
	t.Helper()
	timeout := time.After(bridgetest.WaitTimeout)
	for {
		select {
		case m := <-p.dialogues:
			if strings.Contains(string(m.Data), `"from":""`) {
				continue
			}
			return m
		case <-timeout:
			t.Fatal("no dialogue")
		}
	}
}

// answer answers the next dialogue.
func (p *program) answer(t *testing.T, reply string) string {
	t.Helper()
	m := p.next(t)
	if err := m.Respond([]byte(reply)); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(m.Subject, "im.gateway."+p.name+".dialogue.") + " " + string(m.Data)
}

func TestUsersOfGateway(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{GatewayUsers: 3})
	p, other := attach(t, s, "matrix"), attach(t, s, "xmpp")
	ada := p.want(t, wire.Success, "register", object{"account": "matrix_Ada", "name": "Ada", "sign": "from afar"}).ID
	if again := p.user(t, "MATRIX_ada"); again != ada {
		t.Errorf("registered again: %s, want %s", again, ada)
	}
	u, err := s.Store.Users.Get(t.Context(), ada)
	if err != nil || u.Gateway != "matrix" || u.PasswordHash != "" || u.Name != "Ada" || u.Sign != "from afar" || u.Account != "matrix_Ada" {
		t.Errorf("record: %+v, %v", u, err)
	}
	person := s.Register(t)
	for account, code := range map[string]wire.Code{"ada": wire.ProtocolError, "xmpp_ada": wire.ProtocolError, "matrix_": wire.ProtocolError, "": wire.AccountEmpty, "matrix_a\u0000": wire.ProtocolError} {
		p.want(t, code, "register", object{"account": account})
	}
	p.want(t, wire.ProtocolError, "register", "no object")

	// Only the gateway registers its accounts, and no client logs in to them.
	if _, err := s.Accounts.RegisterClient(t.Context(), kv.User{Account: "Matrix_eve", Mail: "eve@example.org"}, "correct horse", "", ""); err == nil {
		t.Error("a client has registered an account of the gateway")
	}
	if _, err := s.Accounts.Authenticate(t.Context(), "matrix_ada", ""); err != wire.WrongCredentials {
		t.Errorf("login without a password: %v", err)
	}

	// The gateway changes its own users and no others.
	rename := func(by *program, id, name string) string {
		return by.Ask(t, "im.gateway."+by.name+".call."+id+".profile", fmt.Sprintf(`{"name":%q}`, name))
	}
	const done, illegal = `{"code":200,"message":"Success","ok":true}`, `{"code":515,"message":"Auth Illegal","ok":false}`
	for _, row := range []struct {
		by   *program
		id   string
		want string
	}{{p, ada, done}, {other, ada, illegal}, {p, person.ID, illegal}, {p, kv.NewID(), illegal}, {p, "x", illegal}} {
		if got := rename(row.by, row.id, "Countess"); got != row.want {
			t.Errorf("%s renames %s: %s, want %s", row.by.name, row.id, got, row.want)
		}
	}
	if u, err := s.Store.Users.Get(t.Context(), ada); err != nil || u.Name != "Countess" {
		t.Errorf("renamed: %+v, %v", u, err)
	}
	const malformed = `{"code":403,"message":"Protocol Error","ok":false}`
	for call, body := range map[string]string{"profile": `{"password":"correct horse"}`, "sessions": "{}", "end": "{}", "none": "{}"} {
		p.WantAnswer(t, "im.gateway.matrix.call."+ada+"."+call, body, malformed)
	}
	p.WantAnswer(t, "im.gateway.matrix.call."+ada+".profile", `{"mail":"a@example.org"}`, malformed)

	ben, cleo := p.user(t, "matrix_ben"), p.user(t, "matrix_cleo")
	p.want(t, wire.QuotaExceeded, "register", object{"account": "matrix_dora"})
	first := p.want(t, wire.Success, "users", object{"limit": 2})
	second := p.want(t, wire.Success, "users", object{"after": first.Next})
	var listed []string
	for _, u := range append(first.Users, second.Users...) {
		listed = append(listed, u.ID+" "+u.Account)
	}
	if got, want := strings.Join(listed, ","), strings.Join([]string{ada + " matrix_Ada", ben + " matrix_ben", cleo + " matrix_cleo"}, ","); got != want || second.Next != "" {
		t.Errorf("users: %s, next %q, want %s", got, second.Next, want)
	}
	p.WantAnswer(t, "im.gateway.matrix.call."+cleo+".delete", "{}", done)
	waitFor(t, "the deletion", func() bool { n, err := s.Store.Users.CountOwned(t.Context(), "matrix"); return err == nil && n == 2 })
	p.user(t, "matrix_cleo")
	if n, err := s.Store.Users.CountOwned(t.Context(), "xmpp"); n != 0 || err != nil {
		t.Errorf("users of the other gateway: %d, %v", n, err)
	}
}

// waitFor calls done until it is true. What it waits for gives no signal.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(bridgetest.WaitTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("%s: it did not come to that", what)
		case <-tick.C:
		}
	}
}

func TestGatewayTalks(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p, other := attach(t, s, "matrix"), attach(t, s, "xmpp")
	ada, person := p.user(t, "matrix_ada"), s.Register(t)
	p.open(t)
	ws, _ := s.Login(t, person)
	s.Befriend(t, bridgetest.User{ID: ada}, person)

	ws.Send(t, `{"id":"1","toFriend":"`+ada+`","payload":"Are you there?"}`)
	ws.Want(t, `{"code":508,"message":"Friend Is Offline","ok":false,"id":"1"}`)
	p.online(t, ada)
	ws.Send(t, `{"id":"2","toFriend":"`+ada+`","payload":"And now?"}`)
	if got, want := p.answer(t, ""), ada+` {"id":"2","from":"`+person.ID+`","payload":"And now?"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ws.Want(t, `{"code":200,"message":"Success","ok":true,"id":"2"}`)
	ws.Send(t, `{"id":"3","toFriend":"`+ada+`","payload":"x"}`)
	p.answer(t, `{"code":507}`)
	ws.Want(t, `{"code":507,"message":"Dialogue Send To Friend Failed","ok":false,"id":"3"}`)

	send := func(by *program, from, body string) string {
		return by.Ask(t, "im.gateway."+by.name+".send."+from, body)
	}
	body := `{"id":"a","toFriend":"` + person.ID + `","payload":"Yes"}`
	if got := send(p, ada, body); got != `{"code":200,"message":"Success","ok":true,"id":"a"}` {
		t.Errorf("send: %s", got)
	}
	ws.Want(t, `{"id":"a","from":"`+ada+`","payload":"Yes"}`)
	stranger := s.Register(t)
	for _, row := range []struct {
		by         *program
		from, want string
	}{{other, ada, "515"}, {p, person.ID, "515"}, {p, kv.NewID(), "515"}, {p, stranger.ID, "515"}} {
		if got := send(row.by, row.from, body); !strings.HasPrefix(got, `{"code":`+row.want) {
			t.Errorf("%s sends as %s: %s", row.by.name, row.from, got)
		}
	}
	if got := send(p, ada, `{"id":"b","toFriend":"`+stranger.ID+`","payload":"x"}`); !strings.HasPrefix(got, `{"code":512`) {
		t.Errorf("to a stranger: %s", got)
	}
	other.open(t)
	if r := other.want(t, wire.Success, "online."+other.session, object{"users": []string{ada, person.ID, "x"}}); len(r.Refused) != 3 || *r.Online != 0 {
		t.Errorf("online of users of others: %+v", r)
	}
	other.want(t, wire.LoginElsewhere, "online."+strings.Split(other.session, ".")[0]+".1", object{})

	// A disabled user is offline at once, and the gateway does not speak for it.
	if err := s.Accounts.SetDisabled(t.Context(), ada, true); err != nil {
		t.Fatal(err)
	}
	if got := send(p, ada, body); !strings.HasPrefix(got, `{"code":515`) {
		t.Errorf("a disabled user sends: %s", got)
	}
	ws.Send(t, `{"id":"4","toFriend":"`+ada+`","payload":"x"}`)
	ws.Want(t, `{"code":508,"message":"Friend Is Offline","ok":false,"id":"4"}`)
	if r := p.want(t, wire.Success, "online."+p.session, object{"users": []string{ada}}); len(r.Refused) != 1 {
		t.Errorf("online of a disabled user: %+v", r)
	}
	if err := s.Accounts.SetDisabled(t.Context(), ada, false); err != nil {
		t.Fatal(err)
	}
	p.online(t, ada)
	if got := send(p, ada, body); !strings.HasPrefix(got, `{"code":200`) {
		t.Errorf("an enabled user sends: %s", got)
	}

	// Without the gateway its users are offline, and no other program takes their places.
	if err := s.Attachments.Remove(t.Context(), "matrix"); err != nil {
		t.Fatal(err)
	}
	p.WantClosed(t, "the gateway was removed")
	ws.Want(t, `{"id":"a","from":"`+ada+`","payload":"Yes"}`)
	ws.Send(t, `{"id":"5","toFriend":"`+ada+`","payload":"x"}`)
	ws.Want(t, `{"code":508,"message":"Friend Is Offline","ok":false,"id":"5"}`)
	if u, err := s.Store.Users.Get(t.Context(), ada); err != nil || u.Disabled || u.Gateway != "matrix" {
		t.Errorf("a user of a removed gateway: %+v, %v", u, err)
	}
}

// TestGatewayEnds checks that the users of a gateway that is killed, hangs or is restarted harm no others.
func TestGatewayEnds(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{GatewayLease: 2 * time.Second})
	p, other := attach(t, s, "matrix"), attach(t, s, "xmpp")
	ada, ben, person := p.user(t, "matrix_ada"), other.user(t, "xmpp_ben"), s.Register(t)
	for _, id := range []string{ada, ben} {
		s.Befriend(t, bridgetest.User{ID: id}, person)
	}
	client := s.AsUser(t, person)
	presence := make(chan *nats.Msg, 64)
	if _, err := client.ChanSubscribe("im.user."+person.ID+".notice", presence); err != nil {
		t.Fatal(err)
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	heard := func(code wire.Code, id string) {
		t.Helper()
		want := fmt.Sprintf(`{"code":%d,"message":%q,"ok":true,"id":%q}`, code, code.Message(), id)
		for timeout := time.After(bridgetest.WaitTimeout); ; {
			select {
			case m := <-presence:
				if string(m.Data) == want {
					return
				}
			case <-timeout:
				t.Fatalf("no %s", want)
			}
		}
	}
	say := func(to string) chan string {
		answer := make(chan string, 1)
		go func() {
			m, err := client.Request("im.send."+person.ID, []byte(`{"id":"1","toFriend":"`+to+`","payload":"x"}`), bridgetest.WaitTimeout)
			if err != nil {
				answer <- err.Error()
				return
			}
			answer <- string(m.Data[:11])
		}()
		return answer
	}
	p.open(t)
	p.online(t, ada)
	heard(wire.FriendOnline, ada)
	other.open(t)
	other.online(t, ben)
	heard(wire.FriendOnline, ben)
	// A session that another one replaces at once need not be seen as offline.
	reached := func(p *program, id string) {
		t.Helper()
		answer := say(id)
		p.answer(t, "")
		if got := <-answer; got != `{"code":200` {
			t.Errorf("to a user of a new session: %s", got)
		}
	}
	p.open(t)
	p.online(t, ada)
	reached(p, ada)
	other.open(t)
	other.online(t, ben)
	reached(other, ben)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = other.PublishRequest("im.gateway.xmpp.online."+other.session, other.NewInbox(), []byte("{}")) // else its lease expires
			}
		}
	}()

	// The first gateway hangs: it answers nothing, and does not renew its lease.
	hung := say(ada)
	p.next(t)
	alive := say(ben)
	other.answer(t, "")
	if got := <-alive; got != `{"code":200` {
		t.Errorf("beside a hung gateway: %s", got)
	}
	if got := <-hung; got != `{"code":507` {
		t.Errorf("to a user of a hung gateway: %s", got)
	}
	heard(wire.FriendOffline, ada)
	if got := <-say(ada); got != `{"code":508` {
		t.Errorf("after the lease: %s", got)
	}
	p.want(t, wire.AuthIllegal, "online."+p.session, object{"users": []string{ada}})

	// It opens another session. A second program with its credentials replaces that one.
	p.open(t)
	p.online(t, ada)
	heard(wire.FriendOnline, ada)
	_, context, err := s.Attachments.Rotate(t.Context(), "matrix")
	if err != nil {
		t.Fatal(err)
	}
	s.Secret(context.Password)
	p.WantClosed(t, "the secret was rotated")
	heard(wire.FriendOffline, ada)
	first := connect(t, &program{Client: s.AsAttachment(t, context), name: "matrix"})
	first.open(t)
	first.online(t, ada)
	heard(wire.FriendOnline, ada)
	second := connect(t, &program{Client: s.AsAttachment(t, context), name: "matrix"})
	second.open(t)
	first.want(t, wire.LoginElsewhere, "online."+first.session, object{"users": []string{ada}})
	second.online(t, ada)
	reached(second, ada)

	// Both are killed, without a word.
	first.Close()
	second.Close()
	heard(wire.FriendOffline, ada)
	alive = say(ben)
	other.answer(t, "")
	if got := <-alive; got != `{"code":200` {
		t.Errorf("beside a killed gateway: %s", got)
	}
	other.want(t, wire.Success, "offline."+other.session, object{})
	heard(wire.FriendOffline, ben)
}

// TestGatewayOrder sends many dialogues both ways, none of which waits for the answer to the one before.
func TestGatewayOrder(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p := attach(t, s, "matrix")
	ada, person := p.user(t, "matrix_ada"), s.Register(t)
	s.Befriend(t, bridgetest.User{ID: ada}, person)
	p.open(t)
	p.online(t, ada)
	ws, _ := s.Login(t, person)
	const all, window = 600, 200
	for n := 0; n < all; n += window {
		for i := range window {
			ws.Send(t, fmt.Sprintf(`{"id":"%d","toFriend":"%s","payload":"x"}`, n+i, ada))
		}
		for i := range window {
			if got, want := p.answer(t, ""), fmt.Sprintf(`%s {"id":"%d","from":"%s","payload":"x"}`, ada, n+i, person.ID); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
		for range window {
			if got := ws.Next(t); !strings.HasPrefix(got, `{"code":200`) {
				t.Fatal(got)
			}
		}
	}
	answers := make(chan *nats.Msg, all)
	inbox := p.NewInbox()
	if _, err := p.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < all; n += window {
		for i := range window {
			if err := p.PublishRequest("im.gateway.matrix.send."+ada, inbox, fmt.Appendf(nil, `{"id":"%d","toFriend":"%s","payload":"y"}`, n+i, person.ID)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range window {
			ws.Want(t, fmt.Sprintf(`{"id":"%d","from":"%s","payload":"y"}`, n+i, ada))
		}
		for range window {
			if m := <-answers; !strings.HasPrefix(string(m.Data), `{"code":200`) {
				t.Fatalf("%s", m.Data)
			}
		}
	}
}

// TestGatewayLimits checks the rates of a gateway: that of each user, and that of all together.
func TestGatewayLimits(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p, other := attach(t, s, "matrix"), attach(t, s, "xmpp")
	ada := p.user(t, "matrix_ada")
	hour := func(n int) governor.Rate { return governor.Rate{Events: n, Per: time.Hour} }
	body := `{"id":"a","toFriend":"` + kv.NewID() + `","payload":"x"}`
	want := func(by *program, user, code string) {
		t.Helper()
		if got := by.Ask(t, "im.gateway."+by.name+".send."+user, body); !strings.HasPrefix(got, `{"code":`+code) {
			t.Errorf("%s sends: %s, want %s", by.name, got, code)
		}
	}
	s.SetLimits(governor.Options{Dialogues: hour(1)})
	want(p, ada, "512")
	want(p, ada, "507")
	want(p, p.user(t, "matrix_ben"), "512")
	s.SetLimits(governor.Options{GatewayDialogues: hour(2), GatewayCalls: hour(1)})
	want(p, ada, "512")
	want(p, ada, "512")
	want(p, ada, "507")
	p.want(t, wire.Success, "users", object{})
	p.want(t, wire.ProtocolError, "users", object{})
	if got := p.Ask(t, "im.gateway.matrix.call."+ada+".blocked", "{}"); !strings.HasPrefix(got, `{"code":403`) {
		t.Errorf("a call over the limit: %s", got)
	}
	other.want(t, wire.Success, "users", object{})
}
