package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/outbound"
	"imctl/kv"
)

// TestPost: an event is posted once, with a signature that the library of Standard Webhooks accepts, in the order of the
// log, and only if the webhook names it.
func TestPost(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.created", "user.*"}})
	for i := range 100 {
		f.created(fmt.Sprint(i))
		f.events.Session(eventlog.SessionBegan, f.ann.ID, "s", "n")
	}
	ids := make(map[string]bool)
	for i := range 100 {
		e := f.next()
		if e.body.Type != "user.created" || e.body.Data["name"] != fmt.Sprint(i) || e.body.Data["user"] != f.ann.ID || e.body.Data["v"] != nil {
			t.Fatalf("event %d is %+v", i, e)
		}
		ids[e.id] = true
	}
	if len(ids) != 100 {
		t.Errorf("%d ids", len(ids))
	}
	until(t, "the queue is empty", func() bool { n, _ := f.counts(t); return n == 0 })
}

type cursors map[string]kv.Cursor

func (c cursors) Cursors(context.Context, string) (map[string]kv.Cursor, error) { return c, nil }

// TestOffline: dialogue.offline has what a push gateway needs, and the text only with the flag.
func TestOffline(t *testing.T) {
	t.Parallel()
	for _, payload := range []bool{false, true} {
		t.Run(fmt.Sprint(payload), func(t *testing.T) {
			t.Parallel()
			f := setUp(t, Settings{})
			muted := true
			f.start(t, cursors{f.ann.ID: {With: f.ann.ID, Read: 3, Marks: kv.Marks(0).With(kv.MarkChange{Muted: &muted})}})
			f.add(t, kv.Webhook{Events: []string{"dialogue.offline"}, Payload: payload})
			if !f.events.WantsOffline() {
				t.Fatal("the log does not want them")
			}
			at := time.Now().UTC().Truncate(time.Millisecond)
			f.events.AddOffline(eventlog.Offline{From: f.ann.ID, To: f.bob.ID, ID: []byte(`"x"`), Payload: []byte(`"text"`), N: 5, At: at})
			e := f.next()
			want := map[string]any{"id": "x", "from": f.ann.ID, "to": f.bob.ID, "n": 5.0, "at": at.Format("2006-01-02T15:04:05.000Z07:00"), "unread": 2.0, "muted": true,
				"from_account": f.ann.Account, "from_name": "A. Nonymous", "to_account": f.bob.Account, "to_name": "A. Nonymous"}
			if payload {
				want["payload"] = "text"
			}
			if e.body.Type != "dialogue.offline" || fmt.Sprint(e.body.Data) != fmt.Sprint(want) {
				t.Errorf("the event is %+v, want %v", e, want)
			}
			f.events.AddOffline(eventlog.Offline{From: f.ann.ID, To: f.bob.ID, ID: []byte(`"y"`), Payload: []byte(`"text"`), At: at})
			if e := f.next(); e.body.Data["n"] != nil || e.body.Data["unread"] != nil {
				t.Errorf("a dialogue that is not kept: %+v", e)
			}
		})
	}
}

