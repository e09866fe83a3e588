package bridge

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"imctl/bridge/api"
	"imctl/bridge/audit"
	"imctl/bridge/delivery"
	"imctl/bridge/eventlog"
	"imctl/bridge/gateway"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/mailer"
	"imctl/bridge/natsauth"
	"imctl/bridge/push"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/bridge/tunnel"
	"imctl/bridge/webhook"
	"imctl/kv"
)

// openGateways prepares what serves gateways. serve starts it.
func (b *Bridge) openGateways() {
	o := &b.opts
	b.gateways = gateway.New(gateway.Options{Prefix: subject.Prefix(o.Prefix), Node: b.node.ID, Connect: o.Connect, Store: o.Store, Accounts: b.services.Accounts,
		Gate: &b.gate, Governor: o.Governor, Cluster: b.services.Cluster, Presence: b.lanes, Audit: b.audit, Fresh: b.serving,
		MaxUsers: o.GatewayUsers, Lease: o.GatewayLease, Registry: o.Registry, Logger: o.Log})
	b.services.Accounts.SetReserved(b.gateways.Reserved)
	b.stops.add(func(context.Context) error { return b.gateways.Close() })
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
		case l.Reason.OfAttachment():
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
		Lanes: b.lanes, Governor: o.Governor, Audit: b.audit, Mail: mail, Tunnel: b.tunnel, Tickets: b.tunnel, Gateways: b.gateways, Facts: b.facts(), Away: b.monitor.Away, Outdated: b.monitor.Outdated, Dialogues: metrics, Registry: o.Registry, Logger: o.Log})
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
