// Package governor decides which client, account and user may have how much of the server: connections, memory for
// what waits, places to hash a password, and calls. All doors ask it: HTTP, WebSocket and NATS.
//
// The rules follow from one principle: an attacker spends its own share and nothing else. An address is a share that
// many people may stand behind, so an address that guesses passwords is slowed down and not locked out. What a client
// has proved (a token, a device that logged in before) never waits behind what other clients try.
package governor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrLimited: a client, an account or a user is over one of its limits. The error is a *LimitedError.
var ErrLimited = errors.New("too many attempts")

// Reason is the limit that was reached. It is a label of metrics and a word of log lines.
type Reason string

// The limits.
const (
	Connections          Reason = "connections"            // of all clients
	AddressConnections   Reason = "address_connections"    // of one address
	DisplacedConnections Reason = "displaced_connections"  // closed without login, for a client with fewer connections
	Logins               Reason = "logins"                 // by password from one address
	AddressFailures      Reason = "address_login_failures" // failed logins from one address, which slow it down
	AccountFailures      Reason = "account_login_failures" // failed logins of one account
	Hashing              Reason = "hashing"                // a full queue, or a wait that was too long
	Registrations        Reason = "registrations"          // from one address
	Forgotten            Reason = "forgotten"              // calls for a code from one address
	Codes                Reason = "codes"                  // by mail to one user
	AddressCalls         Reason = "address_calls"          // HTTP requests from one address
	UserCalls            Reason = "user_calls"             // of one user
	Searches             Reason = "searches"               // of one user
	FriendChanges        Reason = "friend_changes"         // of one user: request, add, remove
	Updates              Reason = "updates"                // of one user's profile
	Passwords            Reason = "passwords"              // new passwords of one user
	Proofs               Reason = "proofs"                 // checks of a password that one user gives again
	Reports              Reason = "reports"                // of one user
	History              Reason = "history"                // reads of conversations by one user
	Dialogues            Reason = "dialogues"              // of one user by NATS
	Refusals             Reason = "refusals"               // answers that refuse a client
	FileUploads          Reason = "file_uploads"           // of files, by one user at the same time
	BodyBytes            Reason = "body_bytes"             // of requests that are being read
	WaitingBytes         Reason = "waiting_bytes"          // for sessions that do not read
	UnknownHost          Reason = "unknown_host"           // a host name that the server is not configured for
	GatewayDialogues     Reason = "gateway_dialogues"      // of all users of one gateway
	GatewayCalls         Reason = "gateway_calls"          // of one gateway, those of its users included
	ProgramCalls         Reason = "program_calls"          // of one reader or service
)

// LimitedError says which limit was reached and when to try again.
type LimitedError struct {
	Reason     Reason
	RetryAfter time.Duration // 0: unknown
}

func (e *LimitedError) Error() string { return fmt.Sprintf("%v: %s", ErrLimited, e.Reason) }

// Unwrap returns ErrLimited.
func (e *LimitedError) Unwrap() error { return ErrLimited }

// Options are the limits of a server. The zero Rate and a size of 0 do not limit.
type Options struct {
	Registrations Rate // accounts created from one address
	Logins        Rate // logins by password from one address
	LoginFailures Rate // failed logins of one account, and of an account from one known address
	Dialogues     Rate // dialogues of one session, or of one user that is a NATS client
	Forgotten     Rate // calls for a code by mail from one address, and codes for one account
	AddressCalls  Rate // HTTP requests from one address
	Calls         Rate // calls of one user
	Searches      Rate // of one user
	FriendChanges Rate // calls of one user: request, add, remove
	Updates       Rate // of one user's profile
	Passwords     Rate // new passwords of one user, and checks of its old one
	Reports       Rate // of one user
	History       Rate // reads of conversations by one user
	// Refusals is of logins and requests of one address, and of calls by NATS of one user or attachment. Answers to more
	// are held back.
	Refusals Rate
	Picture  int // bytes of a picture

	GatewayDialogues Rate // of all users of one gateway
	GatewayCalls     Rate // of one gateway, those of its users included
	ProgramCalls     Rate // of one reader or service, besides those of the service's user

	Connections        int   // of all clients
	Guests             int   // of all clients, without a login
	AddressConnections int   // of one address
	Bodies             int64 // bytes of requests that are being read
	Waiting            int64 // bytes that wait for sessions
}

// addressFailures is how many times the failures of one account an address may have before it is slowed down.
const addressFailures = 3

// SeenFrom reports whether the user with an account, as it logs in, has a valid login from an address. It is asked only
// when the login of an unknown device is about to be refused or slowed down.
type SeenFrom func(ctx context.Context, account, address string) bool

// Governor decides. All methods are safe for concurrent use.
type Governor struct {
	opts    atomic.Pointer[Options]
	budgets *table
	known   *known // devices
	journal *journal
	conns   conns
	bodies  bytesInFlight
	uploads uploads
	pages   *Queue // of the calls of programs that list users
	waiting atomic.Int64
	delayed atomic.Int32 // answers that Delay holds back
	seen    atomic.Pointer[SeenFrom]
}

