package cmd

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// TestTop watches a running server, and finds none that is stopped.
func TestTop(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("dialogue: %d", code)
	}
	command(t, dir, "", "top").want(t, exitDone, "accounts 2  online 2  sessions 2", "NODE", "DLG/S", "IM_TALKS", "ok")
	answer := command(t, dir, "", "top", "-o", "json", "-n", "2", "--interval", "200ms").want(t, exitDone)
	lines := strings.Split(strings.TrimSpace(answer.out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2: %s", len(lines), answer.out)
	}
	for i, line := range lines {
		v := fromJSON[topView](t, line)
		if len(v.Nodes) != 1 || v.Accounts != 2 || len(v.Streams) < 5 {
			t.Fatalf("view %s", line)
		}
		n := v.Nodes[0]
		if n.Online != 2 || n.Kinds["contract"] != 2 || n.State != "ok" || n.Goroutines == 0 || n.DiskSize == 0 || (n.Dialogues["delivered"] > 0) != (i == 0) {
			t.Errorf("view %d has the node %+v", i, n)
		}
	}
	for _, args := range [][]string{{"--interval", "1ms"}, {"--count", "-1"}, {"--sort", "age"}} {
		command(t, dir, "", append([]string{"top"}, args...)...).want(t, exitUse, args[0])
	}
	w.close(t)
	s.close(t)
	command(t, dir, "", "top").want(t, exitNoServer, "no server is running")
}

// topTestSample returns a reading of two nodes.
func topTestSample(at time.Time, dialogues uint64) topSample {
	node := func(host string, sessions int) cluster.NodeStatus {
		return cluster.NodeStatus{Node: kv.Node{ID: "id-" + host, Host: host, Version: "v1.2.3", Started: at.Add(-time.Hour).Truncate(time.Hour)}, State: "ok", Sessions: sessions, Users: 1,
			Load: &cluster.Load{At: at, Dialogues: map[string]uint64{"delivered": dialogues}, Bounds: []float64{.001, .01}, Answered: []uint64{dialogues / 2, dialogues, dialogues},
				Memory: 50 << 20, DiskFree: 1 << 30, DiskSize: 4 << 30, Goroutines: 99}}
	}
	return topSample{at: at, nodes: []cluster.NodeStatus{node("b.example.org", 7), node("a.example.org", 9)},
		streams: []streamInfo{{Name: "IM_TALKS", State: "ok", Bytes: 50, MaxBytes: 100}}}
}

// TestTopView checks rates, quantiles, and that the view fits its terminal.
func TestTopView(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 12, 30, 0, 0, time.UTC)
	v := newTopView(topTestSample(at, 100), topTestSample(at.Add(10*time.Second), 300))
	if n := v.Nodes[0]; n.Dialogues["delivered"] != 20 || math.Abs(n.P50-.001) > 1e-9 || math.Abs(n.P99-.00982) > 1e-9 {
		t.Errorf("node %+v", n)
	}
	first := newTopView(topSample{}, topTestSample(at, 3600))
	if rate := first.Nodes[0].Dialogues["delivered"]; rate <= 0 || rate > 2 {
		t.Errorf("the rate since the start is %v", rate)
	}
	for _, width := range []int{200, 80, 40, 20} {
		for _, line := range v.lines(width, topOptions{sort: "name"}) {
			if columns(line) > width {
				t.Errorf("%d columns, want %d: %s", columns(line), width, line)
			}
		}
	}
	shown := func(o topOptions) string { return strings.Join(v.lines(0, o), "\n") }
	for _, x := range []struct {
		o     topOptions
		first string
	}{{topOptions{sort: "name"}, "a.example"}, {topOptions{sort: "name", reverse: true}, "b.example"}, {topOptions{sort: "sessions"}, "a.example"}} {
		if text := shown(x.o); strings.Index(text, x.first) > strings.Index(text, map[string]string{"a.example": "b.example", "b.example": "a.example"}[x.first]) {
			t.Errorf("%+v: %s is not first: %s", x.o, x.first, text)
		}
	}
	if !strings.Contains(shown(topOptions{sort: "name"}), "50% of 100 B") {
		t.Errorf("no fill in %s", shown(topOptions{sort: "name"}))
	}
}

// TestTopKeys presses keys on a terminal of 80 columns and 24 lines.
func TestTopKeys(t *testing.T) {
	t.Parallel()
	keys := make(chan byte)
	screen := &topScreen{keys: keys, size: func() (int, int) { return 80, 24 }}
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- runTop(t.Context(), &out, screen, topOptions{interval: time.Hour, sort: "name"}, func(context.Context) (topSample, error) {
			return topTestSample(time.Now(), 1), nil
		})
	}()
	for _, key := range []byte("srxq") {
		keys <- key
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text := out.String()
	frames := strings.Split(strings.TrimSuffix(strings.TrimPrefix(text, screenBegin), screenEnd), screenHome)[1:]
	if len(frames) != 4 || !strings.HasPrefix(text, screenBegin) || !strings.HasSuffix(text, screenEnd) {
		t.Fatalf("%d frames in %q", len(frames), text)
	}
	for i, want := range []string{"s sort: name", "s sort: sessions", "s sort: sessions"} {
		if !strings.Contains(frames[i], want) || strings.Count(frames[i], "\n") > 24 {
			t.Errorf("frame %d: no %q in %q", i, want, frames[i])
		}
	}
	failed := errors.New("lost")
	if err := runTop(t.Context(), &out, screen, topOptions{interval: time.Hour, sort: "name"}, func(context.Context) (topSample, error) { return topSample{}, failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	for _, name := range topColumns {
		if topSorts[name] == nil {
			t.Errorf("no order by %s", name)
		}
	}
}
