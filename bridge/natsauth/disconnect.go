package natsauth

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/cluster"
	"imctl/bridge/subject"
)

const (
	connectionsPage     = 1024 // connections in one answer of a server, by default
	disconnectRounds    = 64   // pages for one name
	disconnectsAtOnce   = 32
	disconnectTimeLimit = cluster.CommandTimeout
)

// Broadcaster sends a command to all nodes. cluster.Cluster is one.
type Broadcaster interface {
	Broadcast(ctx context.Context, c cluster.Command) error
}

// Disconnector closes connections to NATS through the system account. A node without a system account asks the other
// nodes to do so.
type Disconnector struct {
	prefix subject.Prefix
	system *nats.Conn // nil: this node has no system account
	access Access
	nodes  Broadcaster
	log    *slog.Logger
}

// NewDisconnector returns a disconnector. system is a connection to the system account, or nil.
func NewDisconnector(prefix subject.Prefix, system *nats.Conn, access Access, nodes Broadcaster, log *slog.Logger) *Disconnector {
	return &Disconnector{prefix: prefix, system: system, access: access, nodes: nodes, log: log}
}

// DisconnectUser closes the connections of a user. A client with valid credentials may reconnect at once.
func (d *Disconnector) DisconnectUser(ctx context.Context, id string) error {
	return d.Disconnect(ctx, d.prefix.UserConn(id))
}

// Disconnect closes the connections with that name.
func (d *Disconnector) Disconnect(ctx context.Context, name string) error {
	if d.system != nil {
		return d.DisconnectHere(ctx, name)
	}
	return d.nodes.Broadcast(ctx, cluster.Disconnect{Name: name})
}

// DisconnectHere is Disconnect on this node alone. Without a system account it does nothing.
func (d *Disconnector) DisconnectHere(ctx context.Context, name string) error {
	if d.system == nil {
		return nil
	}
	for _, account := range d.access.accounts() {
		if err := d.close(ctx, account, name); err != nil {
			return err
		}
	}
	return nil
}

// DisconnectAll closes the connections of all users and attachments, since their permissions come from records that a
// restore has replaced. Clients with valid credentials reconnect. Without a system account it does nothing.
func (d *Disconnector) DisconnectAll(ctx context.Context) error {
	if d.system == nil {
		return nil
	}
	for _, account := range d.access.accounts() {
		if err := d.closeClients(ctx, account); err != nil {
			return err
		}
	}
	return nil
}

// connection is a connection as its server lists it.
type connection struct {
	server   string
	consumer bool // in the account of consumers

	CID     uint64    `json:"cid"`
	Start   time.Time `json:"start"`
	Account string    `json:"account"` // empty before its login
	User    string    `json:"authorized_user"`

	Subscriptions int `json:"subscriptions"`
	Pending       int `json:"pending_bytes"`
}

// connectionList is a page of one server's connections.
type connectionList struct {
	Server string       `json:"server_id"`
	Now    time.Time    `json:"now"`
	Limit  int          `json:"limit"`
	Conns  []connection `json:"connections"`
}

// close closes all connections of an account with that name that exist now, on all servers of the NATS cluster.
// Each page has its own time limit.
func (d *Disconnector) close(ctx context.Context, account, name string) error {
	began := make(map[string]time.Time) // by server, on its own clock
	for range disconnectRounds {
		if more, err := d.closePage(ctx, account, name, began); !more || err != nil {
			return err
		}
	}
	return nil
}

// closePage closes the connections on the first page of each server. It reports whether there may be more.
func (d *Disconnector) closePage(ctx context.Context, account, name string, began map[string]time.Time) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, disconnectTimeLimit)
	defer cancel()
	lists, err := d.list(ctx, account, name, 0)
	if err != nil {
		return false, fmt.Errorf("list the connections of %s: %w", name, err)
	}
	var old []connection
	for _, l := range lists {
		if _, ok := began[l.Server]; !ok {
			began[l.Server] = l.Now
		}
		for _, c := range l.Conns {
			if c.Start.After(began[l.Server]) {
				continue // connected since then, with valid credentials
			}
			c.server = l.Server
			old = append(old, c)
		}
		more = more || len(l.Conns) >= l.Limit
	}
	if err := d.kickAll(ctx, old); err != nil {
		return false, fmt.Errorf("close the connections of %s: %w", name, err)
	}
	return more && len(old) > 0, nil
}

