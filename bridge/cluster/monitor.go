package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// While NATS is unreachable a node can neither tell the others of a change nor hear of one. On a single NATS server the
// rosters in its memory are not fresh from then on, and it answers dialogues with 507 at once. In a cluster of NATS
// servers they stay fresh while the node's lease runs: new dialogues wait for the connection to another server. When
// NATS is back, the node registers again, unless its lease still runs. If it was struck off the list meanwhile, or there
// is a single NATS server, it reloads what its sessions depend on, and only then serves again. Sessions stay connected.

const (
	// catchUpTimeout bounds one try to catch up, and catchUpRetry is the pause after a failed one.
	catchUpTimeout = time.Minute
	catchUpRetry   = 500 * time.Millisecond
)

// Monitor watches the connections of a node to NATS. The node's states are:
//
//	fresh --a connection is lost--> away --all are back--> registering --still listed--> fresh
//	                                  ^                      |  struck off
//	                                  |                      v
//	                                  '--a connection is-- catching up --CatchUp succeeds--> fresh
//	                                     lost
//
// While its lease runs, a node that is away stays fresh.
type Monitor struct {
	opts   MonitorOptions
	fresh  atomic.Bool // but for the lease
	down   atomic.Bool // a connection is down
	ctx    context.Context
	cancel context.CancelFunc // with Close
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the fields below, and setting fresh and down
	started bool
	away    map[*nats.Conn]bool
	since   time.Time     // when the first of the connections in away was lost
	back    chan struct{} // closed when all are back
	onLost  []func(*nats.Conn)
	onBack  []func()
	behind  bool // the node may have missed changes, and has not caught up since
	epoch   int  // counts events after which the node must recover: a recovery that began before the last one does not count
}

// MonitorOptions configure a Monitor.
type MonitorOptions struct {
	// Lease is what the node holds; nil: it needs none.
	Lease *Lease
	// Renew registers the node again, and reports whether it was still registered. It calls Struck if not. nil: the node
	// always catches up.
	Renew func(context.Context) (kept bool, err error)
	// CatchUp reloads what the sessions of the node depend on.
	CatchUp func(context.Context) error
	// Back, if set, is called on a goroutine of its own when the node is fresh, and all connections are back.
	Back func(context.Context)
	Log  *slog.Logger
}

// NewMonitor returns a monitor whose node is not fresh yet.
func NewMonitor(opts MonitorOptions) *Monitor {
	if opts.Lease == nil {
		opts.Lease = NewLease()
	}
	m := &Monitor{opts: opts, away: make(map[*nats.Conn]bool), back: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Options returns the options of a connection that the monitor watches.
func (m *Monitor) Options() []nats.Option {
	return []nats.Option{nats.DisconnectErrHandler(m.disconnected), nats.ReconnectHandler(m.reconnected)}
}

// OnLost has f called when a connection is lost, with that connection.
func (m *Monitor) OnLost(f func(*nats.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onLost = append(m.onLost, f)
}

// OnBack has f called when all connections are back, before the node recovers.
func (m *Monitor) OnBack(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onBack = append(m.onBack, f)
}

// Fresh reports whether the rosters in memory are up to date. It is called for every dialogue.
func (m *Monitor) Fresh() bool { return m.fresh.Load() && m.opts.Lease.Runs() }

// Outdated reports whether what this node reads may be outdated, since the other nodes may have struck it off the list. A
// leader of a stream that is cut off together with the node answers reads for seconds as if nothing had changed.
func (m *Monitor) Outdated() bool { return !m.opts.Lease.Runs() }

// Await is Fresh for a dialogue that is to be sent. While connections are down and the lease runs, it waits until they
// are back, at most as long as a lease, or until done is closed.
func (m *Monitor) Await(done <-chan struct{}) bool {
	if !m.down.Load() {
		return m.Fresh()
	}
	m.mu.Lock()
	back, left := m.back, time.Until(m.since.Add(leaseTime))
	waits := len(m.away) > 0 && m.holding()
	m.mu.Unlock()
	if !waits {
		return m.Fresh() && !m.down.Load()
	}
	end := time.NewTimer(left)
	defer end.Stop()
	select {
	case <-back:
	case <-end.C:
		return false
	case <-done:
	}
	return m.Fresh()
}

// holding reports whether the node stays fresh while it is away. Called with mu held.
func (m *Monitor) holding() bool { return m.opts.Lease.Limited() && m.Fresh() }

// Start declares the rosters fresh, at the end of the node's start. If a connection was lost meanwhile, the node
// catches up first.
func (m *Monitor) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = true
	switch {
	case m.epoch == 0:
		m.fresh.Store(true)
	default:
		m.behind = true
		if len(m.away) == 0 {
			m.recoverSoon(true)
		}
	}
}

// Away reports whether a connection is down, and the node does not wait for it.
func (m *Monitor) Away() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.away) > 0 && !m.holding()
}

