package natsauth

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

	"imctl/bridge/audit"
	"imctl/bridge/cluster"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// CalloutOptions configure the answers to NATS.
type CalloutOptions struct {
	// Connect opens a connection to the account in which NATS asks. Passwords are visible there, so it must have no
	// other clients.
	Connect natsutil.Connect
	// System opens a connection to the system account. nil: there is none, and a client whose credentials are revoked
	// stays connected until its token expires or it disconnects.
	System natsutil.Connect
	// Issuer signs the answers. NATS has its public key.
	Issuer nkeys.KeyPair
	// Account is the public key of the account in which NATS asks, and XKey decrypts the requests, with a NATS server in
	// operator mode. The accounts of Access are public keys then, and Issuer is a signing key of all three accounts.
	Account string
	XKey    nkeys.KeyPair
	Access  Access
	Limits  ClientLimits
	// PutOff, if set, is called with the NATS server and the id of a connection that is closed without a refusal, before
	// the server logs a refusal.
	PutOff func(server string, cid uint64)
	// Subscriptions returns the number of subscriptions on this node's NATS server. nil: the system account is asked.
	Subscriptions func() int
	// Clients returns how many NATS clients of others this node's NATS server has. nil: that is unknown.
	Clients func() int
	// Connections returns the connections of an account to this node's NATS server, as NATS's monitoring lists them, those
	// with the highest figure first. order is "subs" or "pending". nil: the system account is asked.
	Connections func(account, order string, limit int) ([]byte, error)
}

// CalloutDeps are what a Callout works on.
type CalloutDeps struct {
	Prefix       subject.Prefix
	Store        *kv.Store
	Accounts     *im.Accounts
	Attachments  *Attachments
	Gate         *im.Gate
	Governor     *governor.Governor
	Audit        Audit
	Disconnector *Disconnector
	Timeout      time.Duration // of a dialogue
	// Outdated reports whether what the node reads may be outdated.
	Outdated func() bool
	// OnUser is called when a user logs in. It must not wait.
	OnUser func(id string)
	Log    *slog.Logger
}

const (
	calloutsAtOnce = 128             // concurrent logins; more wait
	calloutTimeout = 5 * time.Second // of one login, if NATS does not tell its own
	maxCallout     = time.Minute     // of one login, whatever NATS tells
	settleTimeout  = cluster.CommandTimeout
)

// errRefused is the answer to wrong credentials, whichever part is wrong.
var errRefused = errors.New("credentials refused")

// Callout answers NATS whether a client may connect: attachments by name and secret, users by id and token, or by
// account, or id, and password.
type Callout struct {
	CalloutDeps
	opts  CalloutOptions
	nc    *nats.Conn
	sub   *nats.Subscription
	slots *governor.Queue
	// askedSlots are for logins that other installations ask about: two callouts that ask each other must not wait for
	// each other's places.
	askedSlots *governor.Queue
	others     *others
	asked      *nats.Subscription
	conns      *connections
	wg         sync.WaitGroup

	stopLoops context.CancelFunc
}

// identity is a client that may connect.
type identity struct {
	name        string // of the connection
	account     string
	permissions jwt.Permissions
	expires     time.Time // zero: never
	service     string    // the name of the attachment that is a user; "" for others
	trusted     bool      // an attachment with a role that may have more connections
	// recheck reports whether the credentials are still valid.
	recheck func(context.Context) (bool, error)
}