// closeClients closes the connections of all users and attachments in an account.
func (d *Disconnector) closeClients(ctx context.Context, account string) error {
	names := make(map[string]bool)
	for offset, more := 0, true; more; offset += d.page() {
		lists, err := d.list(ctx, account, "", offset)
		if err != nil {
			return fmt.Errorf("list the connections of NATS clients: %w", err)
		}
		more = false
		for _, l := range lists {
			for _, c := range l.Conns {
				if user, attachment := d.prefix.ParseConn(c.User); user != "" || attachment != "" {
					names[c.User] = true
				}
			}
			more = more || len(l.Conns) >= l.Limit
		}
	}
	for name := range names {
		if err := d.close(ctx, account, name); err != nil {
			return err
		}
	}
	return nil
}

// page returns how many connections an answer of a server has at most.
func (d *Disconnector) page() int { return cmp.Or(d.access.Page, connectionsPage) }

// list asks all servers for a page of the connections with that name, or of all connections for "". A server that does
// not answer has most likely ended, and its connections with it.
func (d *Disconnector) list(ctx context.Context, account, name string, offset int) ([]connectionList, error) {
	servers, err := d.countServers(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := d.system.SubscribeSync(d.system.NewInbox())
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ask, err := json.Marshal(map[string]any{"acc": account, "user": name, "auth": true, "limit": d.page(), "offset": offset})
	if err != nil {
		return nil, err
	}
	if err := d.system.PublishRequest(subject.ListConnections, sub.Subject, ask); err != nil {
		return nil, err
	}
	var lists []connectionList
	for len(lists) < servers {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil && len(lists) == 0 {
			return nil, err
		}
		if err != nil {
			d.log.Warn("some NATS servers do not list their connections", "answered", len(lists), "servers", servers)
			break
		}
		var answer struct {
			Data connectionList `json:"data"`
		}
		if err := systemAnswer(m, &answer); err != nil {
			return nil, err
		}
		lists = append(lists, answer.Data)
	}
	return lists, nil
}

// countServers returns the number of servers in the NATS cluster, as the server of this connection knows it.
func (d *Disconnector) countServers(ctx context.Context) (int, error) {
	m, err := d.system.RequestWithContext(ctx, subject.ServerStats(d.system.ConnectedServerId()), nil)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Stats struct {
			Active int `json:"active_servers"`
		} `json:"statsz"`
	}
	if err := systemAnswer(m, &answer); err != nil {
		return 0, err
	}
	return max(answer.Stats.Active, 1), nil
}

func (d *Disconnector) kickAll(ctx context.Context, conns []connection) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(disconnectsAtOnce)
	for _, c := range conns {
		g.Go(func() error { return d.kick(ctx, c.server, c.CID) })
	}
	return g.Wait()
}

// connected reports whether a connection with that name exists, on any server of the NATS cluster. Without a system
// account it reports false.
func (d *Disconnector) connected(ctx context.Context, name string) (bool, error) {
	if d.system == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, disconnectTimeLimit)
	defer cancel()
	for _, account := range d.access.accounts() {
		lists, err := d.list(ctx, account, name, 0)
		if err != nil {
			return false, fmt.Errorf("list the connections of %s: %w", name, err)
		}
		for _, l := range lists {
			if len(l.Conns) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// kick closes a connection. A connection that its server does not know has ended already.
func (d *Disconnector) kick(ctx context.Context, server string, cid uint64) error {
	m, err := d.system.RequestWithContext(ctx, subject.ServerKick(server), fmt.Appendf(nil, `{"cid":%d}`, cid))
	if err != nil {
		return err
	}
	if err := systemAnswer(m, new(struct{})); err != nil && !strings.Contains(err.Error(), "no such client") {
		return err
	}
	return nil
}

// systemAnswer decodes a NATS server's answer in the system account.
func systemAnswer(m *nats.Msg, into any) error {
	var failed struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("NATS server's answer: %w", err)
	}
	if failed.Error != nil {
		return fmt.Errorf("NATS server: %s", failed.Error.Description)
	}
	if err := json.Unmarshal(m.Data, into); err != nil {
		return fmt.Errorf("NATS server's answer: %w", err)
	}
	return nil
}
