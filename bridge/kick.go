package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// kicker closes the connections of NATS clients by way of the system account.
type kicker struct {
	nc  *nats.Conn
	log *slog.Logger
}

const (
	kickPage   = 1024 // connections that a server lists at once
	kickRounds = 64   // pages that are worked through for one user
	kickAtOnce = 32
)

// natsConn is a connection as its server lists it.
type natsConn struct {
	server string
	CID    uint64    `json:"cid"`
	Start  time.Time `json:"start"`
	User   string    `json:"authorized_user"`
}

// connList is one server's list.
type connList struct {
	Server string     `json:"server_id"`
	Now    time.Time  `json:"now"`
	Limit  int        `json:"limit"`
	Conns  []natsConn `json:"connections"`
}

// user closes all connections that the account's user has at this moment, on all servers of the cluster, and returns
// once they are closed. Whoever has credentials that are still good may come back at once.
func (k *kicker) user(ctx context.Context, account, user string) error {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	began := make(map[string]time.Time) // by each server's own clock
	for range kickRounds {
		lists, err := k.list(ctx, account, user, 0)
		if err != nil {
			return fmt.Errorf("find the connections of %s: %w", user, err)
		}
		var old []natsConn
		more := false
		for _, l := range lists {
			if _, ok := began[l.Server]; !ok {
				began[l.Server] = l.Now
			}
			for _, c := range l.Conns {
				if c.Start.After(began[l.Server]) {
					continue // has come since, and was let in
				}
				c.server = l.Server
				old = append(old, c)
			}
			more = more || len(l.Conns) >= l.Limit
		}
		if err := k.all(ctx, old); err != nil {
			return fmt.Errorf("close the connections of %s: %w", user, err)
		}
		if !more || len(old) == 0 {
			return nil
		}
	}
	return nil
}

// clients closes the connections of all users and attachments in an account, since their permissions come from records
// that a restore has replaced. Clients with valid credentials reconnect.
func (k *kicker) clients(ctx context.Context, account string) error {
	names := make(map[string]bool)
	for offset, more := 0, true; more; offset += kickPage {
		lists, err := k.list(ctx, account, "", offset)
		if err != nil {
			return fmt.Errorf("find the connections of NATS clients: %w", err)
		}
		more = false
		for _, l := range lists {
			for _, c := range l.Conns {
				if strings.HasPrefix(c.User, userConnName("")) || strings.HasPrefix(c.User, attachConnName("")) {
					names[c.User] = true
				}
			}
			more = more || len(l.Conns) >= l.Limit
		}
	}
	for name := range names {
		if err := k.user(ctx, account, name); err != nil {
			return err
		}
	}
	return nil
}

// list asks all servers for a page of the user's connections, or of all connections for "". A server that does not
// answer has most likely ended, and its connections with it.
func (k *kicker) list(ctx context.Context, account, user string, offset int) ([]connList, error) {
	servers, err := k.servers(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := k.nc.SubscribeSync(k.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ask, err := json.Marshal(map[string]any{"acc": account, "user": user, "auth": true, "limit": kickPage, "offset": offset})
	if err != nil {
		return nil, err
	}
	if err := k.nc.PublishRequest("$SYS.REQ.SERVER.PING.CONNZ", sub.Subject, ask); err != nil {
		return nil, err
	}
	var lists []connList
	for len(lists) < servers {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil && len(lists) == 0 {
			return nil, err
		}
		if err != nil {
			k.log.Warn("some NATS servers do not list their connections", "answered", len(lists), "servers", servers)
			break
		}
		var answer struct {
			Data connList `json:"data"`
		}
		if err := systemAnswer(m, &answer); err != nil {
			return nil, err
		}
		lists = append(lists, answer.Data)
	}
	return lists, nil
}

// servers is how many servers the cluster has, as the one knows that this node is connected to.
func (k *kicker) servers(ctx context.Context) (int, error) {
	m, err := k.nc.RequestWithContext(ctx, "$SYS.REQ.SERVER."+k.nc.ConnectedServerId()+".STATSZ", nil)
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

func (k *kicker) all(ctx context.Context, conns []natsConn) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(kickAtOnce)
	for _, c := range conns {
		g.Go(func() error { return k.one(ctx, c.server, c.CID) })
	}
	return g.Wait()
}

// one closes a connection. It has ended by itself if its server does not know it.
func (k *kicker) one(ctx context.Context, server string, cid uint64) error {
	m, err := k.nc.RequestWithContext(ctx, "$SYS.REQ.SERVER."+server+".KICK", fmt.Appendf(nil, `{"cid":%d}`, cid))
	if err != nil {
		return err
	}
	if err := systemAnswer(m, new(struct{})); err != nil && !strings.Contains(err.Error(), "no such client") {
		return err
	}
	return nil
}

// systemAnswer reads what a NATS server answers in its system account.
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
