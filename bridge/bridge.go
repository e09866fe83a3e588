// Package bridge connects people with NATS. In front it speaks the protocol over HTTP and WebSocket. Behind it, every
// user that is online has a set of NATS subjects, on which dialogues and notices arrive and other programs may take
// part. The bridge stores nothing itself: what lasts is in the buckets of package kv.
//
// This package wires the parts together. Each part is a package below it; docs/architecture.md walks through them.
package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/api"
	"imctl/bridge/audit"
	"imctl/bridge/cluster"
	"imctl/bridge/delivery"
	"imctl/bridge/eventlog"
	"imctl/bridge/gateway"
	"imctl/bridge/governor"
	"imctl/bridge/hook"
	"imctl/bridge/identity"
	"imctl/bridge/im"
	"imctl/bridge/listener"
	"imctl/bridge/natsauth"
	"imctl/bridge/oidc"
	"imctl/bridge/origin"
	"imctl/bridge/push"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/bridge/tunnel"
	"imctl/bridge/webhook"
	"imctl/kv"
)

// Bridge serves the protocol. New starts it, Handler is for an HTTP server, and Shutdown ends it.
type Bridge struct {
	opts       Options
	node       kv.Node
	log        *slog.Logger
	gate       im.Gate
	monitor    *cluster.Monitor
	listeners  *listener.Watcher
	nc         *nats.Conn
	events     *eventlog.Log
	audit      *audit.Trail
	talks      *talk.Service                   // nil: conversations are not kept
	push       *push.Service                   // nil: no messages to devices
	oidc       *oidc.Service                   // nil: no sign-in at an OpenID Connect provider
	webhooks   atomic.Pointer[webhook.Service] // nil before it serves
	services   *Services
	lanes      *delivery.Lanes
	hooks      *hook.Service
	modes      []identity.Mode // of auth.modes
	origins    *origin.Checker
	tunnel     *tunnel.Tunnel
	gateways   *gateway.Service
	restores   *restores
	refresher  *refresher
	api        *api.API
	broadcasts sync.WaitGroup // for which no caller waits
	stops      stops
}

// startTimeout bounds New for a caller that sets no limit.
const startTimeout = time.Minute

// New connects to NATS and starts the bridge. After an error nothing runs.
func New(ctx context.Context, opts Options) (_ *Bridge, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	b := &Bridge{opts: opts, log: opts.Log,
		node: kv.Node{ID: cmp.Or(opts.Node, kv.NewID()[:16]), Host: opts.Host, Version: opts.Version, Started: time.Now().UTC(), Protocol: cluster.Protocol}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stops.run(ctx))
		}
	}()
	if opts.Governor == nil {
		b.opts.Governor = governor.New(governor.Options{}, opts.Registry, opts.Log)
		b.stops.add(func(context.Context) error { b.opts.Governor.Close(); return nil })
	}
	if err := b.startServices(ctx); err != nil {
		return nil, err
	}
	if err := b.join(ctx); err != nil {
		return nil, err
	}
	if err := b.serve(ctx); err != nil {
		return nil, err
	}
	b.audit.Add(audit.Event{Event: audit.ServerStarted, Actor: audit.Ref{Kind: audit.Server}, Detail: opts.Version})
	return b, nil
}

