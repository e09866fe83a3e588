package natsauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
)

// NATS knows two answers to a login: the client may connect, or its credentials are wrong. Client libraries give up
// after wrong credentials. So a login whose outcome is not known in time gets no answer. Its connection is closed
// instead, which the client sees as a lost connection: it reconnects, with a delay of its own.

const (
	closeMargin  = 2 * time.Second // before NATS gives up a login and refuses it, its connection is closed
	closeTimeout = 5 * time.Second // of the request to close a connection
)

// deadlines returns when NATS gives up a login, and the earlier time until which its outcome must be known.
func deadlines(r *jwt.AuthorizationRequestClaims, now time.Time) (givenUp, decide time.Time) {
	givenUp = time.Unix(r.Expires, 0)
	if r.Expires == 0 {
		givenUp = now.Add(calloutTimeout)
	}
	margin := min(closeMargin, givenUp.Sub(now)/2)
	return givenUp, givenUp.Add(-max(margin, 0))
}

// turnAway closes the connection of a login whose outcome is not known. why is for the log. NATS keeps a goroutine until
// it has an answer, so it then gets one, which the client does not see any more.
func (c *Callout) turnAway(m *nats.Msg, r *jwt.AuthorizationRequestClaims, why error) error {
	c.Log.Debug("login to NATS put off: its connection is closed", "cid", r.ClientInformation.ID, "why", why)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := c.Disconnector.kick(ctx, r.Server.ID, r.ClientInformation.ID); err != nil {
		return fmt.Errorf("close the connection of a login that is put off: %w", err)
	}
	if c.opts.PutOff != nil {
		c.opts.PutOff(r.Server.ID, r.ClientInformation.ID)
	}
	body, err := c.sign(r, nil, errPutOff)
	if err != nil {
		return err
	}
	return m.Respond(body)
}

// errPutOff is the answer that NATS logs for a connection that is closed already.
var errPutOff = errors.New("login put off")

// closeWaiting closes the connections to this node's NATS server that wait for the answer to their login. NATS has
// sent their requests before this node subscribed to them, and would refuse the logins after its timeout.
func (c *Callout) closeWaiting(ctx context.Context) error {
	if c.Disconnector.system == nil {
		return nil
	}
	waiting, err := c.Disconnector.unauthenticated(ctx)
	if err == nil {
		err = c.Disconnector.kickAll(ctx, waiting)
	}
	if err != nil {
		return fmt.Errorf("close the connections that wait for an answer to their login: %w", err)
	}
	return nil
}

// unauthenticated returns the connections to the NATS server of this node that have not logged in yet.
func (d *Disconnector) unauthenticated(ctx context.Context) (waiting []connection, err error) {
	for offset, more := 0, true; more; offset += d.page() {
		m, err := d.system.RequestWithContext(ctx, subject.ServerConnections(d.system.ConnectedServerId()),
			fmt.Appendf(nil, `{"auth":true,"limit":%d,"offset":%d}`, d.page(), offset))
		if err != nil {
			return nil, err
		}
		var answer struct {
			Data connectionList `json:"data"`
		}
		if err := systemAnswer(m, &answer); err != nil {
			return nil, err
		}
		for _, conn := range answer.Data.Conns {
			if conn.Account == "" {
				conn.server = answer.Data.Server
				waiting = append(waiting, conn)
			}
		}
		more = len(answer.Data.Conns) >= d.page()
	}
	return waiting, nil
}
