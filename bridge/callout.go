package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/kv"
)

// CalloutOptions say how NATS asks who may log in, and how it is answered.
type CalloutOptions struct {
	// Connect opens a connection to the account in which NATS asks. Nobody else may be in it: passwords are shown there.
	Connect func(name string, opts ...nats.Option) (*nats.Conn, error)
	// System opens a connection to the system account. nil: there is none, and whoever is logged in stays until its
	// token expires or it goes by itself.
	System func(name string, opts ...nats.Option) (*nats.Conn, error)
	// Issuer signs the answers. NATS has its public key.
	Issuer nkeys.KeyPair
	Access Access
}

// Access is what NATS clients find.
type Access struct {
	Account         string   // of everybody but consumers
	ConsumerAccount string   // of consumers: it has nothing but what they need
	Reserved        []string // names of users that NATS knows by itself
	URL             string   // where clients connect
}

const (
	calloutSubject = "$SYS.REQ.USER.AUTH"
	calloutsAtOnce = 128             // logins under way; more wait, and NATS gives them up in time
	calloutWait    = 5 * time.Second // for one login, where NATS does not say how long it waits
)

// errRefused is the one answer to credentials that are not good, whichever part of them is wrong.
var errRefused = errors.New("credentials refused")

// callout answers NATS who may log in: attachments by name and secret, users by id and token, or by account, or id,
// and password.
type callout struct {
	b      *Bridge
	o      CalloutOptions
	nc     *nats.Conn
	kicker *kicker
	log    *slog.Logger
	sub    *nats.Subscription
	slots  chan struct{}
	wg     sync.WaitGroup
}

// identity is somebody who may log in.
type identity struct {
	name        string // of the connection
	account     string
	permissions jwt.Permissions
	expires     time.Time // zero: never
	// still tells whether the credentials are good yet.
	still func(context.Context) (bool, error)
}

// access connects to the system account, if that is to be, and says what NATS clients find.
func (b *Bridge) access() (a Access, system *nats.Conn, err error) {
	o := b.o.Callout
	if o == nil {
		return a, nil, nil
	}
	if o.System == nil {
		b.log.Warn("NATS clients whose account is disabled or whose secret changes stay connected: there is no system account to close them by")
		return o.Access, nil, nil
	}
	if b.system, err = o.System("imctl system"); err != nil {
		return a, nil, fmt.Errorf("connect to NATS's system account: %w", err)
	}
	return o.Access, b.system, nil
}

func newCallout(ctx context.Context, b *Bridge) (*callout, error) {
	c := &callout{b: b, o: *b.o.Callout, log: b.log, slots: make(chan struct{}, calloutsAtOnce)}
	if b.system != nil {
		c.kicker = &kicker{b.system, b.log}
	}
	var err error
	if c.nc, err = c.o.Connect("imctl logins"); err != nil {
		return nil, fmt.Errorf("connect to NATS for logins of its clients: %w", err)
	}
	if c.sub, err = c.nc.QueueSubscribe(calloutSubject, queueGroup, c.queue); err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("take logins of NATS clients: %w", err)
	}
	return c, nil
}

// close takes no more logins and waits for those under way.
func (c *callout) close() error {
	err := drained(c.sub)
	c.wg.Wait()
	c.nc.Close()
	return err
}

func (c *callout) queue(m *nats.Msg) {
	c.slots <- struct{}{}
	c.wg.Go(func() {
		defer func() { <-c.slots }()
		defer recovered(c.log, "login to NATS")
		if err := c.answer(m); err != nil {
			c.log.Error("login to NATS", "err", err)
		}
	})
}

