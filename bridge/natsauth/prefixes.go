package natsauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// NATS asks one callout about a login, whichever installation the client belongs to: the installations on one NATS
// differ by the prefix, and share the account of the callout. So a callout that does not know a client asks the others,
// before it refuses the login.

const (
	hereEvery    = 5 * time.Second // a callout tells its prefix
	hereFor      = time.Minute     // a prefix without a callout is remembered, so that a restart looks like a busy server
	helloTimeout = 2 * time.Second
)

// The header of the answers between callouts, and its values.
const (
	outcomeHeader   = "Imctl-Outcome"
	outcomeAdmitted = "admitted"
	outcomeRefused  = "refused"
	outcomeBusy     = "busy"
)

// errElsewhere means that another installation has admitted a client whose credentials are wrong here.
var errElsewhere = errors.New("admitted by another installation")

// greeting is what callouts tell each other.
type greeting struct {
	Prefixes []subject.Prefix `json:"prefixes"`
}

// others are the other installations on the same NATS.
type others struct {
	nc     *nats.Conn
	prefix subject.Prefix
	log    *slog.Logger
	subs   []*nats.Subscription

	mu   sync.Mutex // guards seen
	seen map[subject.Prefix]time.Time
}

// start finds the other installations. It returns after it knows those that are there.
func (o *others) start(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	switch m, err := o.nc.RequestWithContext(ask, subject.CalloutHello, nil); {
	case err == nil:
		o.learn(m)
	case !errors.Is(err, nats.ErrNoResponders):
		o.log.Warn("another installation on this NATS does not answer: its NATS clients may be refused", "err", err)
	}
	for subj, handle := range map[string]nats.MsgHandler{
		subject.CalloutHere: func(m *nats.Msg) {
			if o.learn(m) {
				o.announce()
			}
		},
		subject.CalloutHello: func(m *nats.Msg) { o.greet(m.Reply, append(o.list(), o.prefix)...) },
	} {
		sub, err := o.nc.Subscribe(subj, handle)
		if err != nil {
			return err
		}
		o.subs = append(o.subs, sub)
	}
	if err := o.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	o.announce()
	return nil
}

// run announces this installation until ctx ends.
func (o *others) run(ctx context.Context) {
	tick := time.NewTicker(hereEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			o.announce()
		}
	}
}

func (o *others) announce() { o.greet(subject.CalloutHere, o.prefix) }

func (o *others) greet(to string, prefixes ...subject.Prefix) {
	body, err := json.Marshal(greeting{prefixes})
	if err == nil {
		err = o.nc.Publish(to, body)
	}
	if err != nil && !o.nc.IsClosed() {
		o.log.Warn("tell the other installations on this NATS", "err", err)
	}
}

