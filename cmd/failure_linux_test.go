package cmd

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	// failureStall is the longest time without a success of a sender whose node and friend's node live. It detects a
	// hang; the table has the actual times.
	failureStall = 60 * time.Second
	// settleCount is how many successes of each sender show that the site has settled.
	settleCount = 10
)

// failureRun is users who chat on a site while nodes fail.
type failureRun struct {
	site    *failureSite
	w       *world
	plain   []*plainTalker
	people  []*keepPerson
	devices []*keepDevice
	senders []failureSender
	log     *logRecorder

	stop, end chan struct{}
	working   sync.WaitGroup
	rows      []failureRow
}

// failureRow is the result of an event.
type failureRow struct {
	name        string
	plain, kept failureOutages
	back        time.Duration // from the end of the failure to a success of each sender
}

// failureOutages are the times without a success of some senders.
type failureOutages struct {
	longest, median, offset time.Duration
	sender                  string
	codes                   map[int]int
}

// startFailureRun registers the users and lets them chat. With record, a consumer reads the log.
func startFailureRun(t *testing.T, site *failureSite, record bool) *failureRun {
	t.Helper()
	x := &failureRun{site: site, w: newWorld(t, site), stop: make(chan struct{}), end: make(chan struct{})}
	x.w.http, x.w.netDial = site.http, site.dial
	x.w.secret(killedPassword)
	if site.url != "" {
		x.w.secret(firstGroup(site.url, `:([0-9a-f]{32})@`))
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i, log := range site.logs {
				t.Logf("warnings and errors of node %d:\n%s", i, tail(seriousLines(log.String()), 60))
			}
		}
	})
	if record {
		x.log = site.record(t, x.w)
	}
	for i := range failurePairs {
		nodes := [2]int{i % siteNodes, (i + 1) % siteNodes}
		if i%5 == 4 {
			nodes[1] = nodes[0]
		}
		if i%2 == 0 {
			x.addPlain(t, nodes)
		} else {
			x.addKept(t, i, nodes)
		}
	}
	for _, p := range x.plain {
		x.working.Go(func() { p.run(t, x.stop, x.end) })
	}
	for _, d := range x.devices {
		x.working.Go(func() { d.run() })
	}
	x.settle(t, time.Now(), nil)
	return x
}

func (x *failureRun) addPlain(t *testing.T, nodes [2]int) {
	t.Helper()
	a, b := x.w.newFriends(t)
	two := [2]*plainTalker{{p: a, node: nodes[0]}, {p: b, node: nodes[1]}}
	for i, p := range two {
		p.p.tunnel.close(t)
		p.friend = two[1-i]
		x.plain = append(x.plain, p)
		x.senders = append(x.senders, failureSender{p.p.account, [2]int{nodes[i], nodes[1-i]}, false, &p.answers})
	}
}

func (x *failureRun) addKept(t *testing.T, n int, nodes [2]int) {
	t.Helper()
	for i, p := range x.w.newKeepPersons(t) {
		line := new(timeline)
		d := p.newDevice(unfailed{t}, fmt.Sprintf("kept-%d-%d", n, i), nodes[i], uint64(2*n+i), x.stop)
		d.pace, d.retry, d.window, d.silence, d.onAnswer = failurePace, 25*time.Millisecond, 4, waitTimeout, line.add
		x.people, x.devices = append(x.people, p), append(x.devices, d)
		x.senders = append(x.senders, failureSender{p.account, [2]int{nodes[i], nodes[1-i]}, true, line})
	}
}

// unfailed is a test that a device goes on with after another part has failed.
type unfailed struct{ testing.TB }

func (unfailed) Failed() bool { return false }

// counted returns the senders whose node, and whose friend's node, are not down.
func (x *failureRun) counted(down []int) (all []failureSender) {
	for _, s := range x.senders {
		if !slices.Contains(down, s.nodes[0]) && !slices.Contains(down, s.nodes[1]) {
			all = append(all, s)
		}
	}
	return all
}

// settle waits until the senders whose nodes are not down have had some successes after a time.
func (x *failureRun) settle(t *testing.T, from time.Time, down []int) {
	t.Helper()
	deadline := time.Now().Add(2 * failureStall)
	for _, s := range x.counted(down) {
		for len(s.answers.successes(from)) < settleCount {
			if time.Now().After(deadline) {
				_, _, codes := s.answers.outage(from, time.Now())
				t.Fatalf("the dialogues of %s on node %d to node %d do not succeed; codes %v", s.name, s.nodes[0], s.nodes[1], codes)
			}
			time.Sleep(20 * time.Millisecond) // the load goes on
		}
	}
}