// startServices connects to NATS and creates the parts that serve users, in the order in which they need each other.
func (b *Bridge) startServices(ctx context.Context) (err error) {
	o, prefix := &b.opts, subject.Prefix(b.opts.Prefix)
	lease := cluster.NewLease()
	b.monitor = cluster.NewMonitor(cluster.MonitorOptions{Lease: lease, Renew: func(ctx context.Context) (bool, error) { return b.services.Cluster.Renew(ctx) },
		CatchUp: b.catchUp, Back: b.back, Log: o.Log})
	b.stops.add(func(context.Context) error { b.monitor.Close(); return nil })
	if b.nc, err = o.Connect("imctl service", b.monitor.Options()...); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	b.stops.add(func(context.Context) error { b.nc.Close(); return nil })
	if err := b.openEventLog(ctx); err != nil {
		return err
	}
	if err := b.openAudit(ctx); err != nil {
		return err
	}
	if err := b.openTalks(ctx); err != nil {
		return err
	}
	b.openPush()
	if err := b.openHooks(); err != nil {
		return err
	}
	access, system, err := b.connectSystem()
	if err != nil {
		return err
	}
	if b.listeners, err = listener.New(listener.Options{NC: b.nc, Prefix: prefix, System: system, Account: access.Account, Registry: o.Registry, Log: o.Log}); err != nil {
		return err
	}
	notices := delivery.NewNotices(b.nc, prefix)
	b.services, err = NewServices(b.nc, ServicesOptions{Prefix: o.Prefix, Store: o.Store, Hasher: o.Hasher, EventLog: b.events, Access: access,
		System: system, Presence: presence{b}, Notices: notices, Log: o.Log, Conversations: b.conversations(), Push: b.requests(), Webhooks: o.Webhooks, Hooks: b.hooks})
	if err != nil {
		return err
	}
	b.services.Cluster.Hold(lease, b.monitor.Struck)
	b.services.Cluster.OnLost(b.events.PresenceUnknown)
	b.services.Accounts.SetRegistration(o.Registration)
	b.services.Friends.SetAccountsShown(o.AccountsShown)
	if err := b.setIdentity(); err != nil {
		return err
	}
	b.stops.add(func(context.Context) error { b.services.Accounts.Close(); return nil })
	o.Governor.SetSeenFrom(b.seenFrom)
	metrics := delivery.NewMetrics(o.Registry)
	b.lanes, err = delivery.New(delivery.Options{Lanes: o.Lanes, Prefix: prefix, Node: b.node.ID, Timeout: o.Dialogues.Timeout, MaxFrame: int(o.Sessions.MaxFrame),
		Connect: func(name string, more ...nats.Option) (*nats.Conn, error) {
			return o.Connect(name, append(b.monitor.Options(), more...)...)
		},
		MaxInFlight: o.Governor.MaxWaiting, Notices: notices, Log: b.events, Interest: o.Interest, Covered: b.listeners.Found, Suspect: b.listeners.Suspect, Keeper: b.keeper(), Push: b.dialogues(), Hooks: b.hooks, Receipts: o.Dialogues.Receipts, Fresh: b.monitor.Fresh, Alone: b.services.Cluster.Alone, Metrics: metrics, Logger: o.Log})
	if err != nil {
		return err
	}
	b.stops.add(func(context.Context) error { b.lanes.Close(); return nil })
	if o.Moves != nil {
		o.Moves.BeforeMove(b.lanes.Pause)
		if b.talks != nil {
			o.Moves.BeforeMove(b.talks.Pause)
		}
	}
	b.monitor.OnLost(b.lost)
	b.monitor.OnBack(b.lanes.Back)
	metrics.Observe(b.lanes)
	b.origins = origin.New(origin.Options{Origins: o.Origins, Proxies: o.TrustedProxies, Log: o.Log})
	b.tunnel = tunnel.New(tunnel.Options{Node: b.node.ID, Sessions: o.Sessions, Logins: o.Logins, LoginBytes: o.LoginBytes, TrustedProxies: o.TrustedProxies, Origins: b.origins,
		Store: o.Store, Accounts: b.services.Accounts, Friends: b.services.Friends, Gate: &b.gate, Lanes: b.lanes, Cluster: b.services.Cluster,
		Governor: o.Governor, Log: b.events, Audit: b.audit, Talks: b.conversations(), Receipts: o.Dialogues.Receipts, Fresh: b.monitor.Await, Away: b.monitor.Away, Outdated: b.monitor.Outdated, Dialogues: metrics, Registry: o.Registry, Logger: o.Log, NATSClients: o.NATSClients})
	b.stops.add(func(context.Context) error { return b.tunnel.Close() })
	b.openGateways()
	b.restores = &restores{store: o.Store, gate: &b.gate, tunnel: b.tunnel, gateways: b.gateways, events: b.events, audit: b.audit, talks: b.talks, services: b.services, log: o.Log, checking: make(chan struct{}, 1)}
	b.refresher = newRefresher(b.tunnel, b.gateways, b.lanes, o.Log)
	if err := b.openOIDC(); err != nil {
		return err
	}
	b.newAPI(metrics)
	return nil
}

