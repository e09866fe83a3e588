package bridge

import (
	"context"
	"log/slog"
	"time"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/gateway"
	"imctl/bridge/im"
	"imctl/bridge/talk"
	"imctl/bridge/tunnel"
	"imctl/kv"
)

// A restore replaces the buckets while servers run. The restore command marks the state, tells the nodes, removes the
// old buckets, puts the new buckets into use in the state, and tells the nodes again. A node that sees the mark ends
// its sessions and answers no calls, since the restore would undo their changes. When the new buckets are in use, the
// node switches to them. A node that was not told finds out by checking the state at intervals.

// stateCheckEvery is the interval of checks.
const stateCheckEvery = 5 * time.Second

// restores follows restores of the data.
type restores struct {
	store    *kv.Store
	gate     *im.Gate
	tunnel   *tunnel.Tunnel
	gateways *gateway.Service
	events   *eventlog.Log
	audit    *audit.Trail
	talks    *talk.Service // nil: no conversations are kept
	services *Services
	log      *slog.Logger
	checking chan struct{} // a mutex for check
}

// watch checks the state at intervals until ctx ends. away reports whether NATS is unreachable.
func (r *restores) watch(ctx context.Context, away func() bool) {
	tick := time.NewTicker(stateCheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.check(ctx); err != nil && !away() && ctx.Err() == nil {
				r.log.Warn("check for a restore", "err", err)
			}
		}
	}
}

// check reads the state, halts the node if a restore is replacing the buckets, and resumes on the new buckets when the
// restore is complete.
func (r *restores) check(ctx context.Context) error {
	select {
	case r.checking <- struct{}{}:
		defer func() { <-r.checking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	state, err := r.store.States.Get(ctx)
	if err != nil {
		return err
	}
	switch {
	case state.Restore != nil:
		r.halt(ctx, state.Restore.Started)
	case !r.store.InUse(state):
		r.halt(ctx, time.Time{})
		if err := r.store.SwitchTo(ctx, state); err != nil {
			return err
		}
		return r.resume(ctx)
	case r.gate.Closed():
		return r.resume(ctx)
	}
	return nil
}

// halt ends all sessions and refuses new ones. It pauses the event log first, since the restore replaces its stream.
func (r *restores) halt(ctx context.Context, started time.Time) {
	r.events.Pause(true)
	r.tunnel.Halt(ctx, started)
	r.gateways.EndAll("a restore replaces the data")
}

// resume registers the node in the buckets that are in use now, closes the connections of NATS clients that logged in
// before the restore, and serves again.
func (r *restores) resume(ctx context.Context) error {
	if err := r.services.Cluster.Register(ctx); err != nil {
		return err
	}
	r.services.Friends.ForgetProfile("")
	if r.talks != nil {
		r.talks.Reset()
	}
	r.events.Pause(false)
	if err := r.events.Attach(ctx); err != nil {
		return err
	}
	if err := r.services.Attachments.ExpectConsumers(ctx); err != nil {
		return err
	}
	if err := r.services.Webhooks.Expect(ctx); err != nil {
		return err
	}
	if err := r.services.disconnector.DisconnectAll(ctx); err != nil {
		return err
	}
	r.gate.Open()
	r.audit.Add(audit.Event{Event: audit.ServerRestored, Actor: audit.Ref{Kind: audit.Server}})
	r.log.Warn("the restore is complete: serving the data of the backup")
	return nil
}
