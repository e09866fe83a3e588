package api

import (
	"cmp"
	"context"
	"errors"

	"imctl/bridge/audit"
	"imctl/bridge/wire"
)

// Audit records what users change of their accounts. audit.Trail is one.
type Audit interface {
	Add(audit.Event)
	LoginFailed(address, account, how string)
}

// audited are the calls that the audit trail records once they have succeeded, with the kinds of their events.
var audited = map[string]func(*request) []audit.Kind{
	"register": func(*request) []audit.Kind { return []audit.Kind{audit.UserCreated} },
	"logout":   func(*request) []audit.Kind { return []audit.Kind{audit.UserLogout} },
	"end":      func(*request) []audit.Kind { return []audit.Kind{audit.UserSessions} },
	"delete":   func(*request) []audit.Kind { return []audit.Kind{audit.UserDeleted} },
	"reset":    func(*request) []audit.Kind { return []audit.Kind{audit.UserPassword} },
	"profile": func(r *request) (kinds []audit.Kind) {
		if r.Optional("password") != nil {
			kinds = append(kinds, audit.UserPassword)
		}
		if r.Optional("mail") != nil {
			kinds = append(kinds, audit.UserMail)
		}
		return kinds
	},
}

// audit records a call that has ended with err.
func (a *API) audit(ctx context.Context, c *Call, r *request, err error) {
	kinds := audited[c.Name]
	if kinds == nil {
		return
	}
	if c.Name == "reset" && errors.Is(err, wire.WrongCredentials) {
		a.opts.Audit.LoginFailed(r.address, r.Get("account"), "code")
	}
	if (c.Name == "profile" || c.Name == "delete") && errors.Is(err, wire.WrongCredentials) {
		a.opts.Audit.LoginFailed(cmp.Or(r.address, r.client), r.me.Account, "proof")
	}
	if err != nil {
		return
	}
	by := audit.Ref{Kind: audit.User, ID: r.me.ID}
	detail := ""
	if c.Name == "reset" {
		detail = "code"
		if u, err := a.opts.Store.Users.ByAccount(ctx, r.Get("account")); err == nil { // else it is deleted by now
			by.ID = u.ID
		}
	}
	of := by
	if r.client != "" {
		detail = "NATS"
	}
	if r.gateway != "" {
		by, detail = audit.Ref{Kind: audit.Attachment, ID: r.gateway}, ""
	}
	for _, kind := range kinds(r) {
		a.opts.Audit.Add(audit.Event{Event: kind, Actor: by, Address: r.address, Subject: of, Detail: detail})
	}
}
