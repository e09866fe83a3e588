package gateway

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/delivery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A session holds the presence of a gateway's users. Its connection subscribes to the subjects of each user that the
// gateway has declared online, so these are online as users of a NATS client are. One goroutine passes what arrives to
// the gateway, in order, with the reply subject as it is: the gateway answers the sender, and the session waits for
// nothing and keeps nothing. A gateway that hangs fills the buffer of its connection to NATS, which is bounded.
type session struct {
	service  *Service
	gateway  string
	id       string // the revision, as calls name the session
	revision uint64 // of the record that notes the session
	nc       *nats.Conn
	in       chan *nats.Msg
	done     chan struct{} // closed when the connection is
	lease    *time.Timer

	mu    sync.Mutex // guards the fields below
	users map[string]*nats.Subscription
	over  bool
}

const (
	// sessionQueue bounds the messages from NATS that wait for a session. The NATS client drops further ones, and their
	// senders get 507.
	sessionQueue = 4 << 10
	// lookEvery is the interval of the questions whether the gateway subscribes to dialogues.
	lookEvery = time.Second
	// lookAgain is the time until a gateway without a subscription is asked again: in a cluster of NATS servers a new
	// subscription may not be known everywhere.
	lookAgain = 100 * time.Millisecond
	// drainFor is how long the connection of a session stays open after the end, to refuse what is on its way.
	drainFor = 2 * time.Second
)

// newSession returns a session with a connection of its own. enter starts it.
func (s *Service) newSession(gateway string) (r *session, err error) {
	r = &session{service: s, gateway: gateway, in: make(chan *nats.Msg, sessionQueue), done: make(chan struct{}), users: make(map[string]*nats.Subscription)}
	r.nc, err = s.opts.Connect("imctl gateway", nats.ReconnectBufSize(-1), nats.DrainTimeout(drainFor),
		nats.ClosedHandler(func(*nats.Conn) { close(r.done) }))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS for the gateway %s: %w", gateway, err)
	}
	return r, nil
}

// start starts the goroutines of the session.
func (r *session) start() {
	r.lease = time.AfterFunc(r.service.opts.Lease, func() { r.end("its lease has expired") })
	r.service.running.Go(r.run)
	r.service.running.Go(r.look)
}

// renew begins the lease again. It returns false if the session has ended.
func (r *session) renew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.lease.Reset(r.service.opts.Lease)
	}
	return !r.over
}

func (r *session) has(user string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.users[user] != nil
}

// list returns the users that are online.
func (r *session) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.users))
}

// add subscribes for a user. It reports whether the user was not online before. NATS knows of it after a flush.
func (r *session) add(user string) (added bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false, wire.AuthIllegal
	}
	if r.users[user] != nil {
		return false, nil
	}
	sub, err := r.nc.ChanSubscribe(r.service.opts.Prefix.Live(user), r.in)
	if err != nil {
		return false, err
	}
	r.users[user] = sub
	r.service.metrics.users.WithLabelValues(r.gateway).Inc()
	return true, nil
}

// remove takes a user offline. It reports whether the user was online.
func (r *session) remove(user string) bool {
	r.mu.Lock()
	sub := r.users[user]
	delete(r.users, user)
	over := r.over
	r.mu.Unlock()
	if sub == nil || over {
		return false
	}
	r.service.metrics.users.WithLabelValues(r.gateway).Dec()
	// What NATS has sent already reaches pass, which refuses it.
	end := sub.Drain
	if !r.nc.IsConnected() {
		end = sub.Unsubscribe
	}
	if err := end(); err != nil {
		r.service.opts.Logger.Debug("unsubscribe for a gateway", "gateway", r.gateway, "user", user, "err", err)
	}
	r.service.news.add(false, user)
	return true
}

// end ends the session, and takes all of its users offline. why is the reason. It does not wait.
func (r *session) end(why string) {
	s := r.service
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	r.over = true
	users := slices.Collect(maps.Keys(r.users))
	clear(r.users)
	r.mu.Unlock()
	r.lease.Stop()
	s.mu.Lock()
	if s.sessions[r.gateway] == r {
		delete(s.sessions, r.gateway)
	}
	s.mu.Unlock()
	s.metrics.users.WithLabelValues(r.gateway).Sub(float64(len(users)))
	s.metrics.ended.WithLabelValues(r.gateway).Inc()
	s.opts.Logger.Info("a session of a gateway has ended", "gateway", r.gateway, "users", len(users), "reason", why)
	if err := r.nc.Drain(); err != nil { // it is not connected
		r.nc.Close()
	}
	s.news.add(false, users...)
}

// run passes what arrives for the users to the gateway, until the connection is closed.
func (r *session) run() {
	for {
		select {
		case m := <-r.in:
			r.pass(m)
		case <-r.done:
			r.end("its connection is closed")
			return
		}
	}
}

func (r *session) pass(m *nats.Msg) {
	opts := &r.service.opts
	user, leaf := opts.Prefix.ParseLive(m.Subject)
	online := r.has(user)
	switch {
	case leaf == subject.Dialogue && !online:
		r.answer(m, delivery.Left())
	case leaf == subject.Dialogue && delivery.IsProbe(m.Data):
		r.answer(m, nil)
	case leaf == subject.Dialogue && !opts.Fresh(): // another node may have a later session
		r.answer(m, delivery.Refused())
	case leaf == subject.Dialogue:
		r.publish(&nats.Msg{Subject: opts.Prefix.GatewayDialogue(r.gateway, user), Reply: m.Reply, Data: m.Data})
		r.service.metrics.taken.WithLabelValues(r.gateway).Inc()
	case leaf == subject.Notice && online:
		r.publish(&nats.Msg{Subject: opts.Prefix.GatewayNotice(r.gateway, user), Data: m.Data})
	}
}

func (r *session) publish(m *nats.Msg) {
	if err := r.nc.PublishMsg(m); err != nil {
		r.service.metrics.failed.WithLabelValues(r.gateway).Inc()
		r.service.opts.Logger.Debug("pass a message to a gateway", "gateway", r.gateway, "err", err)
	}
}

// answer answers a dialogue in place of the gateway.
func (r *session) answer(m *nats.Msg, data []byte) {
	if m.Reply == "" {
		return
	}
	if err := m.Respond(data); err != nil {
		r.service.opts.Logger.Debug("answer for a gateway", "gateway", r.gateway, "err", err)
	}
}

// look asks at intervals whether the gateway subscribes to dialogues, and ends the session if it does not: its connection
// is closed.
func (r *session) look() {
	answers := make(chan *nats.Msg, 16)
	inbox := nats.NewInbox()
	sub, err := r.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		r.end("its connection is closed")
		return
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
	timer := time.NewTimer(0)
	defer timer.Stop()
	missed := false
	on := r.service.opts.Prefix.GatewayDialogue(r.gateway, kv.NewID())
	for {
		select {
		case <-r.done:
			return
		case <-timer.C:
			if r.nc.IsConnected() {
				r.publish(&nats.Msg{Subject: on, Reply: inbox, Data: delivery.Probe()})
			}
			timer.Reset(lookEvery)
		case m := <-answers:
			absent := m.Header.Get("Status") == "503"
			if absent && missed {
				r.end("the gateway is not connected")
				return
			}
			if missed = absent; absent {
				timer.Reset(lookAgain)
			}
		}
	}
}
