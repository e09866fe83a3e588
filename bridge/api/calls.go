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
	Path   string // "": only NATS clients may call it
	Auth   bool   // the caller is authorized, by id and token; a NATS client always is
	NATS   bool   // NATS clients may call it
	Reads  bool   // it changes nothing, so its answer is refused where it may be outdated
	// NeedsMail leaves the call out on a server that sends no mail.
	NeedsMail bool
	// NeedsTalks leaves the call out on a server that keeps no conversations.
	NeedsTalks bool
	// NeedsPush leaves the call out on a server that sends no push messages.
	NeedsPush bool
	// Public lets pages of all origins read the answer, and caches keep it for a minute.
	Public bool
	// MaxBody is the bytes of the largest body; 0: as for a registration.
	MaxBody int
	Fields  []wire.Field // besides id and token
	// Codes are those of the answers, besides the ones that every call has.
	Codes []wire.Code
	// Allow, if set, refuses the call before its fields are checked. It costs no work.
	Allow func(*im.Accounts) error
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
	me      kv.User      // of a call with Auth
	token   string       // of an HTTP call with Auth
	info    kv.TokenInfo // of the token; zero for a NATS client
	client  string       // id of the user that is a NATS client; "" for HTTP
	gateway string       // name of the gateway that calls for the user that is client; "" for none
	address string       // of the HTTP client, as the limits count it
	// disconnect closes the user's connections to NATS: those of a NATS client that calls, after it has had time to
	// read the answer.
	disconnect bool
}

// result is the answer of a call that has more than a code, or that is followed by work.
type result interface{ Append([]byte) []byte }

// followed is a result after which the call goes on, when the client can read the answer.
type followed interface{ follow(*API) }