// answer decides about one login. The account may be disabled, or the secret changed, after it was looked at and before
// NATS knows the connection by its name, so that nobody closes it: so it is looked at once more when NATS does.
func (c *callout) answer(m *nats.Msg) error {
	r, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil {
		return fmt.Errorf("request not understood: %w", err)
	}
	until := time.Unix(r.Expires, 0)
	if r.Expires == 0 {
		until = time.Now().Add(calloutWait)
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	who, err := c.admit(ctx, r)
	if err != nil && ctx.Err() != nil {
		return nil // NATS has given it up
	}
	body, signErr := c.sign(r, who, err)
	if signErr != nil {
		return signErr
	}
	if err := m.Respond(body); err != nil {
		return err
	}
	if who == nil {
		return nil
	}
	return c.settle(r, who)
}

// settle looks once more at somebody who was let in.
func (c *callout) settle(r *jwt.AuthorizationRequestClaims, who *identity) error {
	// However long NATS would have waited for the answer, the connection is there from here on.
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	ok, err := who.still(ctx)
	if !ok && c.kicker != nil {
		err = errors.Join(err, c.kicker.one(ctx, r.Server.ID, r.ClientInformation.ID))
	}
	return err
}

// sign makes the answer. Who is refused hears from NATS that it is; why is for the server's log only.
func (c *callout) sign(r *jwt.AuthorizationRequestClaims, who *identity, refused error) ([]byte, error) {
	answer := jwt.NewAuthorizationResponseClaims(r.UserNkey)
	answer.Audience = r.Server.ID
	if who == nil {
		answer.Error = refused.Error()
	} else {
		user := jwt.NewUserClaims(r.UserNkey)
		user.Name, user.Audience, user.Permissions = who.name, who.account, who.permissions
		// A leaf node would bring a whole server along.
		user.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess}
		if !who.expires.IsZero() {
			user.Expires = who.expires.Unix()
		}
		var err error
		if answer.Jwt, err = user.Encode(c.o.Issuer); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	token, err := answer.Encode(c.o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return []byte(token), nil
}

// admit returns who it is, or errRefused, errLimited or an error without detail.
func (c *callout) admit(ctx context.Context, r *jwt.AuthorizationRequestClaims) (*identity, error) {
	name, secret := r.ConnectOptions.Username, r.ConnectOptions.Password
	if name == "" || secret == "" {
		return nil, errRefused
	}
	if c.b.isHalted() {
		return nil, ErrRestoring
	}
	// Attachments are not counted: nobody guesses their secrets, and nobody shall be able to lock them out.
	who, err := c.attachment(ctx, name, secret)
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		who, err = c.user(ctx, r.ClientInformation.Host, name, secret)
	}
	switch {
	case err == nil:
		return who, nil
	case errors.Is(err, wire.WrongCredentials):
		return nil, errRefused
	case errors.Is(err, errLimited), errors.Is(err, kv.ErrBusy):
		return nil, errLimited
	}
	if ctx.Err() == nil {
		c.log.Error("login to NATS", "err", err)
	}
	return nil, errors.New("internal error")
}

func (c *callout) attachment(ctx context.Context, name, secret string) (*identity, error) {
	a, err := c.b.o.Store.Attachments.Check(ctx, name, secret)
	if err != nil {
		return nil, err
	}
	who := &identity{name: attachConnName(name), account: c.o.Access.accountOf(a.Role), permissions: attachmentPermissions(c.b.o.Prefix, a)}
	who.still = func(ctx context.Context) (bool, error) {
		_, err := c.b.o.Store.Attachments.Check(ctx, name, secret)
		return good(err, kv.ErrAttachmentNotFound)
	}
	return who, nil
}

// user checks a user's credentials within the limits that logins have.
func (c *callout) user(ctx context.Context, host, name, secret string) (*identity, error) {
	l := c.b.limits.Load()
	address, account := limit.ClientKey(&http.Request{RemoteAddr: host}, nil), kv.FoldAccount(name)
	if !l.failuresByAddress.Peek(address) || !l.failuresByAccount.Peek(account) {
		return nil, errLimited
	}
	who, err := c.byToken(ctx, name, secret)
	if errors.Is(err, wire.WrongCredentials) {
		who, err = c.byPassword(ctx, name, secret)
	}
	if errors.Is(err, wire.WrongCredentials) {
		l.failuresByAddress.Take(address)
		l.failuresByAccount.Take(account)
	}
	return who, err
}

func (c *callout) byToken(ctx context.Context, id, token string) (*identity, error) {
	if !kv.ValidID(id) || !kv.ValidID(token) {
		return nil, wire.WrongCredentials
	}
	_, info, err := c.b.service.authorize(ctx, id, token)
	if errors.Is(err, wire.AuthIllegal) || err == nil && !info.Expires.After(time.Now().Add(time.Second)) {
		return nil, wire.WrongCredentials
	}
	if err != nil {
		return nil, err
	}
	who := c.asUser(id)
	who.expires = info.Expires
	who.still = func(ctx context.Context) (bool, error) {
		_, err := c.b.service.Authorize(ctx, id, token)
		return good(err, wire.AuthIllegal)
	}
	return who, nil
}

// byPassword takes an id for an account too: one whose account is the name of an attachment, or of a user that NATS
// knows by itself, has no other way in.
func (c *callout) byPassword(ctx context.Context, name, password string) (*identity, error) {
	store := c.b.o.Store
	if kv.ValidID(name) {
		u, err := store.Users.Get(ctx, name)
		if err == nil {
			name = u.Account
		} else if !errors.Is(err, kv.ErrUserNotFound) {
			return nil, err
		}
	}
	u, err := c.b.service.Authenticate(ctx, name, password)
	if err != nil {
		return nil, err
	}
	who := c.asUser(u.ID)
	who.still = func(ctx context.Context) (bool, error) {
		now, err := store.Users.Get(ctx, u.ID)
		if err == nil && (now.Disabled || now.PasswordHash != u.PasswordHash) {
			return false, nil
		}
		return good(err, kv.ErrUserNotFound)
	}
	return who, nil
}

func (c *callout) asUser(id string) *identity {
	c.b.clientBegins(id)
	return &identity{name: userConnName(id), account: c.o.Access.Account,
		permissions: userPermissions(c.b.o.Prefix, id, c.b.o.Dialogues.Timeout)}
}

// good reads the outcome of a check that fails with bad for credentials that are not good.
func good(err, bad error) (bool, error) {
	if errors.Is(err, bad) {
		return false, nil
	}
	return err == nil, err
}

func (a Access) accountOf(r kv.Role) string {
	if r == kv.RoleConsumer {
		return a.ConsumerAccount
	}
	return a.Account
}