// lost is called when a connection to NATS is lost: the replies to what is under way on it are lost.
func (b *Bridge) lost(nc *nats.Conn) {
	b.lanes.Abort(nc)
	if b.talks != nil && !b.monitor.Fresh() {
		b.talks.Abort()
	}
}

// seenFrom reports whether the user with an account has a valid token that was issued to a login from an address. An
// error means no: the login is then that of an unknown device.
func (b *Bridge) seenFrom(ctx context.Context, account, address string) bool {
	u, err := b.opts.Store.Users.ByAccount(ctx, account)
	if err != nil {
		return false
	}
	seen, err := b.opts.Store.Tokens.SeenFrom(ctx, u.ID, address)
	if err != nil {
		b.log.Debug("look for a known device", "user", u.ID, "err", err)
	}
	return seen
}

// join makes this process a node, and brings it up to date with what it was not told before it was on the list.
func (b *Bridge) join(ctx context.Context) error {
	b.stops.add(func(ctx context.Context) error { return b.services.Cluster.Leave(ctx, !b.gate.Closed()) })
	if err := b.services.Cluster.Join(ctx, b.node, handler{b}); err != nil {
		return err
	}
	if b.opts.Ended != "" {
		if err := b.services.Cluster.Ended(ctx, b.opts.Ended); err != nil {
			return err
		}
	}
	if err := b.services.Repair(ctx); err != nil {
		return err
	}
	if err := b.events.CountConsumers(ctx); err != nil {
		return err
	}
	if err := b.restores.check(ctx); err != nil {
		return err
	}
	return b.reloadModerators(ctx)
}

// serve opens the doors for NATS clients and starts the loops.
func (b *Bridge) serve(ctx context.Context) error {
	b.monitor.Start()
	if err := b.listeners.Check(ctx); err != nil {
		b.log.Warn("look for listeners on the subjects of users", "err", err)
	}
	if err := b.gateways.Serve(b.nc); err != nil {
		return err
	}
	clients, err := b.api.ServeNATS(b.nc)
	if err != nil {
		return err
	}
	b.stops.add(func(context.Context) error { return clients.Close() })
	b.stops.add(func(context.Context) error { b.broadcasts.Wait(); return nil })
	if err := b.nc.Flush(); err != nil { // otherwise the first requests find no responder
		return fmt.Errorf("serve NATS clients: %w", err)
	}
	if b.opts.Callout != nil {
		callout, err := natsauth.NewCallout(ctx, *b.opts.Callout, natsauth.CalloutDeps{Prefix: subject.Prefix(b.opts.Prefix), Outdated: b.monitor.Outdated, Store: b.opts.Store,
			Accounts: b.services.Accounts, Attachments: b.services.Attachments, Gate: &b.gate, Governor: b.opts.Governor, Audit: b.audit, Disconnector: b.services.disconnector,
			Timeout: b.opts.Dialogues.Timeout, OnUser: b.clientConnected, Log: b.log})
		if err != nil {
			return err
		}
		b.stops.add(func(context.Context) error { return callout.Close() })
	}
	if err := b.startWebhooks(); err != nil {
		return err
	}
	loops, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.services.Cluster.Heartbeat(loops, b.serving, b.gate.Closed) })
	running.Go(func() { b.restores.watch(loops, b.monitor.Away) })
	running.Go(func() { b.refresher.run(loops) })
	running.Go(func() { b.tendConsumers(loops) })
	running.Go(func() { b.listeners.Run(loops) })
	running.Go(func() { b.tendModerators(loops) })
	if files := b.opts.Store.Files; files != nil {
		gauges := newFileGauges(b.opts.Registry, b.opts.Files.MaxBytes)
		running.Go(func() { b.tendFiles(loops, files, gauges) })
	}
	b.stops.add(func(context.Context) error {
		stop()
		b.monitor.Close()
		running.Wait()
		return nil
	})
	return nil
}

