package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// While NATS is unreachable a node can neither tell the others of a change nor hear of one. So the rosters in its
// memory are not fresh, and it answers dialogues with 507 at once. When NATS is back, the node catches up: it registers
// again, reloads what its sessions depend on, and only then serves again. Sessions stay connected.

const (
	// catchUpTimeout bounds one try to catch up, and catchUpRetry is the pause after a failed one.
	catchUpTimeout = time.Minute
	catchUpRetry   = 500 * time.Millisecond
	// regroupDelay gives the other nodes time to reconnect too. Without it their users would appear offline.
	regroupDelay = time.Second
)

// Monitor watches the connections of a node to NATS. The node's states are:
//
//	fresh --a connection is lost--> away --all are back--> catching up --CatchUp succeeds--> fresh
//	                                  ^----a connection is lost---'
type Monitor struct {
	opts   MonitorOptions
	fresh  atomic.Bool
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the fields below, and setting fresh
	started bool
	away    map[*nats.Conn]bool
	onLost  []func()
	epoch   int // counts lost connections: a recovery that began before the last one does not count
}

// MonitorOptions configure a Monitor.
type MonitorOptions struct {
	// CatchUp registers the node again and reloads what its sessions depend on.
	CatchUp func(context.Context) error
	// Alone reports whether no other node serves users.
	Alone func() bool
	Log   *slog.Logger
}

// NewMonitor returns a monitor whose node is not fresh yet.
func NewMonitor(opts MonitorOptions) *Monitor {
	m := &Monitor{opts: opts, away: make(map[*nats.Conn]bool)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Options returns the options of a connection that the monitor watches.
func (m *Monitor) Options() []nats.Option {
	return []nats.Option{nats.DisconnectErrHandler(m.disconnected), nats.ReconnectHandler(m.reconnected)}
}

// OnLost has f called when a connection is lost.
func (m *Monitor) OnLost(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onLost = append(m.onLost, f)
}

// Fresh reports whether the rosters in memory are up to date. It is called for every dialogue.
func (m *Monitor) Fresh() bool { return m.fresh.Load() }

// Start declares the rosters fresh, at the end of the node's start. If a connection was lost meanwhile, the node
// catches up first.
func (m *Monitor) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = true
	switch {
	case m.epoch == 0:
		m.fresh.Store(true)
	case len(m.away) == 0:
		m.catchUpSoon()
	}
}

// Away reports whether a connection is down.
func (m *Monitor) Away() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.away) > 0
}

func (m *Monitor) disconnected(nc *nats.Conn, err error) {
	if m.ctx.Err() != nil || nc.IsClosed() {
		return
	}
	m.mu.Lock()
	first := len(m.away) == 0
	m.away[nc] = true
	m.epoch++
	m.fresh.Store(false)
	onLost := m.onLost
	m.mu.Unlock()
	if first {
		m.opts.Log.Error("NATS is unreachable", "err", err)
	}
	for _, f := range onLost {
		f()
	}
}

func (m *Monitor) reconnected(nc *nats.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.away, nc)
	if m.started && len(m.away) == 0 && m.ctx.Err() == nil {
		m.catchUpSoon()
	}
}

// catchUpSoon starts a recovery. Called with mu held.
func (m *Monitor) catchUpSoon() {
	epoch := m.epoch
	m.wg.Go(func() { m.recover(epoch) })
}

// recover catches up, with retries, until it succeeds or a connection is lost again.
func (m *Monitor) recover(epoch int) {
	if !m.opts.Alone() && !m.pause(regroupDelay) {
		return
	}
	for {
		err := m.catchUp()
		m.mu.Lock()
		overtaken := m.epoch != epoch
		if err == nil && !overtaken {
			m.fresh.Store(true)
		}
		m.mu.Unlock()
		if overtaken {
			return
		}
		if err == nil {
			m.opts.Log.Info("NATS is reachable again")
			return
		}
		m.opts.Log.Error("catch up with NATS", "err", err)
		if !m.pause(catchUpRetry) {
			return
		}
	}
}

func (m *Monitor) catchUp() error {
	ctx, cancel := context.WithTimeout(m.ctx, catchUpTimeout)
	defer cancel()
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
