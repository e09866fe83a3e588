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
)

const (
	// loginsAtOnce is how many people come online side by side where logins are not what is measured.
	loginsAtOnce = 16
	// lastWords is how long dialogues under way are waited for in the end.
	lastWords = 10 * time.Second
	// remembered is how many of an end's latest dialogues have their time of sending kept, a power of two. A dialogue that is answered
	// after so many younger ones counts with a younger one's time.
	remembered = 4096
)

// chat is pairs of friends who talk to each other.
type chat struct {
	window  int
	payload string
	gap     time.Duration // between two dialogues of one end; 0: as fast as the window lets them
	ends    []*end

	begin time.Time
	stop  chan struct{}
	work  sync.WaitGroup

	sent, delivered, answered, refused atomic.Int64
	codes                              tally

	answers, deliveries atomic.Pointer[meter]
}

// end is one person of a pair. Its writer and its reader run at the same time.
type end struct {
	*tunnel
	number int
	peer   *end
	places chan struct{}            // one for each dialogue under way
	times  [remembered]atomic.Int64 // when the latest were sent, or should have been, in ns from the chat's begin
	gone   chan struct{}            // closed when the reader ends
}

// newChat logs pairs in: people 0 and 1, 2 and 3, and so on, who are friends. rate is how many dialogues a second all of them
// send together; 0 is as many as their windows let them.
func newChat(ctx context.Context, t *Target, people []Person, window, size int, rate float64) (*chat, error) {
	c := &chat{window: window, payload: strings.Repeat("p", size), stop: make(chan struct{}), ends: make([]*end, len(people))}
	if rate > 0 {
		c.gap = time.Duration(float64(time.Second) / rate * float64(len(people)))
	}
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(loginsAtOnce)
	for i, p := range people {
		group.Go(func() error {
			tunnel, err := t.login(running, p)
			if err != nil {
				return err
			}
			c.ends[i] = &end{tunnel: tunnel, number: i, places: make(chan struct{}, window), gone: make(chan struct{})}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		c.hangUp()
		return nil, err
	}
	for i, e := range c.ends {
		e.peer = c.ends[i^1]
	}
	return c, nil
}

// measure has what comes from now on counted by new meters, for a part of the run that takes about so long.
func (c *chat) measure(about time.Duration) {
	c.answers.Store(newMeter(about))
	c.deliveries.Store(newMeter(about))
}

// start lets them talk. measure was called before.
func (c *chat) start() {
	c.begin = time.Now()
	for _, e := range c.ends {
		c.work.Go(func() { c.read(e) })
		c.work.Go(func() { c.write(e) })
	}
}

// finish lets nobody begin another dialogue, waits for those under way, and hangs up.
func (c *chat) finish() {
	close(c.stop)
	deadline := time.NewTimer(lastWords)
	defer deadline.Stop()
	for _, e := range c.ends {
		for range c.window { // all places are free when nothing is under way
			select {
			case e.places <- struct{}{}:
				continue
			case <-e.gone:
			case <-deadline.C:
				deadline.Reset(0) // for the others too
			}
			c.codes.add(0, 1)
		}
	}
	c.hangUp()
	c.work.Wait()
}

func (c *chat) hangUp() {
	for _, e := range c.ends {
		if e != nil {
			e.close()
		}
	}
}

func (c *chat) write(e *end) {
	var frame []byte
	rest := time.NewTimer(0)
	defer rest.Stop()
	due := c.gap * time.Duration(e.number) / time.Duration(len(c.ends)) // the ends don't all begin at once
	for seq := 0; ; seq++ {
		if c.gap > 0 {
			// What is late is sent at once and counts from when it was due: a server that stalls
			// must not be spared the dialogues that nobody could send meanwhile.
			rest.Reset(due - time.Since(c.begin))
			select {
			case <-rest.C:
			case <-c.stop:
				return
			}
		}
		select {
		case e.places <- struct{}{}:
		case <-e.gone:
			return
		case <-c.stop:
			return
		}
		select {
		case <-c.stop: // it may have come at the same time
			<-e.places
			return
		default:
		}
		at := due
		if c.gap == 0 {
			at = time.Since(c.begin)
		}
		due += c.gap
		e.times[seq%remembered].Store(int64(at))
		frame = append(frame[:0], `{"id":"`...)
		frame = strconv.AppendInt(frame, int64(seq), 10)
		frame = append(frame, `","toFriend":"`...)
		frame = append(frame, e.peer.me...)
		frame = append(frame, `","payload":"`...)
		frame = append(frame, c.payload...)
		frame = append(frame, `"}`...)
		if e.ws.WriteMessage(websocket.TextMessage, frame) != nil {
			return // the reader ends too, and its end is counted
		}
		c.sent.Add(1)
	}
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
				c.record(&c.deliveries, e.number, now, e.peer, d.ID)
				continue
			}
		}
		r, ok := wire.ParseReply(frame)
		if !ok || r.ID == nil { // news, or nothing of the protocol's
			continue
		}
		c.codes.add(r.Code, 1)
		if r.Code == wire.Success {
			c.answered.Add(1)
			c.record(&c.answers, e.number, now, e, r.ID)
		} else {
			c.refused.Add(1)
		}
		select {
		case <-e.places:
		default: // an answer to nothing that was asked
		}
	}
}

// record measures what became of the dialogue with this id, as JSON has it, that sender sent.
func (c *chat) record(m *atomic.Pointer[meter], number int, now time.Time, sender *end, id wire.RawString) {
	if len(id) < 3 {
		return
	}
	if seq, err := strconv.Atoi(string(id[1 : len(id)-1])); err == nil && seq >= 0 {
		m.Load().record(number, now, now.Sub(c.begin)-time.Duration(sender.times[seq%remembered].Load()))
	}
}

// line is the progress of a chat.
func (c *chat) line(what string, whole time.Duration) func() string {
	var sent, answered speed
	return func() string {
		return fmt.Sprintf("%s: %.0f of %.0f s, %.0f sent and %.0f answered a second, %d refused", what, time.Since(c.begin).Seconds(),
			whole.Seconds(), sent.of(c.sent.Load()), answered.of(c.answered.Load()), c.refused.Load())
	}
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
