// Package gateway serves programs that speak for users of their own, as a bridge to another network does. It registers
// these users, tells which gateway a user belongs to, and relays to a gateway what the server has for them.
//
//	im.gateway.<name>.open ─▶ session, on one node ─┬▶ im.user.<id>.* of each user that is online
//	im.gateway.<name>.dialogue.<id> ◀───────────────┘
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/audit"
	"imctl/bridge/cluster"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
	"imctl/kv/keymutex"
)

// Cluster brings a command into force on all nodes before it returns. cluster.Cluster is one.
type Cluster interface {
	Broadcast(ctx context.Context, c cluster.Command) error
}

// Presence tells friends that a user is online, or no longer. delivery.Lanes is one.
type Presence interface {
	Announce(user string, friends []string, online bool)
}

// Audit records what gateways do. audit.Trail is one.
type Audit interface {
	Add(audit.Event)
}

// Options configure a Service.
type Options struct {
	Prefix   subject.Prefix
	Node     string // id of this node
	Connect  natsutil.Connect
	Store    *kv.Store
	Accounts *im.Accounts
	Gate     *im.Gate
	Governor *governor.Governor
	Cluster  Cluster
	Presence Presence
	Audit    Audit
	// Fresh reports whether this node serves users. While it does not, dialogues are refused.
	Fresh    func() bool
	MaxUsers int           // of one gateway; 0: no limit
	Lease    time.Duration // a session without a call for so long ends; 0: 15 s
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// defaultLease is the lease of sessions. A gateway renews it three times in that time.
const defaultLease = 15 * time.Second

// Service serves the gateways. Serve starts it.
type Service struct {
	opts     Options
	metrics  *metrics
	news     *news
	subs     []*nats.Subscription
	calls    *governor.ProgramQueue
	refusals *governor.HoldBack
	running  sync.WaitGroup // sessions
	adding   keymutex.Mutex // by gateway

	mu       sync.Mutex // guards the fields below
	closed   bool
	sessions map[string]*session // by gateway
	opened   map[string]uint64   // the highest revision of a session of each gateway, as far as it is known
	gateways map[string]kv.Attachment
	owners   *lru.Cache[string, string] // gateways of users that are not disabled, "" for none
	changes  uint64                     // counts what was dropped from gateways and owners
}

// maxOwners bounds the users in the cache: 12 MB.
const maxOwners = 1 << 17

// New returns a service.
func New(opts Options) *Service {
	if opts.Lease == 0 {
		opts.Lease = defaultLease
	}
	owners, _ := lru.New[string, string](maxOwners) // fails only for sizes below 1
	s := &Service{opts: opts, metrics: newMetrics(opts.Registry), calls: opts.Governor.NewProgramQueue(governor.GatewayCalls, concurrentCalls), refusals: opts.Governor.NewHoldBack(), sessions: make(map[string]*session),
		opened: make(map[string]uint64), gateways: make(map[string]kv.Attachment), owners: owners}
	s.news = newNews(opts)
	return s
}

// Owns returns nil if a user belongs to a gateway and is not disabled. It reads the record of a user once, and again after
// a change.
//
// Errors: wire.AuthIllegal.
func (s *Service) Owns(ctx context.Context, gateway, user string) error {
	if _, err := s.gateway(ctx, gateway); err != nil {
		return err
	}
	s.mu.Lock()
	owner, known := s.owners.Get(user)
	before := s.changes
	s.mu.Unlock()
	if !known {
		var disabled bool
		var err error
		owner, disabled, err = s.opts.Store.Users.Owner(ctx, user)
		if errors.Is(err, kv.ErrUserNotFound) {
			return wire.AuthIllegal
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.changes == before && !disabled { // else the user may have changed since it was read, or be enabled again
			s.owners.Add(user, owner)
		}
		s.mu.Unlock()
		if disabled {
			return wire.AuthIllegal
		}
	}
	if owner != gateway {
		return wire.AuthIllegal
	}
	return nil
}

// gateway returns the attachment of a gateway. It reads it once, and again after a change.
//
// Errors: wire.AuthIllegal if there is no such gateway.
func (s *Service) gateway(ctx context.Context, name string) (kv.Attachment, error) {
	s.mu.Lock()
	a, known := s.gateways[name]
	before := s.changes
	s.mu.Unlock()
	if known {
		return a, nil
	}
	a, err := s.opts.Store.Attachments.Get(ctx, name)
	if errors.Is(err, kv.ErrAttachmentNotFound) || err == nil && a.Role != kv.RoleGateway {
		return kv.Attachment{}, wire.AuthIllegal
	}
	if err != nil {
		return kv.Attachment{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == before {
		s.gateways[name] = a
	}
	return a, nil
}

// ReserveSend counts a dialogue of a gateway, and returns how long it has to wait. It returns false, and does not count
// the dialogue, if that is longer than longest.
func (s *Service) ReserveSend(gateway string, longest time.Duration) (time.Duration, bool) {
	s.metrics.sent.WithLabelValues(gateway).Inc()
	return s.opts.Governor.ReserveGatewaySend(gateway, longest)
}

// AllowCall counts a call of a gateway as n calls. Errors: governor.ErrLimited.
func (s *Service) AllowCall(gateway string, n int) error {
	return s.opts.Governor.AllowGatewayCall(gateway, n)
}

// Reserved reports whether only a gateway may register an account. An account that begins like those of a gateway to the
// eye is reserved too: it would pass for a user of the gateway.
//
// Errors: only those of NATS and ctx.
func (s *Service) Reserved(ctx context.Context, account string) (bool, error) {
	all, err := s.opts.Store.Attachments.List(ctx)
	if err != nil {
		return false, err
	}
	for _, a := range all {
		if a.Reserves(account) {
			return true, nil
		}
	}
	return false, nil
}

// Forget is called when a user may have been disabled or deleted. The user goes offline if it is.
func (s *Service) Forget(ctx context.Context, user string) {
	s.mu.Lock()
	s.changes++
	s.owners.Remove(user)
	all := s.all()
	s.mu.Unlock()
	for _, r := range all {
		if r.has(user) && s.Owns(ctx, r.gateway, user) != nil {
			r.remove(user)
		}
	}
}

// all returns the sessions. The caller holds s.mu.
func (s *Service) all() []*session {
	all := make([]*session, 0, len(s.sessions))
	for _, r := range s.sessions {
		all = append(all, r)
	}
	return all
}

// forgetAll drops what is cached.
func (s *Service) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.owners.Purge()
	clear(s.gateways)
}

// Recheck reads the users of this node's sessions again: another node may have changed some without telling this one.
func (s *Service) Recheck(ctx context.Context) {
	s.forgetAll()
	s.mu.Lock()
	all := s.all()
	s.mu.Unlock()
	for _, r := range all {
		for _, user := range r.list() {
			if err := s.Owns(ctx, r.gateway, user); errors.Is(err, wire.AuthIllegal) {
				r.remove(user)
			} else if err != nil {
				r.end("its users cannot be read")
				break
			}
		}
	}
}

// Changed is called when a gateway was added or removed.
func (s *Service) Changed(ctx context.Context, name string) {
	s.mu.Lock()
	s.changes++
	delete(s.gateways, name)
	r := s.sessions[name]
	s.mu.Unlock()
	if r == nil {
		return
	}
	if _, err := s.gateway(ctx, name); err != nil {
		r.end("the gateway was removed")
	}
}

// Opened is called when a gateway has opened a session, which ends its earlier ones.
func (s *Service) Opened(c cluster.GatewayOpened) {
	s.mu.Lock()
	s.opened[c.Gateway] = max(s.opened[c.Gateway], c.Revision)
	r := s.sessions[c.Gateway]
	s.mu.Unlock()
	if r != nil && r.revision < c.Revision {
		r.end("the gateway has opened another one")
	}
}

// EndAll ends all sessions of this node. why is the reason.
func (s *Service) EndAll(why string) {
	s.forgetAll()
	s.mu.Lock()
	all := s.all()
	s.mu.Unlock()
	for _, r := range all {
		r.end(why)
	}
}

// Close stops serving, ends all sessions, and waits for the calls that were accepted.
func (s *Service) Close() error {
	var failed []error
	for _, sub := range s.subs {
		failed = append(failed, natsutil.Drain(sub))
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.EndAll("the server shuts down")
	s.calls.Close()
	s.refusals.Close()
	s.running.Wait()
	s.news.close()
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("stop serving gateways: %w", err)
	}
	return nil
}