// cause runs an event and adds its row.
func (x *failureRun) cause(t *testing.T, e failureEvent) {
	t.Helper()
	churn := x.startChurn(t)
	began := time.Now()
	var mended time.Time
	e.run(t, x, func() { mended = time.Now() })
	row := failureRow{name: e.name}
	defer func() { t.Logf("%s; slowest: %s, %s", row, row.plain.sender, row.kept.sender) }()
	look := func() {
		ended := time.Now()
		row.plain, row.kept = x.outages(e.down, false, began, ended), x.outages(e.down, true, began, ended)
	}
	defer look()
	patiently(t, x.site.sick)
	x.settle(t, mended, nil)
	look()
	for _, s := range x.senders {
		row.back = max(row.back, s.answers.successes(mended)[0].Sub(mended))
	}
	x.rows = append(x.rows, row)
	for _, o := range []failureOutages{row.plain, row.kept} {
		if o.longest > failureStall {
			t.Errorf("%s: the dialogues of %s failed for %s, want at most %s", e.name, o.sender, o.longest, failureStall)
		}
	}
	churn.end(t)
}

// outages sums up the senders of a kind that count.
func (x *failureRun) outages(down []int, kept bool, from, to time.Time) failureOutages {
	o := failureOutages{codes: make(map[int]int)}
	var all []time.Duration
	for _, s := range x.counted(down) {
		if s.kept != kept {
			continue
		}
		longest, began, codes := s.answers.outage(from, to)
		all = append(all, longest)
		if longest > o.longest {
			o.longest, o.offset, o.sender = longest, began.Sub(from), fmt.Sprintf("%s (node %d to %d)", s.name, s.nodes[0], s.nodes[1])
		}
		for code, n := range codes {
			o.codes[code] += n
		}
	}
	slices.Sort(all)
	if len(all) > 0 {
		o.median = all[len(all)/2]
	}
	return o
}

func (o failureOutages) String() string {
	var codes []string
	for _, code := range slices.Sorted(maps.Keys(o.codes)) {
		name := fmt.Sprint(code)
		if code == 0 {
			name = "ended"
		}
		codes = append(codes, fmt.Sprintf("%s: %d", name, o.codes[code]))
	}
	return fmt.Sprintf("%.1f s at %.1f s\t%.1f s\t%s", o.longest.Seconds(), o.offset.Seconds(), o.median.Seconds(), strings.Join(codes, ", "))
}

func (r failureRow) String() string {
	return fmt.Sprintf("%s\t%s\t%s\t%.1f s", r.name, r.plain, r.kept, r.back.Seconds())
}

// table prints the result of each event.
func (x *failureRun) table(t *testing.T) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "event\tlongest\tmedian\tcodes\tkept: longest\tmedian\tcodes\tall back")
	for _, r := range x.rows {
		fmt.Fprintln(w, r)
	}
	w.Flush()
	t.Logf("times without a success of the senders whose nodes live:\n%s", &text)
}

// finish ends the load and checks everything that was answered.
func (x *failureRun) finish(t *testing.T) {
	t.Helper()
	x.table(t)
	close(x.stop)
	patiently(t, func() (wait string) {
		for _, p := range x.plain {
			if n := p.waiting(); n > 0 {
				wait += fmt.Sprintf("%d answers to %s; ", n, p.p.account)
			}
		}
		return wait
	})
	arrived := time.Now().Add(waitTimeout / 3)
	for slices.ContainsFunc(x.plain, func(p *plainTalker) bool { return p.lacks() }) && time.Now().Before(arrived) {
		time.Sleep(20 * time.Millisecond) // the clients read
	}
	close(x.end)
	x.working.Wait()
	doubtful, repeated, unstored := 0, 0, 0
	var names []string
	for _, p := range x.plain {
		wrong, d, r := p.check()
		for _, fault := range wrong {
			t.Errorf("%s on node %d, friend on node %d: %s", p.p.account, p.node, p.friend.node, fault)
		}
		doubtful, repeated = doubtful+d, repeated+r
		names, unstored = append(names, p.names()...), unstored+p.unstored(t)
	}
	plain := len(names)
	for _, d := range x.devices {
		x.checkKept(t, d)
	}
	for _, p := range x.people {
		names = append(names, p.names()...)
	}
	t.Logf("%d dialogues were answered 200 and %d 202; %d arrived without a 200, %d in more than one session; %d answered 200 are not in the history",
		plain, len(names)-plain, doubtful, repeated, unstored)
	if x.log != nil {
		var missing []string
		deadline := time.Now().Add(2 * waitTimeout)
		for missing = x.log.missing(names); len(missing) > 0 && time.Now().Before(deadline); missing = x.log.missing(names) {
			time.Sleep(50 * time.Millisecond) // the consumer reads
		}
		if len(missing) > 0 {
			slices.SortFunc(missing, cmp.Compare[string])
			t.Errorf("the log lacks %d dialogues that were answered 200 or 202: %s", len(missing), strings.Join(missing[:min(20, len(missing))], ", "))
		}
	}
	x.w.close(t)
	for i, log := range x.site.logs {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
				t.Errorf("node %d logged: %s", i, line)
			}
		}
	}
}

