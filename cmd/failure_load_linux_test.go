package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// failurePace is the time between two dialogues of one sender.
const failurePace = 200 * time.Millisecond

// failurePairs is the number of pairs of users who chat, half of them with keep=1.
var failurePairs = 10

// timeline lists the answers to one sender's dialogues.
type timeline struct {
	mu  sync.Mutex // guards all
	all []timedCode
}

type timedCode struct {
	at   time.Time
	code int // 0: the session ended
}

func (l *timeline) add(code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, timedCode{time.Now(), code})
}

// isSuccess reports whether a dialogue was delivered or stored.
func isSuccess(code int) bool { return code == 200 || code == 202 }

// successes returns the times of the successes from a time on.
func (l *timeline) successes(from time.Time) (all []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.all {
		if isSuccess(a.code) && !a.at.Before(from) {
			all = append(all, a.at)
		}
	}
	return all
}

// outage returns the longest time without a success between two times, when it began, and how often each other code was
// answered.
func (l *timeline) outage(from, to time.Time) (longest time.Duration, began time.Time, codes map[int]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, codes := from, make(map[int]int)
	for _, a := range append(slices.Clone(l.all), timedCode{to, 200}) {
		switch {
		case a.at.Before(from) || a.at.After(to):
		case !isSuccess(a.code):
			codes[a.code]++
		default:
			if d := a.at.Sub(last); d > longest {
				longest, began = d, last
			}
			last = a.at
		}
	}
	return longest, began, codes
}

// failureSender is a user who sends dialogues to a friend.
type failureSender struct {
	name    string
	nodes   [2]int // of the user and of the friend
	kept    bool   // sends with keep=1
	answers *timeline
}

// plainTalker is a client that knows the base protocol only. It sends each dialogue once, and records what it receives.
type plainTalker struct {
	p        *member
	friend   *plainTalker
	node     int
	answers  timeline
	tick     *time.Ticker
	mu       sync.Mutex // guards the fields below
	sent     []plainSend
	arrived  []plainArrival
	sessions int
	open     bool // a session is open
	faults   []string
}

// plainSend is a dialogue; its place in the list is its number.
type plainSend struct {
	session  int
	code     int // 0: not answered
	resolved bool
}

// plainArrival is a dialogue that a client received.
type plainArrival struct{ session, n int }

// run sends dialogues until stop is closed, and receives dialogues until end is closed. It logs in again whenever its
// session ends.
func (p *plainTalker) run(t *testing.T, stop, end <-chan struct{}) {
	p.tick = time.NewTicker(failurePace)
	defer p.tick.Stop()
	for {
		if c := p.login(t); c != nil {
			p.session(c, stop, end)
		}
		select {
		case <-end:
			return
		case <-time.After(50 * time.Millisecond): // a client that reconnects must not keep the machine busy
		}
	}
}

// login opens a session. It returns nil if the node is away.
func (p *plainTalker) login(t *testing.T) *tunnel {
	c, err := p.p.w.tryDial(t.Context(), p.p.w.dialer(), p.node, "/im/login?"+query("account", p.p.account, "password", p.p.password), nil)
	if err != nil {
		return nil
	}
	var a loginAnswer
	frame, err := c.tryNext()
	if err != nil || json.Unmarshal([]byte(frame), &a) != nil || a.Code != 200 {
		c.ws.Close()
		if err == nil && a.Code != 500 {
			p.fault("login: %s", frame)
		}
		return nil
	}
	p.p.w.secret(a.Token)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++
	p.open = true
	return c
}

func (p *plainTalker) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// session works until the session ends, or end is closed.
func (p *plainTalker) session(c *tunnel, stop, end <-chan struct{}) {
	defer c.ws.Close()
	frames := make(chan string, 1024)
	go func() {
		defer close(frames)
		for {
			frame, err := c.tryNext()
			if err != nil {
				return
			}
			frames <- frame
		}
	}()
	due := p.tick.C
	for {
		select {
		case <-end:
			return
		case <-stop:
			stop, due = nil, nil
		case frame, ok := <-frames:
			if !ok {
				p.mu.Lock()
				p.open = false
				p.mu.Unlock()
				p.answers.add(0)
				return
			}
			p.take(frame)
		case <-due:
			p.mu.Lock()
			n := len(p.sent)
			p.sent = append(p.sent, plainSend{session: p.sessions})
			p.mu.Unlock()
			_ = c.trySend(dialogue(strconv.Quote(plainID(n)), p.friend.p.id, strconv.Quote(plainPayload(n)))) // the reader sees the end of the session
		}
	}
}

func plainID(n int) string      { return fmt.Sprint("plain-", n) }
func plainPayload(n int) string { return fmt.Sprint("dialogue ", n) }

// take takes an answer or a dialogue.
func (p *plainTalker) take(frame string) {
	var f struct {
		Code              int
		ID, From, Payload string
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil {
		p.fault("frame %s: %v", frame, err)
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(f.ID, "plain-"))
	if err != nil {
		p.fault("unexpected frame %s", frame)
		return
	}
	if f.From != "" {
		if f.From != p.friend.p.id || f.Payload != plainPayload(n) {
			p.fault("unexpected dialogue %s", frame)
		}
		p.mu.Lock()
		p.arrived = append(p.arrived, plainArrival{p.sessions, n})
		p.mu.Unlock()
		return
	}
	p.answers.add(f.Code)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.sent) || p.sent[n].resolved {
		p.faults = append(p.faults, "unexpected answer "+frame)
		return
	}
	p.sent[n].code, p.sent[n].resolved = f.Code, true
}