// Calls returns the declarations of all calls.
func Calls() []Call {
	account := wire.Field{Name: "account", Kind: wire.Account, Max: wire.MaxAccount}
	known := wire.Field{Name: "account", Kind: wire.Known, Max: wire.MaxAccount}
	mail := wire.Field{Name: "mail", Max: wire.MaxMail}
	password := wire.Field{Name: "password", Kind: wire.Verbatim}
	return slices.Concat([]Call{{
		Name: "register", Method: http.MethodPost, Path: "/im/register",
		Fields: append([]wire.Field{required(account, wire.AccountEmpty), required(password, wire.PasswordEmpty), required(mail, wire.MailEmpty)},
			append(wire.ProfileDeclaration(), wire.Field{Name: "invite", Max: wire.MaxInvite})...),
		Codes: []wire.Code{wire.AccountEmpty, wire.PasswordEmpty, wire.MailEmpty, wire.AccountExists, wire.SignInElsewhere},
		Allow: func(a *im.Accounts) error {
			if err := a.KeepsPasswords(); err != nil {
				return err
			}
			if a.Registration() == im.RegistrationClosed {
				return im.ErrNotInvited
			}
			return nil
		},
		do: register,
	}, {
		Name: "found", Method: http.MethodGet, Path: "/im/friends/found", Auth: true, NATS: true, Reads: true,
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
		Fields: []wire.Field{{Name: "from", Empty: wire.FriendEmpty}, {Name: "name", Kind: wire.Name, Max: wire.MaxAlias, Empty: wire.AliasEmpty}},
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
		Name: "block", Method: http.MethodGet, Path: "/im/friends/block", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "to", Empty: wire.FriendEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.FriendNotExists},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Block(ctx, r.me, r.Get("to"))
		},
	}, {
		Name: "unblock", Method: http.MethodGet, Path: "/im/friends/unblock", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "to", Empty: wire.FriendEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.FriendNotExists},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Unblock(ctx, r.me, r.Get("to"))
		},
	}, {
		Name: "blocked", Method: http.MethodGet, Path: "/im/friends/blocked", Auth: true, NATS: true, Reads: true,
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			blocked, err := a.opts.Friends.Blocked(ctx, r.me)
			if err != nil {
				return nil, err
			}
			return wire.NewBlocked(blocked), nil
		},
	}, {
		Name: "report", Method: http.MethodPost, Path: "/im/report", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "user", Empty: wire.FriendEmpty}, {Name: "text", Kind: wire.Lines, Max: wire.MaxReport},
			{Name: "dialogue", Kind: wire.Verbatim, Max: wire.MaxEvidence, Bytes: wire.MaxEvidence}},
		Codes: []wire.Code{wire.FriendEmpty, wire.FriendNotExists},
		Limit: ofUser(governor.Reports),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Report(ctx, r.me, r.Get("user"), r.Get("text"), r.Get("dialogue"))
		},
	}, {
		Name: "profile", Method: http.MethodPost, Path: "/im/profile/update", Auth: true, NATS: true,
		Fields: append([]wire.Field{notEmpty(password), {Name: "old_password", Kind: wire.Verbatim}, notEmpty(mail)}, wire.ProfileDeclaration()...),
		Codes:  []wire.Code{wire.WrongCredentials, wire.SignInElsewhere},
		Limit:  limitUpdate,
		do:     updateProfile,
	}, {
		Name: "logout", Method: http.MethodPost, Path: "/im/logout", Auth: true,
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Accounts.Logout(ctx, r.me.ID, r.token)
		},
	}, {
		Name: "forgot", Method: http.MethodPost, Path: "/im/password/forgot", NeedsMail: true,
		Fields: []wire.Field{required(known, wire.ProtocolError), required(mail, wire.ProtocolError)},
		Codes:  []wire.Code{wire.SignInElsewhere},
		Allow:  (*im.Accounts).KeepsPasswords,
		Limit:  func(l *governor.Governor, r *request) error { return l.AllowForgotten(r.address) },
		do: func(_ context.Context, a *API, r *request) (result, error) {
			a.opts.Mail.Add(r.Get("account"), r.Get("mail"))
			return nil, nil
		},
	}, {
		Name: "reset", Method: http.MethodPost, Path: "/im/password/reset", NeedsMail: true,
		Fields: []wire.Field{required(known, wire.ProtocolError), {Name: "code", Max: wire.MaxResetCode, Empty: wire.ProtocolError},
			required(password, wire.ProtocolError)},
		Codes: []wire.Code{wire.WrongCredentials, wire.SignInElsewhere},
		Allow: (*im.Accounts).KeepsPasswords,
		do:    resetPassword,
	}, {
		Name: "registration", Method: http.MethodGet, Path: "/im/registration",
		do: func(_ context.Context, a *API, _ *request) (result, error) {
			answer := wire.NewRegistration(string(a.opts.Accounts.Registration()))
			if a.opts.Files.Store != nil {
				answer.MaxFile = a.opts.Files.Max
			}
			answer.Push = a.opts.Push != nil
			return answer, nil
		},
	}, {
		Name: "verify", Method: http.MethodPost, Path: "/im/mail/verify", Auth: true, NATS: true, NeedsMail: true,
		Fields: []wire.Field{{Name: "code", Max: wire.MaxResetCode, Empty: wire.ProtocolError}},
		Codes:  []wire.Code{wire.WrongCredentials},
		Limit:  ofUser(governor.Proofs),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Resets.VerifyMail(ctx, r.me, r.Get("code"))
		},
	}, {
		Name: "mailcode", Method: http.MethodPost, Path: "/im/mail/send", Auth: true, NATS: true, NeedsMail: true,
		do: func(_ context.Context, a *API, r *request) (result, error) {
			return wire.MailState{Verified: !a.opts.Accounts.RequestMailCode(r.me)}, nil
		},
	}, {
		Name: "sessions", Method: http.MethodGet, Path: "/im/sessions", Auth: true, NATS: true, Reads: true,
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			all, err := a.opts.Accounts.OwnSessions(ctx, r.me.ID, r.info.Hash)
			if err != nil {
				return nil, err
			}
			sessions := make(wire.Sessions, len(all))
			for i, s := range all {
				sessions[i] = wire.Session(s)
			}
			return sessions, nil
		},
	}, {
		Name: "end", Method: http.MethodPost, Path: "/im/sessions/end", Auth: true, NATS: true,
		Fields: []wire.Field{notEmpty(wire.Field{Name: "session", Max: wire.MaxSession})},
		do:     endSessions,
	}, {
		Name: "delete", Method: http.MethodPost, Path: "/im/account/delete", Auth: true, NATS: true,
		Fields: []wire.Field{password},
		Codes:  []wire.Code{wire.WrongCredentials},
		Limit:  limitProof("password"),
		do:     deleteAccount,
	}}, talkCalls(), peopleCalls(), pushCalls(), clientCalls())
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

