package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gorilla/websocket"

	"imctl/bridge/wire"
	"imctl/kv"
)

const (
	// concurrentLogins is how many users log in at the same time if logins are not measured.
	concurrentLogins = 16
	// drainTimeout limits the wait for outstanding answers at the end.
	drainTimeout = 10 * time.Second
	// keptTimes is how many of a user's latest dialogues have their send time kept, a power of two. The latency of a
	// dialogue that is answered after this many later ones is too short.
	keptTimes = 4096
)

// chat is a set of pairs of friends who send dialogues to each other.
type chat struct {
	window  int
	keep    bool // conversations are kept: ids are unique, and users acknowledge what they receive
	payload string
	gap     time.Duration // between two dialogues of one user; 0 means that only the window limits them
	ends    []*end

	start time.Time
	stop  chan struct{}
	work  sync.WaitGroup

	sent, delivered, answered, refused, acknowledged atomic.Int64
	codes                                            tally

	answers, deliveries atomic.Pointer[meter]
}

// end is one user of a pair. A goroutine writes its dialogues, and another reads its frames.
type end struct {
	*tunnel
	number   int
	peer     *end
	ids      string                  // beginning of the ids of its dialogues
	writing  sync.Mutex              // held to write a frame
	newest   atomic.Uint64           // number of the newest dialogue that it received
	news     chan struct{}           // signals that newest has changed
	inFlight chan struct{}           // has an element for each unanswered dialogue
	times    [keptTimes]atomic.Int64 // when the latest dialogues were sent or due, in ns since the chat's start
	gone     chan struct{}           // closed when the reader ends
}

