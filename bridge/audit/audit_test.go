package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
)

// open opens a trail, and closes it at the end of the test.
func open(t *testing.T, url string, o Options) *Trail {
	t.Helper()
	trail, err := Open(t.Context(), natstest.Dialer(url), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trail.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return trail
}

func flush(t *testing.T, trail *Trail) {
	t.Helper()
	if err := trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stream returns the stream of a trail, and its current state.
func stream(t *testing.T, trail *Trail) (jetstream.Stream, jetstream.StreamInfo) {
	t.Helper()
	s, err := trail.js.Stream(t.Context(), trail.names.AuditStream())
	if err != nil {
		t.Fatal(err)
	}
	return s, *s.CachedInfo()
}

// entries returns all entries of a kind.
func entries(t *testing.T, trail *Trail, kind Kind) (all []Event) {
	t.Helper()
	s, info := stream(t, trail)
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var e Event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
		if e.Event == kind {
			all = append(all, e)
		}
	}
	return all
}

// metric returns the value of a counter of a trail.
func metric(t *testing.T, trail *Trail, name string) float64 {
	t.Helper()
	families, err := trail.opts.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestTrail: an entry has all fields of its event, and those before a flush are stored by then.
func TestTrail(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	trail := open(t, url, Options{Node: "n"})
	want := Event{Event: Admin("user", "disable"), Actor: Ref{Administrator, "root"}, Address: "192.0.2.7", Subject: Ref{User, "u"}, Detail: "d"}
	before := time.Now().Add(-time.Second)
	trail.Add(want)
	for range 1200 {
		trail.Add(Event{Event: UserMail, Actor: Ref{User, "u"}})
	}
	flush(t, trail)
	all := entries(t, trail, want.Event)
	if len(all) != 1 || all[0].Time.Before(before) {
		t.Fatalf("entries: %+v", all)
	}
	want.Node, want.Time = "n", all[0].Time
	if all[0] != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if n := len(entries(t, trail, UserMail)); n != 1200 {
		t.Errorf("%d entries, want 1200", n)
	}
	if n := metric(t, trail, "imctl_audit_entries_total"); n != 1201 {
		t.Errorf("the metric says %v", n)
	}
}

// TestAttackerKeepsEntries: no number of events of one class drops an entry of another one, and no number of failed
// logins from one address those of all others.
func TestAttackerKeepsEntries(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	trail := open(t, url, Options{MaxBytes: 1 << 20})
	trail.windows = nil // the bounds of a minute are another test's
	trail.Add(Event{Event: Admin("user", "delete"), Actor: Ref{Administrator, "root"}})
	trail.LoginFailed("192.0.2.7", "", "password")
	for i := range 6000 {
		trail.LoginFailed("192.0.2.8", "", strings.Repeat("<", maxDetail))
		trail.LoggedIn(Ref{User, fmt.Sprint(i % 200)}, strings.Repeat("a", maxName), strings.Repeat("<", maxDetail))
		if i%1000 == 999 {
			flush(t, trail)
		}
	}
	flush(t, trail)
	if n := len(entries(t, trail, Admin("user", "delete"))); n != 1 {
		t.Errorf("%d entries of the administrator, want 1", n)
	}
	first := entries(t, trail, LoginFailed)
	if len(first) == 0 || first[0].Address != "192.0.2.7" || len(first) != 33 {
		t.Errorf("%d entries of failed logins, the first is %+v", len(first), first[0])
	}
	if _, info := stream(t, trail); info.State.Bytes > 1<<20 || info.Config.MaxMsgsPerSubject != 32 {
		t.Errorf("%d bytes, %d entries for each subject", info.State.Bytes, info.Config.MaxMsgsPerSubject)
	}
}

// TestEntryIsBounded: no event takes more than its space, whatever its texts are.
func TestEntryIsBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "<", "\x00", "é", "\u2028", "\xff"} {
		long := strings.Repeat(text, 1000)
		e := Event{Time: time.Now(), Node: strings.Repeat("f", 16), Event: Admin("attach", "rotate"), Actor: Ref{Administrator, long}, Address: long,
			Subject: Ref{Attachment, long}, Count: 1 << 40, Detail: long}
		body := e.body()
		var back Event
		if err := json.Unmarshal(body, &back); err != nil || len(body) > maxBody || back.Event != e.Event || back.Count != e.Count {
			t.Errorf("%q: %d bytes, %v: %s", text, len(body), err, body)
		}
	}
	if most := len(subject.Prefix("im").Audit(loginsFailed.name, loginsFailed.shares)); most+30 > maxEntry-maxBody {
		t.Errorf("a subject has up to %d bytes", most)
	}
}

