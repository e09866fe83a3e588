package cluster

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A node that crashes takes its subscriptions with it: its users are offline, and NATS says so. But it may have written
// a change that it told no node. So the nodes send each other heartbeats. When one is lost, the others reload what
// their sessions depend on.

const (
	// heartbeatEvery is the interval of heartbeats, and heartbeatTimeout the time for their answers.
	heartbeatEvery   = time.Second
	heartbeatTimeout = 900 * time.Millisecond
	// renewTimeout bounds a renewal of the lease by a registration. A later one would come too late.
	renewTimeout = leaseTime
)

// Heartbeat sends heartbeats to the other nodes until ctx ends. A heartbeat strikes a crashed node off the list, and
// the cluster then tells all nodes that it is lost. In a cluster of NATS servers a heartbeat also renews the lease.
// serving reports whether this node serves users at the moment, and halted whether a restore is replacing the list of
// nodes.
func (c *Cluster) Heartbeat(ctx context.Context, serving, halted func() bool) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	var renewing, listing, moving single
	protocol := Protocol
	for {
		protocol = c.logProtocol(protocol)
		select {
		case <-ctx.Done():
			return
		case id := <-c.lost:
			if !halted() {
				if c.onLost != nil {
					c.onLost(id)
				}
				work.Go(func() { c.warn(ctx, "tell the nodes of a lost one", c.Broadcast(ctx, nodeLost{Node: id})) })
			}
			continue
		case <-tick.C:
		}
		if halted() {
			continue
		}
		c.checkClustered()
		if !c.clustered.Load() {
			c.lease.lift()
			if !c.Alone() && serving() {
				c.warn(ctx, "heartbeat", c.Broadcast(ctx, ping{From: c.id(), Protocol: Protocol}))
			}
			continue
		}
		work.Go(func() {
			if !c.beat(ctx) {
				renewing.do(func() { c.renewSoon(ctx) })
			}
		})
		if !c.lease.Runs() {
			work.Go(func() { moving.do(func() { c.leaveHungServer(ctx) }) })
		}
		if c.listAge() >= listEvery {
			work.Go(func() { listing.do(func() { c.readList(ctx) }) })
		}
	}
}

// warn logs an error, unless ctx has ended.
func (c *Cluster) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		c.log.Warn(what, "err", err)
	}
}

// single is work of which one runs at a time. Further calls return at once.
type single struct{ mu sync.Mutex }

func (s *single) do(work func()) {
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		work()
	}
}

// beat sends a heartbeat to all nodes of the cached list, and reports whether it has renewed the lease. A node that does
// not answer becomes a suspect.
func (c *Cluster) beat(ctx context.Context) (renewed bool) {
	began := time.Now()
	running := c.lease.Limited() && c.lease.Runs()
	ids, ok := c.cachedPeers()
	body, err := encode(ping{From: c.id(), Protocol: Protocol})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	good := make([]bool, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			r, err := c.request(ctx, id, body)
			switch {
			case err == nil:
				c.heard(id)
				good[i] = !r.Doubt
			case ctx.Err() == nil || c.nc.IsConnected():
				c.suspect(id)
			}
		})
	}
	wg.Wait()
	for _, g := range good {
		ok = ok && g
	}
	if !ok || !running {
		return false
	}
	c.lease.extend(began)
	return true
}

// renewSoon renews the lease by a registration.
func (c *Cluster) renewSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if _, err := c.Renew(ctx); err != nil && !c.lease.Runs() {
		c.warn(ctx, "renew the registration of this node", err)
	}
}

// leaveHungServer connects to another NATS server if this one does not answer at all. The client's own pings take
// longer to find out.
func (c *Cluster) leaveHungServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	if !c.nc.IsConnected() || c.nc.FlushWithContext(ctx) == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return
	}
	c.log.Warn("the NATS server does not answer: connecting again", "server", c.nc.ConnectedUrlRedacted())
	c.warn(ctx, "connect to NATS again", c.nc.ForceReconnect())
}

// listAge returns how long ago the list was read.
func (c *Cluster) listAge() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.listed)
}

// readList reads the list of nodes. It only adds nodes to the cached list: a leader that is cut off may have an old one.
func (c *Cluster) readList(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listEvery)
	defer cancel()
	began := time.Now()
	all, err := c.list.Registrations(ctx)
	if err != nil {
		return // the next one succeeds, or the lease ends
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = began
	c.addPeers(all)
	c.alone.Store(len(c.peers) == 0)
}