// New returns a governor without anything in use. Close ends it.
func New(opts Options, registry prometheus.Registerer, log *slog.Logger) *Governor {
	g := &Governor{budgets: newTable(tableSize), known: newKnown(), journal: newJournal(registry, log), pages: newPlaces(pagesAtOnce)}
	g.conns.init()
	g.bodies.init()
	g.Set(opts)
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_connections", Help: "Connections of clients over HTTP and WebSocket."},
			func() float64 { return float64(g.conns.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_waiting_bytes", Help: "Bytes of frames that wait for sessions."},
			func() float64 { return float64(g.waiting.Load()) }))
	return g
}

// Close logs what is not logged yet.
func (g *Governor) Close() { g.journal.close() }

// Set changes the limits. Counted events stay counted.
func (g *Governor) Set(opts Options) { g.opts.Store(&opts) }

// SetSeenFrom sets how known devices are recognised that have not logged in since the start.
func (g *Governor) SetSeenFrom(f SeenFrom) { g.seen.Store(&f) }

// SetAudit sets what records the limits that are reached: each when its reason is logged. Count is 0 for the first one,
// and then the number in a minute. f must not wait.
func (g *Governor) SetAudit(f func(Limited)) {
	g.journal.mu.Lock()
	defer g.journal.mu.Unlock()
	g.journal.audit = f
}

// Picture returns how many bytes a picture may have.
func (g *Governor) Picture() int { return g.opts.Load().Picture }

// refuse notes that a limit was reached by a source, and returns the error. source is an address, the id of a user, or
// the name of an attachment.
func (g *Governor) refuse(reason Reason, source string, wait time.Duration) error {
	g.journal.add(reason, source)
	return &LimitedError{Reason: reason, RetryAfter: wait}
}

// allow counts an event on each of the charges, or on none, and then returns a LimitedError.
func (g *Governor) allow(charges ...charge) error {
	full, wait, ok := g.budgets.takeAll(time.Now(), charges...)
	if !ok {
		return g.refuse(full.reason, full.key, wait)
	}
	return nil
}

// Registration counts an account that an address is about to create. The caller must call refund if it is not created.
func (g *Governor) Registration(address string) (refund func(), err error) {
	charges := byAddress(Registrations, address, g.opts.Load().Registrations)
	if err := g.allow(charges...); err != nil {
		return nil, err
	}
	return func() { g.budgets.refundAll(charges) }, nil
}

// AllowForgotten counts a call for a code by mail.
func (g *Governor) AllowForgotten(address string) error {
	return g.allow(byAddress(Forgotten, address, g.opts.Load().Forgotten)...)
}

// AllowCode counts a code by mail for a user, and reports whether the user may have it.
func (g *Governor) AllowCode(user string) bool {
	return g.allow(charge{Codes, user, g.opts.Load().Forgotten}) == nil
}

// AllowSignIn counts a sign-in of an address at another server, as a login by password is counted.
func (g *Governor) AllowSignIn(address string) error {
	return g.allow(byAddress(Logins, address, g.opts.Load().Logins)...)
}

// AllowRequest counts an HTTP request of an address.
func (g *Governor) AllowRequest(address string) error {
	return g.allow(byAddress(AddressCalls, address, g.opts.Load().AddressCalls)...)
}

// ofUser returns the rate of a budget that each user has.
func (o *Options) ofUser(reason Reason) Rate {
	switch reason {
	case Searches:
		return o.Searches
	case FriendChanges:
		return o.FriendChanges
	case Updates:
		return o.Updates
	case Proofs:
		return o.Passwords
	case Reports:
		return o.Reports
	case History:
		return o.History
	}
	panic("governor: users have no budget " + string(reason))
}

// AllowCall counts a call of a user.
func (g *Governor) AllowCall(user string) error {
	return g.allow(charge{UserCalls, user, g.opts.Load().Calls})
}

// Allow counts an event of a user that has a budget of its own: Searches, FriendChanges, Updates, Proofs,
// Reports or History.
func (g *Governor) Allow(reason Reason, user string) error {
	return g.allow(charge{reason, user, g.opts.Load().ofUser(reason)})
}

// Password counts a new password of a user, which costs a hash. The caller must call refund if it is refused unhashed.
func (g *Governor) Password(user string) (refund func(), err error) {
	c := charge{Passwords, user, g.opts.Load().Passwords}
	if err := g.allow(c); err != nil {
		return nil, err
	}
	return func() { g.budgets.refundAll([]charge{c}) }, nil
}

// ReserveSend counts a dialogue of a user that is a NATS client, and returns how long it has to wait. It returns false,
// and does not count the dialogue, if that is longer than longest.
func (g *Governor) ReserveSend(user string, longest time.Duration) (wait time.Duration, ok bool) {
	wait, ok = g.budgets.take(Dialogues, user, g.opts.Load().Dialogues, time.Now(), longest)
	if !ok {
		g.journal.add(Dialogues, user)
	}
	return wait, ok
}

// NewSession returns the limit of a new session's dialogues.
func (g *Governor) NewSession() *Session { return NewSession(g.opts.Load().Dialogues, 0) }

// Limited returns the sources that were limited most in the last hours, the most frequent first.
func (g *Governor) Limited() []Limited { return g.journal.top() }

// NoteHost notes a request for a host name that the server is not configured for.
func (g *Governor) NoteHost(name string) { g.journal.add(UnknownHost, name) }

// NoteBusy notes that a source got no place to hash in time.
func (g *Governor) NoteBusy(source string) { g.journal.add(Hashing, source) }