// serving reports whether this node serves users at the moment.
func (b *Bridge) serving() bool { return b.monitor.Fresh() && !b.gate.Closed() }

// catchUp brings the node up to date after it was struck off the list of nodes: a restore may have replaced the data, a
// consumer of the event log may have been created, and records may have changed.
func (b *Bridge) catchUp(ctx context.Context) error {
	if err := b.restores.check(ctx); err != nil || b.gate.Closed() {
		return err
	}
	b.services.Friends.ForgetProfile("")
	b.gateways.EndAll("this node was struck off the list of nodes") // another node may have a later one
	if err := b.events.Attach(ctx); err != nil {
		return err
	}
	if err := b.reloadModerators(ctx); err != nil {
		return err
	}
	return b.tunnel.ReloadAll(ctx)
}

// regroupDelay gives other nodes that lost their connections too time to get new ones. Until then their users look
// offline.
const regroupDelay = time.Second

// back is called when the node serves after NATS was unreachable. Meanwhile its users looked offline to those of other
// nodes, and those of other nodes to its own. A restore may have begun.
func (b *Bridge) back(ctx context.Context) {
	if err := b.restores.check(ctx); err != nil && ctx.Err() == nil {
		b.log.Warn("check for a restore", "err", err)
	}
	b.events.PresenceUnknown(b.node.ID)
	if b.services.Cluster.Alone() {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(regroupDelay):
	}
	if err := b.services.Cluster.Greet(ctx, true); err != nil && ctx.Err() == nil {
		b.log.Warn("tell the other nodes of this one", "err", err)
	}
	b.refresher.presence()
}

// Services returns what administrators act on.
func (b *Bridge) Services() *Services { return b.services }

// Audit returns the audit trail.
func (b *Bridge) Audit() *audit.Trail { return b.audit }

// Pass runs a call of an administrator, unless a restore is replacing the data. Errors: im.ErrRestoring, and the call's
// own.
func (b *Bridge) Pass(call func() error) error { return b.gate.Pass(call) }

// SetOrigins changes which other web pages may call the server and open a WebSocket.
func (b *Bridge) SetOrigins(origins []string) { b.origins.Set(origins) }

// Load returns the number of sessions of this node, and of users that have one.
func (b *Bridge) Load() (sessions, users int) { return b.tunnel.Len(), b.lanes.Len() }

// Handler serves everything below /im/.
func (b *Bridge) Handler() http.Handler { return b.api.Handler() }

// Drain refuses new sessions and ends the existing ones, each after its waiting frames. When ctx ends, it cuts the
// remaining sessions off and returns an error.
func (b *Bridge) Drain(ctx context.Context) error { return b.tunnel.Drain(ctx) }

// Shutdown drains the bridge and disconnects from NATS.
func (b *Bridge) Shutdown(ctx context.Context) error {
	b.audit.Add(audit.Event{Event: audit.ServerStopped, Actor: audit.Ref{Kind: audit.Server}})
	return errors.Join(b.Drain(ctx), b.stops.run(ctx))
}

// Sessions returns the number of sessions without and with keep=1 on this node.
func (b *Bridge) Sessions() (contract, keep int) { return b.tunnel.Kinds() }

// Degraded returns what impairs the bridge although it can serve users, or nil.
func (b *Bridge) Degraded() error {
	if err := b.listeners.Err(); err != nil {
		return err
	}
	if problems := b.hooks.Problems(); len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// Ready returns nil while the bridge can serve users, and otherwise the reason why it cannot.
func (b *Bridge) Ready() error {
	if b.tunnel.Draining() {
		return errors.New("server is going down")
	}
	if !b.nc.IsConnected() {
		return errors.New("NATS is unreachable")
	}
	if err := b.lanes.Connected(); err != nil {
		return err
	}
	if err := b.gate.Err(); err != nil {
		return err
	}
	if !b.monitor.Fresh() {
		return errors.New("NATS was unreachable: catching up")
	}
	return nil
}
