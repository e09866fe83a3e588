package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A Call declares one call of the protocol. HTTP, NATS, the rate limits and the tests of docs/openapi.yaml read it.
type Call struct {
	Name   string // the last word of the NATS subject, and the label of the metric
	Method string // of HTTP: the fields of a GET are in its query, those of a POST in its body
	Path   string
	Auth   bool // the caller is authorized, by id and token
	NATS   bool // NATS clients may call it
	// NeedsMail leaves the call out on a server that sends no mail.
	NeedsMail bool
	Fields    []wire.Field // besides id and token
	// Codes are those of the answers, besides the ones that every call has.
	Codes []wire.Code
	// Limit, if set, counts the call. It returns governor.ErrLimited, which HTTP answers with the status 429. A call with
	// Auth counts for its user in any case.
	Limit func(*governor.Governor, *request) error
	do    func(context.Context, *API, *request) (result, error)
}

// CommonCodes are the codes of every call. AuthCodes are those of a call with Auth.
var (
	CommonCodes = []wire.Code{wire.Success, wire.ProtocolError, wire.InternalError}
	AuthCodes   = []wire.Code{wire.AuthEmpty, wire.AccountIDEmpty, wire.AuthIllegal}
)

// request is one call on its way.
type request struct {
	wire.Values
	me      kv.User // of a call with Auth
	token   string  // of an HTTP call with Auth
	client  string  // id of the user that is a NATS client; "" for HTTP
	address string  // of the HTTP client, as the limits count it
	// disconnect closes the user's connections to NATS: those of a NATS client that calls, after it has had time to
	// read the answer.
	disconnect bool
}

// result is the answer of a call that has more than a code.
type result interface{ Append([]byte) []byte }

// Calls returns the declarations of all calls.
func Calls() []Call {
	account := wire.Field{Name: "account", Max: wire.MaxAccount}
	mail := wire.Field{Name: "mail", Max: wire.MaxMail}
	password := wire.Field{Name: "password", Kind: wire.Verbatim}
	return []Call{{
		Name: "register", Method: http.MethodPost, Path: "/im/register",
		Fields: append([]wire.Field{required(account, wire.AccountEmpty), required(password, wire.PasswordEmpty), required(mail, wire.MailEmpty)},
			wire.ProfileDeclaration()...),
		Codes: []wire.Code{wire.AccountEmpty, wire.PasswordEmpty, wire.MailEmpty, wire.AccountExists},
		do:    register,
	}, {
		Name: "found", Method: http.MethodGet, Path: "/im/friends/found", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "name", Max: wire.MaxName, Empty: wire.NameEmpty}},
		Codes:  []wire.Code{wire.NameEmpty},
		Limit:  ofUser(governor.Searches),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			found, err := a.opts.Friends.Find(ctx, r.me, r.Get("name"))
			if err != nil {
				return nil, err
			}
			return wire.NewFound(found), nil
		},
	}, {
		Name: "request", Method: http.MethodGet, Path: "/im/friends/request", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "to", Empty: wire.FriendEmpty}, {Name: "note", Kind: wire.Lines, Max: wire.MaxNote}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.AlreadyFriends, wire.FriendNotExists},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Request(ctx, r.me, r.Get("to"), r.Get("note"))
		},
	}, {
		Name: "add", Method: http.MethodGet, Path: "/im/friends/add", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "from", Empty: wire.FriendEmpty}, {Name: "name", Max: wire.MaxAlias, Empty: wire.AliasEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.AliasEmpty, wire.AlreadyFriends, wire.FriendNotExists},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Add(ctx, r.me, r.Get("from"), r.Get("name"))
		},
	}, {
		Name: "remove", Method: http.MethodGet, Path: "/im/friends/remove", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "to", Empty: wire.FriendEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.NotFriends},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Remove(ctx, r.me, r.Get("to"))
		},
	}, {
		Name: "profile", Method: http.MethodPost, Path: "/im/profile/update", Auth: true, NATS: true,
		Fields: append([]wire.Field{notEmpty(password), notEmpty(mail)}, wire.ProfileDeclaration()...),
		Limit:  limitUpdate,
		do:     updateProfile,
	}, {
		Name: "logout", Method: http.MethodPost, Path: "/im/logout", Auth: true,
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Accounts.Logout(ctx, r.me.ID, r.token)
		},
	}, {
		Name: "forgot", Method: http.MethodPost, Path: "/im/password/forgot", NeedsMail: true,
		Fields: []wire.Field{required(account, wire.ProtocolError), required(mail, wire.ProtocolError)},
		Limit:  func(l *governor.Governor, r *request) error { return l.AllowForgotten(r.address) },
		do: func(_ context.Context, a *API, r *request) (result, error) {
			a.opts.Mail.Add(r.Get("account"), r.Get("mail"))
			return nil, nil
		},
	}, {
		Name: "reset", Method: http.MethodPost, Path: "/im/password/reset", NeedsMail: true,
		Fields: []wire.Field{required(account, wire.ProtocolError), {Name: "code", Max: wire.MaxResetCode, Empty: wire.ProtocolError},
			required(password, wire.ProtocolError)},
		Codes: []wire.Code{wire.WrongCredentials},
		do:    resetPassword,
	}}
}

