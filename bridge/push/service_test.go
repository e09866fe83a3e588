package push

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"imctl/bridge/natstest"
	"imctl/bridge/push/pushtest"
	"imctl/kv"
)

// acks are conversations in memory.
type acks struct {
	mu      sync.Mutex
	known   uint64
	cursors map[string]kv.Cursor
}

func (a *acks) Acknowledged(string, string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

func (a *acks) Cursors(context.Context, string) (map[string]kv.Cursor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cursors, nil
}

type fixture struct {
	*Service
	*acks
	device    *pushtest.Service
	store     *kv.Store
	log       natstest.Log
	ann, bob  kv.User
	restarted func() *Service
}

// setUp starts a service for two friends. The messages of ann are for bob.
func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{acks: &acks{}, device: pushtest.Start(t)}
	nc := natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	var err error
	if f.store, err = kv.Open(t.Context(), nc, kv.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*kv.User{&f.ann, &f.bob} {
		*u = kv.User{Account: kv.NewID(), Profile: kv.Profile{Name: "A. Nonymous"}}
		if *u, err = f.store.Users.Create(t.Context(), *u); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.store.Rosters.Befriend(t.Context(), f.ann.ID, f.bob.ID); err != nil {
		t.Fatal(err)
	}
	f.restarted = func() *Service {
		s := New(Options{Store: f.store, Talks: f.acks, Subject: "mailto:admin@example.org", Private: true, MaxAge: time.Hour, RootCAs: f.device.Roots(),
			Registry: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			delays: delays{offline: time.Millisecond, online: 2 * time.Millisecond, retry: time.Millisecond}})
		t.Cleanup(s.Close)
		return s
	}
	f.Service = f.restarted()
	t.Cleanup(func() {
		if strings.Contains(f.log.String(), f.device.URL) || strings.Contains(f.log.String(), "secret-path") {
			t.Errorf("the log has an endpoint:\n%s", f.log.String())
		}
	})
	return f
}

func (f *fixture) subscribe(t *testing.T, path string, text bool) {
	t.Helper()
	if err := f.Add(t.Context(), f.bob.ID, f.device.Subscription(path, text)); err != nil {
		t.Fatal(err)
	}
}

// settled waits until a message has that outcome so many times.
func (f *fixture) settled(t *testing.T, o outcome, n float64) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for testutil.ToFloat64(f.metrics.counters[o]) < n {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v messages, want %v\n%s", outcomeNames[o], testutil.ToFloat64(f.metrics.counters[o]), n, f.log.String())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.subscribe(t, "/secret-path/1", true)
	f.Stored(f.bob.ID, f.ann.ID, 7, []byte(`"Grüße \ud83d\ude42"`), false)
	got := f.device.Receive()
	want := map[string]any{"with": f.ann.ID, "name": "A. Nonymous", "text": "Grüße 🙂", "n": 7.0, "language": "de"}
	if fmt.Sprint(got.Body) != fmt.Sprint(want) || got.Path != "/secret-path/1" || len(got.Topic) != 32 || got.Urgency != "high" || got.TTL != "604800" {
		t.Errorf("message %+v, want %v", got, want)
	}
	key, err := f.Key(t.Context())
	if err != nil || key != got.Key {
		t.Errorf("the key is %s, %v, and the message was signed with %s", key, err, got.Key)
	}
	f.settled(t, sent, 1)

	// Without text, after a restart, with the same key. The topic is that of the conversation.
	f.Close()
	f.Service = f.restarted()
	f.subscribe(t, "/secret-path/1", false)
	f.Stored(f.bob.ID, f.ann.ID, 8, []byte(`"Grüße"`), true)
	again := f.device.Receive()
	if want := (map[string]any{"with": f.ann.ID, "n": 8.0, "language": "de"}); fmt.Sprint(again.Body) != fmt.Sprint(want) {
		t.Errorf("message without text %+v, want %v", again.Body, want)
	}
	if again.Key != got.Key || again.Topic != got.Topic {
		t.Errorf("key and topic have changed: %+v, %+v", got, again)
	}
	f.settled(t, sent, 1)
	f.device.Quiet()
}

func TestUnwanted(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.subscribe(t, "/1", true)
	say := func(n uint64) { f.Stored(f.bob.ID, f.ann.ID, n, []byte(`"x"`), true) }
	f.acks.known = 5
	say(5)
	f.settled(t, acknowledged, 1)
	f.acks.mu.Lock()
	f.acks.known, f.acks.cursors = 0, map[string]kv.Cursor{f.ann.ID: {With: f.ann.ID, Got: 6}}
	f.acks.mu.Unlock()
	say(6)
	f.settled(t, acknowledged, 2)
	f.acks.mu.Lock()
	f.acks.cursors = map[string]kv.Cursor{f.ann.ID: {With: f.ann.ID, Marks: kv.NewMarks(false, false, true)}}
	f.acks.mu.Unlock()
	say(7)
	f.settled(t, muted, 1)
	f.Requested(f.bob.ID, f.ann.ID) // there is no request
	f.settled(t, unwanted, 1)
	if _, err := f.store.Rosters.Remove(t.Context(), f.ann.ID, f.bob.ID); err != nil {
		t.Fatal(err)
	}
	say(8)
	f.settled(t, unwanted, 2)
	f.device.Quiet()
	if _, err := f.store.Rosters.Request(t.Context(), f.ann.ID, f.bob.ID, "hi"); err != nil {
		t.Fatal(err)
	}
	f.Requested(f.bob.ID, f.ann.ID)
	if got := f.device.Receive(); got.Body["request"] != true || got.Body["name"] != "A. Nonymous" {
		t.Errorf("a request: %+v", got)
	}
}

// TestAnswers checks what follows from the answers of a push service.
func TestAnswers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.subscribe(t, "/secret-path/1", true)
	list := func() int {
		t.Helper()
		all, err := f.store.Push.List(t.Context(), f.bob.ID)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	status := func(code int) func(http.ResponseWriter) { return func(w http.ResponseWriter) { w.WriteHeader(code) } }
	f.device.Next(status(http.StatusTooManyRequests))
	f.device.Next(status(http.StatusInternalServerError))
	f.device.Next(func(http.ResponseWriter) { panic(http.ErrAbortHandler) })
	f.Stored(f.bob.ID, f.ann.ID, 1, []byte(`"x"`), false)
	f.settled(t, sent, 1)
	if n := testutil.ToFloat64(f.metrics.counters[retried]); n != 3 {
		t.Errorf("%v retries, want 3", n)
	}
	for range maxAttempts + 1 {
		f.device.Next(status(http.StatusServiceUnavailable))
	}
	f.Stored(f.bob.ID, f.ann.ID, 2, []byte(`"x"`), false)
	f.settled(t, failed, 1)
	for i, code := range []int{http.StatusForbidden, http.StatusFound} { // a redirect is not followed
		f.device.Next(func(w http.ResponseWriter) { w.Header().Set("Location", "/other"); w.WriteHeader(code) })
		f.Stored(f.bob.ID, f.ann.ID, 3, []byte(`"x"`), false)
		f.settled(t, failed, float64(2+i))
	}
	if list() != 1 {
		t.Error("the subscription was removed")
	}
	f.device.Next(status(http.StatusGone))
	f.Stored(f.bob.ID, f.ann.ID, 9, []byte(`"x"`), false)
	f.settled(t, gone, 1)
	if list() != 0 {
		t.Error("the subscription is still there")
	}
	// A sign-in that is too old has no subscription.
	old := f.device.Subscription("/2", true)
	old.Login = time.Now().Add(-2 * time.Hour)
	if err := f.Add(t.Context(), f.bob.ID, old); err != nil {
		t.Fatal(err)
	}
	before := len(f.device.Got)
	f.Stored(f.bob.ID, f.ann.ID, 10, []byte(`"x"`), false)
	deadline := time.Now().Add(30 * time.Second)
	for list() != 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if list() != 0 || len(f.device.Got) != before {
		t.Error("the subscription of an old sign-in is used")
	}
}

// TestPrivateNetworks: the server connects to public addresses only, unless it is configured otherwise.
func TestPrivateNetworks(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	public := New(Options{Store: f.store, Talks: f.acks, Subject: "mailto:admin@example.org", RootCAs: f.device.Roots(), Registry: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(&f.log, nil)), delays: delays{offline: time.Millisecond, online: time.Millisecond, retry: time.Millisecond}})
	t.Cleanup(public.Close)
	if err := public.Add(t.Context(), f.bob.ID, f.device.Subscription("/1", true)); err == nil {
		t.Error("a subscription at a loopback address is accepted")
	}
	f.subscribe(t, "/1", true)
	public.Stored(f.bob.ID, f.ann.ID, 1, []byte(`"x"`), false)
	f.Service = public
	f.settled(t, refused, 1)
	f.device.Quiet()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	good := f.device.Subscription("/1", true)
	if err := f.Check(good); err != nil {
		t.Errorf("a subscription: %v", err)
	}
	padded := good
	padded.P256dh, padded.Auth = good.P256dh+"=", good.Auth+"=="
	if err := f.Check(padded); err != nil {
		t.Errorf("a subscription with padding: %v", err)
	}
	for name, change := range map[string]func(*kv.PushSubscription){
		"http":          func(s *kv.PushSubscription) { s.Endpoint = "http://example.org/" },
		"no host":       func(s *kv.PushSubscription) { s.Endpoint = "https:///x" },
		"a password":    func(s *kv.PushSubscription) { s.Endpoint = "https://a:b@example.org/" },
		"metadata":      func(s *kv.PushSubscription) { s.Endpoint = "https://169.254.169.254/" },
		"short key":     func(s *kv.PushSubscription) { s.P256dh = "AAAA" },
		"no point":      func(s *kv.PushSubscription) { s.P256dh = base64.RawURLEncoding.EncodeToString(make([]byte, 65)) },
		"short secret":  func(s *kv.PushSubscription) { s.Auth = "AAAA" },
		"not base64url": func(s *kv.PushSubscription) { s.Auth = "!" },
	} {
		s := good
		if change(&s); f.Check(s) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"short"`: "short", `""`: "", `"abc`: "abc…", `"ab\u00`: "ab…", `"ab\`: "ab…", `"ab` + "\xf0\x9f": "ab…",
		`"` + strings.Repeat("é", 500) + `"`: strings.Repeat("é", maxRunes) + "…",
	} {
		if got := cut([]byte(raw)); got != want {
			t.Errorf("%.30s: %.30s, want %.30s", raw, got, want)
		}
	}
}
