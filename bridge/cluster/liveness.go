package cluster

import (
	"context"
	"time"
)

// A node that crashes takes its subscriptions with it: its users are offline, and NATS says so. But it may have written
// a change that it told no node. So the nodes send each other heartbeats. When one is lost, the others reload what
// their sessions depend on.

// heartbeatEvery is the interval of heartbeats.
const heartbeatEvery = time.Second

// Heartbeat sends heartbeats to the other nodes until ctx ends. A heartbeat strikes a crashed node off the list, and
// the cluster then tells all nodes that it is lost. serving reports whether this node serves users at the moment, and
// halted whether a restore is replacing the list of nodes.
func (c *Cluster) Heartbeat(ctx context.Context, serving, halted func() bool) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		var command Command
		select {
		case <-ctx.Done():
			return
		case <-c.lost:
			command = nodeLost{}
		case <-tick.C:
			if c.Alone() || !serving() {
				continue
			}
			command = ping{}
		}
		if halted() {
			continue
		}
		if err := c.Broadcast(ctx, command); err != nil && ctx.Err() == nil {
			c.log.Warn("heartbeat", "err", err)
		}
	}
}
