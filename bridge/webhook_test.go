package bridge

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// offlineEvent is a dialogue.offline as a destination gets it.
type offlineEvent struct {
	Type string
	Data struct {
		ID, From, To string
		N, Unread    uint64
		Muted        bool
		ToAccount    string `json:"to_account"`
		Payload      *string
	}
}

// offlineEvents starts a destination.
func offlineEvents(t *testing.T) (url string, got <-chan offlineEvent) {
	t.Helper()
	events := make(chan offlineEvent, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e offlineEvent
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Errorf("the body of an event: %v", err)
		}
		events <- e
	}))
	t.Cleanup(srv.Close)
	return srv.URL, events
}

// TestWebhookOffline: a dialogue to a friend of whom no device is connected is posted once, whether it is kept or
// answered 508. One that a device gets, a change of another dialogue, and one of a blocked sender are not. Nothing is
// written for a consumer that reads the whole log.
func TestWebhookOffline(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	start := func() *node {
		t.Helper()
		return startNode(t, natsURL, func(o *Options) {
			store, err := kv.Open(t.Context(), natstest.Connect(t, natsURL), kv.Options{Talks: &kv.TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 30}})
			if err != nil {
				t.Fatal(err)
			}
			o.Store, o.Dialogues.Keep, o.Webhooks.Private, o.EventLog.WatchEvery = store, true, true, 20*time.Millisecond
		})
	}
	a, b := start(), start()
	users := a.users(t, "u", 3)
	ann, bob, eve := users[0], users[1], users[2]
	a.befriend(t, ann, bob)
	a.befriend(t, eve, bob)
	say := func(n *node, u kv.User, keep string) func(id, more string) {
		t.Helper()
		login := url.Values{"account": {u.Account}, "password": {testPassword}}
		if keep != "" {
			login.Set("keep", keep)
		}
		ws, _ := n.dial(t, login)
		return func(id, more string) {
			t.Helper()
			if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"id":"`+id+`","toFriend":"`+bob.ID+`",`+more+`}`)); err != nil {
				t.Fatal(err)
			}
			for { // the answers to frames come in order
				_, frame, err := ws.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Contains(frame, []byte(`"code"`)) && bytes.Contains(frame, []byte(`"`+id+`"`)) {
					return
				}
			}
		}
	}
	annKeeps, annPlain := say(a, ann, "1"), say(a, ann, "")
	reader := consumer(t, natsURL, "reader") // of all entries
	wait(t, "the reader is noticed", func() bool { return a.events.Attached() })
	wait(t, "it wants no such entries", func() bool { return !a.events.WantsOffline() })
	annKeeps("0", `"payload":"nothing is written"`)
	for m := range fetch(t, reader, 1) {
		if !bytes.Contains([]byte(m.Subject()), []byte(".dialogue.")) {
			t.Errorf("the log has %s", m.Subject())
		}
	}

	to, got := offlineEvents(t)
	if _, _, err := b.services.Webhooks.Add(t.Context(), kv.Webhook{Name: "push", URL: to, Events: []string{"dialogue.offline"}}); err != nil {
		t.Fatal(err)
	}
	next := func(id string, n, unread uint64) {
		t.Helper()
		select {
		case e := <-got:
			if d := e.Data; d.ID != id || d.N != n || d.Unread != unread || d.From != ann.ID || d.To != bob.ID || d.ToAccount != bob.Account || d.Payload != nil {
				t.Errorf("event %+v, want %s, %d, %d unread", e, id, n, unread)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no event for dialogue %s", id)
		}
	}
	annKeeps("1", `"payload":"Hello"`)
	next("1", 2, 2)
	annKeeps("2", `"reacts":1,"payload":"+"`)
	annKeeps("3", `"edits":1,"payload":"edited"`)
	annPlain("4", `"payload":"answered 508"`)
	next("4", 0, 0)

	if _, err := a.opts.Store.Rosters.Block(t.Context(), bob.ID, eve.ID); err != nil {
		t.Fatal(err)
	}
	say(a, eve, "1")("5", `"payload":"hidden"`)
	say(b, eve, "")("6", `"payload":"hidden"`)

	// A session on another node.
	b.dial(t, url.Values{"account": {bob.Account}, "password": {testPassword}, "keep": {"1"}})
	annKeeps("7", `"payload":"There you are"`)
	u := a.services.Webhooks
	wait(t, "all are posted", func() bool {
		s, err := u.Get(t.Context(), "push")
		return err == nil && s.Waiting == 0
	})
	if err := u.Remove(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	wait(t, "no entries are wanted", func() bool { return !a.events.WantsOffline() && !b.events.WantsOffline() })
	select {
	case e := <-got:
		t.Errorf("another event: %+v", e)
	default:
	}
	offline := 0
	js, err := jetstream.New(natstest.Connect(t, natsURL))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "IM_LOG", "reader")
	if err != nil {
		t.Fatal(err)
	}
	for range c.CachedInfo().NumPending {
		for m := range fetch(t, reader, 1) {
			if bytes.Contains([]byte(m.Subject()), []byte(".offline.")) {
				offline++
			}
		}
	}
	if offline != 2 {
		t.Errorf("the log has %d entries of dialogues to users that are offline", offline)
	}
}
