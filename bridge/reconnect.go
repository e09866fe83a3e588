package bridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// While NATS is away nobody can be told of anything: dialogues are answered 507 at once, and who is whose friend is
// not certain any more, since a change may be made that this node does not hear of. When NATS is back the node puts
// itself on the list again, reads the rosters of everybody who is online here, and only then goes on. Sessions stay.

const (
	reloadsAtOnce = 32
	reloadRetry   = 500 * time.Millisecond
	// regroup is how long the other nodes may take to be back too. Before that their users would pass for offline.
	regroup = time.Second
)

// link keeps watch over the bridge's connections to NATS.
type link struct {
	bridge *Bridge
	ctx    context.Context // ends with the bridge
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	lanes []*lane
	away  map[*nats.Conn]bool
	epoch int // counts disconnects: a recovery that began before the last one does not count
}

func newLink(b *Bridge) *link {
	l := &link{bridge: b, away: make(map[*nats.Conn]bool)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// options make a connection report to the link.
func (l *link) options() []nats.Option {
	return []nats.Option{nats.DisconnectErrHandler(l.lost), nats.ReconnectHandler(l.found)}
}

// isAway tells whether some connection to NATS is down.
func (l *link) isAway() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.away) > 0
}

// watch has the lane's dialogues end when NATS goes away.
func (l *link) watch(lane *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes = append(l.lanes, lane)
}

func (l *link) lost(nc *nats.Conn, err error) {
	if l.ctx.Err() != nil || nc.IsClosed() {
		return
	}
	l.mu.Lock()
	first := len(l.away) == 0
	l.away[nc] = true
	l.epoch++
	l.bridge.certain.Store(false)
	lanes := l.lanes
	l.mu.Unlock()
	if first {
		l.bridge.log.Error("NATS is away", "err", err)
	}
	for _, lane := range lanes {
		lane.flights.abort()
	}
}

func (l *link) found(nc *nats.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.away, nc)
	if len(l.away) > 0 || l.ctx.Err() != nil {
		return
	}
	epoch := l.epoch
	l.wg.Go(func() { l.recover(epoch) })
}

// recover brings the node up to date, trying until it succeeds or NATS goes away again.
func (l *link) recover(epoch int) {
	if !l.bridge.service.nodes.alone.Load() && !l.pause(regroup) {
		return
	}
	for {
		err := l.catchUp()
		l.mu.Lock()
		overtaken := l.epoch != epoch
		if err == nil && !overtaken {
			l.bridge.certain.Store(true)
		}
		l.mu.Unlock()
		if overtaken {
			return
		}
		if err == nil {
			l.bridge.log.Info("NATS is back", "users", l.bridge.usersOnline())
			return
		}
		l.bridge.log.Error("catch up with NATS", "err", err)
		if !l.pause(reloadRetry) {
			return
		}
	}
}

// pause reports false when the bridge ends meanwhile.
func (l *link) pause(d time.Duration) bool {
	select {
	case <-l.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (l *link) catchUp() error {
	b := l.bridge
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	if err := b.checkState(ctx); err != nil || b.isHalted() { // a restore may have replaced the data meanwhile
		return err
	}
	if err := b.service.nodes.register(ctx, true); err != nil {
		return err
	}
	if err := b.events.Attach(ctx); err != nil { // a consumer may have come, and nobody could tell this node
		return err
	}
	return b.reloadAll(ctx)
}

// reload reads again what a user's sessions depend on.
func (b *Bridge) reload(ctx context.Context, u *user) error {
	account, err := b.o.Store.Users.Get(ctx, u.id)
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && account.Disabled {
		for _, s := range u.list() {
			s.closeWith(nil, websocket.ClosePolicyViolation, "account disabled")
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range u.list() {
		if err := b.stillGood(ctx, s); err != nil {
			return err
		}
	}
	return b.reloadRoster(ctx, u)
}

func (b *Bridge) reloadRoster(ctx context.Context, u *user) error {
	roster, revision, err := b.o.Store.Rosters.Get(ctx, u.id)
	if err != nil {
		return err
	}
	u.load(roster, revision)
	return nil
}

// pruneFriends reloads the roster of u if commands have left too many entries of former friends. If the reload fails, the
// next command retries.
func (b *Bridge) pruneFriends(u *user) {
	if !u.crowded() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	if err := b.reloadRoster(ctx, u); err != nil {
		b.log.Warn("reload a roster", "user", u.id, "err", err)
	}
}

// stillGood ends a session whose token was revoked while this node could not be told. One that has outlived its token
// stays: it expires by itself.
func (b *Bridge) stillGood(ctx context.Context, s *session) error {
	token, until := s.livingBy()
	if token == "" || !time.Now().Before(until) {
		return nil
	}
	good, err := b.o.Store.Tokens.ValidHash(ctx, s.user.id, token)
	if err == nil && !good && time.Now().Before(until) {
		s.closeWith(nil, websocket.ClosePolicyViolation, "token revoked")
	}
	return err
}

func (b *Bridge) usersOnline() (n int) {
	for _, l := range b.lanes {
		n += l.len()
	}
	return n
}

// close ends a recovery under way. The connections close after it.
func (l *link) close() {
	l.stop()
	l.wg.Wait()
}
