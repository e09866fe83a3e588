package natsauth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"imctl/bridge/subject"
)

const (
	guardEvery = 200 * time.Millisecond // how often the number of subscriptions is read
	guardFull  = 5                      // of these times, one also reads the pending bytes
	guardJump  = 8 << 10                // new subscriptions on a NATS server that make the guard look for their owner
	guardPage  = 256                    // connections of which the guard reads the figures, those with the highest
	guardShare = 20                     // the guard rests this many times as long as NATS needs to list connections
)

// guard closes the connections of users to this node's NATS server that exceed a limit. It runs until ctx ends.
func (c *Callout) guard(ctx context.Context) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	var before int
	var rest time.Time
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Before(rest) {
				continue
			}
		}
		if !c.Disconnector.system.IsConnected() || c.opts.Clients != nil && c.opts.Clients() == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		began := time.Now()
		subscriptions, err := c.subscriptions(ctx)
		full := n%guardFull == 0
		if err == nil && (full || subscriptions > before+guardJump) {
			before, began = subscriptions, time.Now()
			err = c.closeExceeding(ctx, "subs")
		}
		if err == nil && full {
			err = c.closeExceeding(ctx, "pending")
		}
		rest = time.Now().Add(guardShare * time.Since(began))
		if err != nil && ctx.Err() == nil && c.Disconnector.system.IsConnected() {
			c.Log.Warn("read the figures of NATS connections", "err", err)
		}
		cancel()
	}
}

// closeExceeding closes the connections that exceed a limit, among those with the highest figures.
func (c *Callout) closeExceeding(ctx context.Context, order string) error {
	var list []connection
	for _, account := range c.opts.Access.accounts() {
		more, err := c.highest(ctx, account, order)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	for _, conn := range list {
		limit := c.opts.Limits.exceeds(c.Prefix, conn)
		if limit == "" {
			continue
		}
		c.conns.holdOff(conn.User)
		if err := c.Disconnector.kick(ctx, conn.server, conn.CID); err != nil {
			return err
		}
		c.Log.Warn("a connection to NATS was closed: it exceeds a limit", "limit", limit, "name", conn.User,
			"subscriptions", conn.Subscriptions, "pending_bytes", conn.Pending)
	}
	return nil
}

// highest returns the connections of an account to this node's NATS server with the highest figure.
func (c *Callout) highest(ctx context.Context, account, order string) ([]connection, error) {
	list, err := c.list(ctx, account, order)
	for i := range list.Conns {
		list.Conns[i].server = list.Server
		list.Conns[i].consumer = account == c.opts.Access.ConsumerAccount
	}
	return list.Conns, err
}

// list returns what NATS tells of these connections.
func (c *Callout) list(ctx context.Context, account, order string) (list connectionList, err error) {
	if c.opts.Connections != nil {
		var b []byte
		if b, err = c.opts.Connections(account, order, guardPage); err == nil {
			err = json.Unmarshal(b, &list)
		}
		return list, err
	}
	system := c.Disconnector.system
	m, err := system.RequestWithContext(ctx, subject.ServerConnections(system.ConnectedServerId()),
		fmt.Appendf(nil, `{"acc":%q,"auth":true,"sort":%q,"limit":%d}`, account, order, guardPage))
	if err != nil {
		return list, err
	}
	var answer struct {
		Data connectionList `json:"data"`
	}
	err = systemAnswer(m, &answer)
	return answer.Data, err
}

// subscriptions returns the number of subscriptions on this node's NATS server.
func (c *Callout) subscriptions(ctx context.Context) (int, error) {
	if count := c.opts.Subscriptions; count != nil {
		return count(), nil
	}
	return c.Disconnector.countSubscriptions(ctx)
}

// countSubscriptions returns the number of subscriptions on this node's NATS server.
func (d *Disconnector) countSubscriptions(ctx context.Context) (int, error) {
	m, err := d.system.RequestWithContext(ctx, subject.ServerStats(d.system.ConnectedServerId()), nil)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Stats struct {
			Subscriptions int `json:"subscriptions"`
		} `json:"statsz"`
	}
	if err := systemAnswer(m, &answer); err != nil {
		return 0, err
	}
	return answer.Stats.Subscriptions, nil
}
