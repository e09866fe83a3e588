package bridge

import (
	"context"

	"imctl/bridge/cluster"
	"imctl/bridge/delivery"
)

// handler carries out the commands of nodes, this one included.
type handler struct{ b *Bridge }

// commandContext bounds the work for a command: the node that sent it waits for the answer.
func commandContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), cluster.CommandTimeout)
}

func (h handler) RosterChanged(c cluster.RosterChanged) {
	now := delivery.Relation{Friend: c.Friend, Blocked: c.Blocked, BlockedBy: c.BlockedBy}
	if u := h.b.lanes.ApplyRoster(c.User, c.Other, now, c.Revision); u != nil {
		h.prune(u)
	}
}

// prune reloads the roster of a user if commands have left too many entries of former friends. After an error the next
// command retries.
func (h handler) prune(u *delivery.User) {
	if !u.NeedsReload() {
		return
	}
	ctx, cancel := commandContext()
	defer cancel()
	if err := h.b.tunnel.ReloadRoster(ctx, u); err != nil {
		h.b.log.Warn("reload a roster", "user", u.ID(), "err", err)
	}
}

func (h handler) Befriended(c cluster.Befriended) {
	ctx, cancel := commandContext()
	defer cancel()
	for _, f := range c.Friends {
		relation := delivery.Relation{Friend: true, Blocked: f.Blocked, BlockedBy: f.BlockedBy}
		u := h.b.lanes.ApplyRoster(f.User, f.Other, relation, f.Revision)
		if u == nil {
			continue
		}
		frame, err := h.b.services.Friends.AddedFrame(ctx, f.Other, f.Alias, relation.Hidden())
		if err != nil {
			h.b.log.Warn("show a new friend", "user", f.User, "err", err)
			continue
		}
		u.Notify(frame)
	}
}

func (h handler) ProfileChanged(c cluster.ProfileChanged) {
	h.b.services.Friends.ForgetProfile(c.User)
}

func (h handler) CloseSessions(c cluster.CloseSessions) {
	h.b.tunnel.CloseSessions(c)
	if len(c.IDs) == 0 && c.Token == "" && c.KeepToken == "" { // the user may be disabled
		ctx, cancel := commandContext()
		defer cancel()
		h.b.gateways.Forget(ctx, c.User)
	}
}

func (h handler) GatewayOpened(c cluster.GatewayOpened) { h.b.gateways.Opened(c) }

func (h handler) GatewayChanged(c cluster.GatewayChanged) {
	ctx, cancel := commandContext()
	defer cancel()
	h.b.gateways.Changed(ctx, c.Gateway)
}

func (h handler) ListSessions(c cluster.ListSessions) []cluster.Session {
	if c.Node != "" && c.Node != h.b.node.ID {
		return nil
	}
	if c.Joins != "" && c.Joins != h.b.node.ID {
		h.markElsewhere(c.User)
	}
	page, _ := cluster.Page(h.b.tunnel.List(c.User), c.After, c.Limit, cluster.Session.Cursor)
	return page
}

func (h handler) ClientConnected(c cluster.ClientConnected) { h.markElsewhere(c.User) }

// markElsewhere notes that a user has clients other than its sessions on this node.
func (h handler) markElsewhere(user string) {
	if u := h.b.lanes.User(user); u != nil {
		u.MarkElsewhere()
	}
}

func (h handler) NodeStarted(c cluster.NodeStarted) {
	if c.Back { // its users looked offline meanwhile
		h.b.refresher.presence()
	}
}

func (h handler) NodeLost() {
	h.b.services.Friends.ForgetProfile("") // the lost node may have changed any
	h.b.refresher.reload()
}

func (h handler) ConsumerAttached() {
	ctx, cancel := commandContext()
	defer cancel()
	if err := h.b.events.Attach(ctx); err != nil { // the log is attached all the same
		h.b.log.Warn("count the consumers of the event log", "err", err)
	}
	if webhooks := h.b.webhooks.Load(); webhooks != nil {
		webhooks.Reload()
	}
}

func (h handler) ModeratorChanged(c cluster.ModeratorChanged) {
	h.b.hooks.SetModerator(c.Name, !c.Removed)
}

func (h handler) CheckState() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*cluster.CommandTimeout)
	defer cancel()
	if err := h.b.restores.check(ctx); err != nil {
		h.b.log.Error("check for a restore", "err", err)
	}
}

func (h handler) Disconnect(c cluster.Disconnect) {
	ctx, cancel := commandContext()
	defer cancel()
	if err := h.b.services.disconnector.DisconnectHere(ctx, c.Name); err != nil {
		h.b.log.Error("close connections of NATS clients", "err", err)
	}
}

func (h handler) Status() cluster.NodeStatus {
	b := h.b
	s := cluster.NodeStatus{Node: b.node, Sessions: b.tunnel.Len(), Users: b.lanes.Len(), State: cluster.StateOK, Limited: b.opts.Governor.Limited()}
	if b.opts.Moves != nil {
		s.NATS = b.opts.Moves.Server()
	}
	if b.opts.Load != nil {
		s.Load = b.opts.Load()
	}
	err := b.Ready()
	if err == nil && b.opts.ReadOnly != nil {
		err = b.opts.ReadOnly()
	}
	if err == nil {
		err = b.Degraded()
	}
	if err != nil {
		s.State = err.Error()
	}
	s.Hooks, s.Auth = b.hooks.Problems(), b.authProblems()
	return s
}

func (h handler) TakeTicket(hash string) []byte { return h.b.tunnel.TakeTicket(hash) }

// clientConnected notes on all nodes that a user logs in to NATS. It does not wait for the other nodes.
func (b *Bridge) clientConnected(user string) {
	handler{b}.markElsewhere(user)
	if b.services.Cluster.Alone() {
		return
	}
	b.broadcasts.Go(func() {
		if err := b.services.Cluster.Tell(context.Background(), cluster.ClientConnected{User: user}); err != nil {
			b.log.Warn("tell the nodes of a NATS client", "user", user, "err", err)
		}
	})
}