// newChat logs in the pairs of friends 0 and 1, 2 and 3, and so on.
func newChat(ctx context.Context, t *Target, people []Person, o DialogueOptions) (*chat, error) {
	c := &chat{window: o.Window, keep: o.Keep, payload: strings.Repeat("p", o.Size), stop: make(chan struct{}), ends: make([]*end, len(people))}
	if o.Rate > 0 {
		c.gap = time.Duration(float64(time.Second) / o.Rate * float64(len(people)))
	}
	login := (*Target).login
	if o.Keep {
		login = (*Target).loginKeep
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrentLogins)
	for i, p := range people {
		group.Go(func() error {
			tunnel, err := login(t.at(i), groupCtx, p)
			if err != nil {
				return err
			}
			c.ends[i] = &end{tunnel: tunnel, number: i, inFlight: make(chan struct{}, o.Window), gone: make(chan struct{}), news: make(chan struct{}, 1)}
			if o.Keep {
				c.ends[i].ids = kv.NewID() + "-"
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		c.close()
		return nil, err
	}
	for i, e := range c.ends {
		e.peer = c.ends[i^1]
	}
	return c, nil
}

// measure starts new meters for the next part of the run. expected is its approximate duration.
func (c *chat) measure(expected time.Duration) {
	c.answers.Store(newMeter(expected))
	c.deliveries.Store(newMeter(expected))
}

// run starts sending dialogues. measure must have been called.
func (c *chat) run() {
	c.start = time.Now()
	for _, e := range c.ends {
		c.work.Go(func() { c.read(e) })
		c.work.Go(func() { c.write(e) })
		if c.keep {
			c.work.Go(func() { c.acknowledge(e) })
		}
	}
}

// finish stops sending, waits for outstanding answers, and closes the connections.
func (c *chat) finish() {
	close(c.stop)
	deadline := time.NewTimer(drainTimeout)
	defer deadline.Stop()
	for _, e := range c.ends {
		for range c.window { // inFlight takes window elements once all dialogues are answered
			select {
			case e.inFlight <- struct{}{}:
				continue
			case <-e.gone:
			case <-deadline.C:
				deadline.Reset(0) // it has expired for the other users too
			}
			c.codes.add(0, 1)
		}
	}
	c.close()
	c.work.Wait()
}

func (c *chat) close() {
	for _, e := range c.ends {
		if e != nil {
			e.close()
		}
	}
}

func (c *chat) write(e *end) {
	var frame []byte
	wait := time.NewTimer(0)
	defer wait.Stop()
	due := c.gap * time.Duration(e.number) / time.Duration(len(c.ends)) // spreads the users over the gap
	for seq := 0; ; seq++ {
		if c.gap > 0 {
			// A late dialogue is sent at once, and its latency counts from the time when it was due. Otherwise the
			// latencies would not show how long a stalled server delays dialogues (coordinated omission).
			wait.Reset(due - time.Since(c.start))
			select {
			case <-wait.C:
			case <-c.stop:
				return
			}
		}
		select {
		case e.inFlight <- struct{}{}:
		case <-e.gone:
			return
		case <-c.stop:
			return
		}
		select {
		case <-c.stop: // both cases of the select above may have been ready
			<-e.inFlight
			return
		default:
		}
		at := due
		if c.gap == 0 {
			at = time.Since(c.start)
		}
		due += c.gap
		e.times[seq%keptTimes].Store(int64(at))
		frame = append(frame[:0], `{"id":"`...)
		frame = append(frame, e.ids...)
		frame = strconv.AppendInt(frame, int64(seq), 10)
		frame = append(frame, `","toFriend":"`...)
		frame = append(frame, e.peer.userID...)
		frame = append(frame, `","payload":"`...)
		frame = append(frame, c.payload...)
		frame = append(frame, `"}`...)
		if e.send(frame) != nil {
			return // the reader ends too, and finish counts the missing answers
		}
		c.sent.Add(1)
	}
}

func (e *end) send(frame []byte) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	return e.ws.WriteMessage(websocket.TextMessage, frame)
}

// acknowledge acknowledges the dialogues that e receives: one frame for all that arrived since the last one.
func (c *chat) acknowledge(e *end) {
	var frame []byte
	for {
		select {
		case <-e.news:
		case <-e.gone:
			return
		}
		frame = append(frame[:0], `{"got":`...)
		frame = strconv.AppendUint(frame, e.newest.Load(), 10)
		frame = append(frame, `,"with":"`...)
		frame = append(frame, e.peer.userID...)
		frame = append(frame, `"}`...)
		if e.send(frame) != nil {
			return
		}
		c.acknowledged.Add(1)
	}
}

// received notes the number of a dialogue that is to be acknowledged.
func (e *end) received(frame []byte) {
	_, rest, ok := bytes.Cut(frame, []byte(`,"n":`))
	digits := 0
	for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
	if !ok || err != nil || n <= e.newest.Load() {
		return
	}
	e.newest.Store(n)
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// isNews reports whether a code is that of a frame that answers no dialogue.
func isNews(c wire.Code) bool {
	return c >= wire.FriendOffline && c < wire.ProtocolError || c == wire.FriendAdded || c == wire.FriendRemoved
}

func (c *chat) read(e *end) {
	defer close(e.gone)
	for {
		frame, err := e.tunnel.read()
		if err != nil {
			return
		}
		now := time.Now()
		if !bytes.HasPrefix(frame, []byte(`{"code"`)) {
			if d, ok := wire.ParseDialogue(frame); ok {
				c.delivered.Add(1)
				if c.keep {
					e.received(frame)
				}
				c.record(&c.deliveries, e.number, now, e.peer, d.ID)
				continue
			}
		}
		r, ok := wire.ParseReply(frame)
		if !ok || r.ID == nil || isNews(r.Code) { // not an answer, or an invalid frame
			continue
		}
		c.codes.add(r.Code, 1)
		if r.Code == wire.Success || r.Code == wire.DialogueKept {
			c.answered.Add(1)
			c.record(&c.answers, e.number, now, e, r.ID)
		} else {
			c.refused.Add(1)
		}
		select {
		case <-e.inFlight:
		default: // an answer without a dialogue
		}
	}
}

// record records the latency of a dialogue of sender. id is the JSON string with its quotes.
func (c *chat) record(m *atomic.Pointer[meter], number int, now time.Time, sender *end, id wire.RawString) {
	if len(id) < 3+len(sender.ids) {
		return
	}
	if seq, err := strconv.Atoi(string(id[1+len(sender.ids) : len(id)-1])); err == nil && seq >= 0 {
		m.Load().record(number, now, now.Sub(c.start)-time.Duration(sender.times[seq%keptTimes].Load()))
	}
}

// progressText returns a function that returns the text for Progress.every.
func (c *chat) progressText(label string, total time.Duration) func() string {
	var sent, answered rateCounter
	return func() string {
		return fmt.Sprintf("%s: %.0f of %.0f s, %.0f sent/s, %.0f answered/s, %d refused", label, time.Since(c.start).Seconds(),
			total.Seconds(), sent.rate(c.sent.Load()), answered.rate(c.answered.Load()), c.refused.Load())
	}
}

// sleep waits for d. If ctx ends before, it returns the cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
