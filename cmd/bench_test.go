package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"imctl/cmd/bench"
	"imctl/kv"
)

// cheap are flags with the hash parameters of test servers.
var cheap = []string{"--passwords.memory", "1MiB", "--passwords.passes", "1"}

// startForBench starts a server with a NATS listener, and returns a function that runs imctl bench on it.
func startForBench(t testing.TB, change ...func(*Config)) (*server, func(args ...string) commandAnswer) {
	t.Helper()
	dir := t.TempDir()
	s := start(t, append(change, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0" })...)
	return s, func(args ...string) commandAnswer {
		t.Helper()
		args = append(append([]string{"bench"}, args...), "--url", s.app.URL())
		return command(t, dir, "", append(args, cheap...)...)
	}
}

// wantNoAccounts fails the test if the server has accounts.
func (s *server) wantNoAccounts(t testing.TB) {
	t.Helper()
	users, _, err := s.app.backend.store.Users.List(t.Context(), kv.ListOptions{Limit: 1000})
	if err != nil || len(users) != 0 {
		t.Errorf("%d accounts remain: %v", len(users), err)
	}
}

type latencyJSON struct {
	Count    int
	P50, P99 float64
	Max      float64
}

func (l latencyJSON) plausible(t testing.TB, what string, least int) {
	t.Helper()
	if l.Count < least || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("%s: %+v, want at least %d", what, l, least)
	}
}

type usageJSON struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	Resident   uint64  `json:"resident_bytes"`
}

func (u *usageJSON) plausible(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "linux" && (u == nil || u.CPUSeconds < 0 || u.Resident == 0) {
		t.Errorf("implausible usage of the server: %+v", u)
	}
}

// TestBenchServers: the two ends of a pair are on different servers of a cluster.
func TestBenchServers(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	one, two := start(t, there.attached), start(t, there.attached)
	urls := []string{"--url", one.app.URL(), "--url", two.app.URL(), "--nats.url", there.url}
	for _, row := range []struct{ command, answered string }{{"dialogue --for 1s --pairs 2", "200"}, {"dialogue --for 1s --pairs 2 --keep", "202"}} {
		args := append(strings.Fields("bench "+row.command+" -o json"), urls...)
		got := command(t, t.TempDir(), "", append(args, cheap...)...)
		var report struct{ Codes map[string]int }
		if err := json.Unmarshal([]byte(got.out), &report); err != nil || report.Codes[row.answered] == 0 || len(report.Codes) != 1 {
			t.Errorf("%s: %v, %v, %s", row.command, report.Codes, err, got.err)
		}
	}
	for _, s := range []*server{one, two} {
		families, err := s.app.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		logins := 0.0
		for _, f := range families {
			if f.GetName() == "imctl_logins_total" {
				for _, m := range f.GetMetric() {
					logins += m.GetCounter().GetValue()
				}
			}
		}
		if logins != 4 {
			t.Errorf("%v logins on a server, want 4: half of each run", logins)
		}
	}
	command(t, t.TempDir(), "", append([]string{"bench", "calls"}, urls...)...).want(t, exitUse, "one server")
}