// limitUpdate counts a change of the profile, and the old password as a guess.
func limitUpdate(g *governor.Governor, r *request) error {
	if err := g.Allow(governor.Updates, r.me.ID); err != nil {
		return err
	}
	return limitProof("old_password")(g, r)
}

// register counts the account before the work of creating it, so that calls in flight keep the limit. An account that
// exists counts too: otherwise the answers would list accounts without a limit.
func register(ctx context.Context, a *API, r *request) (result, error) {
	refund, err := a.opts.Governor.Registration(r.address)
	if err != nil {
		return nil, err
	}
	u := kv.User{Account: r.Get("account"), Mail: r.Get("mail"), MailUnverified: true}
	r.SetProfile((*wire.ProfileFields)(&u.Profile))
	if u.Name == "" {
		u.Name = u.Account
	}
	account := kv.FoldAccount(u.Account)
	ctx = governor.WithCaller(ctx, governor.People, r.address, account)
	r.me, err = a.opts.Accounts.RegisterClient(ctx, u, r.Get("password"), r.Get("invite"), r.address)
	if err == nil {
		a.opts.Governor.Remember(account, r.address)
	} else if !errors.Is(err, kv.ErrAccountExists) && !errors.Is(err, im.ErrNotInvited) {
		refund()
	}
	return nil, err
}

func updateProfile(ctx context.Context, a *API, r *request) (result, error) {
	update := im.ProfileUpdate{Password: r.Optional("password"), Mail: r.Optional("mail"), Proof: r.proof("old_password"), SetProfile: r.SetProfile}
	if r.gateway != "" && (update.Password != nil || update.Mail != nil) {
		return nil, wire.ProtocolError // the users of gateways have neither
	}
	r.disconnect = update.Password != nil
	ctx = im.WithAddress(governor.WithCaller(ctx, governor.Changes, r.me.ID, ""), r.address)
	if update.Password == nil {
		return nil, a.opts.Accounts.UpdateProfile(ctx, r.me, update)
	}
	refund, err := a.opts.Governor.Password(r.me.ID)
	if err != nil {
		return nil, err
	}
	err = a.opts.Accounts.UpdateProfile(ctx, r.me, update)
	if errors.Is(err, wire.WrongCredentials) {
		refund() // otherwise the owner of a stolen token could not set a new password
	}
	return nil, err
}

// proof returns what a call gives to show that the caller knows the password of its account.
func (r *request) proof(field string) im.Proof {
	return im.Proof{Password: r.Optional(field), Token: r.info}
}

// limitProof counts a password in the given field as a guess of the user.
func limitProof(field string) func(*governor.Governor, *request) error {
	return func(g *governor.Governor, r *request) error {
		if _, given := r.Lookup(field); !given {
			return nil
		}
		return g.Allow(governor.Proofs, r.me.ID)
	}
}

// endSessions ends a session of the caller, or all others.
func endSessions(ctx context.Context, a *API, r *request) (result, error) {
	r.disconnect = true // NATS does not say which connection used which token; clients with valid credentials reconnect
	if session, given := r.Lookup("session"); given {
		return nil, a.opts.Accounts.EndOwnSession(ctx, r.me.ID, session)
	}
	return nil, a.opts.Accounts.EndOtherSessions(ctx, r.me.ID, r.info.Hash)
}

// deleteAccount disables the account before it answers, and deletes it afterwards, which ends the caller's sessions.
func deleteAccount(ctx context.Context, a *API, r *request) (result, error) {
	ctx = im.WithAddress(governor.WithCaller(ctx, governor.Changes, r.me.ID, ""), r.address)
	complete, err := a.opts.Accounts.DeleteOwn(ctx, r.me, r.proofOf("password"))
	if err != nil {
		return nil, err
	}
	return deleted{r.me.ID, complete}, nil
}

// deleted is the answer to a call that deletes an account.
type deleted struct {
	user     string
	complete func(context.Context) error
}

func (deleted) Append(dst []byte) []byte { return wire.AppendReply(dst, wire.Success, nil) }

// follow completes the deletion. The client may have gone.
func (d deleted) follow(a *API) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := a.opts.Gate.Pass(func() error { return d.complete(ctx) }); err != nil {
		a.opts.Logger.Warn("delete an account; the next start completes it", "user", d.user, "err", err)
	}
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
