package tunnel

import (
	"errors"

	"imctl/bridge/audit"
	"imctl/bridge/wire"
)

// Audit records logins. audit.Trail is one.
type Audit interface {
	LoggedIn(actor audit.Ref, address, how string)
	LoginFailed(address, account, how string)
}

// audit records a login whose credentials were accepted or are wrong.
func (t *Tunnel) audit(address string, query wire.LoginQuery, user string, err error) {
	account, how := query.Account, "password"
	if query.ByToken() {
		account, how = query.ID, "token"
	}
	switch {
	case err == nil:
		t.opts.Audit.LoggedIn(audit.Ref{Kind: audit.User, ID: user}, address, how)
	case errors.Is(err, wire.WrongCredentials), errors.Is(err, wire.AuthIllegal):
		t.opts.Audit.LoginFailed(address, account, how)
	}
}
