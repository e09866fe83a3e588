package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
	"imctl/kv"
)

// Users that are NATS clients have no tunnel. They send dialogues by requests on im.send.<id> and call by requests on
// im.call.<id>.<call>; the subject says who speaks, and NATS lets nobody publish on another's. All nodes share the work
// by a queue group.
const queueGroup = "imctl"

const (
	sendsAtOnce = 8       // sends under way
	sendQueue   = 8 << 10 // dialogues that wait; what does not fit is answered 507
	callsAtOnce = 64      // calls under way; more wait, and NATS holds them
)

// natsAPI answers users that are NATS clients.
type natsAPI struct {
	b     *Bridge
	nc    *nats.Conn
	sends chan struct{} // holds one for each send under way
	calls chan struct{}
	wg    sync.WaitGroup
	subs  []*nats.Subscription
	done  chan struct{} // closed when nobody waits for the rate any more

	mu      sync.Mutex              // guards what follows
	queues  map[string][]queuedSend // by sender; each has a goroutine that works through it
	waiting int                     // in all queues
}

// queuedSend is a dialogue that a NATS client wants to send.
type queuedSend struct {
	m   *nats.Msg
	due time.Time // not before, by the client's rate
}

func newNATSAPI(b *Bridge, nc *nats.Conn) (*natsAPI, error) {
	a := &natsAPI{b: b, nc: nc, sends: make(chan struct{}, sendsAtOnce), calls: make(chan struct{}, callsAtOnce),
		done: make(chan struct{}), queues: make(map[string][]queuedSend)}
	for subject, handle := range map[string]nats.MsgHandler{
		b.o.Prefix + ".send.*":   a.queueSend,
		b.o.Prefix + ".call.*.*": a.queueCall,
	} {
		sub, err := nc.QueueSubscribe(subject, queueGroup, handle)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve %s: %w", subject, err), a.close())
		}
		a.subs = append(a.subs, sub)
	}
	return a, nil
}

// close takes no more requests and waits for those under way.
func (a *natsAPI) close() error {
	var failed []error
	for _, s := range a.subs {
		failed = append(failed, drained(s))
	}
	close(a.done)
	a.wg.Wait()
	return errors.Join(failed...)
}

// drained stops a subscription and waits until its handler has run for the last time.
func drained(s *nats.Subscription) error {
	gone := make(chan struct{})
	s.SetClosedHandler(func(string) { close(gone) })
	if err := s.Drain(); err != nil {
		return err
	}
	select {
	case <-gone:
	case <-time.After(commandWait):
	}
	return nil
}

// queueSend puts a dialogue behind those of the same sender. Who sends faster than its rate waits, but not for longer than
// a dialogue may take.
func (a *natsAPI) queueSend(m *nats.Msg) {
	id := a.sender(m)
	if !a.reachable(m, id) {
		return
	}
	wait, ok := a.b.limits.Load().sends.Reserve(id, a.b.o.Dialogues.Timeout)
	if !ok || !a.enqueue(id, queuedSend{m, time.Now().Add(wait)}) {
		a.b.metrics.dropped(dropSendQueue)
		a.reply(m, wire.SendFailed, nil)
	}
}

// enqueue reports false where there is no room.
func (a *natsAPI) enqueue(id string, s queuedSend) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == sendQueue {
		return false
	}
	a.waiting++
	queue, working := a.queues[id]
	a.queues[id] = append(queue, s)
	if !working {
		a.wg.Go(func() { a.work(id) })
	}
	return true
}

// work sends what a user has queued, in order, until nothing is left.
func (a *natsAPI) work(id string) {
	for {
		a.mu.Lock()
		queue := a.queues[id]
		if len(queue) == 0 {
			delete(a.queues, id)
			a.mu.Unlock()
			return
		}
		s := queue[0]
		queue[0] = queuedSend{}
		a.queues[id] = queue[1:]
		a.waiting--
		a.mu.Unlock()
		if wait := time.Until(s.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-a.done: // what was accepted is still sent
			}
		}
		a.sends <- struct{}{}
		a.send(s.m)
		<-a.sends
	}
}

// send does for a NATS client what received does for a session. Its roster is read from the bucket: there is no
// session that could hold it.
func (a *natsAPI) send(m *nats.Msg) {
	defer recovered(a.b.log, "send by NATS")
	id := a.sender(m)
	a.b.seenElsewhere(id)
	send, code := wire.ParseSend(m.Data)
	if code != 0 {
		a.reply(m, code, send.ID)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.b.o.Dialogues.Timeout)
	defer cancel()
	if a.b.isHalted() {
		a.reply(m, wire.SendFailed, send.ID)
		return
	}
	to := string(send.To)
	roster, _, err := a.b.o.Store.Rosters.Get(ctx, id)
	if err != nil {
		a.reply(m, a.b.codeOf("send", err), send.ID)
		return
	}
	if _, ok := roster.Friend(to); !ok {
		a.reply(m, wire.NotFriends, send.ID)
		return
	}
	if send.IDEmpty() {
		a.reply(m, wire.DialogueIDEmpty, nil)
		return
	}
	l := a.b.lane(id)
	out := wire.AppendDialogue(nil, send.ID, id, send.Payload)
	if err := l.flights.send(l.prefix+to+"."+leafDialogue, out, send.ID, &natsSender{a, m}); err != nil {
		a.reply(m, wire.SendFailed, send.ID)
	}
}

