package bridge

import (
	"bytes"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
	"imctl/bridge/push/pushtest"
	"imctl/kv"
)

// startPushing starts a node that keeps conversations on a single NATS server and sends push messages.
func startPushing(t *testing.T, natsURL string, device *pushtest.Service) (*node, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	return startNode(t, natsURL, func(o *Options) {
		store, err := kv.Open(t.Context(), natstest.Connect(t, natsURL), kv.Options{Talks: &kv.TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		o.Store, o.Dialogues.Keep, o.Registry = store, true, registry
		o.Push = Push{Subject: "mailto:admin@example.org", Private: true, RootCAs: device.Roots()}
	}), registry
}

// pushes returns how many push messages of a node had an outcome.
func pushes(t *testing.T, r *prometheus.Registry, outcome string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "imctl_push_messages_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no counter of %s", outcome)
	return 0
}

// TestPush: a dialogue for a friend without a client is pushed once, by the node of its sender. One that a client of the
// friend acknowledges is not, and one that its client does not acknowledge is.
func TestPush(t *testing.T) {
	t.Parallel()
	device := pushtest.Start(t)
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	a, ofA := startPushing(t, natsURL, device)
	b, ofB := startPushing(t, natsURL, device)
	users := a.users(t, "u", 2)
	ann, bob := users[0], users[1]
	a.befriend(t, ann, bob)
	if err := b.push.Add(t.Context(), bob.ID, device.Subscription("/bob", true)); err != nil {
		t.Fatal(err)
	}
	// keep opens a session with keep=1, which calls read with the frames that it gets, and returns what writes its frames.
	keep := func(n *node, u kv.User, read func(frame []byte)) func(frame string) {
		t.Helper()
		ws, _ := n.dial(t, url.Values{"account": {u.Account}, "password": {testPassword}, "keep": {"1"}})
		go func() {
			for {
				_, frame, err := ws.ReadMessage()
				if err != nil {
					return
				}
				read(frame)
			}
		}()
		return func(frame string) {
			t.Helper()
			if err := ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
				t.Fatal(err)
			}
		}
	}
	from := keep(a, ann, func([]byte) {})
	say := func(more string) { from(`{"id":"` + kv.NewID() + `","toFriend":"` + bob.ID + `",` + more + `}`) }
	say(`"payload":"Hello"`)
	if got := device.Receive(); got.Body["with"] != ann.ID || got.Body["n"] != 1.0 || got.Body["text"] != "Hello" {
		t.Errorf("message %+v", got)
	}
	wait(t, "the answer is counted", func() bool { return pushes(t, ofA, "sent") == 1 })

	// A reaction and the like are no reason to wake a device.
	for _, more := range []string{`"reacts":1,"payload":"+"`, `"edits":1,"payload":"edited"`, `"deletes":1`} {
		say(more)
	}

	// A session on another node that does not acknowledge: it may be dead.
	var arrived atomic.Bool
	to := keep(b, bob, func(frame []byte) {
		if bytes.Contains(frame, []byte("There you are")) {
			arrived.Store(true)
		}
	})
	say(`"payload":"Hello?"`)
	if got := device.Receive(); got.Body["n"] != 5.0 {
		t.Errorf("message %+v, want the one about dialogue 5", got)
	}
	say(`"payload":"There you are"`)
	wait(t, "the dialogue arrives", arrived.Load) // it cannot be acknowledged before it is stored
	to(`{"got":6,"with":"` + ann.ID + `"}`)
	wait(t, "the acknowledgement is seen", func() bool { return pushes(t, ofA, "acknowledged") == 1 })
	device.Quiet()
	if n := pushes(t, ofB, "sent") + pushes(t, ofB, "acknowledged"); n != 0 {
		t.Errorf("the other node has handled %v messages", n)
	}
}

// TestPushEndsWithTheSignIn: a subscription is removed with the sign-in that made it.
func TestPushEndsWithTheSignIn(t *testing.T) {
	t.Parallel()
	device := pushtest.Start(t)
	n, _ := startPushing(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), device)
	bob, accounts, store := n.users(t, "bob", 1)[0], n.services.Accounts, n.opts.Store
	tokens := make(map[string]string) // by hash
	first := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	issue := func(login time.Time) kv.TokenInfo {
		t.Helper()
		token, err := store.Tokens.Issue(t.Context(), bob.ID, kv.NewID(), kv.Origin{Login: login})
		if err != nil {
			t.Fatal(err)
		}
		info, err := store.Tokens.Get(t.Context(), bob.ID, token)
		if err != nil {
			t.Fatal(err)
		}
		tokens[info.Hash] = token
		return info
	}
	subscribe := func(path string, info kv.TokenInfo) {
		t.Helper()
		s := device.Subscription(path, false)
		s.Token, s.Login = info.Hash, info.FirstLogin()
		if err := n.push.Add(t.Context(), bob.ID, s); err != nil {
			t.Fatal(err)
		}
	}
	left := func(what string, want int) {
		t.Helper()
		if all, err := store.Push.List(t.Context(), bob.ID); err != nil || len(all) != want {
			t.Errorf("%s: %d subscriptions, %v, want %d", what, len(all), err, want)
		}
	}
	phone, desk, tablet := issue(first), issue(first.Add(time.Minute)), issue(first.Add(2*time.Minute))
	renewed := issue(first)
	for path, info := range map[string]kv.TokenInfo{"/phone": phone, "/desk": desk, "/tablet": tablet} {
		subscribe(path, info)
	}
	left("subscribed", 3)
	if err := accounts.Logout(t.Context(), bob.ID, tokens[renewed.Hash]); err != nil {
		t.Fatal(err)
	}
	left("signed out with a renewed token", 2)
	if err := accounts.EndOwnSession(t.Context(), bob.ID, desk.Hash[:16]); err != nil {
		t.Fatal(err)
	}
	left("session ended", 1)
	subscribe("/phone", issue(first))
	if err := accounts.EndOtherSessions(t.Context(), bob.ID, tablet.Hash); err != nil {
		t.Fatal(err)
	}
	left("all others ended", 1)
	if err := accounts.RevokeTokens(t.Context(), bob.ID, tablet.Hash); err != nil {
		t.Fatal(err)
	}
	left("revoked", 0)
	subscribe("/phone", issue(first))
	if err := accounts.Delete(t.Context(), bob.ID); err != nil {
		t.Fatal(err)
	}
	left("deleted", 0)
}
