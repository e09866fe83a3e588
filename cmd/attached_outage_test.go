package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNATSOutage stops NATS during dialogues between users on two servers, and starts it again. Every dialogue answered
// 200 arrives, every dialogue is answered in time, no tunnel ends, and the servers recover without a restart.
func TestNATSOutage(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	all := bridges{start(t, there.attached), start(t, there.attached)}
	for _, s := range all {
		s.mayLog = []string{"NATS", "the event log cannot be written"}
	}
	w := newWorld(t, all)
	const pairs = 6
	var talks []*talk
	for range pairs {
		a, b := w.newFriends(t)
		talks = append(talks, newTalk(a, b), newTalk(b, a))
	}
	leaver, stayer := w.newFriends(t)
	watch := newWatch(t, stayer)
	silent := w.newMembers(t, 1)[0] // on the other server
	stayer.befriend(t, silent)
	var work sync.WaitGroup
	for _, k := range talks {
		work.Go(func() { k.send(t) })
		work.Go(func() { k.from.read(t, k, k.back(talks)) })
	}
	answered := func(code, n int) func() bool {
		return func() bool {
			for _, k := range talks {
				if k.count(code) < n {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "dialogues", answered(200, 50))
	for round := 1; round <= 2; round++ {
		there.stop()
		for _, s := range all {
			eventually(t, "readiness is false", func() bool { return !s.ready(t) })
		}
		before := talks[0].count(507)
		eventually(t, "507", answered(507, before+50))
		if round == 1 {
			leaver.tunnel.close(t)
		}
		there.start(t)
		for _, s := range all {
			eventually(t, "readiness is back", func() bool { return s.ready(t) })
		}
		eventually(t, "dialogues go on", answered(200, talks[0].count(200)+50))
	}
	// The user who left during the outage is offline.
	eventually(t, "508", func() bool { return stayer.talk(t, leaver, "x") == 508 })
	eventually(t, "presence is up to date", func() bool { return watch.lastCode(leaver) == 300 && watch.lastCode(silent) == 302 })
	for _, k := range talks {
		close(k.enough)
	}
	for _, k := range talks {
		eventually(t, "all dialogues are answered, and those answered 200 have arrived", k.settled)
		k.check(t)
	}
	for _, k := range talks {
		k.over.Store(true)
		k.from.tunnel.ws.Close()
	}
	work.Wait()
	leaver.login(t)
	if code := stayer.talk(t, leaver, "y"); code != 200 {
		t.Errorf("dialogue after the second login: got code %d, want 200", code)
	}
}

// watch reads a tunnel with push=1 and keeps the last presence notice about each user.
type watch struct {
	mu   sync.Mutex // guards last
	last map[string]int
}

func newWatch(t *testing.T, p *member) *watch {
	t.Helper()
	w := &watch{last: make(map[string]int)}
	c, _ := p.openTunnel(t, "push", "1")
	go func() {
		for {
			frame, err := c.tryNext()
			if err != nil {
				return // at the end of the test
			}
			var f struct {
				Code int
				ID   string
			}
			if json.Unmarshal([]byte(frame), &f) == nil && (f.Code == 300 || f.Code == 302) {
				w.mu.Lock()
				w.last[f.ID] = f.Code
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// lastCode returns the code of the last presence notice about a user.
func (w *watch) lastCode(of *member) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[of.id]
}

// ready reports whether /readyz answers 200.
func (s *server) ready(t testing.TB) bool {
	t.Helper()
	r, err := http.Get("http://" + reachable(s.app.ops.Addr()) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// maxOutageAnswer is how long an answer may take during an outage. It is shorter than dialogues.timeout, 5 seconds.
const maxOutageAnswer = 3 * time.Second

// talk is a series of dialogues from one user to another. Their ids are numbers.
type talk struct {
	from, to *member
	enough   chan struct{}
	room     chan struct{} // has an element for each unanswered dialogue

	mu       sync.Mutex // guards the fields below
	begun    map[int]time.Time
	codes    map[int]int
	got      map[int]int // how often each dialogue arrived
	last     int         // id of the last dialogue that arrived
	slowest  time.Duration
	finished atomic.Bool // send has ended
	over     atomic.Bool // an end of the tunnel is expected
}

func newTalk(from, to *member) *talk {
	return &talk{from: from, to: to, enough: make(chan struct{}), room: make(chan struct{}, 4),
		begun: make(map[int]time.Time), codes: make(map[int]int), got: make(map[int]int)}
}

// back returns the talk in the other direction. Its dialogues arrive on the tunnel that has the answers to k.
func (k *talk) back(all []*talk) *talk {
	for _, other := range all {
		if other.from == k.to && other.to == k.from {
			return other
		}
	}
	return nil
}

func (k *talk) count(code int) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.codes {
		if c == code {
			n++
		}
	}
	return n
}

// send sends dialogues until enough is closed, with up to four unanswered.
func (k *talk) send(t *testing.T) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := 1; ; i++ {
		select {
		case <-k.enough:
			k.finished.Store(true)
			return
		case k.room <- struct{}{}:
		}
		<-pace.C
		k.mu.Lock()
		k.begun[i] = time.Now()
		k.mu.Unlock()
		if err := k.from.tunnel.trySend(dialogue(strconv.Quote(strconv.Itoa(i)), k.to.id, `"p"`)); err != nil {
			t.Errorf("the tunnel ended: %v", err)
			return
		}
	}
}

// read reads the answers to mine and the dialogues of theirs.
func (p *member) read(t *testing.T, mine, theirs *talk) {
	for {
		frame, err := p.tunnel.tryNext()
		if err == nil {
			err = take(frame, mine, theirs)
		}
		if mine.over.Load() {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// settled reports whether all dialogues are answered, and those answered 200 have arrived.
func (k *talk) settled() bool {
	if !k.finished.Load() {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.begun {
		if code := k.codes[id]; code == 0 || code == 200 && k.got[id] == 0 {
			return false
		}
	}
	return true
}

func take(frame string, mine, theirs *talk) error {
	var f struct {
		Code int
		From string
		ID   int `json:",string"`
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil {
		return fmt.Errorf("frame %s: %w", frame, err)
	}
	if f.From != "" {
		return theirs.arrived(f.ID)
	}
	<-mine.room
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if mine.codes[f.ID] != 0 {
		return fmt.Errorf("dialogue %d was answered %d and %d", f.ID, mine.codes[f.ID], f.Code)
	}
	mine.codes[f.ID] = f.Code
	mine.slowest = max(mine.slowest, time.Since(mine.begun[f.ID]))
	return nil
}

func (k *talk) arrived(id int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.got[id]++; k.got[id] > 1 || id < k.last {
		return fmt.Errorf("dialogue %d arrived after %d, %d times", id, k.last, k.got[id])
	}
	k.last = id
	return nil
}

func (k *talk) check(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, code := range k.codes {
		if code != 200 && code != 507 {
			t.Errorf("dialogue %d: got code %d, want 200 or 507", id, code)
		}
	}
	if k.slowest > maxOutageAnswer {
		t.Errorf("an answer took %s, want at most %s", k.slowest, maxOutageAnswer)
	}
}
