// Package hook asks programs of the operator about what users are about to do, before it takes effect: dialogues,
// registrations and friend requests. A program has the role moderator. Its answers are bounded in time, so a program
// that hangs, ends or answers nonsense delays a user by no more than the time limit.
package hook

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/subject"
	"imctl/bridge/wire"
)

// Kind is what a moderator is asked about.
type Kind int

// The kinds.
const (
	Dialogue Kind = iota
	Register
	Request
	kinds
)

// Kinds are the names of all kinds, in the setting hooks.ask and in metrics.
var Kinds = []string{"dialogue", "register", "request"}

func (k Kind) String() string { return Kinds[k] }

// Action is what a moderator decides.
type Action int

// The actions.
const (
	Pass    Action = iota
	Replace        // it takes effect with another text
	Refuse         // the user gets a code
	Drop           // the user sees a success, and nothing takes effect
)

// Verdict is the answer of a moderator, or what the server does without one.
type Verdict struct {
	Action  Action
	Payload []byte    // of Replace: a JSON string
	Code    wire.Code // of Refuse
}

// Done waits for a verdict.
type Done interface {
	// Decided is called once, on the goroutine that calls Asker.Receive or on a timer's. It must not block.
	Decided(Verdict)
}

// OnError selects what happens without a valid answer.
type OnError string

// The choices.
const (
	PassOnError   OnError = "pass"   // as if no moderator were attached
	RefuseOnError OnError = "refuse" // a dialogue is answered 507, a call 500
)

// Options configure a Service. The zero value of a field selects its default.
type Options struct {
	Prefix   subject.Prefix
	Timeout  time.Duration // of one request; default 250ms
	OnError  OnError       // default PassOnError
	Ask      []string      // names of the kinds to ask about; default all
	MaxFrame int           // the largest frame that a client may send, in bytes; default 64 KiB
	// Failures in a row after which requests stop for Pause. Then single requests find out whether the moderator answers
	// again. Defaults 16 and 2s. Requests that end together without an answer count as one failure.
	Failures int
	Pause    time.Duration
	Registry prometheus.Registerer
	Log      *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 250 * time.Millisecond
	}
	if o.OnError == "" {
		o.OnError = PassOnError
	}
	if o.Ask == nil {
		o.Ask = Kinds
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 64 << 10
	}
	if o.Failures == 0 {
		o.Failures = 16
	}
	if o.Pause == 0 {
		o.Pause = 2 * time.Second
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Service asks moderators. It asks nothing while no attachment has the role moderator.
type Service struct {
	opts     Options
	mask     uint32        // of the kinds in Options.Ask
	asks     atomic.Uint32 // mask while a moderator is attached; read for every dialogue
	calls    *Asker        // for everything but dialogues
	metrics  *metrics
	breakers [kinds]breaker

	attached struct {
		mu    sync.Mutex
		names map[string]bool
		told  map[string]told // by name
	}
}

// Open returns a service that asks about calls on nc.
func Open(nc *nats.Conn, opts Options) (*Service, error) {
	s := &Service{opts: opts.withDefaults()}
	for k, name := range Kinds {
		if slices.Contains(s.opts.Ask, name) {
			s.mask |= 1 << k
		}
	}
	s.attached.names, s.attached.told = make(map[string]bool), make(map[string]told)
	s.metrics = newMetrics(s)
	s.calls = s.NewAsker(nc)
	if _, err := nc.Subscribe(s.calls.Filter(), s.calls.Receive); err != nil {
		return nil, fmt.Errorf("hooks: %w", err)
	}
	return s, nil
}

// Close refuses all calls that wait for an answer.
func (s *Service) Close() { s.calls.Close() }

// Asks reports whether moderators are asked about a kind. It does not allocate, and costs a load.
func (s *Service) Asks(k Kind) bool { return s.asks.Load()>>k&1 != 0 }

// toldFor is how long what SetModerator tells has precedence over what Reload reads, from a replica that may be late.
const toldFor = time.Minute

// told is what SetModerator has told of an attachment.
type told struct {
	attached bool
	at       time.Time
}

// SetModerator notes that an attachment with the role moderator was added or removed.
func (s *Service) SetModerator(name string, attached bool) {
	s.attached.mu.Lock()
	defer s.attached.mu.Unlock()
	s.attached.told[name] = told{attached, time.Now()}
	if attached {
		s.attached.names[name] = true
	} else {
		delete(s.attached.names, name)
	}
	s.noteAttached()
}

// SetModerators notes which attachments have the role moderator, as the caller has read it.
func (s *Service) SetModerators(names []string) {
	s.attached.mu.Lock()
	defer s.attached.mu.Unlock()
	clear(s.attached.names)
	for _, name := range names {
		s.attached.names[name] = true
	}
	for name, t := range s.attached.told {
		switch {
		case time.Since(t.at) > toldFor:
			delete(s.attached.told, name)
		case t.attached:
			s.attached.names[name] = true
		default:
			delete(s.attached.names, name)
		}
	}
	s.noteAttached()
}

// noteAttached puts the names into effect. The caller holds attached.mu.
func (s *Service) noteAttached() {
	if len(s.attached.names) > 0 {
		s.asks.Store(s.mask)
	} else {
		s.asks.Store(0)
	}
}

// Problems returns what is wrong with the moderators: a line for each kind that they do not answer.
func (s *Service) Problems() (all []string) {
	for k := range kinds {
		if s.Asks(k) && s.breakers[k].isOpen() {
			all = append(all, fmt.Sprintf("moderators do not answer the hook %s: %s", k, s.opts.OnError.effect()))
		}
	}
	return all
}

// effect says what happens without an answer.
func (e OnError) effect() string {
	if e == RefuseOnError {
		return "what they would decide is refused (hooks.on_error: refuse)"
	}
	return "what they would decide passes (hooks.on_error: pass)"
}
