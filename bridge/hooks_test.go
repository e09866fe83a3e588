package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/hook"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// startModerated starts a node on a single NATS server. It keeps conversations if keep is true.
func startModerated(t *testing.T, natsURL string, keep bool, o hook.Options) (*node, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	return startNode(t, natsURL, func(opts *Options) {
		store, err := kv.Open(t.Context(), natstest.Connect(t, natsURL), kv.Options{Talks: &kv.TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		opts.Store, opts.Dialogues.Keep, opts.Registry, opts.Hooks = store, keep, registry, o
	}), registry
}

// moderator is a program with the role moderator. Its answer to a question is that of reply; none without one.
type moderator struct {
	nc    *nats.Conn
	asked chan *nats.Msg

	mu    sync.Mutex // guards reply
	reply func(m *nats.Msg) []byte
}

// moderate attaches a moderator on a node.
func (n *node) moderate(t *testing.T, natsURL string) *moderator {
	t.Helper()
	m := &moderator{nc: natstest.Connect(t, natsURL), asked: make(chan *nats.Msg, 1024)}
	if _, err := m.nc.QueueSubscribe("im.hook.>", "moderators", m.answer); err != nil {
		t.Fatal(err)
	}
	if err := m.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.services.Attachments.Add(t.Context(), "filter", kv.RoleModerator); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *moderator) answer(q *nats.Msg) {
	m.mu.Lock()
	reply := m.reply
	m.mu.Unlock()
	if reply != nil {
		_ = q.Respond(reply(q)) // the test ends the connection
		return
	}
	m.asked <- q
}

// set has the moderator answer by a function, or keep the questions in asked.
func (m *moderator) set(reply func(*nats.Msg) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reply = reply
}

// says has the moderator give one answer.
func (m *moderator) says(answer string) { m.set(func(*nats.Msg) []byte { return []byte(answer) }) }

// next returns the next question that the moderator has not answered.
func (m *moderator) next(t *testing.T) *nats.Msg {
	t.Helper()
	select {
	case q := <-m.asked:
		return q
	case <-time.After(20 * time.Second):
		t.Fatal("the moderator was not asked")
		return nil
	}
}

// talker is a client that sends and receives frames as they are.
type talker struct {
	id     string
	ws     *websocket.Conn
	frames chan string
	token  string
}

func (n *node) talker(t *testing.T, u kv.User, more string) *talker {
	t.Helper()
	query, err := url.ParseQuery(more)
	if err != nil {
		t.Fatal(err)
	}
	query["account"], query["password"] = []string{u.Account}, []string{testPassword}
	ws, first := n.dial(t, query)
	var login wire.Login
	if err := json.Unmarshal(first, &login); err != nil {
		t.Fatal(err)
	}
	c := &talker{id: u.ID, ws: ws, frames: make(chan string, 4096), token: login.Token}
	go func() {
		defer close(c.frames)
		for {
			_, frame, err := ws.ReadMessage()
			if err != nil {
				return
			}
			c.frames <- string(frame)
		}
	}()
	return c
}

func (c *talker) send(t *testing.T, frame string) {
	t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// say sends a dialogue.
func (c *talker) say(t *testing.T, id string, to kv.User, payload string) {
	t.Helper()
	c.send(t, fmt.Sprintf(`{"id":%q,"toFriend":%q,"payload":%q}`, id, to.ID, payload))
}

// wants reads frames until one has all the texts. News of presence and receipts comes when it does.
func (c *talker) wants(t *testing.T, texts ...string) string {
	t.Helper()
	var seen []string
	deadline := time.After(20 * time.Second)
	for {
		select {
		case f, ok := <-c.frames:
			found := ok
			for _, text := range texts {
				found = found && strings.Contains(f, text)
			}
			if found {
				return f
			}
			if seen = append(seen, f); ok {
				continue
			}
			t.Fatalf("the connection has ended; it had %q, and not %q", seen, texts)
		case <-deadline:
			t.Fatalf("got %q, want one with %q", seen, texts)
		}
	}
}

// wantNone fails if a frame that has arrived has the text.
func (c *talker) wantNone(t *testing.T, text string) {
	t.Helper()
	for {
		select {
		case f := <-c.frames:
			if strings.Contains(f, text) {
				t.Errorf("unexpected frame %s", f)
			}
		default:
			return
		}
	}
}

// TestModerator: what a moderator answers decides about the dialogues of all kinds of senders, and about requests and
// registrations.
func TestModerator(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	here, metrics := startModerated(t, natsURL, true, hook.Options{Timeout: 2 * time.Second})
	there, _ := startModerated(t, natsURL, true, hook.Options{Timeout: 2 * time.Second})
	users := here.users(t, "u", 3)
	ann, bob, carl := users[0], users[1], users[2]
	here.befriend(t, ann, bob)
	m := here.moderate(t, natsURL)
	plain, kept, device := here.talker(t, ann, ""), here.talker(t, ann, "keep=1"), there.talker(t, ann, "keep=1")
	other := there.talker(t, bob, "keep=1")
	senders := map[string]func(id, payload string){
		"plain": func(id, payload string) { plain.say(t, id, bob, payload) },
		"kept":  func(id, payload string) { kept.say(t, id, bob, payload) },
	}
	ack := func(frame string) {
		t.Helper()
		var got struct{ N uint64 }
		if err := json.Unmarshal([]byte(frame), &got); err != nil {
			t.Fatal(err)
		}
		other.send(t, fmt.Sprintf(`{"got":%d,"with":%q}`, got.N, ann.ID))
	}
	success := map[string]string{"plain": `"code":200`, "kept": `"code":202`}
	answers := map[string]*talker{"plain": plain, "kept": kept}

	for name, say := range senders {
		t.Run(name, func(t *testing.T) {
			client := answers[name]
			m.says("")
			say(name+"-1", "empty passes")
			ack(other.wants(t, "empty passes"))
			client.wants(t, success[name], `"id":"`+name+`-1"`)

			m.says(`{"action":"replace","payload":"other \u00e4 text"}`)
			say(name+"-2", "secret words")
			ack(other.wants(t, `other \u00e4 text`, name+"-2"))
			client.wants(t, success[name], name+"-2")
			device.wants(t, `other \u00e4 text`, name+"-2")

			m.says(`{"action":"refuse"}`)
			say(name+"-3", "refused")
			client.wants(t, `"code":512`, name+"-3")
			m.says(`{"action":"refuse","code":403}`)
			say(name+"-4", "refused")
			client.wants(t, `"code":403`, name+"-4")

			m.says(`{"action":"drop"}`)
			say(name+"-5", "dropped")
			client.wants(t, success[name], name+"-5")

			// What a moderator may not answer, or not to a dialogue, is a fault: it passes by default.
			for i, fault := range []string{`{"action":"drip"}`, `nonsense`, `{"action":"refuse","code":200}`, `{"action":"replace"}`, `{"action":"replace","payload":7}`,
				`{"action":"replace","payload":""}`} {
				m.says(fault)
				id := fmt.Sprint(name, "-fault-", i)
				say(id, "passes after a fault")
				ack(other.wants(t, "passes after a fault", id))
				client.wants(t, success[name], id)
			}
			// A replacement that is too large refuses: the sender chooses the length of what it replaces.
			for i, size := range []int{64 << 10, 80 << 10, 300 << 10} {
				m.says(`{"action":"replace","payload":"` + strings.Repeat("x", size) + `"}`)
				id := fmt.Sprint(name, "-large-", i)
				say(id, "refused: too large")
				client.wants(t, `"code":507`, id)
			}
			m.says(`{"action":"pass"}`)
			say(name+"-6", "the end")
			f := other.wants(t, "the end")
			ack(f)
			client.wants(t, success[name], name+"-6")
			other.wantNone(t, "refused")
			other.wantNone(t, "dropped")
		})
	}

	t.Run("history", func(t *testing.T) {
		page, err := here.talks.History(t.Context(), bob.ID, ann.ID, kv.Range{Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Dialogues {
			if p := string(d.Payload); strings.Contains(p, "secret") || strings.Contains(p, "refused") || strings.Contains(p, "dropped") {
				t.Errorf("the friend's history has %s", p)
			}
		}
		page, err = here.talks.History(t.Context(), ann.ID, bob.ID, kv.Range{Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		dropped := 0
		for _, d := range page.Dialogues {
			if string(d.Payload) == `"dropped"` {
				dropped++
			}
		}
		if dropped != 1 {
			t.Errorf("the sender's history has %d dropped dialogues, want that of the session with keep", dropped)
		}
	})

	t.Run("question", func(t *testing.T) {
		m.set(nil)
		kept.send(t, fmt.Sprintf(`{"id":"q","toFriend":%q,"payload":"with more","re":1}`, bob.ID))
		q := m.next(t)
		if q.Subject != "im.hook.dialogue."+ann.ID+"."+bob.ID {
			t.Errorf("subject %s", q.Subject)
		}
		if want := fmt.Sprintf(`{"v":1,"id":"q","from":%q,"to":%q,"payload":"with more","re":1}`, ann.ID, bob.ID); string(q.Data) != want {
			t.Errorf("question %s, want %s", q.Data, want)
		}
		other.wantNone(t, "with more")
		_ = q.Respond(nil)
		kept.wants(t, `"code":202`, `"id":"q"`)
		f := other.wants(t, "with more")
		ack(f)
		var d struct{ N int }
		if err := json.Unmarshal([]byte(f), &d); err != nil {
			t.Fatal(err)
		}
		kept.send(t, fmt.Sprintf(`{"id":"e","toFriend":%q,"payload":"edited","edits":%d}`, bob.ID, d.N))
		if q = m.next(t); !strings.Contains(string(q.Data), fmt.Sprintf(`"edits":%d}`, d.N)) {
			t.Errorf("question %s", q.Data)
		}
		_ = q.Respond([]byte(`{"action":"replace","payload":"mended"}`))
		other.wants(t, "mended")
		// A deletion cannot be dropped: a fault, which passes. So it must not carry a text.
		kept.send(t, fmt.Sprintf(`{"id":"d","toFriend":%q,"payload":"smuggled","deletes":%d}`, bob.ID, d.N))
		q = m.next(t)
		_ = q.Respond([]byte(`{"action":"drop"}`))
		if f := other.wants(t, `"deletes":`); strings.Contains(f, "smuggled") {
			t.Errorf("a deletion has a text that no moderator can drop: %s", f)
		}
	})

	t.Run("order", func(t *testing.T) {
		m.set(nil)
		const n = 50
		var questions []*nats.Msg
		for i := range n {
			kept.say(t, fmt.Sprint("order-", i), bob, fmt.Sprint("in order ", i, "."))
			questions = append(questions, m.next(t))
		}
		for i := range questions {
			_ = questions[n-1-i].Respond(nil)
		}
		for i := range n {
			if f := other.wants(t, "in order"); !strings.Contains(f, fmt.Sprint("in order ", i, ".")) {
				t.Fatalf("dialogue %d is %s", i, f)
			}
		}
	})

	t.Run("flood", func(t *testing.T) {
		m.set(nil)
		const n = 200 // fewer than sessions.in_flight
		for i := range n {
			kept.say(t, fmt.Sprint("flood-", i), bob, "flood")
		}
		var first []*nats.Msg
		for range 64 {
			first = append(first, m.next(t))
		}
		select {
		case q := <-m.asked:
			t.Errorf("one more question of the sender: %s", q.Data)
		case <-time.After(50 * time.Millisecond): // shows no more than that it is not asked at once
		}
		m.says("")
		for _, q := range first {
			_ = q.Respond(nil)
		}
		for range n {
			kept.wants(t, `"code":202`, "flood-")
		}
	})

	t.Run("NATS client", func(t *testing.T) {
		nc := natstest.Connect(t, natsURL, nats.CustomInboxPrefix("_INBOX."+ann.ID))
		ask := func(payload string) string {
			t.Helper()
			r, err := nc.Request("im.send."+ann.ID, fmt.Appendf(nil, `{"id":%q,"toFriend":%q,"payload":%q}`, payload, bob.ID, payload), 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return string(r.Data)
		}
		m.says(`{"action":"refuse"}`)
		if got := ask("bot 1"); !strings.Contains(got, `"code":512`) {
			t.Errorf("refused: %s", got)
		}
		m.says(`{"action":"replace","payload":"replaced bot"}`)
		if got := ask("bot 2"); !strings.Contains(got, `"code":202`) {
			t.Errorf("replaced: %s", got)
		}
		other.wants(t, "replaced bot", "bot 2")

		// A friendship that ends before the verdict counts.
		m.set(nil)
		for _, c := range []struct {
			change, undo func() error
			code         string
		}{
			{func() error { return here.services.Friends.Block(t.Context(), bob, ann.ID) }, func() error { return here.services.Friends.Unblock(t.Context(), bob, ann.ID) }, `"code":202`},
			{func() error { return here.services.Friends.Remove(t.Context(), bob, ann.ID) }, func() error { _, err := here.services.Friends.Befriend(t.Context(), ann.ID, bob.ID); return err }, `"code":512`},
		} {
			answer := make(chan string, 1)
			go func() { answer <- ask("too late") }()
			q := m.next(t)
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			_ = q.Respond(nil)
			if got := <-answer; !strings.Contains(got, c.code) {
				t.Errorf("after the end of the friendship: %s, want %s", got, c.code)
			}
			if err := c.undo(); err != nil {
				t.Fatal(err)
			}
		}
		other.wantNone(t, "too late")
		for _, n := range []*node{here, there} {
			for _, l := range n.lanes.Waiting() {
				if l != 0 {
					t.Errorf("%d queues of NATS clients are left", l)
				}
			}
		}
	})

	t.Run("request", func(t *testing.T) {
		to := there.talker(t, carl, "push=1")
		request := func(note string) int {
			t.Helper()
			return int(here.call(t, &session{id: ann.ID, login: wire.Login{Token: kept.token}}, "/im/friends/request", url.Values{"to": {carl.ID}, "note": {note}}))
		}
		m.says(`{"action":"refuse"}`)
		if code := request("first"); code != 403 {
			t.Errorf("refused: %d", code)
		}
		m.says(`{"action":"drop"}`)
		if code := request("second"); code != 200 {
			t.Errorf("dropped: %d", code)
		}
		m.set(func(q *nats.Msg) []byte {
			if q.Subject != "im.hook.request."+ann.ID+"."+carl.ID || !strings.Contains(string(q.Data), `"note":"third"`) {
				t.Errorf("question %s: %s", q.Subject, q.Data)
			}
			return []byte(`{"action":"replace","payload":"kind words"}`)
		})
		if code := request("third"); code != 200 {
			t.Errorf("replaced: %d", code)
		}
		to.wants(t, `"code":520`, "kind words")
		to.wantNone(t, "second")
	})

	t.Run("register", func(t *testing.T) {
		m.set(func(q *nats.Msg) []byte {
			if q.Subject != "im.hook.register" || !strings.Contains(string(q.Data), `"address":"127.0.0.1"`) {
				t.Errorf("question %s: %s", q.Subject, q.Data)
			}
			if strings.Contains(string(q.Data), "rude") {
				return []byte(`{"action":"refuse","code":403}`)
			}
			return nil
		})
		for account, want := range map[string]wire.Code{"rude": wire.ProtocolError, "kind": wire.Success} {
			r, err := http.Post(here.base+"/im/register", "application/json", strings.NewReader(`{"account":"`+account+`","password":"`+testPassword+`","mail":"a@example.org"}`))
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Code wire.Code }
			if err := errors.Join(json.NewDecoder(r.Body).Decode(&got), r.Body.Close()); err != nil || got.Code != want {
				t.Errorf("%s: %d, %v, want %d", account, got.Code, err, want)
			}
		}
	})

	t.Run("removed", func(t *testing.T) {
		m.says(`{"action":"refuse"}`)
		another := there.talker(t, bob, "keep=1")
		another.say(t, "b1", ann, "refused by the other node")
		another.wants(t, `"code":512`, `"b1"`)
		if err := there.services.Attachments.Remove(t.Context(), "filter"); err != nil {
			t.Fatal(err)
		}
		kept.say(t, "last", bob, "nobody moderates")
		kept.wants(t, `"code":202`, `"last"`)
		other.wants(t, "nobody moderates")
	})
	if n := counted(t, metrics, "imctl_hook_requests_total", "dialogue", "replace"); n < 3 {
		t.Errorf("%v replacements are counted", n)
	}
}

// counted returns the value of a counter with these values of its labels.
func counted(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			same := family.GetName() == name && len(m.GetLabel()) == len(labels)
			for i := 0; same && i < len(labels); i++ {
				same = m.GetLabel()[i].GetValue() == labels[i]
			}
			if same {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %s", name, labels)
	return 0
}

// TestModeratorFails: without an answer, dialogues pass or are refused, as the setting says, within the time limit.
func TestModeratorFails(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	quick := hook.Options{Timeout: 200 * time.Millisecond, Failures: 3, Pause: 100 * time.Millisecond}
	open, metrics := startModerated(t, natsURL, false, quick)
	quick.OnError = hook.RefuseOnError
	closed, _ := startModerated(t, natsURL, false, quick)
	users := open.users(t, "u", 2)
	ann, bob := users[0], users[1]
	open.befriend(t, ann, bob)
	m := open.moderate(t, natsURL)
	a, b := open.talker(t, ann, ""), closed.talker(t, bob, "")
	rounds := 0
	// round reports whether the node that refuses without an answer had one. The other node delivers in any case. An
	// answer may be too late on a slow machine.
	round := func() bool {
		t.Helper()
		rounds++
		a.say(t, fmt.Sprint("a", rounds), bob, "passes")
		a.wants(t, `"code":200`, fmt.Sprintf(`"a%d"`, rounds))
		b.wants(t, "passes", fmt.Sprintf(`"a%d"`, rounds))
		b.say(t, fmt.Sprint("b", rounds), ann, "perhaps")
		f := b.wants(t, fmt.Sprintf(`"b%d"`, rounds), `"code"`)
		if !strings.Contains(f, `"code":200`) && !strings.Contains(f, `"code":507`) {
			t.Errorf("the answer is %s", f)
		}
		return strings.Contains(f, `"code":200`)
	}
	unanswered := func() {
		t.Helper()
		if round() {
			t.Error("a dialogue passed without an answer")
		}
	}
	isOpen := func() bool {
		unanswered()
		return counted(t, metrics, "imctl_hook_breaker_open", "dialogue") == 1
	}
	m.set(nil) // it hangs
	wait(t, "the breaker opens", isOpen)
	if rounds < quick.Failures {
		t.Errorf("the breaker is open after %d failures", rounds)
	}
	if err := open.Degraded(); err == nil || !strings.Contains(err.Error(), "moderators do not answer the hook dialogue") {
		t.Errorf("degraded: %v", err)
	}
	m.says("") // and answers again
	recovered := func() bool { return round() && open.Degraded() == nil }
	wait(t, "the moderator is asked again", recovered)

	m.says(strings.Repeat("rubbish", 100_000))
	for range 4 {
		unanswered()
	}
	m.says("")
	wait(t, "the moderator is asked again", recovered)

	m.nc.Close() // it ends: NATS tells at once that no program answers
	wait(t, "a question finds no moderator", func() bool {
		unanswered()
		return counted(t, metrics, "imctl_hook_requests_total", "dialogue", "absent") > 0
	})
	if n := counted(t, metrics, "imctl_hook_requests_total", "dialogue", "timeout"); n < 3 {
		t.Errorf("%v questions were not answered in time", n)
	}
	if err := open.Degraded(); err != nil { // the next moderator is asked at once
		t.Errorf("degraded without a moderator: %v", err)
	}
	again := &moderator{nc: natstest.Connect(t, natsURL)}
	again.says("")
	if _, err := again.nc.Subscribe("im.hook.>", again.answer); err != nil {
		t.Fatal(err)
	}
	if err := again.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the new moderator is asked", recovered)
}