// TestRetries: a failed event is posted again with the same id, a webhook that keeps failing is noted, and the events are
// all posted when the destination works again.
func TestRetries(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	s := f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.answers(status(http.StatusServiceUnavailable))
	for i := range 10 {
		f.created(fmt.Sprint(i))
	}
	until(t, "it is noted", func() bool {
		w, err := f.Get(t.Context(), "hook")
		return err == nil && strings.Contains(w.State(), "failing: the destination answered 503")
	})
	f.answers(nil)
	until(t, "all are posted", func() bool { return testutil.ToFloat64(s.metrics.posts.WithLabelValues("hook", resultOK)) == 10 })
	until(t, "it works again", func() bool { w, err := f.Get(t.Context(), "hook"); return err == nil && w.State() == "ok" })
	distinct := slices.Clone(f.seen)
	slices.Sort(distinct)
	if distinct = slices.Compact(distinct); len(distinct) != 10 || len(f.seen) < 13 {
		t.Errorf("%d ids in %d requests", len(distinct), len(f.seen))
	}
	if waiting, failed := f.counts(t); waiting+failed != 0 {
		t.Errorf("%d events wait, %d are dead letters", waiting, failed)
	}
	if n := strings.Count(f.log.String(), "the destination of a webhook fails"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// TestPoison: an event that the destination refuses does not hold up the others, becomes a dead letter at its age, and
// can be replayed and dropped.
func TestPoison(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.pace.maxAge, f.pace.schedule = 300*time.Millisecond, []time.Duration{20 * time.Millisecond}
	f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}, Parallel: 1})
	f.answers(func(w http.ResponseWriter, e received) {
		if e.body.Data["name"] == "poison" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	f.created("poison")
	for i := range 20 {
		f.created(fmt.Sprint(i))
	}
	for names := make(map[any]bool); len(names) < 21; {
		names[f.next().body.Data["name"]] = true
	}
	until(t, "a dead letter", func() bool { waiting, failed := f.counts(t); return waiting == 0 && failed == 1 })
	dead, next, err := f.Dead(t.Context(), "hook", 0, 10)
	if err != nil || len(dead) != 1 || next != 0 || dead[0].Type != "user.created" || dead[0].Reason != "the destination answered 400 Bad Request" || dead[0].Attempts < 2 {
		t.Fatalf("dead letters: %+v, %d, %v", dead, next, err)
	}
	one, err := f.DeadLetter(t.Context(), "hook", dead[0].ID)
	if err != nil || !strings.Contains(string(one.Event), `"poison"`) {
		t.Errorf("dead letter: %s, %v", one.Event, err)
	}
	f.answers(nil)
	for len(f.got) > 0 {
		<-f.got
	}
	if n, err := f.Replay(t.Context(), "hook"); n != 1 || err != nil {
		t.Fatalf("replay: %d, %v", n, err)
	}
	if e := f.next(); e.id != dead[0].WebhookID || e.body.Data["name"] != "poison" {
		t.Errorf("replayed: %+v", e)
	}
	if _, err := f.Drop(t.Context(), "hook", dead[0].ID); !errors.Is(err, ErrFailed) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestGone: 410 disables the webhook, and enabling it posts the event.
func TestGone(t *testing.T) {
	t.Parallel()
	f := setUp(t, quick())
	f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.answers(status(http.StatusGone))
	f.created("first")
	if e := <-f.audited; e.Event != audit.WebhookDisabled || e.Subject.ID != "hook" {
		t.Errorf("audited: %+v", e)
	}
	w, err := f.Get(t.Context(), "hook")
	if err != nil || !strings.Contains(w.State(), "disabled: the destination answered 410 Gone") {
		t.Errorf("%+v, %v", w, err)
	}
	f.created("while it is disabled")
	f.answers(nil)
	f.next()
	if _, err := f.Enable(t.Context(), "hook"); err != nil {
		t.Fatal(err)
	}
	f.created("last")
	posted := map[any]bool{f.next().body.Data["name"]: true, f.next().body.Data["name"]: true}
	if !posted["first"] || !posted["last"] {
		t.Errorf("posted: %v", posted)
	}
}

// TestLimits: a destination that is down fills the queue and then the dead letters, and neither is more than its limit.
// The log is empty all the same.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{Limits: Limits{MaxEvents: 20, MaxFailed: 5}})
	s := f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.answers(status(http.StatusInternalServerError))
	for i := range 40 {
		f.created(fmt.Sprint(i))
	}
	until(t, "all are queued or dead", func() bool { return testutil.ToFloat64(s.metrics.dead.WithLabelValues("hook")) == 20 })
	if waiting, failed := f.counts(t); waiting != 20 || failed != 5 {
		t.Errorf("%d events wait, %d are dead letters", waiting, failed)
	}
	until(t, "the log is empty", func() bool {
		u, err := f.consumers.Usage(t.Context())
		if err == nil {
			err = f.events.Prune(t.Context())
		}
		return err == nil && u.Entries == 0
	})
	dead, _, err := f.Dead(t.Context(), "hook", 0, 10)
	if err != nil || len(dead) != 5 || dead[0].Reason != "too many events wait" {
		t.Errorf("dead letters: %+v, %v", dead, err)
	}
	if n, err := f.Drop(t.Context(), "hook"); n != 5 || err != nil {
		t.Errorf("drop: %d, %v", n, err)
	}
}

// TestTwoNodes: of two nodes one posts at a time, the events keep their order, and the other node takes over.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.start(t, nil)
	f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	name := 0
	write := func() {
		t.Helper()
		begin := name
		for range 50 {
			f.created(fmt.Sprint(name))
			name++
		}
		for i := begin; i < name; i++ {
			if e := f.next(); e.body.Data["name"] != fmt.Sprint(i) {
				t.Fatalf("event %d is %v", i, e.body.Data["name"])
			}
		}
	}
	taken := func() {
		t.Helper()
		until(t, "the queue is empty", func() bool { n, _ := f.counts(t); return n == 0 })
	}
	write()
	write()
	taken() // an event whose answer has not arrived is posted again
	f.services[0].Close()
	write()
	taken()
	f.services[1].Close()
	third := f.start(t, nil)
	write()
	if n := testutil.ToFloat64(third.metrics.posts.WithLabelValues("hook", resultOK)); n < 40 {
		t.Errorf("the third node has posted %g", n)
	}
}