// required makes a field required: empty is the code without it.
func required(f wire.Field, empty wire.Code) wire.Field {
	f.Empty = empty
	return f
}

// notEmpty makes a field optional, but refuses an empty value.
func notEmpty(f wire.Field) wire.Field {
	f.NotEmpty = true
	return f
}

// httpFields returns the fields of a call over HTTP.
func (c *Call) httpFields() []wire.Field {
	if !c.Auth {
		return c.Fields
	}
	return slices.Concat(wire.AuthFields, c.Fields)
}

// ofUser counts a call on a budget of the calling user.
func ofUser(budget governor.Reason) func(*governor.Governor, *request) error {
	return func(g *governor.Governor, r *request) error { return g.Allow(budget, r.me.ID) }
}

// limitUpdate counts a change of the profile, and a new password once more, since it costs a hash.
func limitUpdate(g *governor.Governor, r *request) error {
	if err := g.Allow(governor.Updates, r.me.ID); err != nil || r.Optional("password") == nil {
		return err
	}
	return g.Allow(governor.Passwords, r.me.ID)
}

// register counts the account before the work of creating it, so that calls in flight keep the limit. An account that
// exists counts too: otherwise the answers would list accounts without a limit.
func register(ctx context.Context, a *API, r *request) (result, error) {
	refund, err := a.opts.Governor.Registration(r.address)
	if err != nil {
		return nil, err
	}
	u := kv.User{Account: r.Get("account"), Mail: r.Get("mail")}
	r.SetProfile((*wire.ProfileFields)(&u.Profile))
	if u.Name == "" {
		u.Name = u.Account
	}
	ctx = governor.WithCaller(ctx, governor.People, r.address, kv.FoldAccount(u.Account))
	if r.me, err = a.opts.Accounts.Register(ctx, u, r.Get("password")); err != nil && !errors.Is(err, kv.ErrAccountExists) {
		refund()
	}
	return nil, err
}

func updateProfile(ctx context.Context, a *API, r *request) (result, error) {
	update := im.ProfileUpdate{Password: r.Optional("password"), Mail: r.Optional("mail"), SetProfile: r.SetProfile}
	r.disconnect = update.Password != nil
	ctx = governor.WithCaller(ctx, governor.Changes, r.me.ID, "")
	return nil, a.opts.Accounts.UpdateProfile(ctx, r.me, update, r.token)
}

// refusalDelay is the least time that a refused reset code takes. A right account costs a write that waits for the
// disk, and a wrong one does not; this is much longer.
const refusalDelay = 250 * time.Millisecond

// resetPassword counts a wrong code as a failed login.
func resetPassword(ctx context.Context, a *API, r *request) (result, error) {
	delay := time.NewTimer(refusalDelay)
	defer delay.Stop()
	account := r.Get("account")
	attempt, err := a.opts.Governor.Login(ctx, r.address, kv.FoldAccount(account), false)
	if err != nil {
		return nil, err
	}
	err = a.opts.Resets.ResetPassword(attempt.Context(ctx), account, r.Get("code"), r.Get("password"))
	attempt.Settle(err, wire.WrongCredentials)
	if errors.Is(err, wire.WrongCredentials) {
		select {
		case <-delay.C:
		case <-ctx.Done():
		}
	}
	return nil, err
}
