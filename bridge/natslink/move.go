package natslink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A server in lame duck mode keeps its connections for some seconds, so what is under way has time to end. A server that
// shuts down closes them as soon as its streams are closed.
const (
	lameDuckWait = 200 * time.Millisecond
	shutdownWait = 50 * time.Millisecond
)

// greetTimeout bounds the check that a server answers.
const greetTimeout = time.Second

// WatchShutdown moves the connections when their server announces in the system account that it shuts down. Without it,
// only lame duck mode is announced. nc is a connection of the link to the system account.
func (l *Link) WatchShutdown(nc *nats.Conn) error {
	for event, wait := range map[string]time.Duration{"SHUTDOWN": shutdownWait, "LAMEDUCK": lameDuckWait} {
		_, err := nc.Subscribe("$SYS.SERVER.*."+event, func(msg *nats.Msg) {
			if strings.Split(msg.Subject, ".")[2] == nc.ConnectedServerId() {
				l.serverEnds(hostOf(nc.ConnectedUrl()), nc.ServerPool(), wait)
			}
		})
		if err != nil {
			return fmt.Errorf("subscribe to the end of NATS servers: %w", err)
		}
	}
	return nil
}

// lameDuck is called when the server of the connection has announced its end. The library calls it before established, so
// while the connection has moved on already, it does not count as connected.
func (m *member) lameDuck(nc *nats.Conn) {
	l, servers := m.link, nc.ServerPool()
	l.mu.Lock()
	host := m.host
	if !m.connected {
		host = ""
	}
	l.mu.Unlock()
	l.serverEnds(host, servers, lameDuckWait)
}

// serverEnds moves the connections from a server that has announced its end. Requests under way may take the given time.
func (l *Link) serverEnds(host string, servers []nats.Server, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if host == "" {
		return // the connection has left it
	}
	l.fail(host)
	if host != l.server || l.moving {
		return
	}
	l.moving = true
	go l.move(servers, wait)
}

// move moves all connections to another server that answers, if there is one. Dialogues wait meanwhile.
func (l *Link) move(servers []nats.Server, wait time.Duration) {
	defer func() {
		l.mu.Lock()
		l.moving = false
		l.mu.Unlock()
	}()
	target := l.answering(servers)
	if target == "" {
		l.log.Warn("the NATS server announces its end, and no other server answers", "url", l.host())
		return
	}
	resume := l.prepare(wait)
	defer resume()
	l.mu.Lock()
	l.server = target
	settled := make(chan struct{})
	l.settled = settled
	var leaving []*member
	for m := range l.members {
		if m.host != target && m.connected {
			m.conn.leave()
			leaving = append(leaving, m)
		}
	}
	l.settle()
	l.mu.Unlock()
	for _, m := range leaving {
		if err := m.nc.ForceReconnect(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			l.log.Warn("move a connection to another NATS server", "err", err)
		}
	}
	select {
	case <-settled:
	case <-time.After(settleTimeout):
	}
}

// answering returns the best of the other servers that takes connections and greets, or "".
func (l *Link) answering(servers []nats.Server) string {
	l.mu.Lock()
	current, hosts := l.server, l.ranked(servers)
	var m *member
	for m = range l.members {
		break
	}
	l.mu.Unlock()
	for _, host := range hosts {
		if host == current || m == nil {
			continue
		}
		if err := m.greeted(host); err != nil {
			l.log.Debug("a NATS server does not answer", "url", host, "err", err)
			continue
		}
		return host
	}
	return ""
}

// greeted returns an error unless a server takes connections and sends its greeting.
func (m *member) greeted(host string) error {
	c, err := m.dial.Dial("tcp", host)
	if err != nil || !m.greets {
		return errors.Join(err, closeIf(c))
	}
	err = c.SetReadDeadline(time.Now().Add(greetTimeout))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return errors.Join(err, c.Close())
}

func closeIf(c net.Conn) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// prepare calls the functions of BeforeMove, all at once, and returns what undoes them.
func (l *Link) prepare(wait time.Duration) (resume func()) {
	l.mu.Lock()
	before := l.before
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	resumes := make([]func(), len(before))
	var wg sync.WaitGroup
	for i, f := range before {
		wg.Go(func() { resumes[i] = f(ctx) })
	}
	wg.Wait()
	return func() {
		for _, f := range resumes {
			f()
		}
	}
}