func TestBenchDialogue(t *testing.T) {
	t.Parallel()
	s, run := startForBench(t)
	for name, args := range map[string][]string{
		"as many as go": {"--pairs", "3", "--window", "4", "--size", "10"},
		"at a rate":     {"--pairs", "2", "--window", "8", "--rate", "200"},
		"registered":    {"--pairs", "2", "--window", "1", "--register"},
		"kept":          {"--pairs", "2", "--window", "4", "--keep"},
	} {
		var r struct {
			Pairs          int
			Seconds        float64
			Answered       float64 `json:"answered_per_second"`
			Acknowledged   float64 `json:"acknowledgements_per_second"`
			Delivered      float64 `json:"delivered_per_second"`
			Codes          map[string]int
			AnswerMillis   latencyJSON `json:"answer_ms"`
			DeliveryMillis latencyJSON `json:"delivery_ms"`
			Server         *usageJSON
		}
		a := run(append([]string{"dialogue", "--for", "300ms", "-o", "json"}, args...)...).want(t, exitDone)
		if err := json.Unmarshal([]byte(a.out), &r); err != nil {
			t.Fatalf("%s: %s: %v", name, a.out, err)
		}
		code := "200"
		if name == "kept" {
			code = "202"
		}
		if r.Seconds < 0.3 || r.Answered <= 0 || r.Delivered < r.Answered*0.5 || len(r.Codes) != 1 || r.Codes[code] == 0 {
			t.Errorf("%s: %s", name, a.out)
		}
		if (r.Acknowledged > 0) != (name == "kept") {
			t.Errorf("%s: %g acknowledgements per second", name, r.Acknowledged)
		}
		r.AnswerMillis.plausible(t, name, 1)
		r.DeliveryMillis.plausible(t, name, 1)
		if name == "registered" {
			if r.Server != nil {
				t.Errorf("%s: usage of the server without --pid: %s", name, a.out)
			}
			continue
		}
		r.Server.plausible(t)
	}
	if users, _, err := s.app.backend.store.Users.List(t.Context(), kv.ListOptions{Limit: 1000}); err != nil || len(users) != 4 {
		t.Errorf("got %d accounts, %v, want the 4 of --register", len(users), err)
	}
}

func TestBenchOthers(t *testing.T) {
	t.Parallel()
	s, run := startForBench(t, overTLS)
	for name, c := range map[string]struct{ args, rows []string }{
		"idle":            {[]string{"idle", "--connections", "20", "--friends", "4", "--settle", "100ms"}, []string{"20 connections, 4 friends each", "login "}},
		"login":           {[]string{"login", "--people", "20", "--friends", "2", "--at-once", "4"}, []string{"20 logins by password", "logins "}},
		"login by token":  {[]string{"login", "--people", "20", "--friends", "0", "--token"}, []string{"20 logins by token", "logins "}},
		"login and chat":  {[]string{"login", "--people", "10", "--pairs", "2", "--rate", "100", "--for", "200ms"}, []string{"10 logins by password, 9 friends each", "chat before ", "chat during "}},
		"calls":           {[]string{"calls", "--friends", "5", "--times", "3"}, []string{"login", "found", "request", "add", "remove", "list"}},
		"register":        {[]string{"register", "--people", "5", "--at-once", "2"}, []string{"registrations ", "hashing "}},
		"dialogue, table": {[]string{"dialogue", "--pairs", "1", "--for", "100ms"}, []string{"codes ", "200: ", "answer ", "delivery "}},
	} {
		run(append(c.args, "--insecure")...).want(t, exitDone, c.rows...)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	s.wantNoAccounts(t)
	if a := run("idle", "--connections", "1"); a.code != exitFailed || !strings.Contains(a.err, "certificate") {
		t.Errorf("untrusted certificate: got %+v", a)
	}
	s.wantNoAccounts(t)
}

// TestBenchTalks checks the measurements of kept conversations, and that they erase what they have written.
func TestBenchTalks(t *testing.T) {
	t.Parallel()
	s, run := startForBench(t)
	var r struct {
		Dialogues int
		Newest    latencyJSON `json:"newest_ms"`
		Older     latencyJSON `json:"older_ms"`
	}
	a := run("history", "--conversations", "7", "--dialogues", "700", "--times", "5", "-o", "json").want(t, exitDone)
	if err := json.Unmarshal([]byte(a.out), &r); err != nil || r.Dialogues != 700 {
		t.Fatalf("%s: %v", a.out, err)
	}
	r.Newest.plausible(t, "newest page", 5)
	r.Older.plausible(t, "older page", 5)
	run("login", "--people", "10", "--friends", "4", "--keep").want(t, exitDone, "with keep=1")
	run("login", "--keep", "--token").want(t, exitUse, "cannot be used together")
	run("history", "--conversations", "10", "--dialogues", "9").want(t, exitUse)
	s.wantNoAccounts(t)
	kept := 0
	if err := s.app.backend.store.Talks.Scan(t.Context(), func(r *kv.Record) error { kept += len(r.Dialogues); return nil }); err != nil || kept != 0 {
		t.Errorf("%d dialogues remain: %v", kept, err)
	}
	off, run := startForBench(t, func(c *Config) { c.Dialogues.Keep = 0 })
	run("history", "--conversations", "1").want(t, exitFailed, "dialogues.keep")
	off.wantNoAccounts(t)
}

func TestBenchPlot(t *testing.T) {
	t.Parallel()
	_, run := startForBench(t)
	path := filepath.Join(t.TempDir(), "latency.svg")
	run("dialogue", "--pairs", "1", "--for", "200ms", "--plot", path).want(t, exitDone)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	curves := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			curves++
			for _, a := range e.Attr {
				if a.Name.Local == "points" && (strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Value == "") {
					t.Errorf("invalid points of a line: %s", a.Value)
				}
			}
		}
	}
	if curves != 8 {
		t.Errorf("got %d lines, want p50, p99 and max over time and the distribution, of answers and of deliveries", curves)
	}
	run("dialogue", "--plot", "x.gif").want(t, exitUse, "must end in .svg")
}

