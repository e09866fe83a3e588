package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// keepEntry is a dialogue of a kept conversation, as a client sees it.
type keepEntry struct {
	ID, From, Payload, With    string
	N                          uint64
	At                         string
	Re, Reacts, Edits, Deletes uint64
	Edited, Deleted            bool
}

// keepTalk is a conversation in the answer to a login.
type keepTalk struct {
	With                               string
	Last, Got, Read, PeerGot, PeerRead uint64
	Entry                              *keepEntry
}

// keepFrame is a frame that the server sends to a session, of any kind.
type keepFrame struct {
	Code int
	keepEntry
	ToFriend string
	Own      bool
	Pong     string
	Talks    []keepTalk
	Token    string
	Profile  profileEntry
}

// keepPage is an answer with a part of a conversation.
type keepPage struct {
	Code        int
	Dialogues   []keepEntry
	First, Last uint64
}

// keepPerson is a user whose devices log in with keep=1. It knows what its devices did.
type keepPerson struct {
	*member
	friend *keepPerson

	mu        sync.Mutex           // guards the fields below
	kept      map[string]keepEntry // dialogues that were answered 202, by id
	got, read uint64               // the largest numbers that a device has acknowledged
}

// newKeepPersons registers two users, makes them friends, and ends their sessions.
func (w *world) newKeepPersons(t testing.TB) [2]*keepPerson {
	t.Helper()
	a, b := w.newFriends(t)
	a.tunnel.close(t)
	b.tunnel.close(t)
	two := [2]*keepPerson{{member: a, kept: make(map[string]keepEntry)}, {member: b, kept: make(map[string]keepEntry)}}
	two[0].friend, two[1].friend = two[1], two[0]
	return two
}

// acknowledges notes an acknowledgement that a device is about to send.
func (p *keepPerson) acknowledges(got, read uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got, p.read = max(p.got, got, read), max(p.read, read)
}

func (p *keepPerson) acknowledged() (got, read uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got, p.read
}

// keepDevice is a client of a person. It sends dialogues to the friend and repeats them after any doubt, with the same
// id. It acknowledges what it has, and reads from the history what is missing. It checks everything that the server
// says.
type keepDevice struct {
	t      testing.TB
	p      *keepPerson
	name   string
	node   int // the server that it logs in to
	rand   *rand.Rand
	stop   <-chan struct{} // closed when it must not send new dialogues
	window int             // unanswered dialogues
	sent   int             // new dialogues, ever
	logins int
	onKept func() // is called after each 202, if set
	// silence is how long the device hears nothing before it gives up a session; 0: it never does. It sends pings.
	silence time.Duration
	// pace is the time between two new dialogues; 0: the device sends as fast as the window allows, and reads the
	// history at random.
	pace     time.Duration
	retry    time.Duration  // delay before a dialogue that was refused is sent again
	onAnswer func(code int) // is called after each answer to a dialogue, if set

	tunnel  *tunnel
	token   string
	waiting []keepSend           // not answered, oldest first
	log     map[uint64]keepEntry // what the device has, by number
	ids     map[[2]string]uint64 // the number of each dialogue, by sender and id
	upTo    uint64               // it has everything up to this number
	newest  uint64               // the newest number that it has seen
	firsts  uint64               // the largest number of a dialogue that was answered at its first try in this session
}

// keepSend is a dialogue on its way.
type keepSend struct {
	id, payload string
	tries       int
}

func (p *keepPerson) newDevice(t testing.TB, name string, node int, seed uint64, stop <-chan struct{}) *keepDevice {
	return &keepDevice{t: t, p: p, name: name, node: node, rand: rand.New(rand.NewPCG(seed, 11)), stop: stop, window: 8, retry: 10 * time.Millisecond,
		log: make(map[uint64]keepEntry), ids: make(map[[2]string]uint64)}
}

// errAway: the server is away, or has ended the session.
var errAway = errors.New("the session has ended")

// run sends dialogues until stop is closed and all are answered. It logs in again whenever its session ends. It returns
// false after a failure.
func (d *keepDevice) run() bool {
	deadline := time.NewTimer(keepPatience)
	defer deadline.Stop()
	for !d.t.Failed() {
		err := d.session()
		if err == nil {
			return true
		}
		if !errors.Is(err, errAway) {
			d.t.Errorf("%s: %v", d.name, err)
			return false
		}
		select {
		case <-deadline.C:
			d.t.Errorf("%s: not done after %s, with %d unanswered dialogues", d.name, keepPatience, len(d.waiting))
			return false
		case <-time.After(20 * time.Millisecond): // a client that reconnects must not keep the machine busy
		}
	}
	return false
}