// waiting returns the number of dialogues of the open session that are not answered.
func (p *plainTalker) waiting() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sent {
		if p.open && s.session == p.sessions && !s.resolved {
			n++
		}
	}
	return n
}

// check checks what the client received of its friend's dialogues. It returns what is wrong, how many arrived although
// they were not answered 200, and how many arrived in more than one session.
func (p *plainTalker) check() (wrong []string, doubtful, repeated int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.friend.mu.Lock()
	defer p.friend.mu.Unlock()
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	sent, times := p.friend.sent, make(map[int]int)
	newest := make(map[[2]int]int) // by the sessions of receiver and sender
	for _, a := range p.arrived {
		if a.n >= len(sent) {
			fault("dialogue %d arrived and was never sent", a.n)
			continue
		}
		if times[a.n]++; times[a.n] == 2 {
			repeated++
		}
		between := [2]int{a.session, sent[a.n].session}
		if before, ok := newest[between]; ok && a.n <= before {
			fault("dialogue %d (answered %d) arrived after dialogue %d (answered %d), in session %d", a.n, sent[a.n].code, before, sent[before].code, a.session)
		}
		newest[between] = max(newest[between], a.n)
	}
	for n, s := range sent {
		switch {
		case s.code == 200 && times[n] == 0:
			fault("dialogue %d (session %d) was answered 200 and did not arrive", n, s.session)
		case s.code != 200 && times[n] > 0:
			doubtful++
		}
	}
	return append(wrong, p.faults...), doubtful, repeated
}

// names returns the dialogues that were answered 200, as the log names them.
func (p *plainTalker) names() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, s := range p.sent {
		if s.code == 200 {
			all = append(all, p.p.id+" "+plainID(n))
		}
	}
	return all
}

// names returns the dialogues that were answered 202, as the log names them.
func (p *keepPerson) names() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range maps.Keys(p.kept) {
		all = append(all, p.id+" "+id)
	}
	return all
}

// lacks reports whether a dialogue of the friend that was answered 200 has not arrived.
func (p *plainTalker) lacks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.friend.mu.Lock()
	defer p.friend.mu.Unlock()
	there := make(map[int]bool)
	for _, a := range p.arrived {
		there[a.n] = true
	}
	for n, s := range p.friend.sent {
		if s.code == 200 && !there[n] {
			return true
		}
	}
	return false
}

// TestFailureCheck: the check finds what was lost, and what arrived twice, in the wrong order, or without being sent.
func TestFailureCheck(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		codes   []int // of the dialogues that the friend sent
		arrived []plainArrival
		want    string
	}{
		"all":             {[]int{200, 507, 200}, []plainArrival{{1, 0}, {1, 2}}, ""},
		"a doubtful one":  {[]int{200, 507, 200}, []plainArrival{{1, 0}, {1, 1}, {1, 2}}, ""},
		"in two sessions": {[]int{200, 200}, []plainArrival{{1, 0}, {2, 0}, {2, 1}}, ""},
		"lost":            {[]int{200, 200}, []plainArrival{{1, 0}}, "dialogue 1 (session 0) was answered 200 and did not arrive"},
		"twice":           {[]int{200}, []plainArrival{{1, 0}, {1, 0}}, "dialogue 0 (answered 200) arrived after dialogue 0"},
		"wrong order":     {[]int{200, 200}, []plainArrival{{1, 1}, {1, 0}}, "dialogue 0 (answered 200) arrived after dialogue 1"},
		"never sent":      {[]int{200}, []plainArrival{{1, 0}, {1, 1}}, "dialogue 1 arrived and was never sent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			friend := new(plainTalker)
			for _, code := range x.codes {
				friend.sent = append(friend.sent, plainSend{code: code})
			}
			p := &plainTalker{friend: friend, arrived: x.arrived}
			wrong, _, _ := p.check()
			if got := strings.Join(wrong, "; "); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
}

// TestFailureOutage: the longest time without a success includes the time before the first one and after the last one.
func TestFailureOutage(t *testing.T) {
	t.Parallel()
	zero := time.Unix(0, 0)
	at := func(seconds int) time.Time { return zero.Add(time.Duration(seconds) * time.Second) }
	l := &timeline{all: []timedCode{{at(1), 200}, {at(2), 507}, {at(5), 202}, {at(6), 200}}}
	for _, x := range []struct{ from, to, longest, began int }{{0, 7, 4, 1}, {2, 7, 3, 2}, {4, 30, 24, 6}} {
		longest, began, codes := l.outage(at(x.from), at(x.to))
		if longest != at(x.longest).Sub(zero) || !began.Equal(at(x.began)) || (codes[507] == 1) != (x.from <= 2) {
			t.Errorf("from %d to %d: %s from %s on, codes %v", x.from, x.to, longest, began, codes)
		}
	}
}
