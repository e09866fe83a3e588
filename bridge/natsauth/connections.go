package natsauth

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"imctl/bridge/subject"
)

// ClientLimits bound what a user, or an attachment, holds in NATS. NATS ignores the limits that an answer to the auth
// callout has, so this node applies them through the system account. Without one there are none.
type ClientLimits struct {
	// Connections of one user, and of one attachment of role consumer; 0: no limit. Other attachments have roleFactor
	// times as many: another bridge opens one for each processor.
	Connections int
	// Subscriptions of one connection of a user or a consumer; 0: no limit.
	Subscriptions int
	// Pending is how many bytes may wait for one connection of a user; 0: no limit but that of NATS.
	Pending int
}

const roleFactor = 16

// The limits of one connection. A client needs a few subscriptions, and some for requests under way.
const (
	DefaultSubscriptions = 1024
	DefaultPending       = 8 << 20
)

var (
	errTooMany = errors.New("too many connections")
	errHeldOff = errors.New("a connection was closed for its subscriptions or pending bytes")
)

const (
	countedNames = 1 << 16     // names whose connections are counted; the least recently used are forgotten
	heldOff      = time.Minute // after a connection was closed for exceeding a limit, logins with its name are put off
)

// connectionKey identifies a connection.
type connectionKey struct {
	server string
	cid    uint64
}

// connections counts the connections that this node has admitted, by name. NATS does not tell when one ends, and needs
// long to list them, so the counter asks it only when a name seems to have as many as it may.
type connections struct {
	// list returns the connections of a name.
	list func(ctx context.Context, account, name string) ([]connectionKey, error)

	mu     sync.Mutex // guards the fields below
	byName *lru.Cache[string, *counted]
}

// counted are the connections of one name. The value is the time when NATS had admitted the connection; zero before.
type counted struct {
	admitted map[connectionKey]time.Time
	heldOff  time.Time
}

func newConnections(list func(ctx context.Context, account, name string) ([]connectionKey, error)) *connections {
	cache, _ := lru.New[string, *counted](countedNames) // fails only for sizes below 1
	return &connections{list: list, byName: cache}
}

// of returns the connections of a name. Called with mu held.
func (c *connections) of(name string) *counted {
	n, ok := c.byName.Get(name)
	if !ok {
		n = &counted{admitted: make(map[connectionKey]time.Time)}
		c.byName.Add(name, n)
	}
	return n
}

// take counts a connection that is about to be admitted. After nil the caller calls admitted or release.
//
// Errors: errTooMany, errHeldOff, and those of NATS and ctx.
func (c *connections) take(ctx context.Context, account, name string, key connectionKey, limit int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of(name)
	if time.Now().Before(n.heldOff) {
		return errHeldOff
	}
	if limit == 0 {
		return nil
	}
	if len(n.admitted) >= limit {
		c.mu.Unlock()
		asked := time.Now()
		listed, err := c.list(ctx, account, name)
		c.mu.Lock()
		if err != nil {
			return err
		}
		n = c.of(name)
		n.update(listed, asked)
		if len(n.admitted) >= limit {
			return errTooMany
		}
	}
	n.admitted[key] = time.Time{}
	return nil
}

// update replaces the connections by the listed ones. It keeps those that NATS may have admitted after it was asked.
func (n *counted) update(listed []connectionKey, asked time.Time) {
	there := make(map[connectionKey]bool, len(listed))
	for _, key := range listed {
		there[key] = true
		if _, ok := n.admitted[key]; !ok {
			n.admitted[key] = asked
		}
	}
	for key, at := range n.admitted {
		if !there[key] && !at.IsZero() && at.Before(asked) {
			delete(n.admitted, key)
		}
	}
}

// admitted notes that NATS lists a connection from now on.
func (c *connections) admitted(name string, key connectionKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.of(name); len(n.admitted) > 0 { // empty without a limit
		n.admitted[key] = time.Now()
	}
}

// release takes back a connection that is not admitted.
func (c *connections) release(name string, key connectionKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of(name).admitted, key)
}

// holdOff puts off further logins with that name for a while.
func (c *connections) holdOff(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(name).heldOff = time.Now().Add(heldOff)
}

// keys returns the connections with that name, on all servers of the NATS cluster.
func (d *Disconnector) keys(ctx context.Context, account, name string) (all []connectionKey, err error) {
	lists, err := d.list(ctx, account, name, 0)
	for _, l := range lists {
		for _, conn := range l.Conns {
			all = append(all, connectionKey{l.Server, conn.CID})
		}
	}
	return all, err
}

// limitOf returns how many connections a client may have; 0: no limit.
func (l ClientLimits) limitOf(client *identity) int {
	if client.trusted {
		return l.Connections * roleFactor
	}
	return l.Connections
}

// exceeds returns which limit a connection exceeds, or "".
func (l ClientLimits) exceeds(p subject.Prefix, c connection) string {
	id, attachment := p.ParseConn(c.User)
	user := id != ""
	switch {
	case l.Subscriptions > 0 && c.Subscriptions > l.Subscriptions && (user || c.consumer && attachment != ""):
		return "subscriptions"
	case user && l.Pending > 0 && c.Pending > l.Pending:
		return "pending bytes"
	}
	return ""
}
