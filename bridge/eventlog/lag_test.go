package eventlog

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
)

// TestUsage compares the reading of a log with what its consumers have done.
func TestUsage(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	all := consumer(t, l, url, "all")
	users := consumer(t, l, url, "users", "im.log.user.>", "im.log.friend.>")
	consumer(t, l, url, "idle", "im.log.report.>")
	before := time.Now()
	writeEntries(t, l, 10)
	take(t, all, 20)
	take(t, users, 4)
	held, err := users.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(l.js, l.names)
	var u Usage
	wait(t, "the acknowledgements are counted", func() bool {
		var err error
		if u, err = r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(u.Consumers) == 3 && u.Consumers[0].Name == "users" && u.Consumers[0].Behind() == 6
	})
	slowest, ok := u.Slowest()
	if !ok || slowest.Pending != 5 || slowest.Unacked != 1 || slowest.Seen.Before(before) || slowest.Attachment || !slowest.Durable {
		t.Errorf("the slowest consumer is %+v", slowest)
	}
	fifth := entryTime(t, l, "im.log.user.>", 5)
	if !slowest.Oldest.Equal(fifth) {
		t.Errorf("the oldest entry that it needs is of %s, want %s", slowest.Oldest, fifth)
	}
	for _, lag := range u.Consumers[1:] {
		if lag.Behind() != 0 || !lag.Oldest.IsZero() {
			t.Errorf("a consumer that needs nothing: %+v", lag)
		}
	}
	if u.MaxBytes != 1<<30 || u.Bytes == 0 || u.Percent() != 0 || u.Degraded(Refuse) != "" {
		t.Errorf("the usage is %+v", u)
	}
	again, err := r.Read(t.Context())
	if err != nil || !again.Consumers[0].Oldest.Equal(fifth) || r.oldest["users"].seq == 0 {
		t.Errorf("the second reading is %+v, %v", again, err)
	}
	if err := held.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, "a later entry is the oldest", func() bool {
		again, err := r.Read(t.Context())
		return err == nil && again.Consumers[0].Behind() == 5 && again.Consumers[0].Oldest.After(fifth)
	})
}

// entryTime returns when the nth entry with a subject was stored.
func entryTime(t *testing.T, l *Log, filter string, n int) time.Time {
	t.Helper()
	s, err := l.js.Stream(t.Context(), l.stream)
	if err != nil {
		t.Fatal(err)
	}
	seq, at := uint64(1), time.Time{}
	for range n {
		m, err := s.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(filter))
		if err != nil {
			t.Fatal(err)
		}
		seq, at = m.Sequence+1, m.Time
	}
	return at
}