// session logs in, and works until the session ends. It returns nil when everything is sent and answered.
func (d *keepDevice) session() error {
	if err := d.login(); err != nil {
		return err
	}
	defer d.tunnel.ws.Close()
	frames := d.frames()
	for i := range d.waiting {
		if err := d.trySend(i); err != nil {
			return err
		}
	}
	stop, heard := d.stop, time.Now()
	var beat <-chan time.Time
	if d.silence > 0 {
		ticker := time.NewTicker(d.silence / 3)
		defer ticker.Stop()
		beat = ticker.C
	}
	due, paced := true, (<-chan time.Time)(nil)
	if d.pace > 0 {
		ticker := time.NewTicker(d.pace)
		defer ticker.Stop()
		paced = ticker.C
	}
	for {
		sending := make(chan struct{}, 1)
		if due && stop != nil && len(d.waiting) < d.window {
			sending <- struct{}{}
		}
		if stop == nil && len(d.waiting) == 0 {
			return nil
		}
		select {
		case f, ok := <-frames:
			if !ok {
				return errAway
			}
			heard = time.Now()
			if err := d.handle(f); err != nil {
				return err
			}
		case <-beat:
			if time.Since(heard) > d.silence || d.tunnel.trySend(`{"ping":"x"}`) != nil {
				return errAway
			}
		case <-stop:
			stop = nil
		case <-paced:
			due = true
		case <-sending:
			due = d.pace == 0
			d.sent++
			d.waiting = append(d.waiting, keepSend{id: fmt.Sprintf("%s-%d", d.name, d.sent), payload: fmt.Sprintf("dialogue %d of %s", d.sent, d.name)})
			if err := d.trySend(len(d.waiting) - 1); err != nil {
				return err
			}
		}
	}
}

// frames reads frames until the connection ends.
func (d *keepDevice) frames() <-chan keepFrame {
	c, frames := d.tunnel, make(chan keepFrame, 1024)
	go func() {
		defer close(frames)
		for {
			text, err := c.tryNext()
			if err != nil {
				return
			}
			var f keepFrame
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				d.t.Errorf("%s: frame %s: %v", d.name, text, err)
				return
			}
			frames <- f
		}
	}()
	return frames
}

// login opens a session, and reads what the device lacks.
func (d *keepDevice) login() error {
	ctx := d.t.Context()
	pairs := query("account", d.p.account, "password", d.p.password, "keep", "1")
	c, err := d.p.w.tryDial(ctx, d.p.w.dialer(), d.node, "/im/login?"+pairs, nil)
	if err != nil {
		return errAway
	}
	var a keepFrame
	text, err := c.tryNext()
	if err == nil {
		err = json.Unmarshal([]byte(text), &a)
	}
	if err != nil || a.Code == 500 {
		c.ws.Close()
		return errAway
	}
	if a.Code != 200 {
		c.ws.Close()
		return fmt.Errorf("login: %s", text)
	}
	d.p.w.secret(a.Token)
	d.tunnel, d.token, d.firsts = c, a.Token, 0
	d.logins++
	for _, k := range a.Talks {
		if k.With != d.p.friend.id {
			err = fmt.Errorf("the login lists a conversation with %s", k.With)
			break
		}
		if err = d.checkTalk(k); err != nil {
			break
		}
		d.newest = max(d.newest, k.Last)
		if err = d.heal(); err != nil {
			break
		}
		if k.Got < d.upTo {
			err = d.acknowledge()
		}
	}
	if len(a.Talks) == 0 && d.newest > 0 {
		err = fmt.Errorf("the login lists no conversation, but %d dialogues are known", d.newest)
	}
	if err != nil {
		c.ws.Close()
	}
	return err
}

// checkTalk checks the cursors of a conversation: none is ahead of what a client has acknowledged. No number is behind what
// the device has.
func (d *keepDevice) checkTalk(k keepTalk) error {
	got, read := d.p.acknowledged()
	peerGot, peerRead := d.p.friend.acknowledged()
	if k.Got > got || k.Read > read || k.PeerGot > peerGot || k.PeerRead > peerRead || k.Read > k.Got || k.PeerRead > k.PeerGot || k.Got > k.Last {
		return fmt.Errorf("cursors %+v; acknowledged: %d got, %d read, by the friend %d got, %d read", k, got, read, peerGot, peerRead)
	}
	if k.Last < d.newest {
		return fmt.Errorf("the newest dialogue is %d, but the device has seen %d", k.Last, d.newest)
	}
	if k.Entry == nil || k.Entry.N != k.Last {
		return fmt.Errorf("the entry of dialogue %d is %+v", k.Last, k.Entry)
	}
	return d.add(*k.Entry)
}

// trySend sends the i-th waiting dialogue.
func (d *keepDevice) trySend(i int) error {
	s := &d.waiting[i]
	s.tries++
	if err := d.tunnel.trySend(dialogue(strconv.Quote(s.id), d.p.friend.id, strconv.Quote(s.payload))); err != nil {
		return errAway
	}
	return nil
}