// NewCallout starts to answer NATS.
func NewCallout(ctx context.Context, opts CalloutOptions, deps CalloutDeps) (*Callout, error) {
	queue := func() *governor.Queue {
		return governor.NewQueue(governor.QueueOptions{Places: calloutsAtOnce, Wait: maxCallout, Busy: kv.ErrBusy, Refused: deps.Governor.NoteBusy})
	}
	c := &Callout{CalloutDeps: deps, opts: opts, slots: queue(), askedSlots: queue(),
		conns: newConnections(deps.Disconnector.keys)}
	var err error
	// A NATS server that restarts takes clients before this connection is back.
	again := nats.ReconnectHandler(func(*nats.Conn) { c.wg.Go(c.reconnected) })
	if c.nc, err = opts.Connect("imctl logins", again); err != nil {
		return nil, fmt.Errorf("connect to NATS for logins of its clients: %w", err)
	}
	c.others = &others{nc: c.nc, prefix: deps.Prefix, log: deps.Log, seen: make(map[subject.Prefix]time.Time)}
	if opts.Access.Shared {
		c.asked, err = c.nc.QueueSubscribe(deps.Prefix.CalloutLogin(), deps.Prefix.QueueGroup(), c.receiveAsked)
		if err == nil {
			err = c.others.start(ctx)
		}
	}
	if err == nil {
		c.sub, err = c.nc.QueueSubscribe(subject.AuthCallout, subject.QueueGroup, c.receive)
	}
	if err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	if err == nil {
		err = c.closeWaiting(ctx)
	}
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("subscribe to logins of NATS clients: %w", err)
	}
	loops, stop := context.WithCancel(context.Background())
	c.stopLoops = stop
	if deps.Disconnector.system != nil {
		c.wg.Go(func() { c.guard(loops) })
	}
	if opts.Access.Shared {
		c.wg.Go(func() { c.others.run(loops) })
	}
	return c, nil
}

// reconnected is called when NATS is back.
func (c *Callout) reconnected() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	err := c.nc.FlushWithContext(ctx)
	if err == nil {
		err = c.closeWaiting(ctx)
	}
	if err != nil && c.nc.IsConnected() {
		c.Log.Warn("NATS clients may be refused that logged in while NATS restarted", "err", err)
	}
}

// Close stops answering, and waits for the answers under way.
func (c *Callout) Close() error {
	c.stopLoops()
	err := errors.Join(natsutil.Drain(c.sub), c.others.close())
	if c.asked != nil {
		err = errors.Join(err, natsutil.Drain(c.asked))
	}
	c.wg.Wait()
	c.nc.Close()
	return err
}

// receive starts to answer a login. It does not wait, so that the time of a login counts from its arrival.
func (c *Callout) receive(m *nats.Msg) {
	c.wg.Go(func() {
		defer recovery.Log(c.Log, "login to NATS")
		if err := c.answer(m); err != nil {
			c.Log.Error("login to NATS", "err", err)
		}
	})
}

// answer decides one login. The account may be disabled, or the secret changed, after admit has checked it and before
// NATS knows the connection by its name. A disconnection would miss the client. So settle checks again after NATS knows
// it.
func (c *Callout) answer(m *nats.Msg) error {
	r, err := c.decode(m)
	if err != nil {
		return err
	}
	givenUp, decide := deadlines(r, time.Now())
	if c.Disconnector.system == nil {
		decide = givenUp // the connection cannot be closed
	}
	ctx, cancel := context.WithDeadline(context.Background(), decide)
	defer cancel()
	key := connectionKey{r.Server.ID, r.ClientInformation.ID}
	client, theirs, err := c.decide(ctx, m, r)
	if theirs != nil {
		return c.relay(ctx, m, theirs)
	}
	if client != nil && c.Disconnector.system != nil {
		if err = c.conns.take(ctx, client.account, client.name, key, c.opts.Limits.limitOf(client)); err != nil {
			client = nil
		}
	}
	if err != nil && !errors.Is(err, errRefused) {
		if c.Disconnector.system != nil {
			return c.turnAway(m, r, err)
		}
		if ctx.Err() != nil {
			return nil // NATS has given up
		}
	}
	body, signErr := c.sign(r, client, err)
	if signErr == nil {
		signErr = m.Respond(body)
	}
	if client == nil {
		return signErr
	}
	if signErr != nil {
		c.conns.release(client.name, key)
		return signErr
	}
	err = c.settle(r, client)
	c.conns.admitted(client.name, key)
	return err
}

