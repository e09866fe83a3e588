package natsauth

import (
	"errors"
	"net/http"

	"imctl/bridge/audit"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
)

// Audit records logins. audit.Trail is one.
type Audit interface {
	LoggedIn(actor audit.Ref, address, how string)
	LoginFailed(address, account, how string)
	Add(e audit.Event)
}

// audit records a login that was accepted, or whose credentials are wrong. name is what the client gave as its user.
func (c *Callout) audit(client *identity, host, name string, err error) {
	const how = "NATS"
	address := governor.ClientKey(&http.Request{RemoteAddr: host}, nil)
	switch {
	case err == nil:
		user, attachment := c.Prefix.ParseConn(client.name)
		who := audit.Ref{Kind: audit.Attachment, ID: attachment}
		if client.service != "" {
			who.ID = client.service
		} else if user != "" {
			who = audit.Ref{Kind: audit.User, ID: user}
		}
		c.Audit.LoggedIn(who, address, how)
	case errors.Is(err, wire.WrongCredentials):
		c.Audit.LoginFailed(address, name, how)
	}
}