// TestBenchInterrupted checks that an interrupted command deletes its test accounts.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	s, _ := startForBench(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	done := make(chan commandAnswer)
	go func() {
		var out, errs bytes.Buffer
		args := []string{"bench", "dialogue", "--for", "1h", "--url", s.app.URL(), "--data", s.app.config.Data}
		code := Run(ctx, &Env{In: strings.NewReader(""), Out: &out, Err: &errs, Dir: t.TempDir()}, append(args, cheap...))
		done <- commandAnswer{code, out.String(), errs.String()}
	}()
	eventually(t, "people talk", func() bool {
		return strings.Contains(s.output(t), `imctl_dialogues_total{code="200"`)
	})
	interrupt(errInterrupted)
	(<-done).want(t, exitFailed, "interrupted")
	s.wantNoAccounts(t)
}

func TestBenchRefused(t *testing.T) {
	t.Parallel()
	s, run := startForBench(t, func(c *Config) { c.Limits.Logins = Rate{Count: 1, Per: time.Hour} })
	run("dialogue", "--pairs", "4").want(t, exitFailed, "403", "limits.logins of the server may be reached: wait, or set it to 0 there")
	s.wantNoAccounts(t)
	for _, args := range [][]string{
		{"dialogue", "--pairs", "0"}, {"dialogue", "--window", "9999"}, {"dialogue", "--size", "0"}, {"dialogue", "--for", "1ms"}, {"dialogue", "--rate", "-1"},
		{"idle", "--connections", "0"}, {"login", "--people", "0"}, {"calls", "--times", "0"}, {"register", "--at-once", "0"}, {"populate", "--accounts", "0"}, {"populate", "--friends", "3"},
	} {
		command(t, t.TempDir(), "", append([]string{"bench"}, args...)...).want(t, exitUse)
	}
	command(t, t.TempDir(), "", "bench", "dialogue", "--url", "ftp://example.org").want(t, exitUse, "not the URL of a server")
	command(t, t.TempDir(), "", "bench", "dialogue").want(t, exitNoServer, "no server")
}

