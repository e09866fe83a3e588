// Package tunnel is the WebSocket of the protocol: logins, sessions and their frames. A Session is the delivery.Sink of
// its user. melody runs the WebSocket; the frames that a session is sent go past it, through conn, which knows when a
// frame is on the socket.
package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"imctl/bridge/cluster"
	"imctl/bridge/delivery"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/origin"
	"imctl/kv"
)

// SessionOptions bound what one session, and one user, may hold.
type SessionOptions struct {
	PerUser      int           // concurrent sessions of a user; a new one ends the oldest
	Buffer       int           // dialogues that wait for a client that does not read
	InFlight     int           // frames of a session that are not answered yet; at the limit the server stops reading
	MaxFrame     int64         // bytes
	Ping         time.Duration // interval of pings; a session ends if no byte comes for somewhat longer
	WriteTimeout time.Duration // of one write to a socket
}

// Log writes the events of sessions. eventlog.Log is one.
type Log interface {
	Session(event eventlog.SessionEvent, user, session, node string)
}

// Options configure a Tunnel.
type Options struct {
	Node           string // id of this node
	Sessions       SessionOptions
	LoginBytes     Budget          // of the answers to logins that are written in parts; nil: 64 MiB
	Logins         int             // logins that read their user's data at once; 0: twice the number of processors
	TrustedProxies []netip.Prefix  // proxies whose headers about clients are used
	Origins        *origin.Checker // which web pages may open a WebSocket; nil: the server's own

	Store    *kv.Store
	Accounts *im.Accounts
	Friends  *im.Friends
	Gate     *im.Gate
	Lanes    *delivery.Lanes
	Cluster  *cluster.Cluster
	Governor *governor.Governor
	Log      Log
	Audit    Audit
	Talks    Conversations // nil: conversations are not kept
	Receipts bool          // friends see what a user has read
	// Fresh reports whether the rosters in memory are up to date. It may wait for a connection to NATS, until done is
	// closed.
	Fresh func(done <-chan struct{}) bool
	// Away reports whether NATS is unreachable.
	Away func() bool
	// Outdated reports whether what the node reads may be outdated.
	Outdated  func() bool
	Dialogues *delivery.Metrics
	Registry  prometheus.Registerer
	Logger    *slog.Logger
	// NATSClients returns the number of NATS clients of this node, for the metrics. nil: it is unknown.
	NATSClients func() int
}

// Tunnel serves logins and holds the sessions of this node.
type Tunnel struct {
	opts     Options
	metrics  *metrics
	logins   *governor.Queue // for the reads of logins
	parts    chan struct{}   // a semaphore for large answers, so that they delay no other login
	melody   *melodyServer
	refusal  *websocket.Upgrader // for logins that fail, which melody never sees
	refusals refusals
	tickets  tickets

	running context.Context // ends when the tunnel drains
	stop    context.CancelFunc

	mu       sync.Mutex // guards draining, sessions and adding to conns
	draining bool
	sessions map[*Session]struct{}
	conns    sync.WaitGroup // hijacked connections

	refreshes sync.WaitGroup // of sessions that missed notices
}

// New returns a tunnel without sessions.
func New(opts Options) *Tunnel {
	if opts.Logins <= 0 {
		opts.Logins = 2 * runtime.GOMAXPROCS(0)
	}
	if opts.Origins == nil {
		opts.Origins = origin.New(origin.Options{Proxies: opts.TrustedProxies, Log: opts.Logger})
	}
	if opts.LoginBytes == nil {
		opts.LoginBytes = semaphore.NewWeighted(defaultLoginBytes)
	}
	// A friend's session refuses dialogues in flight that exceed its buffer. A fast sender would then get 507 although
	// the friend reads all the time.
	opts.Sessions.InFlight = min(opts.Sessions.InFlight, opts.Sessions.Buffer)
	t := &Tunnel{opts: opts, metrics: newMetrics(opts.Registry),
		logins: governor.NewQueue(governor.QueueOptions{Places: opts.Logins, Wait: loginTimeout, Busy: kv.ErrBusy}),
		parts:  make(chan struct{}, max(opts.Logins/4, 1)), sessions: make(map[*Session]struct{}),
		refusal:  &websocket.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, CheckOrigin: anyOrigin},
		refusals: refusals{log: opts.Logger}}
	t.tickets.init()
	t.running, t.stop = context.WithCancel(context.Background())
	t.melody = newMelody(t)
	t.metrics.observe(t)
	return t
}