// learn notes the prefixes of a greeting. It reports whether one is new.
func (o *others) learn(m *nats.Msg) (news bool) {
	var g greeting
	if err := json.Unmarshal(m.Data, &g); err != nil {
		o.log.Warn("malformed greeting of another installation", "err", err)
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range g.Prefixes {
		if p == o.prefix {
			continue
		}
		if _, ok := o.seen[p]; !ok {
			news = true
		}
		o.seen[p] = time.Now()
	}
	return news
}

// list returns the prefixes of the other installations, sorted.
func (o *others) list() (all []subject.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, at := range o.seen {
		if time.Since(at) > hereFor {
			delete(o.seen, p)
			continue
		}
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}

// ask asks the other installations about a login, and returns the answer of the installation that admits the client.
//
// Errors: errRefused if all of them refuse it. With any other error one of them may admit it later.
func (o *others) ask(ctx context.Context, m *nats.Msg, prefixes []subject.Prefix) (admitted *nats.Msg, err error) {
	answers, errs := make([]*nats.Msg, len(prefixes)), make([]error, len(prefixes))
	var wg sync.WaitGroup
	for i, p := range prefixes {
		wg.Go(func() {
			answers[i], errs[i] = o.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: p.CalloutLogin(), Data: m.Data, Header: m.Header})
			if errs[i] == nil && answers[i].Header.Get(outcomeHeader) == outcomeBusy {
				errs[i] = kv.ErrBusy
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("ask the installation %s: %w", p, errs[i])
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		if admitted == nil && a != nil && a.Header.Get(outcomeHeader) == outcomeAdmitted {
			admitted = a
		}
	}
	final := outcomeRefused
	if admitted != nil {
		final = outcomeAdmitted
	}
	for _, a := range answers {
		if a != nil && a != admitted && a.Reply != "" {
			err = errors.Join(err, a.RespondMsg(outcome(final)))
		}
	}
	switch err = errors.Join(append(errs, err)...); {
	case admitted != nil:
		return admitted, nil
	case err != nil:
		return nil, err
	}
	return nil, errRefused
}

func outcome(value string) *nats.Msg { return &nats.Msg{Header: nats.Header{outcomeHeader: {value}}} }

func (o *others) close() (err error) {
	for _, sub := range o.subs {
		err = errors.Join(err, natsutil.Drain(sub))
	}
	return err
}

// decide returns the client that may connect, or the answer of the installation that admits it. Errors are those of
// admit.
func (c *Callout) decide(ctx context.Context, m *nats.Msg, r *jwt.AuthorizationRequestClaims) (client *identity, theirs *nats.Msg, err error) {
	prefixes := c.others.list()
	if len(prefixes) == 0 {
		client, err = c.admit(ctx, c.slots, r, nil)
		return client, nil, err
	}
	if r.ConnectOptions.Username == "" || r.ConnectOptions.Password == "" {
		return nil, nil, errRefused
	}
	ask := sync.OnceValues(func() (*nats.Msg, error) { return c.others.ask(ctx, m, prefixes) })
	known, err := c.knows(ctx, r.ConnectOptions.Username)
	if err == nil && !known {
		// If all refuse the login, it counts as a failed one, and is recorded.
		if theirs, err = ask(); errors.Is(err, errRefused) {
			client, err = c.admit(ctx, c.slots, r, nil)
		}
		return client, theirs, err
	}
	if err == nil {
		client, err = c.admit(ctx, c.slots, r, ask)
	}
	if err == nil {
		return client, nil, nil
	}
	theirs, asked := ask()
	if theirs != nil || errors.Is(err, errRefused) {
		err = asked
	}
	return nil, theirs, err
}

// knows reports whether a name may be that of a client of this installation.
func (c *Callout) knows(ctx context.Context, name string) (bool, error) {
	active, err := c.Store.Attachments.Active(ctx, name)
	if err != nil || active {
		return active, err
	}
	if kv.ValidID(name) {
		if _, err = c.Store.Users.Get(ctx, name); err == nil || !errors.Is(err, kv.ErrUserNotFound) {
			return err == nil, err
		}
	}
	if _, err = c.Store.Users.ByAccount(ctx, name); errors.Is(err, kv.ErrUserNotFound) {
		return false, nil
	}
	return err == nil, err
}

// relay answers NATS with the answer of another installation, and tells that one.
func (c *Callout) relay(ctx context.Context, m, theirs *nats.Msg) error {
	err := m.Respond(theirs.Data)
	if err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	return errors.Join(err, theirs.Respond(nil))
}

// receiveAsked starts to answer the callout of another installation.
func (c *Callout) receiveAsked(m *nats.Msg) {
	c.wg.Go(func() {
		defer recovery.Log(c.Log, "login to NATS")
		if err := c.answerAsked(m); err != nil {
			c.Log.Error("login to NATS, for another installation", "err", err)
		}
	})
}

// answerAsked decides a login that another installation refuses. The answer is a request: the other callout tells when
// NATS has the answer, or that the client is admitted elsewhere.
func (c *Callout) answerAsked(m *nats.Msg) error {
	r, err := c.decode(m)
	if err != nil {
		return err
	}
	_, deadline := deadlines(r, time.Now())
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	known, err := c.knows(ctx, r.ConnectOptions.Username)
	if err == nil && !known {
		return m.RespondMsg(outcome(outcomeRefused))
	}
	refuse := sync.OnceValues(func() (*nats.Msg, error) {
		final, err := c.tell(ctx, m, outcomeRefused, nil)
		if err != nil || final.Header.Get(outcomeHeader) != outcomeAdmitted {
			return nil, errRefused
		}
		return final, nil
	})
	var client *identity
	if err == nil {
		client, err = c.admit(ctx, c.askedSlots, r, refuse)
	}
	key := connectionKey{r.Server.ID, r.ClientInformation.ID}
	if client != nil && c.Disconnector.system != nil {
		err = c.conns.take(ctx, client.account, client.name, key, c.opts.Limits.limitOf(client))
	}
	switch {
	case errors.Is(err, errRefused), errors.Is(err, errElsewhere):
		_, _ = refuse() // unless it has told that already
		return nil
	case err != nil:
		return m.RespondMsg(outcome(outcomeBusy))
	}
	body, err := c.sign(r, client, nil)
	var final *nats.Msg
	if err == nil {
		final, err = c.tell(ctx, m, outcomeAdmitted, body)
	}
	if err != nil || final.Header.Get(outcomeHeader) == outcomeAdmitted {
		c.conns.release(client.name, key)
		return err
	}
	err = c.settle(r, client)
	c.conns.admitted(client.name, key)
	return err
}

// tell answers the callout of another installation, and returns what it then tells.
func (c *Callout) tell(ctx context.Context, m *nats.Msg, value string, body []byte) (*nats.Msg, error) {
	answer := outcome(value)
	answer.Subject, answer.Data = m.Reply, body
	return c.nc.RequestMsgWithContext(ctx, answer)
}

// wrongHere returns errElsewhere for wrong credentials if another installation admits the client, and otherwise err.
func wrongHere(err error, elsewhere func() (*nats.Msg, error)) error {
	if elsewhere == nil || !errors.Is(err, wire.WrongCredentials) {
		return err
	}
	if theirs, _ := elsewhere(); theirs != nil {
		return errElsewhere
	}
	return err
}