// TestFullLog fills a log up, and checks what it says of itself.
func TestFullLog(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	log := new(natstest.Log)
	l := startLog(t, url, Options{MaxBytes: 32 << 10, WatchEvery: 5 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
	c := consumer(t, l, url, "archive")
	v := &verdicts{make(chan bool, 1)}
	payload := `"` + strings.Repeat("x", 1000) + `"`
	written := 0
	for full := false; !full; {
		if written > 100 {
			t.Fatal("the log does not get full")
		}
		l.AddDialogue(delivered(v, "1", payload))
		if full = !<-v.oks; !full {
			written++
		}
		if percent := (written + 1) * 100 * 1200 / (32 << 10); percent < 40 && l.Degraded() != "" {
			t.Fatalf("degraded at %d %%: %s", percent, l.Degraded())
		}
	}
	wait(t, "the log says that it is full", func() bool {
		return strings.HasPrefix(l.Degraded(), "the event log is full, so dialogues are answered 507; consumer archive is behind by ")
	})
	if got := counted(t, l, "imctl_log_consumer_pending"); got != float64(written) {
		t.Errorf("the metrics have %v entries, want %d", got, written)
	}
	if used, limit := counted(t, l, "imctl_log_bytes"), counted(t, l, "imctl_log_max_bytes"); limit != 32<<10 || used < limit*8/10 || used > limit {
		t.Errorf("the metrics have %v of %v bytes", used, limit)
	}
	wait(t, "it was warned of", func() bool { return strings.Contains(log.String(), "the event log fills up") })
	if out := log.String(); strings.Count(out, "the event log fills up") > 2 || !strings.Contains(out, "consumer=archive") {
		t.Errorf("the warnings:\n%s", out)
	}
	take(t, c, written)
	wait(t, "the log is fine again", func() bool { return l.Degraded() == "" })
}

// TestAgeOfEntries checks that entries which expire soon make the log degraded.
func TestAgeOfEntries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	u := Usage{Read: now, MaxAge: 100 * time.Hour, MaxBytes: 1000, Consumers: []Lag{{Name: "archive", Pending: 3, Oldest: now.Add(-83 * time.Hour)}}}
	if got, want := u.Degraded(Refuse), "consumer archive is behind by 3 entries, the oldest at 83 % of nats.log.max_age"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	u.Bytes = 830
	if got, want := u.Degraded(Refuse), "the event log is 83 % full; consumer archive is behind by 3 entries"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	u.Refusing = true
	if got, want := u.Degraded(Continue), "the event log is full and loses entries; consumer archive is behind by 3 entries"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLevels checks that each level is reported once, until the figure has clearly fallen below it.
func TestLevels(t *testing.T) {
	t.Parallel()
	var l level
	for i, c := range []struct {
		percent int
		want    bool
	}{{49, false}, {50, true}, {79, false}, {81, true}, {100, false}, {75, false}, {82, false}, {65, false}, {80, true}, {45, false}, {52, false}, {39, false}, {51, true},
		{10, false}, {90, true}, {50, false}} {
		if got := l.reached(c.percent); got != c.want {
			t.Errorf("%d: %d %% is reported: %t, want %t", i, c.percent, got, c.want)
		}
	}
}

// TestRemovable checks which consumer may be detached.
func TestRemovable(t *testing.T) {
	t.Parallel()
	old, young := time.Now().Add(-time.Hour), time.Now()
	lag := func(name string, behind uint64, oldest time.Time, kinds ...string) Lag {
		return Lag{Name: name, Attachment: true, Durable: true, Pending: behind, Oldest: oldest, kinds: kinds}
	}
	gone := map[string]bool{"gone": true, "also": true}
	for name, c := range map[string]struct {
		consumers []Lag
		want      string
	}{
		"it holds everything up":                   {[]Lag{lag("gone", 100, old, "dialogue"), lag("live", 1, young, "dialogue")}, "gone"},
		"a live one needs the same entries":        {[]Lag{lag("live", 100, old, "dialogue"), lag("gone", 100, old, "dialogue")}, ""},
		"a live one needs others":                  {[]Lag{lag("live", 5, old, "report"), lag("gone", 95, young, "report", "dialogue")}, "gone"},
		"a live one holds it up":                   {[]Lag{lag("gone", 3, old, "report"), lag("live", 97, young, "dialogue")}, ""},
		"two are gone":                             {[]Lag{lag("also", 100, old, "dialogue"), lag("gone", 100, old, "dialogue")}, "also"},
		"it needs nothing":                         {[]Lag{lag("live", 100, old, "dialogue"), lag("gone", 0, time.Time{}, "dialogue")}, ""},
		"it belongs to no attachment":              {[]Lag{{Name: "gone", Pending: 100, Oldest: old, kinds: []string{"dialogue"}}}, ""},
		"a live one that is not an attachment has": {[]Lag{{Name: "x", Pending: 100, Oldest: old, kinds: []string{"dialogue"}}, lag("gone", 100, old, "dialogue")}, ""},
	} {
		got, ok := Usage{Entries: 100, Consumers: c.consumers}.Removable(gone)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q may be removed, want %q", name, got.Name, c.want)
		}
	}
}

// TestLabels bounds the consumers with metrics.
func TestLabels(t *testing.T) {
	t.Parallel()
	l := &Log{}
	u := Usage{Read: time.Now(), Consumers: []Lag{{Name: "random", Pending: 1}}}
	for range 2 * maxLabels {
		u.Consumers = append(u.Consumers, Lag{Name: strings.Repeat("n", len(u.Consumers)), Durable: true})
	}
	l.usage.Store(&u)
	registry := prometheus.NewRegistry()
	registry.MustRegister(usageCollector{l})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > maxLabels || f.GetName() == "imctl_log_consumer_pending" && n != maxLabels {
			t.Errorf("%s has %d metrics", f.GetName(), n)
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == "random" {
					t.Errorf("%s has a consumer with a random name", f.GetName())
				}
			}
		}
	}
}