// settle checks the credentials again after NATS has admitted the client, and closes the connection if they are
// revoked.
func (c *Callout) settle(r *jwt.AuthorizationRequestClaims, client *identity) error {
	// The deadline of the request does not apply: NATS has the answer.
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	ok, err := client.recheck(ctx)
	if !ok && c.Disconnector.system != nil {
		err = errors.Join(err, c.Disconnector.kick(ctx, r.Server.ID, r.ClientInformation.ID))
	}
	return err
}

// admit returns the client that connects.
//
// Errors: errRefused if the credentials are wrong. With any other error they may be right: governor.ErrLimited,
// im.ErrRestoring, that of ctx, or one without detail. If elsewhere is set, admit asks it about wrong credentials. It
// returns errElsewhere if elsewhere has an answer, and the login does not count as failed.
func (c *Callout) admit(ctx context.Context, slots *governor.Queue, r *jwt.AuthorizationRequestClaims, elsewhere func() (*nats.Msg, error)) (*identity, error) {
	name, secret := r.ConnectOptions.Username, r.ConnectOptions.Password
	if name == "" || secret == "" {
		return nil, errRefused
	}
	address := governor.ClientKey(&http.Request{RemoteAddr: r.ClientInformation.Host}, nil)
	// Logins keep their places while their passwords wait to be hashed. An address that has many under way delays only
	// its own.
	leave, err := slots.Enter(governor.WithCaller(ctx, governor.Programs, address, kv.FoldAccount(name)))
	if err != nil {
		return nil, err
	}
	defer leave()
	if c.Gate.Closed() {
		return nil, im.ErrRestoring
	}
	// Attachments have no limits: their secrets cannot be guessed, and a stranger must not be able to lock them out.
	client, err := c.attachment(ctx, name, secret)
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		client, err = c.user(ctx, address, name, secret, elsewhere)
	}
	c.audit(client, r.ClientInformation.Host, name, err)
	switch {
	case err == nil:
		return client, nil
	case errors.Is(err, wire.WrongCredentials) && c.Outdated():
		return nil, governor.ErrLimited // they may be right elsewhere
	case errors.Is(err, wire.WrongCredentials):
		return nil, errRefused
	case errors.Is(err, errElsewhere):
		return nil, err
	case errors.Is(err, governor.ErrLimited), errors.Is(err, kv.ErrBusy):
		return nil, governor.ErrLimited
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c.Log.Error("login to NATS", "err", err)
	return nil, errors.New("internal error")
}

func (c *Callout) attachment(ctx context.Context, name, secret string) (*identity, error) {
	a, err := c.Store.Attachments.Check(ctx, name, secret)
	if err != nil {
		return nil, err
	}
	c.Attachments.tending.loggedIn(name)
	if a.IsDetached() {
		if err := c.resume(ctx, a); err != nil {
			return nil, err
		}
	}
	client := &identity{name: connOf(c.Prefix, a), account: c.opts.Access.accountOf(a.Role),
		permissions: attachmentPermissions(c.Prefix, c.opts.Access.Domain, a, c.opts.Access.Shared, c.Timeout), trusted: a.Role.IsTrusted()}
	client.recheck = func(ctx context.Context) (bool, error) {
		_, err := c.Store.Attachments.Check(ctx, name, secret)
		return valid(err, kv.ErrAttachmentNotFound)
	}
	if a.Role == kv.RoleService {
		return c.service(ctx, a, client)
	}
	return client, nil
}

// service completes a client that is a service: its user must be active.
func (c *Callout) service(ctx context.Context, a kv.Attachment, client *identity) (*identity, error) {
	active := func(ctx context.Context) error {
		_, err := c.Accounts.Active(ctx, a.User)
		return err
	}
	if err := active(ctx); errors.Is(err, wire.AuthIllegal) {
		return nil, wire.WrongCredentials
	} else if err != nil {
		return nil, err
	}
	c.OnUser(a.User)
	client.service = a.Name
	check := client.recheck
	client.recheck = func(ctx context.Context) (bool, error) {
		if ok, err := check(ctx); !ok {
			return ok, err
		}
		return valid(active(ctx), wire.AuthIllegal)
	}
	return client, nil
}

