package bench

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"imctl/bridge/admin"
)

// CallOptions are the options of Calls.
type CallOptions struct {
	Friends int    // friends of the user who logs in
	Times   int    // repetitions of each call
	Begins  string // beginning of the names to search for; "" means that of the test accounts
	// As is an existing account that logs in. nil means a test account.
	As *Person
	// Users lists pages of the accounts, if it is not nil. After the last page it starts again with the first.
	Users *admin.Client
}

// CallReport is the result of Calls.
type CallReport struct {
	Friends int                `json:"friends"`
	Times   int                `json:"times"`
	Calls   map[string]Latency `json:"calls_ms"`
	Server  *Usage             `json:"server"`

	plot []Series
}

// Calls measures a login and the calls of the protocol, one at a time. The server has the password in its cache, so a
// login does not hash it.
func Calls(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o CallOptions) (*CallReport, error) {
	progress.show("calls: creating accounts")
	people, err := crowd.Make(ctx, o.Friends+3, func(yield func(int, int) bool) {
		for i := range o.Friends {
			if !yield(0, i+3) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	me, begins := people[0], o.Begins
	if o.As != nil {
		me = *o.As
	}
	if begins == "" {
		begins = people[0].Account[len(AccountPrefix):]
		begins = begins[:len(begins)-len("-0")]
	}
	a, err := t.login(ctx, people[1])
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := t.login(ctx, people[2])
	if err != nil {
		return nil, err
	}
	defer b.close()
	go a.drain()
	go b.drain()
	if c, err := t.login(ctx, me); err != nil { // puts the password into the server's cache
		return nil, err
	} else {
		c.close()
	}
	r := &CallReport{Friends: o.Friends, Times: o.Times, Calls: make(map[string]Latency)}
	before := server.sample()
	m := calls{r: r, ctx: ctx, progress: progress}
	m.each("login", func(int) error {
		c, err := t.login(ctx, me)
		if err != nil {
			return err
		}
		c.close()
		return nil
	})
	m.each("found", func(int) error { return t.get(ctx, "/friends/found", a, url.Values{"name": {begins}}) })
	m.eachOf([]string{"request", "add", "remove"}, func(call string, i int) error {
		switch call {
		case "request":
			return t.get(ctx, "/friends/request", a, url.Values{"to": {b.userID}, "note": {"bench " + strconv.Itoa(i)}})
		case "add":
			return t.get(ctx, "/friends/add", b, url.Values{"from": {a.userID}, "name": {"a"}})
		}
		return t.get(ctx, "/friends/remove", a, url.Values{"to": {b.userID}})
	})
	m.list(o.Users)
	if m.err != nil {
		return nil, m.err
	}
	r.Server = server.sample().since(before, 0)
	return r, nil
}

// calls measures one kind of call after the other. It stops at the first error.
type calls struct {
	r        *CallReport
	ctx      context.Context
	progress *Progress
	err      error
}

func (m *calls) each(name string, do func(i int) error) {
	m.eachOf([]string{name}, func(_ string, i int) error { return do(i) })
}

// eachOf makes the named calls in turn, and measures each of them.
func (m *calls) eachOf(names []string, do func(name string, i int) error) {
	meters := make([]*meter, len(names))
	for n := range names {
		meters[n] = newMeter(10 * time.Second)
	}
	for i := range m.r.Times {
		for n, name := range names {
			if m.err == nil {
				m.err = context.Cause(m.ctx)
			}
			if m.err != nil {
				return
			}
			began := time.Now()
			if err := do(name, i); err != nil {
				m.err = fmt.Errorf("%s: %w", name, err)
				return
			}
			now := time.Now()
			meters[n].record(0, now, now.Sub(began))
		}
		m.progress.show(fmt.Sprintf("calls: %s %d of %d", names[0], i+1, m.r.Times))
	}
	for n, name := range names {
		s := meters[n].series(name)
		m.r.plot, m.r.Calls[name] = append(m.r.plot, s), s.Whole
	}
}

// list lists page after page, and starts again after the last one.
func (m *calls) list(users *admin.Client) {
	if users == nil {
		return
	}
	after := ""
	m.each("list", func(int) error {
		page, err := users.ListUsers(m.ctx, admin.ListUsers{After: after, Limit: 100})
		after = page.Next
		return err
	})
}

// Plot implements Report.
func (r *CallReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *CallReport) Rows() [][]string {
	rows := [][]string{{"load", fmt.Sprintf("%d times each, %d friends", r.Times, r.Friends)}}
	for _, s := range r.plot {
		rows = append(rows, []string{s.Name, s.Whole.String()})
	}
	return append(rows, r.Server.rows("")...)
}