// handle handles a frame.
func (d *keepDevice) handle(f keepFrame) error {
	switch {
	case f.Code == 0:
		if err := d.add(f.keepEntry); err != nil {
			return err
		}
		return d.received()
	case f.Pong != "":
		return nil
	case f.Code == 202 || f.Code == 507 || f.Code == 500 || f.Code == 508:
		return d.answered(f)
	case f.Code == 303 || f.Code == 304:
		return d.news(f)
	case f.Code == 300 || f.Code == 301 || f.Code == 302 || f.Code == 305:
		return nil
	}
	return fmt.Errorf("unexpected frame %+v", f)
}

// answered takes the answer to a dialogue.
func (d *keepDevice) answered(f keepFrame) error {
	i := slices.IndexFunc(d.waiting, func(s keepSend) bool { return s.id == f.ID })
	if i < 0 {
		return fmt.Errorf("answer %+v to a dialogue that does not wait", f)
	}
	if d.onAnswer != nil {
		d.onAnswer(f.Code)
	}
	if f.Code != 202 {
		select {
		case <-d.t.Context().Done():
			return errAway
		case <-time.After(d.retry): // the server is busy, or has no connection to NATS
		}
		return d.trySend(i)
	}
	s := d.waiting[i]
	d.waiting = slices.Delete(d.waiting, i, i+1)
	e := keepEntry{ID: s.id, From: d.p.id, Payload: s.payload, With: d.p.friend.id, N: f.N, At: f.At}
	if s.tries == 1 {
		if f.N <= d.firsts {
			return fmt.Errorf("dialogue %s was sent after dialogue %d, and has number %d", s.id, d.firsts, f.N)
		}
		d.firsts = f.N
	}
	d.p.mu.Lock()
	before, again := d.p.kept[s.id]
	d.p.kept[s.id] = e
	d.p.mu.Unlock()
	if again && before != e {
		return fmt.Errorf("a second answer differs: %+v, before %+v", e, before)
	}
	if err := d.add(e); err != nil {
		return err
	}
	if d.onKept != nil {
		d.onKept()
	}
	return d.received()
}

// news takes a notice of how far the friend has come.
func (d *keepDevice) news(f keepFrame) error {
	got, read := d.p.friend.acknowledged()
	if f.Own {
		_, read = d.p.acknowledged()
	}
	if f.ID != d.p.friend.id || f.Code == 303 && f.N > got || f.Code == 304 && f.N > read {
		return fmt.Errorf("notice %+v; acknowledged: %d got, %d read", f, got, read)
	}
	return nil
}

// add takes a dialogue, from wherever it came. The same number must always have the same dialogue, and the same
// dialogue the same number.
func (d *keepDevice) add(e keepEntry) error {
	if e.N == 0 || e.With != d.p.friend.id || e.From != d.p.id && e.From != d.p.friend.id {
		return fmt.Errorf("not a dialogue of this conversation: %+v", e)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", e.At); err != nil {
		return fmt.Errorf("dialogue %+v: %w", e, err)
	}
	if before, ok := d.log[e.N]; ok && before != e {
		return fmt.Errorf("number %d has two dialogues:\n%+v\n%+v", e.N, before, e)
	}
	key := [2]string{e.From, e.ID}
	if n, ok := d.ids[key]; ok && n != e.N {
		return fmt.Errorf("dialogue %s has the numbers %d and %d", e.ID, n, e.N)
	}
	d.log[e.N], d.ids[key] = e, e.N
	d.newest = max(d.newest, e.N)
	for {
		next, ok := d.log[d.upTo+1]
		if !ok {
			return nil
		}
		if d.upTo > 0 && next.At < d.log[d.upTo].At {
			return fmt.Errorf("dialogue %d has time %s, and the one before it %s", next.N, next.At, d.log[d.upTo].At)
		}
		d.upTo++
	}
}

// received heals a gap, sometimes reads a part of the history, and acknowledges.
func (d *keepDevice) received() error {
	if err := d.heal(); err != nil {
		return err
	}
	if d.pace == 0 && d.rand.IntN(40) == 0 {
		if err := d.readSome(); err != nil {
			return err
		}
	}
	if d.rand.IntN(3) == 0 {
		return d.acknowledge()
	}
	return nil
}

// acknowledge acknowledges what the device has, sometimes as read.
func (d *keepDevice) acknowledge() error {
	if d.upTo == 0 {
		return nil
	}
	verb, read := "got", uint64(0)
	if d.rand.IntN(4) == 0 {
		verb, read = "read", d.upTo
	}
	d.p.acknowledges(d.upTo, read)
	if d.tunnel.trySend(fmt.Sprintf(`{"%s":%d,"with":"%s"}`, verb, d.upTo, d.p.friend.id)) != nil {
		return errAway
	}
	return nil
}
