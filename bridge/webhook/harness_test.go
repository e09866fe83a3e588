package webhook

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/kv"
)

// received is a request that a destination has verified with the library of Standard Webhooks.
type received struct {
	id   string
	body struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
}

// destination is an HTTP server for events.
type destination struct {
	t   *testing.T
	srv *httptest.Server
	got chan received

	mu      sync.Mutex
	secrets []string // each must verify every request
	answer  func(w http.ResponseWriter, e received)
	seen    []string // ids of all requests, in order
}

func startDestination(t *testing.T) *destination {
	d := &destination{t: t, got: make(chan received, 10_000)}
	d.srv = httptest.NewServer(d)
	t.Cleanup(d.srv.Close)
	return d
}

func (d *destination) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the service has ended
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, secret := range d.secrets {
		key, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = key.Verify(body, r.Header)
		}
		if err != nil {
			d.t.Errorf("verify %s: %v", body, err)
		}
	}
	e := received{id: r.Header.Get("webhook-id")}
	if err := json.Unmarshal(body, &e.body); err != nil || e.body.Timestamp.IsZero() {
		d.t.Errorf("%s: %v", body, err)
	}
	d.seen = append(d.seen, e.id)
	if d.answer != nil {
		d.answer(w, e)
	}
	d.got <- e
}

// answers sets what the destination answers; nil is 200.
func (d *destination) answers(with func(w http.ResponseWriter, e received)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = with
}

func (d *destination) trusts(secrets ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secrets = secrets
}

func (d *destination) next() received {
	d.t.Helper()
	select {
	case e := <-d.got:
		return e
	case <-time.After(30 * time.Second):
		d.t.Fatal("no event arrives")
		return received{}
	}
}

// status answers with a status code.
func status(code int) func(http.ResponseWriter, received) {
	return func(w http.ResponseWriter, _ received) { w.WriteHeader(code) }
}

// nodes are the only node of a test.
type nodes struct{ f *fixture }

func (n nodes) ConsumerAttached(ctx context.Context) error {
	for _, s := range n.f.services {
		s.Reload()
	}
	return n.f.events.Attach(ctx)
}

type fixture struct {
	*Webhooks
	*destination
	url      string // of NATS
	store    *kv.Store
	events   *eventlog.Log
	log      natstest.Log
	services []*Service
	audited  chan audit.Event
	ann, bob kv.User
	friends  []string // ids
	settings Settings
	pace     pace
}

func setUp(t *testing.T, settings Settings) *fixture {
	t.Helper()
	settings.Private = true
	f := &fixture{destination: startDestination(t), url: natstest.Start(t, t.TempDir(), -1).ClientURL(), audited: make(chan audit.Event, 10), settings: settings}
	f.pace = newPace(time.Hour)
	f.pace.schedule, f.pace.minPause, f.pace.maxPause = []time.Duration{time.Millisecond}, time.Millisecond, 10*time.Millisecond
	nc := natstest.Connect(t, f.url)
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
	for range 6 {
		f.friends = append(f.friends, kv.NewID())
	}
	log := slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.events, err = eventlog.Open(t.Context(), nc, natstest.Dialer(f.url), eventlog.Options{Plain: true, States: f.store.States, Registry: prometheus.NewRegistry(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.events.Close(context.Background()) })
	if f.Webhooks, err = NewWebhooks(nc, "im", f.store, nodes{f}, settings, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if strings.Contains(f.log.String(), "whsec_") || strings.Contains(f.log.String(), f.srv.URL) {
			t.Errorf("the log has a secret or a URL:\n%s", f.log.String())
		}
	})
	return f
}

// start starts a node. It ends with the test, or by Close.
func (f *fixture) start(t *testing.T, talks Talks) *Service {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(natstest.Connect(t, f.url), Options{Settings: f.settings, Webhooks: f.Webhooks, Prefix: "im", Store: f.store, Talks: talks, Serving: func() bool { return true },
		Audit: func(e audit.Event) { f.audited <- e }, Registry: prometheus.NewRegistry(), Log: log, pace: &f.pace})
	if err != nil {
		t.Fatal(err)
	}
	f.services = append(f.services, s)
	t.Cleanup(s.Close)
	return s
}

// add adds a webhook that posts to the destination.
func (f *fixture) add(t *testing.T, w kv.Webhook) string {
	t.Helper()
	w.Name, w.URL = "hook", f.srv.URL+"/secret-path"
	_, secret, err := f.Add(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	f.trusts(secret)
	return secret
}

// created writes an entry that a user was created, and n is in its name.
func (f *fixture) created(n string) {
	f.events.User(eventlog.UserCreated, kv.User{ID: f.ann.ID, Account: "ann", Profile: kv.Profile{Name: n}})
}

// until waits for a condition that no signal tells.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (f *fixture) counts(t *testing.T) (waiting, failed uint64) {
	t.Helper()
	s, err := f.Get(t.Context(), "hook")
	if err != nil {
		t.Fatal(err)
	}
	return s.Waiting, s.Failed
}