// TestBenchPopulate creates permanent accounts and logs in with one of them.
func TestBenchPopulate(t *testing.T) {
	t.Parallel()
	s, _ := startForBench(t)
	dir := filepath.Dir(s.app.config.Data)
	command(t, dir, "pass", append([]string{"bench", "populate", "--accounts", "100", "--friends", "6", "--popular", "2", "--popular-friends", "10"}, cheap...)...).want(t, exitDone)
	users := s.app.backend.store.Users
	if n, err := users.Count(t.Context()); err != nil || n != 100 {
		t.Fatalf("%d accounts, %v", n, err)
	}
	friends := 0
	all, _, err := users.List(t.Context(), kv.ListOptions{Limit: 1000})
	if err != nil || len(all) != 100 {
		t.Fatalf("%d accounts, %v", len(all), err)
	}
	for _, u := range all {
		mine, _, err := s.app.backend.store.Rosters.Get(t.Context(), u.ID)
		if err != nil || len(mine.Friends) < 6 {
			t.Errorf("%s has %d friends, %v", u.Account, len(mine.Friends), err)
		}
		friends += len(mine.Friends)
		for _, f := range mine.Friends {
			theirs, _, err := s.app.backend.store.Rosters.Get(t.Context(), f.ID)
			if _, ok := theirs.Friend(u.ID); err != nil || !ok || f.ID == u.ID {
				t.Errorf("%s has the friend %s, but not the other way round: %v", u.Account, f.ID, err)
			}
		}
	}
	if friends <= 600 {
		t.Errorf("no account has additional friends: %d friends in total", friends)
	}
	command(t, dir, "pass", append([]string{"bench", "calls", "--as", "bench-person-0", "--times", "2", "--begins", "Ada", "--url", s.app.URL()}, cheap...)...).want(t, exitDone)
	command(t, dir, "wrong", append([]string{"bench", "calls", "--as", "bench-person-0", "--times", "2", "--url", s.app.URL()}, cheap...)...).want(t, exitFailed, "505")
	command(t, dir, "pass", append([]string{"bench", "populate", "--accounts", "100"}, cheap...)...).want(t, exitFailed, "exists")
}

// TestBenchLimits checks that bench names the limit that has stopped or slowed a measurement.
func TestBenchLimits(t *testing.T) {
	t.Parallel()
	s, run := startForBench(t, func(c *Config) {
		c.Limits.Registrations, c.Limits.Dialogues = Rate{Count: 3, Per: time.Hour}, Rate{Count: 10, Per: time.Second}
	})
	run("register", "--people", "3").want(t, exitDone)
	run("register", "--people", "3").want(t, exitFailed, "register: 403", "limits.registrations of the server may be reached")
	run("dialogue", "--pairs", "1", "--for", "200ms", "--limits.dialogues", "10/s").want(t, exitDone,
		"limited by ", "limits.dialogues: 10/s for each of 2 sessions; set it to 0 on the server")
	s.wantNoAccounts(t)
	limit := Rate{Count: 50, Per: time.Second}
	for _, c := range []struct {
		limit          Rate
		rate, answered float64
		limited        bool
	}{
		{limit, 0, 210, true}, {limit, 0, 5000, false}, {Rate{}, 0, 240, false}, {limit, 200, 200, false}, {limit, 1000, 210, true},
	} {
		r := &bench.DialogueReport{Pairs: 2, Seconds: 10, Rate: c.rate, Answered: c.answered}
		if got := dialogueLimit(c.limit, r); (got != "") != c.limited {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestFrontURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, mode, want string }{
		{"127.0.0.1:8080", "auto", "http://127.0.0.1:8080"}, {"localhost:1", "auto", "http://localhost:1"}, {"[::1]:8080", "auto", "http://[::1]:8080"},
		{":8443", "auto", "https://localhost:8443"}, {"0.0.0.0:80", "off", "http://localhost:80"}, {"127.0.0.1:1", "self-signed", "https://127.0.0.1:1"},
		{"chat.example.org:443", "acme", "https://chat.example.org:443"},
	} {
		config := Defaults()
		config.Listen, config.TLS.Mode = c.listen, c.mode
		if got := frontURL(config); got != c.want {
			t.Errorf("%s, TLS %s: %s, want %s", c.listen, c.mode, got, c.want)
		}
	}
}
