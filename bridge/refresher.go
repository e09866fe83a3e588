package bridge

import (
	"context"
	"log/slog"
	"time"

	"imctl/bridge/delivery"
	"imctl/bridge/gateway"
	"imctl/bridge/tunnel"
)

// refreshTimeout bounds one refresh of the presence of all friends.
const refreshTimeout = 5 * time.Minute

// refresher brings this node up to date after another node was lost or came back. A lost node may have written a
// change, or ended a session, that it told no node.
type refresher struct {
	tunnel        *tunnel.Tunnel
	gateways      *gateway.Service
	lanes         *delivery.Lanes
	log           *slog.Logger
	needsReload   chan struct{} // has a buffer of one, as has needsPresence
	needsPresence chan struct{}
}

func newRefresher(t *tunnel.Tunnel, g *gateway.Service, l *delivery.Lanes, log *slog.Logger) *refresher {
	return &refresher{tunnel: t, gateways: g, lanes: l, log: log, needsReload: make(chan struct{}, 1), needsPresence: make(chan struct{}, 1)}
}

// reload requests a reload of what sessions depend on, and of the presence of friends.
func (r *refresher) reload() { signal(r.needsReload) }

// presence requests a refresh of the presence of friends.
func (r *refresher) presence() { signal(r.needsPresence) }

// run serves requests until ctx ends.
func (r *refresher) run(ctx context.Context) {
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-r.needsReload:
			r.gateways.Recheck(ctx)
			err = r.tunnel.ReloadAll(ctx)
			r.presence()
		case <-r.needsPresence:
			err = r.refreshPresence(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("refresh after a lost node", "err", err)
		}
	}
}

func (r *refresher) refreshPresence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return r.lanes.RefreshPresence(ctx)
}

// signal wakes the goroutine that receives from c, now or at its next receive.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
