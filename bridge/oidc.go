package bridge

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/governor"
	"imctl/bridge/identity"
	"imctl/bridge/im"
	"imctl/bridge/oidc"
	"imctl/bridge/wire"
)

// OIDC configures the sign-in of users of the page at an OpenID Connect provider. Without an Issuer there is none.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Scopes       []string
	AccountClaim string
	Label        string
	URL          string         // of the server as browsers reach it
	RootCAs      *x509.CertPool // verify the provider; nil: those of the system
}

// openOIDC prepares the sign-in at a provider, if one is configured. It does not ask the provider yet.
func (b *Bridge) openOIDC() (err error) {
	o := b.opts.OIDC
	if o.Issuer == "" {
		return nil
	}
	signIns := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_oidc_total", Help: "Sign-ins at the OpenID Connect provider, by outcome."}, []string{"outcome"})
	for _, outcome := range oidc.Outcomes() {
		signIns.WithLabelValues(outcome)
	}
	b.opts.Registry.MustRegister(signIns)
	opts := oidc.Options{Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes, AccountClaim: o.AccountClaim, Label: o.Label, URL: o.URL, RootCAs: o.RootCAs,
		Key: b.opts.Store.Seals.Key, Spend: b.opts.Store.Seals.Spend, SignIn: b.signIn,
		Ticket:  func(user, address string) (wire.Ticket, error) { return b.tunnel.TicketFor(user, address, "oidc") },
		Address: func(r *http.Request) string { return governor.ClientKey(r, b.opts.TrustedProxies) },
		Allow:   b.opts.Governor.AllowSignIn,
		Failed: func(ctx context.Context, address string) {
			b.audit.LoginFailed(address, "", "oidc")
			b.opts.Governor.TokenFailed(address)
			b.opts.Governor.Delay(ctx, address)
		},
		Counted: func(outcome string) { signIns.WithLabelValues(outcome).Inc() },
		Allowed: b.origins.Allowed, Away: b.monitor.Away, Log: b.log}
	b.oidc, err = oidc.New(opts)
	return err
}

// signIn finds or creates the user of a provider.
func (b *Bridge) signIn(ctx context.Context, c oidc.Claims, address string) (user string, err error) {
	ctx = im.WithAddress(ctx, address)
	err = b.gate.Pass(func() error {
		u, err := b.services.Accounts.SignIn(ctx, identity.Person{Source: identity.OIDC, Issuer: b.opts.OIDC.Issuer, Subject: c.Subject, Account: c.Account, Name: c.Name, Mail: c.Mail})
		user = u.ID
		return err
	})
	switch {
	case errors.Is(err, im.ErrAccountTaken), errors.Is(err, im.ErrAccountInvalid), errors.Is(err, im.ErrAccountRefused):
		err = errors.Join(oidc.ErrAccount, err)
	case errors.Is(err, wire.WrongCredentials):
		err = oidc.ErrDisabled
	}
	return user, err
}