// TestWindow: a minute has a bounded number of entries for each source and for all, and a summary of the rest.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := &window{perSource: 3, total: 8, sources: make(map[string]*tally)}
	now := time.Now()
	w.roll(LoginFailed, now)
	admitted := 0
	for i := range 10 {
		for source := range 4 { // of which the fourth gets no entry after the first two rounds
			if w.admit(Event{Event: LoginFailed, Actor: Ref{Kind: Client}, Address: fmt.Sprint("192.0.2.", source)}) {
				admitted++
			}
		}
		if i == 5 {
			w.admit(Event{Event: LoginFailed, Address: "198.51.100.1"})
		}
	}
	if admitted != 8 {
		t.Errorf("%d entries, want 8", admitted)
	}
	if w.ended(now.Add(windowLength-time.Second)) || !w.ended(now.Add(windowLength)) {
		t.Error("a window is not a minute long")
	}
	summaries, events := w.roll(LoginFailed, now.Add(windowLength)), 0
	for _, e := range summaries {
		events += e.Count
	}
	if len(summaries) != 5 || events != 41-8 || summaries[4].Address != "" || summaries[4].Count != 1 || summaries[0].Address != "192.0.2.0" {
		t.Errorf("%d events in %+v", events, summaries)
	}
	if !w.admit(Event{Event: LoginFailed, Address: "192.0.2.0"}) {
		t.Error("the next minute has no entries")
	}
}

// TestFailedLoginsAreBounded: an address has ten entries in a minute and one with the number of the others, which a
// shutdown writes too.
func TestFailedLoginsAreBounded(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	trail, err := Open(t.Context(), natstest.Dialer(url), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		trail.LoginFailed("192.0.2.8", "", "password")
	}
	trail.LoginFailed("192.0.2.7", "", "password")
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := entries(t, open(t, url, Options{}), LoginFailed)
	counts := make(map[string]int)
	for _, e := range all {
		counts[e.Address] += max(1, e.Count)
	}
	// A minute may end between two events, and then has a summary of its own.
	if len(all) > 2*11+1 || counts["192.0.2.8"] != 1000 || counts["192.0.2.7"] != 1 {
		t.Errorf("%d entries, %v", len(all), counts)
	}
}

// TestUnwritable: while nothing can be stored, adding does not wait, a flush says why, and the events that exceed the
// queue are counted. The queued events are stored later.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var full atomic.Bool
	errFull := errors.New("disk is full")
	full.Store(true)
	trail := open(t, url, Options{MayWrite: func() error {
		if full.Load() {
			return errFull
		}
		return nil
	}})
	for range queueEvents + 100 {
		trail.Add(Event{Event: UserMail, Actor: Ref{User, "u"}})
	}
	if err := trail.Flush(t.Context()); !errors.Is(err, errFull) {
		t.Errorf("flush: %v", err)
	}
	if n := metric(t, trail, "imctl_audit_lost_total"); n != 100 {
		t.Errorf("%v entries are lost, want 100", n)
	}
	full.Store(false)
	for {
		err := trail.Flush(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
	if n := metric(t, trail, "imctl_audit_entries_total"); n != queueEvents {
		t.Errorf("%v entries are stored, want %d", n, queueEvents)
	}
}

// TestStreamIsKept: the stream drops old entries instead of refusing new ones, whatever it was set to, and is created
// again after it was deleted.
func TestStreamIsKept(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	trail := open(t, url, Options{Prefix: "x", MaxAge: time.Hour, MaxBytes: 2 << 20})
	_, info := stream(t, trail)
	c := info.Config
	if c.Name != "X_AUDIT" || c.Discard != jetstream.DiscardOld || c.MaxAge != time.Hour || c.MaxBytes != 2<<20 || c.Retention != jetstream.LimitsPolicy {
		t.Errorf("it is %+v", c)
	}
	c.Description, c.Discard, c.MaxMsgs, c.MaxMsgsPerSubject, c.AllowAtomicPublish = "ours", jetstream.DiscardNew, 10, 1, false
	if _, err := trail.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	other := open(t, url, Options{Prefix: "x"})
	if _, info := stream(t, other); info.Config.Description != "ours" || info.Config.Discard != jetstream.DiscardOld || info.Config.MaxMsgs != -1 ||
		info.Config.MaxMsgsPerSubject < 1000 || info.Config.MaxAge != 2160*time.Hour || info.Config.MaxBytes != 64<<20 {
		t.Errorf("it is %+v", info.Config)
	}
	if err := trail.js.DeleteStream(t.Context(), "X_AUDIT"); err != nil {
		t.Fatal(err)
	}
	other.Add(Event{Event: ServerReloaded, Actor: Ref{Kind: Server}})
	other.Add(Event{Event: ServerReloaded, Actor: Ref{Kind: Server}})
	for other.Flush(t.Context()) != nil && t.Context().Err() == nil {
	}
	if n := len(entries(t, other, ServerReloaded)); n != 2 {
		t.Errorf("%d entries after the stream was deleted, want 2", n)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]bool{"login.failed": true, "login": true, "log": false, "login.done": false, "login.failed.x": false} {
		if got := LoginFailed.Matches(filter); got != want {
			t.Errorf("%s matches %s: %t", LoginFailed, filter, got)
		}
	}
	for filter, want := range map[string]string{"login": "", "login.done": "login_done", "admin": "admin", "admin.user": "admin", "user": "user", "limited": "limited"} {
		if got := Class(filter); got != want {
			t.Errorf("Class(%q) = %q, want %q", filter, got, want)
		}
	}
	e := Event{Actor: Ref{Administrator, "u"}, Subject: Ref{User, "v"}}
	if e.Concerns("u") || !e.Concerns("v") {
		t.Error("Concerns takes an administrator for a user")
	}
}