// checkKept reads the whole conversation of a device's user with a new device, and compares it with what was answered
// 202.
func (x *failureRun) checkKept(t *testing.T, d *keepDevice) {
	t.Helper()
	if len(d.log) == 0 {
		return
	}
	fresh := d.p.newDevice(t, d.name+"-fresh", d.node+1, 1, nil)
	if err := fresh.settle(); err != nil {
		t.Errorf("%s: %v", fresh.name, err)
		return
	}
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	for id, e := range d.p.kept {
		if got := fresh.log[e.N]; got != e {
			t.Errorf("dialogue %s was answered 202 with %+v, and the history has %+v", id, e, got)
		}
	}
	if len(fresh.ids) != len(fresh.log) {
		t.Errorf("the conversation of %s has %d numbers for %d dialogues", d.name, len(fresh.log), len(fresh.ids))
	}
	d.p.friend.mu.Lock()
	defer d.p.friend.mu.Unlock()
	for id, e := range d.p.friend.kept {
		if got := fresh.log[e.N]; got.ID != id || got.From != d.p.friend.id || got.Payload != e.Payload || got.At != e.At {
			t.Errorf("dialogue %s was answered 202 with %+v, and the friend's history has %+v", id, e, got)
		}
	}
}

// unstored returns how many dialogues to a client were answered 200 and are not in the history.
func (p *plainTalker) unstored(t *testing.T) (missing int) {
	t.Helper()
	me, friend := &keepPerson{member: p.p}, &keepPerson{member: p.friend.p}
	me.friend, friend.friend = friend, me
	for _, k := range []*keepPerson{me, friend} {
		k.acknowledges(math.MaxUint64, math.MaxUint64) // the server acknowledges for clients of the base protocol
	}
	d := me.newDevice(t, p.p.account+"-fresh", p.node+1, 1, nil)
	if err := d.settle(); err != nil {
		t.Errorf("history of %s: %v", p.p.account, err)
		return 0
	}
	for n, s := range p.friend.sent {
		if s.code == 200 && d.ids[[2]string{friend.id, plainID(n)}] == 0 {
			missing++
		}
	}
	return missing
}

// patiently waits until missing returns nothing, for as long as a hang may take.
func patiently(t *testing.T, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(2 * failureStall)
	for what := missing(); what != ""; what = missing() {
		if time.Now().After(deadline) {
			t.Fatalf("timeout; still: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestFailures lets users chat while servers are killed, hang, and leave in an orderly way.
func TestFailures(t *testing.T) {
	t.Parallel()
	x := startFailureRun(t, startAttachedSite(t, false), true)
	x.cause(t, killNATS(x.site.leader(t, "IM_TALKS"), time.Second))
	x.cause(t, lameDuckNATS(x.site.leader(t, "KV_im_users"), 0))
	x.cause(t, hangNATS(x.site.leader(t, "IM_TALKS"), 12*time.Second))
	x.cause(t, killNode(1, time.Second))
	x.cause(t, hangNode(0, 6*time.Second))
	x.finish(t)
}

// TestFailuresOfNetwork lets users chat while a node is cut off the network.
func TestFailuresOfNetwork(t *testing.T) {
	t.Parallel()
	x := startFailureRun(t, startAttachedSite(t, true), true)
	x.cause(t, cutOff(x.site.leader(t, "IM_TALKS"), 10*time.Second))
	x.finish(t)
}
