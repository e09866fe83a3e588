package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"imctl/bridge/answer"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/wire"
	"imctl/kv"
)

// What the page is told of a sign-in, in the fragment of its address.
const (
	outcomeDone     = "done"     // the page may ask for its ticket
	outcomeDenied   = "denied"   // the user or the provider refused
	outcomeExpired  = "expired"  // the browser did not begin the sign-in, or too long ago
	outcomeProvider = "provider" // the provider cannot be reached, or answered nonsense
	outcomeAccount  = "account"  // there is no account for the user
	outcomeDisabled = "disabled"
	outcomeBusy     = "busy"   // too many sign-ins
	outcomeFailed   = "failed" // the server's own fault
)

// Outcomes returns all outcomes of a sign-in.
func Outcomes() []string {
	return []string{outcomeDone, outcomeDenied, outcomeExpired, outcomeProvider, outcomeAccount, outcomeDisabled, outcomeBusy, outcomeFailed}
}

// errDenied: the provider refused the sign-in.
var errDenied = errors.New("the provider refused the sign-in")

// errBusy: too many sign-ins ask the provider.
var errBusy = errors.New("too many sign-ins")

// errToken: the provider's ID token is not valid for this sign-in.
var errToken = errors.New("the ID token is not valid")

// toPage sends the browser to the page, by an address relative to that of the request: a proxy may serve it below
// another path.
func (s *Service) toPage(w http.ResponseWriter, outcome string) {
	s.opts.Counted(outcome)
	w.Header().Set("Location", "../www/v1/chat.html#oidc="+outcome)
	w.WriteHeader(http.StatusFound)
}

// serveStart begins a sign-in and sends the browser to the provider.
func (s *Service) serveStart(w http.ResponseWriter, r *http.Request) {
	// The provider sends the browser back to the configured address, and the cookie must be there. A proxy that changes
	// the host must not make a loop.
	if r.Host != s.base.Host && r.URL.RawQuery == "" {
		w.Header().Set("Location", s.opts.URL+startPath+"?again=1")
		w.WriteHeader(http.StatusFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), providerTimeout)
	defer cancel()
	if err := s.start(ctx, w, r); err != nil {
		s.failed(w, r, err)
	}
}

func (s *Service) start(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := s.find(ctx)
	if err != nil {
		return provided{err}
	}
	v := sealed{Expires: time.Now().Add(stateLife), State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier()}
	if err := s.setCookie(ctx, w, stateCookie, v); err != nil {
		return err
	}
	w.Header().Set("Location", s.config(p).AuthCodeURL(v.State, oidc.Nonce(v.Nonce), oauth2.S256ChallengeOption(v.Verifier)))
	w.WriteHeader(http.StatusFound)
	return nil
}

// serveCallback completes a sign-in, and sends the browser to the page.
func (s *Service) serveCallback(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), providerTimeout)
	defer cancel()
	s.dropCookie(w, stateCookie)
	ticket, err := s.complete(ctx, r)
	if err == nil {
		expires := time.Now().Add(time.Duration(ticket.Expires) * time.Second)
		err = s.setCookie(ctx, w, ticketCookie, sealed{Expires: expires, Ticket: ticket.Ticket})
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.toPage(w, outcomeDone)
}

// complete checks what the provider sent the browser back with, and returns a ticket for its user.
func (s *Service) complete(ctx context.Context, r *http.Request) (ticket wire.Ticket, err error) {
	if len(r.URL.RawQuery) > maxQuery {
		return ticket, errCookie
	}
	begun, err := s.openCookie(ctx, r, stateCookie)
	if err != nil {
		return ticket, err
	}
	query := r.URL.Query()
	if begun.State == "" || subtle.ConstantTimeCompare([]byte(begun.State), []byte(query.Get("state"))) != 1 {
		return ticket, errCookie
	}
	if iss := query.Get("iss"); iss != "" && iss != s.opts.Issuer { // RFC 9207: the answer of another provider
		return ticket, fmt.Errorf("%w: it is the answer of another provider", errToken)
	}
	if reason := query.Get("error"); reason != "" {
		return ticket, fmt.Errorf("%w: %.64q", errDenied, reason)
	}
	address := s.opts.Address(r)
	if err := s.opts.Allow(address); err != nil {
		return ticket, err
	}
	claims, err := s.exchange(ctx, query.Get("code"), begun)
	if err != nil {
		return ticket, err
	}
	if err := s.opts.Spend(ctx, begun.State, stateLife); err != nil {
		return ticket, err
	}
	user, err := s.opts.SignIn(ctx, claims, address)
	if err != nil {
		return ticket, err
	}
	return s.opts.Ticket(user, address)
}

// exchange returns the claims of the user for whom the provider issued a code.
func (s *Service) exchange(ctx context.Context, code string, begun sealed) (c Claims, err error) {
	select {
	case s.exchanges <- struct{}{}:
		defer func() { <-s.exchanges }()
	default:
		return c, errBusy
	}
	p, err := s.find(ctx)
	if err != nil {
		return c, provided{err}
	}
	ctx = oidc.ClientContext(ctx, s.client)
	token, err := s.config(p).Exchange(ctx, code, oauth2.VerifierOption(begun.Verifier))
	if err != nil {
		return c, provided{err}
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := p.Verifier(&oidc.Config{ClientID: s.opts.ClientID}).Verify(ctx, raw)
	switch {
	case unreachable(err):
		return c, provided{err}
	case err != nil:
		return c, fmt.Errorf("%w: %s", errToken, shown(err))
	case id.Subject == "":
		return c, fmt.Errorf("%w: it has no subject", errToken)
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(begun.Nonce)) != 1:
		return c, fmt.Errorf("%w: it is for another sign-in", errToken)
	}
	return s.claims(ctx, p, id, token)
}

