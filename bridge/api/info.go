package api

import (
	"context"
	"math"
	"net/http"
	"path"
	"slices"
	"time"

	"imctl/bridge/wire"
)

// Tickets checks logins and answers tickets. tunnel.Tunnel is one.
type Tickets interface {
	IssueTicket(ctx context.Context, address string, query wire.LoginQuery) (wire.Ticket, error)
}

// OIDC signs users in at an OpenID Connect provider. oidc.Service is one.
type OIDC interface {
	// Handler serves everything below oidcPath.
	Handler() http.Handler
	// Label returns the name of the provider for users.
	Label() string
}

// oidcPath is where the sign-in by OpenID Connect is.
const oidcPath = "/im/oidc/"

// Facts are what a client is told of the server, besides what the other options say.
type Facts struct {
	Version      string        // of the program; "": clients are not told
	Ping         time.Duration // between pings
	WriteTimeout time.Duration // of one write to a socket
	PerUser      int           // sessions
	InFlight     int           // dialogues of a session without an answer
	Receipts     bool          // senders are told that a friend has read a dialogue
	// Passwords returns the shortest new and the longest password, in characters. Rosters returns how many friends and
	// pending requests a user may have.
	Passwords, Rosters func() (int, int)
}

// maxLogin is the bytes of the largest call for a ticket.
const maxLogin = 64 << 10

// clientCalls declares what a client calls before it opens the tunnel.
func clientCalls() []Call {
	flag := func(name string) wire.Field { return wire.Field{Name: name, Kind: wire.Number, Most: 1} }
	return []Call{{
		Name: "info", Method: http.MethodGet, Path: "/im/info", Public: true, NATS: true,
		do: func(_ context.Context, a *API, _ *request) (result, error) { return a.info(), nil },
	}, {
		Name: "session", Method: http.MethodPost, Path: "/im/session", MaxBody: maxLogin,
		Fields: slices.Concat(wire.CredentialFields, []wire.Field{flag("push"), flag("keep")}),
		Codes:  slices.Concat([]wire.Code{wire.WrongCredentials}, AuthCodes),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			query, code := wire.LoginOf(r.Values)
			if code != 0 {
				return nil, code
			}
			return a.opts.Tickets.IssueTicket(ctx, r.address, query)
		},
	}}
}

// info describes the server.
func (a *API) info() wire.ServerInfo {
	o, f := &a.opts, &a.opts.Facts
	i := wire.ServerInfo{Version: f.Version, Protocol: wire.ProtocolVersion, Features: []string{"tickets", "people"}, Registration: string(o.Accounts.Registration()), Auth: o.Accounts.Modes(),
		Page: path.Base(pagePath), Ping: seconds(f.Ping), Silence: seconds(f.Ping + f.WriteTimeout)}
	if o.OIDC != nil {
		i.OIDC = &wire.SignIn{Label: o.OIDC.Label()}
	}
	l := &i.Limits
	*l = wire.InfoLimits{Header: wire.MaxHeader, Body: a.maxBody(), Login: maxLogin, Frame: o.MaxFrame, Payload: o.MaxFrame - envelope, Picture: o.Governor.Picture(),
		Account: a.longest("register", "account"), Name: a.longest("register", "name"), Alias: a.longest("add", "name"), Sex: a.longest("register", "sex"),
		Birthday: a.longest("register", "birthday"), Sign: a.longest("register", "sign"), Mail: a.longest("register", "mail"), Note: a.longest("request", "note"),
		People: a.longest("people", "limit"), History: a.longest("dialogues", "limit"), Sessions: f.PerUser, InFlight: f.InFlight}
	l.PasswordMin, l.PasswordMax = f.Passwords()
	l.Friends, l.Requests = f.Rosters()
	for _, feature := range []struct {
		name string
		has  bool
	}{{"keep", o.Talks != nil}, {"receipts", o.Talks != nil && f.Receipts}, {"files", o.Files.Store != nil}, {"push", o.Push != nil}, {"mail", o.Mail != nil}} {
		if feature.has {
			i.Features = append(i.Features, feature.name)
		}
	}
	if o.Files.Store != nil {
		l.File = o.Files.Max
	}
	return i
}

// envelope is the bytes of a dialogue from a client without its payload, with an id as long as a UUID.
var envelope = len(`{"id":"","toFriend":"","payload":""}`) + 36 + 32

// longest returns the most that a field of a call may have: its characters, or the largest number. 0: the server does not
// have the call.
func (a *API) longest(call, field string) int {
	for _, c := range a.calls {
		if c.Name != call {
			continue
		}
		for _, f := range c.Fields {
			if f.Name == field {
				return max(f.Max, int(f.Most))
			}
		}
	}
	return 0
}

// seconds rounds up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
