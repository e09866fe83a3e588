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
	"imctl/bridge/mailer"
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
		Governor: o.Governor, Log: b.events, Audit: b.audit, Talks: b.conversations(), Receipts: o.Dialogues.Receipts, Fresh: b.monitor.Await, Away: b.monitor.Away, Dialogues: metrics, Registry: o.Registry, Logger: o.Log, NATSClients: o.NATSClients})
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

// openGateways prepares what serves gateways. serve starts it.
func (b *Bridge) openGateways() {
	o := &b.opts
	b.gateways = gateway.New(gateway.Options{Prefix: subject.Prefix(o.Prefix), Node: b.node.ID, Connect: o.Connect, Store: o.Store, Accounts: b.services.Accounts,
		Gate: &b.gate, Governor: o.Governor, Cluster: b.services.Cluster, Presence: b.lanes, Audit: b.audit, Fresh: b.serving,
		MaxUsers: o.GatewayUsers, Lease: o.GatewayLease, Registry: o.Registry, Logger: o.Log})
	b.services.Accounts.SetReserved(b.gateways.Reserved)
	b.stops.add(func(context.Context) error { return b.gateways.Close() })
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

// presence is the im.Presence of the services, which are created before the lanes.
type presence struct{ b *Bridge }

func (p presence) Online(ctx context.Context, ids ...string) ([]bool, error) {
	return p.b.lanes.Online(ctx, ids...)
}

func (b *Bridge) openEventLog(ctx context.Context) (err error) {
	opts := b.opts.EventLog
	opts.Prefix, opts.States, opts.Timeout, opts.Registry, opts.Log = b.opts.Prefix, b.opts.Store.States, b.opts.Dialogues.Timeout, b.opts.Registry, b.log
	opts.Answering = func() func() { return b.lanes.Gather() } // there are no entries before the lanes exist
	if b.events, err = eventlog.Open(ctx, b.nc, b.opts.Connect, opts); err != nil {
		return err
	}
	b.stops.add(b.events.Close)
	return nil
}

// openAudit opens the audit trail, and closes it after everything that it records.
func (b *Bridge) openAudit(ctx context.Context) (err error) {
	opts := b.opts.Audit
	opts.Prefix, opts.Node, opts.Store, opts.Registry, opts.Log = b.opts.Prefix, b.node.ID, b.opts.Store, b.opts.Registry, b.log
	if b.audit, err = audit.Open(ctx, b.opts.Connect, opts); err != nil {
		return err
	}
	b.stops.add(b.audit.Close)
	b.opts.Governor.SetAudit(func(l governor.Limited) {
		e := audit.Event{Event: audit.LimitReached, Actor: audit.Ref{Kind: audit.Client}, Address: l.Source, Count: l.Count, Detail: string(l.Reason)}
		switch {
		case l.Reason.OfGateway():
			e.Actor, e.Address = audit.Ref{Kind: audit.Attachment, ID: l.Source}, ""
		case kv.ValidID(l.Source): // the source of a limit for users
			e.Actor, e.Address = audit.Ref{Kind: audit.User, ID: l.Source}, ""
		}
		b.audit.Add(e)
	})
	return nil
}

// openTalks starts to keep conversations, if the store has their stream.
func (b *Bridge) openTalks(ctx context.Context) (err error) {
	o := &b.opts
	if !o.Dialogues.Keep || o.Store.Talks == nil {
		return nil
	}
	files, err := o.Store.StoredFiles(ctx) // also while no more are taken
	if err != nil {
		return err
	}
	b.talks, err = talk.Open(ctx, talk.Options{Connect: o.Connect, Talks: o.Store.Talks, Files: files, Cursors: o.Store.Cursors, Plain: o.EventLog.Plain, Timeout: o.Dialogues.Timeout,
		MayWrite: o.EventLog.MayWrite, MayDeliver: func() bool { return b.services.Cluster.Speaks(2) }, // nothing is sent before the services exist
		Receipts: o.Dialogues.Receipts, Registry: o.Registry, Log: o.Log,
		Advanced: func(user, with string, got, read uint64) { b.lanes.Advanced(user, with, got, read) }, // nothing is acknowledged before the lanes exist
		Gather:   func() func() { return b.lanes.Gather() },
	})
	if err != nil {
		return fmt.Errorf("keep conversations: %w", err)
	}
	b.stops.add(b.talks.Close)
	return nil
}

// keeper returns what the lanes store kept dialogues with, nil for none.
func (b *Bridge) keeper() delivery.Keeper {
	if b.talks == nil {
		return nil
	}
	return b.talks
}

// conversations returns what logins read of the kept conversations, nil for none.
func (b *Bridge) conversations() tunnel.Conversations {
	if b.talks == nil {
		return nil
	}
	return b.talks
}

// openPush starts to send messages to devices, if it is configured.
func (b *Bridge) openPush() {
	o := b.opts.Push
	if o.Subject == "" {
		return
	}
	opts := push.Options{Store: b.opts.Store, Subject: o.Subject, Private: o.Private, MaxAge: o.MaxAge, SignInAge: b.opts.Identity.MaxAge, RootCAs: o.RootCAs, Registry: b.opts.Registry, Log: b.log}
	if b.talks != nil {
		opts.Talks = b.talks
	}
	b.push = push.New(opts)
	b.stops.add(func(context.Context) error { b.push.Close(); return nil })
}

// dialogues returns what is told of stored dialogues, nil for none.
func (b *Bridge) dialogues() delivery.Push {
	if b.push == nil {
		return nil
	}
	return b.push
}

// requests returns what is told of friend requests, nil for none.
func (b *Bridge) requests() im.Push {
	if b.push == nil {
		return nil
	}
	return b.push
}

// connectSystem connects to NATS's system account, if there is one.
func (b *Bridge) connectSystem() (access natsauth.Access, system *nats.Conn, err error) {
	o := b.opts.Callout
	if o == nil {
		return b.opts.Access, nil, nil
	}
	if o.System == nil {
		b.log.Warn("NATS clients stay connected after their account is disabled or their secret is changed: there is no system account to disconnect them")
		return o.Access, nil, nil
	}
	if system, err = o.System("imctl system"); err != nil {
		return access, nil, fmt.Errorf("connect to NATS's system account: %w", err)
	}
	b.stops.add(func(context.Context) error { system.Close(); return nil })
	return o.Access, system, nil
}

func (b *Bridge) newAPI(metrics *delivery.Metrics) {
	o := &b.opts
	resets := im.NewResets(b.services.Accounts)
	var mail *mailer.Queue
	if o.Mailer != nil {
		mail = mailer.NewQueue(o.Mailer, queuedResets{resets}, o.Governor.AllowCode, o.Log)
		b.services.Accounts.SetMail(mail)
		b.stops.add(func(context.Context) error { mail.Close(); return nil })
	}
	var talks api.Talks
	if b.talks != nil {
		talks = b.talks
	}
	files := api.Files{Max: o.Files.Max, Quota: o.Files.Quota, Understood: func() bool { return b.services.Cluster.Speaks(3) }}
	if b.talks != nil && o.Files.Max > 0 {
		files.Store = o.Store.Files
	}
	var devices api.Push
	if b.push != nil {
		devices = b.push
	}
	var signIn api.OIDC
	if b.oidc != nil {
		signIn = b.oidc
	}
	b.api = api.New(api.Options{OIDC: signIn, Talks: talks, Files: files, Push: devices, Log: b.events, Prefix: subject.Prefix(o.Prefix), Timeout: o.Dialogues.Timeout, MaxFrame: int(o.Sessions.MaxFrame), TrustedProxies: o.TrustedProxies, Origins: b.origins, Store: o.Store,
		Accounts: b.services.Accounts, Friends: b.services.Friends, Resets: resets, Gate: &b.gate, Disconnector: b.services.disconnector,
		Lanes: b.lanes, Governor: o.Governor, Audit: b.audit, Mail: mail, Tunnel: b.tunnel, Tickets: b.tunnel, Gateways: b.gateways, Facts: b.facts(), Away: b.monitor.Away, Dialogues: metrics, Registry: o.Registry, Logger: o.Log})
}

// facts are what clients are told of the server.
func (b *Bridge) facts() api.Facts {
	o := &b.opts
	f := api.Facts{Ping: o.Sessions.Ping, WriteTimeout: o.Sessions.WriteTimeout, PerUser: o.Sessions.PerUser, InFlight: b.tunnel.InFlight(),
		Receipts: o.Dialogues.Receipts, Passwords: o.Hasher.Lengths, Rosters: o.Store.Rosters.Limits}
	if o.ShowVersion {
		f.Version = o.Version
	}
	return f
}

// queuedResets are the codes of the mail queue. Anyone may ask for one, so their hashes wait behind each other.
type queuedResets struct{ *im.Resets }

func (q queuedResets) NewCode(ctx context.Context, account, mail string, allow func(user string) bool) (kv.User, string, error) {
	return q.Resets.NewCode(governor.WithCaller(ctx, governor.Changes, "", ""), account, mail, allow)
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
		callout, err := natsauth.NewCallout(ctx, *b.opts.Callout, natsauth.CalloutDeps{Prefix: subject.Prefix(b.opts.Prefix), Store: b.opts.Store,
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

// startWebhooks starts to post the events of webhooks.
func (b *Bridge) startWebhooks() error {
	o := webhook.Options{Settings: b.opts.Webhooks, Webhooks: b.services.Webhooks, Prefix: subject.Prefix(b.opts.Prefix), Store: b.opts.Store, Serving: b.serving,
		Audit: b.audit.Add, Registry: b.opts.Registry, Log: b.log}
	if b.talks != nil {
		o.Talks = b.talks
	}
	service, err := webhook.New(b.nc, o)
	if err == nil {
		b.webhooks.Store(service)
		b.stops.add(func(context.Context) error { service.Close(); return nil })
	}
	return err
}
