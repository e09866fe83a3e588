// Package push sends Web Push messages (RFC 8030, 8291, 8292) to devices of users that have no client that took a kept
// dialogue.
package push

import (
	"container/heap"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/outbound"
	"imctl/bridge/recovery"
	"imctl/kv"
)

// Talks tells how far a user has come in its conversations. talk.Service is one.
type Talks interface {
	// Acknowledged returns the greatest dialogue of a friend that a client of the user has, as far as this node knows.
	Acknowledged(user, with string) uint64
	Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error)
}

// Options configure a Service.
type Options struct {
	Store   *kv.Store
	Talks   Talks  // nil: no conversations are kept, and only friend requests are pushed
	Subject string // contact of the operator for push services: a mailto: or https: URL
	Private bool   // push services may have addresses of private networks
	// MaxAge is how long a subscription is valid after the login with the password; 0: no limit.
	MaxAge time.Duration
	// SignInAge is the same for a user whose sign-in another system checks; 0: as MaxAge.
	SignInAge time.Duration
	// RootCAs verify the push services; nil: those of the system.
	RootCAs  *x509.CertPool
	Registry prometheus.Registerer
	Log      *slog.Logger

	delays delays // of tests
}

// delays are the times that a message waits.
type delays struct {
	offline time.Duration // if the user has no client: further dialogues may come
	online  time.Duration // else: a client may acknowledge the dialogue
	retry   time.Duration // before the first retry; each further one waits twice as long
}

var defaultDelays = delays{offline: time.Second, online: 5 * time.Second, retry: 5 * time.Second}

const (
	maxWaiting = 16 << 10 // messages; further ones are dropped
	workers    = 8
	// maxText bounds the JSON text of a dialogue that is remembered, in bytes.
	maxText     = 1 << 10
	maxAttempts = 5
	maxRetry    = time.Hour // the longest wait that a push service may ask for
	jobTimeout  = 30 * time.Second
	sendTimeout = 10 * time.Second
	// Users without a subscription are remembered for a moment: most dialogues are for them.
	withoutFor = 10 * time.Second
	maxWithout = 64 << 10
)

// key names a message. There is one for each conversation, and one for each subscription that is retried.
type key struct {
	user, with string
	request    bool   // a friend request
	only       string // ID of the subscription; "" for all
}

// message is a message that waits.
type message struct {
	key
	n       uint64 // of the newest dialogue
	text    []byte // its payload, as JSON; it may be cut
	due     time.Time
	attempt int
	place   int // in the heap; -1 if it is not there
}

// Service sends messages. One goroutine waits for those that are due, and a fixed number of goroutines sends them.
type Service struct {
	opts    Options
	client  *http.Client
	metrics *metrics
	without *expirable.LRU[string, struct{}] // users without a subscription
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	wake    chan struct{} // takes a value when another message is due first
	work    chan *message

	mu      sync.Mutex // guards the fields below
	waiting map[key]*message
	queue   queue
}

// New starts a service. Close ends it.
func New(opts Options) *Service {
	if opts.delays == (delays{}) {
		opts.delays = defaultDelays
	}
	s := &Service{opts: opts, wake: make(chan struct{}, 1), work: make(chan *message), waiting: make(map[key]*message),
		without: expirable.NewLRU[string, struct{}](maxWithout, nil, withoutFor)}
	s.client = outbound.NewClient(outbound.Options{Private: opts.Private, Timeout: sendTimeout, PerHost: workers, RootCAs: opts.RootCAs})
	s.metrics = newMetrics(opts.Registry, s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.schedule)
	for range workers {
		s.wg.Go(func() {
			for m := range s.work {
				s.handle(m)
			}
		})
	}
	return s
}

// Close drops the messages that wait.
func (s *Service) Close() {
	s.cancel()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

// Stored schedules a message about dialogue n, which the other user has sent and which was stored for user. payload is
// its JSON text. online reports whether the user may have a client. Stored does not block. There is one message for all
// dialogues of a conversation that are stored until it is sent.
func (s *Service) Stored(user, with string, n uint64, payload []byte, online bool) {
	delay := s.opts.delays.offline
	if online {
		delay = s.opts.delays.online
	}
	s.add(key{user: user, with: with}, n, payload, delay)
}

// Requested schedules a message about a friend request.
func (s *Service) Requested(user, from string) {
	s.add(key{user: user, with: from, request: true}, 0, nil, s.opts.delays.offline)
}

func (s *Service) add(k key, n uint64, text []byte, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.waiting[k]
	if m == nil {
		if _, without := s.without.Get(k.user); without {
			return
		}
		if len(s.waiting) >= maxWaiting {
			s.metrics.count(dropped)
			return
		}
		m = &message{key: k, due: time.Now().Add(delay)}
		s.put(m)
	}
	if n >= m.n {
		m.n, m.text = n, append(m.text[:0], text[:min(len(text), maxText)]...)
	}
}

// put makes a message wait. The caller holds s.mu.
func (s *Service) put(m *message) {
	s.waiting[m.key] = m
	heap.Push(&s.queue, m)
	if m.place == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// retry makes a message wait for another attempt at one subscription, unless a later one waits.
func (s *Service) retry(m *message, subscription string, wait time.Duration) {
	again := &message{key: m.key, n: m.n, text: m.text, due: time.Now().Add(wait), attempt: m.attempt + 1}
	again.only = subscription
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[again.key] == nil && len(s.waiting) < maxWaiting {
		s.put(again)
	}
}

// supersede drops the retry of an older message at a subscription.
func (s *Service) supersede(m *message, subscription string) {
	k := m.key
	k.only = subscription
	s.mu.Lock()
	defer s.mu.Unlock()
	if older := s.waiting[k]; older != nil {
		delete(s.waiting, k)
		heap.Remove(&s.queue, older.place)
	}
}

// schedule hands messages to the workers when they are due.
func (s *Service) schedule() {
	defer close(s.work)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m, wait := s.next()
		if m != nil {
			select {
			case s.work <- m:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// next takes the message that is due, or returns how long to wait for one.
func (s *Service) next() (*message, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(s.queue[0].due); wait > 0 {
		return nil, wait
	}
	m := heap.Pop(&s.queue).(*message)
	delete(s.waiting, m.key)
	return m, 0
}

// handle sends a message to the subscriptions of its user.
func (s *Service) handle(m *message) {
	defer recovery.Log(s.opts.Log, "push message")
	ctx, cancel := context.WithTimeout(s.ctx, jobTimeout)
	defer cancel()
	if err := s.deliver(ctx, m); err != nil && s.ctx.Err() == nil {
		s.opts.Log.Debug("prepare a push message", "user", m.user, "err", err)
		if m.attempt >= maxAttempts {
			s.metrics.count(failed)
			return
		}
		s.retry(m, m.only, s.backoff(m))
	}
}

// backoff returns how long a message waits after a failed attempt.
func (s *Service) backoff(m *message) time.Duration { return s.opts.delays.retry << m.attempt }

// len returns how many messages wait.
func (s *Service) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// queue is a heap of messages, the one that is due first at the front.
type queue []*message

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	m := x.(*message)
	m.place = len(*q)
	*q = append(*q, m)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	(*q)[last] = nil
	*q, m.place = (*q)[:last], -1
	return m
}

// ErrSubscription: a subscription is malformed.
var ErrSubscription = errors.New("not a push subscription")
