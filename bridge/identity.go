package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/audit"
	"imctl/bridge/governor"
	"imctl/bridge/identity"
	"imctl/bridge/subject"
	"imctl/kv"
)

const (
	// questions is how many questions to programs with the role auth are under way at once. More wait, in turn by address.
	questions = 64
	// questionWait is the longest wait of a login for its question.
	questionWait = 20 * time.Second
)

// authTime is how long a status waits for the programs that check passwords.
const authTime = time.Second

// authProblems returns the modes of auth that cannot check passwords now, a line each.
func (b *Bridge) authProblems() (all []string) {
	ctx, cancel := context.WithTimeout(context.Background(), authTime)
	defer cancel()
	for _, m := range b.modes {
		if d, ok := m.(identity.Dependent); ok {
			if problem := d.Problem(ctx); problem != "" {
				all = append(all, m.Name()+": "+problem)
			}
		}
	}
	return all
}

// setIdentity tells the accounts who checks passwords.
func (b *Bridge) setIdentity() error {
	o := &b.opts
	names := o.Identity.Modes
	if names == nil {
		names = []string{identity.Builtin}
	}
	modes := make([]identity.Mode, len(names))
	for i, name := range names {
		switch name {
		case identity.Builtin:
			modes[i] = identity.Own{}
		case identity.JWT:
			modes[i] = o.Identity.Tokens
			b.stops.add(func(context.Context) error { o.Identity.Tokens.Close(); return nil })
		case identity.NATS:
			places := governor.NewQueue(governor.QueueOptions{Places: questions, Wait: questionWait, Busy: kv.ErrBusy, Refused: o.Governor.NoteBusy})
			modes[i] = identity.NewDirectory(identity.DirectoryOptions{Conn: b.nc, Prefix: subject.Prefix(o.Prefix), Timeout: o.Identity.Timeout, Places: places, Log: o.Log})
		default:
			return fmt.Errorf("unknown mode of auth.modes: %s", name)
		}
	}
	checks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_auth_total",
		Help: "Checks of passwords, by what checked them and the result: yes, no, unknown, or failed if it could not tell."}, []string{"mode", "result"})
	for _, name := range names {
		for _, result := range []string{identity.Yes, identity.No, identity.Unknown, identity.Failed} {
			checks.WithLabelValues(name, result)
		}
	}
	o.Registry.MustRegister(checks)
	b.modes = modes
	b.services.Accounts.SetIdentity(identity.Options{Modes: modes, MaxAge: o.Identity.MaxAge,
		Enrolled: func(user, source string) {
			by := audit.Ref{Kind: audit.User, ID: user}
			b.audit.Add(audit.Event{Event: audit.UserCreated, Actor: by, Subject: by, Detail: source})
		},
		Counted: func(mode, result string) { checks.WithLabelValues(mode, result).Inc() }})
	return nil
}