// anyOrigin accepts any origin: checkHandshake has checked it.
func anyOrigin(*http.Request) bool { return true }

// InFlight returns how many dialogues of a session may have no answer yet.
func (t *Tunnel) InFlight() int { return t.opts.Sessions.InFlight }

// Len returns the number of sessions.
func (t *Tunnel) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// Kinds returns the number of sessions without and with keep=1.
func (t *Tunnel) Kinds() (contract, keep int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		if s.keep {
			keep++
		}
	}
	return len(t.sessions) - keep, keep
}

const (
	reasonShutdown = "server is going down"
	reasonRestored = "restored from a backup"
)

// register adds a session to those that Drain and Halt end.
func (t *Tunnel) register(s *Session) {
	t.mu.Lock()
	t.sessions[s] = struct{}{}
	draining := t.draining
	t.mu.Unlock()
	switch {
	case draining:
		s.closeWith(nil, websocket.CloseGoingAway, reasonShutdown)
	case t.opts.Gate.Closed():
		s.closeWith(nil, websocket.CloseServiceRestart, reasonRestored)
	}
}

func (t *Tunnel) unregister(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
}

// enter counts a connection, unless the tunnel is draining or halted by a restore. If enter returns true, the caller
// must call conns.Done.
func (t *Tunnel) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining || t.opts.Gate.Closed() {
		return false
	}
	t.conns.Add(1)
	return true
}

// all returns the sessions at this moment.
func (t *Tunnel) all() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Session, 0, len(t.sessions))
	for s := range t.sessions {
		all = append(all, s)
	}
	return all
}

// Draining reports whether Drain was called.
func (t *Tunnel) Draining() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.draining
}

// Drain refuses new sessions and ends the existing ones, each after its waiting frames. It returns when all have ended.
// When ctx ends, it cuts the remaining sessions off and returns an error.
func (t *Tunnel) Drain(ctx context.Context) error {
	t.mu.Lock()
	t.draining = true
	t.stop()
	t.mu.Unlock()
	if cut := t.endAll(ctx, websocket.CloseGoingAway, reasonShutdown); cut > 0 {
		return fmt.Errorf("%d sessions cut off: %w", cut, ctx.Err())
	}
	return nil
}

// haltTimeout bounds how long sessions may take to end when a restore halts the node.
const haltTimeout = 3 * time.Second

// Halt closes the gate, which refuses new sessions and calls, and ends all sessions. It returns when all have ended.
// started is when the restore began. A tunnel that is halted already stays so.
func (t *Tunnel) Halt(ctx context.Context, started time.Time) {
	t.mu.Lock() // enter and register see the gate closed, or endAll sees their session
	first := t.opts.Gate.Close()
	sessions := len(t.sessions)
	t.mu.Unlock()
	if !first {
		return
	}
	t.opts.Logger.Warn("a restore is replacing the data: ending all sessions", "sessions", sessions, "started", started)
	ctx, cancel := context.WithTimeout(ctx, haltTimeout)
	defer cancel()
	t.endAll(ctx, websocket.CloseServiceRestart, reasonRestored)
}

// endAll ends all sessions and waits for their connections. When ctx ends, it cuts the rest off and returns their
// number.
func (t *Tunnel) endAll(ctx context.Context, code int, reason string) (cut int) {
	for _, s := range t.all() {
		s.closeWith(nil, code, reason)
	}
	done := make(chan struct{})
	go func() { t.conns.Wait(); close(done) }()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	rest := t.all()
	for _, s := range rest {
		s.conn.Kill()
	}
	<-done
	return len(rest)
}

// Close logs the last refused handshakes and ends melody, after Drain.
func (t *Tunnel) Close() error {
	t.refreshes.Wait()
	t.refusals.close()
	return t.melody.close()
}