func (m *Monitor) disconnected(nc *nats.Conn, err error) {
	if m.ctx.Err() != nil || nc.IsClosed() {
		return
	}
	m.mu.Lock()
	first := len(m.away) == 0
	m.away[nc] = true
	if first {
		m.since, m.back = time.Now(), make(chan struct{})
		m.down.Store(true)
	}
	if !m.holding() {
		m.epoch++
		m.fresh.Store(false)
		m.behind = m.behind || !m.opts.Lease.Limited()
	}
	onLost := m.onLost
	m.mu.Unlock()
	if first {
		m.opts.Log.Error("NATS is unreachable", "err", err)
	}
	for _, f := range onLost {
		f(nc)
	}
}

func (m *Monitor) reconnected(nc *nats.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.away[nc] {
		return
	}
	delete(m.away, nc)
	if len(m.away) > 0 {
		return
	}
	for _, f := range m.onBack {
		f()
	}
	m.down.Store(false)
	close(m.back)
	if m.started && m.ctx.Err() == nil {
		m.recoverSoon(true)
	}
}

// Struck says that the node was struck off the list, and is listed again. It may have missed changes.
func (m *Monitor) Struck() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.behind = true
	m.fresh.Store(false)
	if m.started && m.ctx.Err() == nil {
		m.recoverSoon(false)
	}
}

// recoverSoon starts a recovery. renew: the node must make sure that it is still registered. Called with mu held.
func (m *Monitor) recoverSoon(renew bool) {
	epoch := m.epoch
	m.wg.Go(func() { m.recover(epoch, renew) })
}

// recover makes the node fresh, with retries, until it succeeds or another recovery is needed.
func (m *Monitor) recover(epoch int, renew bool) {
	for {
		err := m.try(renew)
		m.mu.Lock()
		overtaken := m.epoch != epoch
		if err == nil && !overtaken {
			m.behind = false
			m.fresh.Store(true)
		}
		m.mu.Unlock()
		if overtaken || m.ctx.Err() != nil {
			return
		}
		if err == nil {
			m.opts.Log.Info("NATS is reachable again")
			if m.opts.Back != nil {
				m.opts.Back(m.ctx)
			}
			return
		}
		m.opts.Log.Error("catch up with NATS", "err", err)
		if !m.pause(catchUpRetry) {
			return
		}
	}
}

// try is one attempt of recover.
func (m *Monitor) try(renew bool) error {
	ctx, cancel := context.WithTimeout(m.ctx, catchUpTimeout)
	defer cancel()
	m.mu.Lock()
	held, behind := m.holding(), m.behind || m.opts.Renew == nil
	m.mu.Unlock()
	if renew && !held && m.opts.Renew != nil {
		if kept, err := m.opts.Renew(ctx); err != nil || !kept { // if not kept, Struck has started another recovery
			return err
		}
	}
	if !behind {
		return nil
	}
	return m.opts.CatchUp(ctx)
}

// pause returns false if the monitor is closed meanwhile.
func (m *Monitor) pause(d time.Duration) bool {
	select {
	case <-m.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Close ends a recovery. Close the connections after it.
func (m *Monitor) Close() {
	m.cancel()
	m.wg.Wait()
}