// claims reads the claims of an ID token, and asks the provider for those that are not in it.
func (s *Service) claims(ctx context.Context, p *provider, id *oidc.IDToken, token *oauth2.Token) (c Claims, err error) {
	var all map[string]any
	if err := id.Claims(&all); err != nil {
		return c, fmt.Errorf("%w: %s", errToken, shown(err))
	}
	if party := text(all, "azp"); party != s.opts.ClientID && (party != "" || len(id.Audience) > 1) {
		return c, fmt.Errorf("%w: it is for the client %.64q", errToken, party)
	}
	if text(all, s.opts.AccountClaim) == "" && p.UserInfoEndpoint() != "" {
		info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return c, provided{err}
		}
		if info.Subject != id.Subject {
			return c, fmt.Errorf("%w: the provider told of another user", errToken)
		}
		if err := info.Claims(&all); err != nil { // into the same map: the token's other claims stay
			return c, provided{err}
		}
	}
	c = Claims{Subject: id.Subject, Account: text(all, s.opts.AccountClaim), Name: text(all, "name")}
	if c.Account == "" {
		return c, fmt.Errorf("%w: the provider did not send the claim %s, see auth.oidc.account_claim and auth.oidc.scopes", ErrAccount, s.opts.AccountClaim)
	}
	verified, _ := all["email_verified"].(bool)
	if verified || text(all, "email_verified") == "true" {
		c.Mail = text(all, "email")
	}
	if s.opts.AccountClaim == "email" && c.Mail == "" {
		return c, fmt.Errorf("%w: the mail address is not verified", ErrAccount)
	}
	return c, nil
}

// text returns a claim that is text, and otherwise "".
func text(all map[string]any, claim string) string {
	value, _ := all[claim].(string)
	return strings.TrimSpace(value)
}

// provided marks an error of the provider.
type provided struct{ error }

func (p provided) Unwrap() error { return p.error }

// reasons are what the page is told for an error. The first match counts.
var reasons = []struct {
	is      func(error) bool
	outcome string
	level   slog.Level
	refused bool // counts as a refused login
}{
	{one(errCookie, kv.ErrSpent), outcomeExpired, slog.LevelDebug, true},
	{used, outcomeExpired, slog.LevelInfo, true},
	{one(errDenied), outcomeDenied, slog.LevelInfo, false},
	{one(errToken), outcomeProvider, slog.LevelWarn, true},
	{one(ErrAccount), outcomeAccount, slog.LevelWarn, false},
	{one(ErrDisabled), outcomeDisabled, slog.LevelInfo, false},
	{one(errBusy, governor.ErrLimited, answer.ErrAway, answer.ErrGoingDown, im.ErrRestoring, kv.ErrReadOnly, kv.ErrBusy), outcomeBusy, slog.LevelDebug, false},
	{func(err error) bool { return errors.As(err, new(provided)) }, outcomeProvider, slog.LevelWarn, false},
	{func(error) bool { return true }, outcomeFailed, slog.LevelError, false},
}

// one returns a function that reports whether an error is one of these.
func one(these ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(these, func(target error) bool { return errors.Is(err, target) })
	}
}

// used reports whether the provider refused a code: it was used before, has expired, or was made up.
func used(err error) bool {
	var refused *oauth2.RetrieveError
	return errors.As(err, &refused) && refused.ErrorCode == "invalid_grant"
}

// failed logs why a sign-in failed, and sends the browser to the page, which explains it.
func (s *Service) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	for _, reason := range reasons {
		if !reason.is(err) {
			continue
		}
		s.opts.Log.Log(r.Context(), reason.level, "sign-in by OpenID Connect failed", "outcome", reason.outcome, "err", shown(err))
		if reason.refused {
			s.opts.Failed(r.Context(), s.opts.Address(r))
		}
		s.toPage(w, reason.outcome)
		return
	}
}

// away answers a request at once while NATS is unreachable.
func (s *Service) away(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		answer.WriteCode(w, answer.StatusOf(answer.ErrAway), wire.InternalError)
		return
	}
	s.failed(w, r, answer.ErrAway)
}

// serveSession answers the ticket of the sign-in that this browser has completed, as POST /im/session does.
func (s *Service) serveSession(w http.ResponseWriter, r *http.Request) {
	if !s.opts.Allowed(r) {
		answer.WriteCode(w, http.StatusOK, wire.ProtocolError)
		return
	}
	v, err := s.openCookie(r.Context(), r, ticketCookie)
	s.dropCookie(w, ticketCookie)
	if errors.Is(err, errCookie) {
		err = wire.WrongCredentials
	}
	if err != nil {
		code := answer.CodeOf(s.opts.Log, "oidc/session", err)
		answer.SetRetryAfter(w, err)
		answer.WriteCode(w, answer.StatusOf(err), code)
		return
	}
	ticket := wire.Ticket{Ticket: v.Ticket, Expires: int(math.Ceil(time.Until(v.Expires).Seconds()))}
	answer.Write(w, http.StatusOK, ticket.Append(nil))
}