// natsSender waits for what comes of a NATS client's dialogue.
type natsSender struct {
	a *natsAPI
	m *nats.Msg
}

func (s *natsSender) answered(f *flight, code wire.Code, took time.Duration) {
	s.a.b.metrics.dialogueTook(took)
	s.a.reply(s.m, code, f.id)
	if code == wire.Success {
		s.echo(f)
	}
}

// reachable tells whether the answer may go where it is asked to. NATS lets a client name any subject for that, also one
// on which it may not publish: an answer of ours could be taken for somebody's dialogue, for a command to JetStream, or
// for the answer to another's dialogue. Without a reply subject nobody would hear what came of the request.
func (a *natsAPI) reachable(m *nats.Msg, id string) bool {
	if strings.HasPrefix(m.Reply, InboxPrefix(id)+".") {
		return true
	}
	a.b.log.Debug("a NATS client wants its answer elsewhere than in its own inbox", "user", id)
	return false
}

// farewell is the answer to a client whose credentials are good no more: its connection is closed behind it.
type farewell struct{ user string }

func (farewell) Append(b []byte) []byte { return wire.AppendReply(b, wire.Success, nil) }

// farewellWait is how long a client has to read such an answer: when a connection ends, client libraries throw away what
// they have not handed over.
const farewellWait = 200 * time.Millisecond

func (a *natsAPI) farewell(ctx context.Context, f farewell) {
	select {
	case <-time.After(farewellWait):
	case <-ctx.Done():
	}
	if err := a.b.service.kickUser(ctx, f.user); err != nil {
		a.b.log.Error("close a user's connections to NATS", "user", f.user, "err", err)
	}
}

// sender is the user whose subject a dialogue came on.
func (a *natsAPI) sender(m *nats.Msg) string { return m.Subject[len(a.b.o.Prefix)+len(".send."):] }

func (a *natsAPI) reply(m *nats.Msg, code wire.Code, id []byte) {
	a.b.metrics.dialogue(code)
	a.respond(m, wire.AppendReply(nil, code, id))
}

func (a *natsAPI) respond(m *nats.Msg, body []byte) {
	if err := m.Respond(body); err != nil && !errors.Is(err, nats.ErrMsgNoReply) {
		a.b.log.Error("answer a NATS client", "err", err)
	}
}

func (a *natsAPI) queueCall(m *nats.Msg) {
	a.calls <- struct{}{}
	a.wg.Go(func() {
		defer func() { <-a.calls }()
		defer recovered(a.b.log, "call by NATS")
		id, name, _ := strings.Cut(m.Subject[len(a.b.o.Prefix)+len(".call."):], ".")
		if !a.reachable(m, id) {
			return
		}
		a.b.seenElsewhere(id)
		started := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), callWait)
		defer cancel()
		var ans answer
		err := a.b.service.gate.pass(func() (err error) {
			ans, err = a.call(ctx, id, name, m.Data)
			return err
		})
		code := wire.Success
		if err != nil {
			code = a.b.codeOf(name, err)
		}
		if err == nil && ans != nil {
			a.respond(m, ans.Append(nil))
		} else {
			a.respond(m, wire.AppendReply(nil, code, nil))
		}
		if f, ok := ans.(farewell); ok && err == nil {
			a.farewell(ctx, f)
		}
		a.b.metrics.call(name, code, time.Since(started))
	})
}

// call is the HTTP call of that name for a user that NATS has let in.
func (a *natsAPI) call(ctx context.Context, id, name string, body []byte) (answer, error) {
	do, ok := natsCalls[name]
	if !ok {
		return nil, wire.ProtocolError
	}
	me, err := a.b.o.Store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && me.Disabled {
		return nil, wire.AuthIllegal
	}
	if err != nil {
		return nil, err
	}
	return do(ctx, a.b, me, body)
}

// natsCalls are the calls by the last word of their subject.
var natsCalls = map[string]func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error){
	"found": func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error) {
		c, code := wire.ParseFoundJSON(body)
		if err := first(code, c.Check); err != nil {
			return nil, err
		}
		found, err := b.service.Found(ctx, me, c.Name)
		if err != nil {
			return nil, err
		}
		return wire.NewFound(found), nil
	},
	"request": func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error) {
		c, code := wire.ParseRequestJSON(body)
		if err := first(code, c.Check); err != nil {
			return nil, err
		}
		return nil, b.service.Request(ctx, me, c.To, c.Note)
	},
	"add": func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error) {
		c, code := wire.ParseAddJSON(body)
		if err := first(code, c.Check); err != nil {
			return nil, err
		}
		return nil, b.service.Add(ctx, me, c.From, c.Name)
	},
	"remove": func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error) {
		c, code := wire.ParseRemoveJSON(body)
		if err := first(code, c.Check); err != nil {
			return nil, err
		}
		return nil, b.service.Remove(ctx, me, c.To)
	},
	"profile": func(ctx context.Context, b *Bridge, me kv.User, body []byte) (answer, error) {
		u, code := wire.ParseProfileJSON(body, wire.Limits{Picture: b.limits.Load().picture})
		if code != 0 {
			return nil, code
		}
		if err := b.service.updateProfile(ctx, me, u, ""); err != nil || u.Password == nil {
			return nil, err
		}
		return farewell{me.ID}, nil
	},
}

// first is the code of what was parsed, or of the call's own check.
func first(code wire.Code, check func() wire.Code) error {
	if code == 0 {
		code = check()
	}
	if code != 0 {
		return code
	}
	return nil
}