// connOf returns the name under which NATS knows the connections of an attachment. Those of a service are connections of
// its user, so that whatever ends these ends those too.
func connOf(p subject.Prefix, a kv.Attachment) string {
	if a.Role == kv.RoleService {
		return p.UserConn(a.User)
	}
	return p.AttachmentConn(a.Name)
}

// resume gives an attachment whose program has come back a new consumer.
func (c *Callout) resume(ctx context.Context, a kv.Attachment) error {
	a, done, err := c.Attachments.resume(ctx, a.Name)
	if err != nil {
		return fmt.Errorf("resume attachment %s: %w", a.Name, err)
	}
	if done {
		c.Log.Warn("the program of a detached consumer is back: it gets events from now on", "attachment", a.Name, "lost_entries", a.Detached.Entries)
		who := audit.Ref{Kind: audit.Attachment, ID: a.Name}
		c.Audit.Add(audit.Event{Event: audit.AttachmentResumed, Actor: who, Subject: who})
	}
	return nil
}

// user checks a user's credentials within the limits of failed logins.
func (c *Callout) user(ctx context.Context, address, name, secret string, elsewhere func() (*nats.Msg, error)) (*identity, error) {
	client, err := c.byToken(ctx, name, secret)
	if !errors.Is(err, wire.WrongCredentials) {
		return client, err
	}
	attempt, err := c.Governor.Login(ctx, address, kv.FoldAccount(name), true)
	if err != nil {
		return nil, err
	}
	client, err = c.byPassword(im.WithAddress(attempt.Context(ctx), address), name, secret)
	err = wrongHere(err, elsewhere)
	attempt.Settle(err, wire.WrongCredentials)
	return client, err
}

func (c *Callout) byToken(ctx context.Context, id, token string) (*identity, error) {
	if !kv.ValidID(id) || !kv.ValidID(token) {
		return nil, wire.WrongCredentials
	}
	_, info, err := c.Accounts.Authorize(ctx, id, token)
	if errors.Is(err, wire.AuthIllegal) || err == nil && !info.Expires.After(time.Now().Add(time.Second)) {
		return nil, wire.WrongCredentials
	}
	if err != nil {
		return nil, err
	}
	client := c.asUser(id)
	client.expires = info.Expires
	client.recheck = func(ctx context.Context) (bool, error) {
		_, _, err := c.Accounts.Authorize(ctx, id, token)
		return valid(err, wire.AuthIllegal)
	}
	return client, nil
}

// byPassword accepts an id in place of the account: a user whose account is also the name of an attachment, or of a
// user in NATS's own configuration, has no other way to log in.
func (c *Callout) byPassword(ctx context.Context, name, password string) (*identity, error) {
	store := c.Store
	if kv.ValidID(name) {
		u, err := store.Users.Get(ctx, name)
		if err == nil {
			name = u.Account
		} else if !errors.Is(err, kv.ErrUserNotFound) {
			return nil, err
		}
	}
	u, err := c.Accounts.Authenticate(ctx, name, password)
	if err != nil {
		return nil, err
	}
	client := c.asUser(u.ID)
	client.expires = c.Accounts.SignInEnds(u)
	client.recheck = func(ctx context.Context) (bool, error) {
		now, err := store.Users.Get(ctx, u.ID)
		if err == nil && (now.Disabled || now.PasswordHash != u.PasswordHash || now.External.Source != u.External.Source) {
			return false, nil
		}
		return valid(err, kv.ErrUserNotFound)
	}
	return client, nil
}

func (c *Callout) asUser(id string) *identity {
	c.OnUser(id)
	return &identity{name: c.Prefix.UserConn(id), account: c.opts.Access.Account,
		permissions: userPermissions(c.Prefix, id, c.Timeout)}
}

// valid returns the outcome of a check whose error is invalid for revoked credentials.
func valid(err, invalid error) (bool, error) {
	if errors.Is(err, invalid) {
		return false, nil
	}
	return err == nil, err
}
