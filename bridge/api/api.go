// Package api serves the protocol's calls, over HTTP and over NATS. A call is declared once, in calls.go, and both read
// the declaration. The page and the way to the tunnel are here too.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/answer"
	"imctl/bridge/delivery"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/mailer"
	"imctl/bridge/origin"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Options configure an API.
type Options struct {
	Prefix         subject.Prefix
	Timeout        time.Duration   // of a dialogue that a NATS client sends
	MaxFrame       int             // bytes of the largest dialogue that a NATS client sends; 0: no limit
	TrustedProxies []netip.Prefix  // proxies whose headers about clients are used
	Origins        *origin.Checker // which web pages may call; nil: the server's own

	Log          Log
	Store        *kv.Store
	Accounts     *im.Accounts
	Friends      *im.Friends
	Resets       *im.Resets
	Gate         *im.Gate
	Disconnector im.Disconnector
	Lanes        *delivery.Lanes
	Governor     *governor.Governor
	Audit        Audit
	Mail         *mailer.Queue // nil: the calls that need mail do not exist
	Talks        Talks         // nil: no conversations are kept, and the calls for them do not exist
	Push         Push          // nil: no push messages are sent, and the calls for them do not exist
	Tunnel       http.Handler  // serves logins
	Files        Files
	Tickets      Tickets
	OIDC         OIDC     // nil: users do not sign in at an OpenID Connect provider
	Gateways     Gateways // nil: no program speaks for users of its own
	Facts        Facts
	// Away reports whether NATS is unreachable.
	Away func() bool
	// Outdated reports whether what the node reads may be outdated.
	Outdated  func() bool
	Dialogues *delivery.Metrics
	Registry  prometheus.Registerer
	Logger    *slog.Logger
}

// API serves calls.
type API struct {
	opts  Options
	calls []Call
	times *prometheus.HistogramVec
	count *prometheus.CounterVec

	uploads reservations
}

// New returns an API. Handler serves it over HTTP, and ServeNATS over NATS.
func New(opts Options) *API {
	if opts.Origins == nil {
		opts.Origins = origin.New(origin.Options{Proxies: opts.TrustedProxies, Log: opts.Logger})
	}
	a := &API{opts: opts, times: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "imctl_call_seconds",
		Help: "Duration of calls, by name.", Buckets: prometheus.DefBuckets}, []string{"call"}),
		count: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_calls_total",
			Help: "Calls, by name, the code of their answer and its outcome: succeeded, refused or failed."}, []string{"call", "outcome", "code"})}
	opts.Registry.MustRegister(a.times, a.count)
	for _, c := range Calls() {
		if (!c.NeedsMail || opts.Mail != nil) && (!c.NeedsTalks || opts.Talks != nil) && (!c.NeedsPush || opts.Push != nil) {
			a.calls = append(a.calls, c)
		}
	}
	return a
}

// callTimeout bounds the work for one call.
const callTimeout = 20 * time.Second

// serve authorizes a call, checks its fields and its rate limit, and does its work. It returns nil if the answer has only
// a code.
func (a *API) serve(ctx context.Context, c *Call, r *request) (result, error) {
	var ans result
	err := a.opts.Gate.Pass(func() (err error) {
		if c.Auth || r.client != "" {
			if err := a.authorize(ctx, r); err != nil {
				return a.certain(err)
			}
			if r.client == "" || r.gateway != "" { // else the call was counted when it came
				if err := a.opts.Governor.AllowCall(r.me.ID); err != nil {
					return err
				}
			}
		}
		if c.Allow != nil {
			if err := c.Allow(a.opts.Accounts); err != nil {
				return err
			}
		}
		if code := r.Check(); code != 0 {
			return code
		}
		if c.Limit != nil {
			if err := c.Limit(a.opts.Governor, r); err != nil {
				return err
			}
		}
		ans, err = c.do(ctx, a, r)
		if err == nil && c.Reads && a.opts.Outdated() {
			return answer.ErrAway
		}
		return a.certain(err)
	})
	a.audit(ctx, c, r, err)
	return ans, err
}

// certain returns the reason why a call was refused, or answer.ErrAway if that reason may be outdated.
func (a *API) certain(err error) error {
	if err != nil && !errors.Is(err, governor.ErrLimited) && a.opts.Outdated() {
		return answer.ErrAway
	}
	return err
}

// pass does what the gate lets through. It gives a reason of a refusal only if that is certain.
func (a *API) pass(do func() error) error { return a.certain(a.opts.Gate.Pass(do)) }

// authorize finds the user that calls.
func (a *API) authorize(ctx context.Context, r *request) (err error) {
	if r.client != "" {
		r.me, err = a.opts.Accounts.Active(ctx, r.client)
		return err
	}
	auth, code := r.Auth()
	if code != 0 {
		return code
	}
	r.token = auth.Token
	r.me, r.info, err = a.opts.Accounts.Authorize(ctx, auth.ID, auth.Token)
	return err
}

// observe counts a call, by its code, and logs an error that is the server's own fault.
func (a *API) observe(call string, err error, took time.Duration) wire.Code {
	code := wire.Success
	if err != nil {
		code = answer.CodeOf(a.opts.Logger, call, err)
	}
	outcome := "refused"
	switch code {
	case wire.Success:
		outcome = "succeeded"
	case wire.InternalError:
		outcome = "failed"
	}
	a.times.WithLabelValues(call).Observe(took.Seconds())
	a.count.WithLabelValues(call, outcome, strconv.Itoa(int(code))).Inc()
	return code
}

// limits returns the sizes of fields that the operator sets.
func (a *API) limits() wire.Limits { return wire.Limits{Picture: a.opts.Governor.Picture()} }