// TestRotate: both secrets sign for a time.
func TestRotate(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.start(t, nil)
	old := f.add(t, kv.Webhook{Events: []string{"user.*"}})
	w, secret, err := f.Rotate(t.Context(), "hook", time.Hour)
	if err != nil || secret == old || !strings.HasPrefix(secret, "whsec_") || time.Until(w.OldSecretUntil) < 50*time.Minute {
		t.Fatalf("%+v, %v", w, err)
	}
	f.trusts(old, secret)
	if r, err := f.Test(t.Context(), "hook"); err != nil || !r.OK || r.Status != 200 {
		t.Errorf("test: %+v, %v", r, err)
	}
	if e := f.next(); e.body.Type != "webhook.test" {
		t.Errorf("the test is %+v", e)
	}
	if _, secret, err = f.Rotate(t.Context(), "hook", 0); err != nil {
		t.Fatal(err)
	}
	if all, err := f.store.Webhooks.Secrets(t.Context(), "hook"); err != nil || len(all) != 1 || all[0] != secret {
		t.Errorf("%d secrets, %v", len(all), err)
	}
}

// TestRemove: a removed webhook leaves nothing behind, and an interrupted addition is undone.
func TestRemove(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.start(t, nil)
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.created("x")
	f.next()
	if _, _, err := f.Add(t.Context(), kv.Webhook{Name: "hook", URL: f.srv.URL, Events: []string{"report"}}); !errors.Is(err, kv.ErrWebhookExists) {
		t.Errorf("a second one of that name: %v", err)
	}
	if err := f.Remove(t.Context(), "hook"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.store.Webhooks.Prepare(t.Context(), kv.Webhook{Name: "pending", URL: f.srv.URL}); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Repair(t.Context()); n != 1 || err != nil {
		t.Errorf("repair: %d, %v", n, err)
	}
	u, err := f.consumers.Usage(t.Context())
	if err != nil || len(u.Consumers) != 0 {
		t.Errorf("consumers: %+v, %v", u.Consumers, err)
	}
	state, err := f.store.States.Get(t.Context())
	if _, noted := state.Streams[f.mark("hook")]; noted || err != nil {
		t.Errorf("its consumer is expected: %v", err)
	}
	if err := f.Remove(t.Context(), "hook"); !errors.Is(err, kv.ErrWebhookNotFound) {
		t.Errorf("remove it again: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	for name, w := range map[string]kv.Webhook{
		"event":    {Events: []string{"users"}},
		"no event": {},
		"parallel": {Events: []string{"report"}, Parallel: 65},
		"rate":     {Events: []string{"report"}, Rate: 0.01},
		"name":     {Events: []string{"report"}, Name: "a.b"},
		"URL":      {Events: []string{"report"}, URL: "ftp://example.org/"},
	} {
		if w.URL == "" {
			w.URL = f.srv.URL
		}
		if w.Name == "" {
			w.Name = "hook"
		}
		if _, _, err := f.Add(t.Context(), w); !errors.Is(err, kv.ErrWebhookInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for to, want := range map[string][2]bool{ // without and with webhooks.private
		"https://example.org/x?y": {true, true}, "http://example.org/": {false, true}, "https://127.0.0.1/": {false, true}, "https://[::1]/": {false, true},
		"https://[::ffff:10.0.0.1]/": {false, true}, "https://169.254.169.254/latest": {false, false}, "https://a:b@example.org/": {false, false},
		"https://example.org/#x": {false, false}, "https:///": {false, false}, "example.org": {false, false},
	} {
		if got := [2]bool{checkURL(to, false) == nil, checkURL(to, true) == nil}; got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
}

// TestPace: three days of attempts, an age at which they end, and pauses that grow.
func TestPace(t *testing.T) {
	t.Parallel()
	p := newPace(72 * time.Hour)
	age, attempts := time.Duration(0), uint64(0)
	for {
		attempts++
		delay, again := p.retry(attempts, age, 0)
		if !again {
			break
		}
		age += delay
	}
	if attempts < 9 || attempts > 11 || age != 72*time.Hour {
		t.Errorf("%d attempts in %s", attempts, age)
	}
	if d, _ := p.retry(1, 0, time.Hour); d != time.Hour {
		t.Errorf("Retry-After: %s", d)
	}
	if p.pause(1, 0) != 0 || p.pause(1, time.Minute) != time.Minute || p.pause(3, 0) > 6*time.Second || p.pause(100, 0) < 9*time.Minute {
		t.Error("the pauses are wrong")
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{"": 0, "x": 0, "-1": 0, "120": 2 * time.Minute, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "999999999": maxRetryAfter} {
		if got := outbound.RetryAfter(http.Header{"Retry-After": {header}}, now, maxRetryAfter); got != want {
			t.Errorf("Retry-After %q: %s", header, got)
		}
	}
}
