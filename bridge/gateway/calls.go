package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"imctl/bridge/audit"
	"imctl/bridge/cluster"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Result is the answer of a call. It begins with the three keys of every answer.
type Result struct {
	Code    wire.Code `json:"code"`
	Message string    `json:"message"`
	OK      bool      `json:"ok"`

	ID      string `json:"id,omitempty"`      // register: of the user
	Session string `json:"session,omitempty"` // open
	Lease   int    `json:"lease,omitempty"`   // open: in seconds
	// Online is the number of users that are online by the session. Refused are the ids that online or offline does not
	// accept: they are of no user of the gateway, or of a disabled one.
	Online  *int     `json:"online,omitempty"`
	Refused []string `json:"refused,omitempty"`

	Users []User `json:"users,omitzero"` // users
	Next  string `json:"next,omitempty"` // users: the cursor of the next page, absent after the last one
}

// User is a user of a gateway.
type User struct {
	ID       string `json:"id"`
	Account  string `json:"account"`
	Name     string `json:"name"`
	Disabled bool   `json:"disabled,omitempty"`
}

// registerFields are those of a call to register a user.
var registerFields = append([]wire.Field{{Name: "account", Kind: wire.Account, Max: wire.MaxAccount, Empty: wire.AccountEmpty}}, wire.ProfileDeclaration()...)

// register creates a user without a password. An account that the gateway has registered already is no error, so that a
// gateway can repeat a call whose answer it has not seen.
func (s *Service) register(ctx context.Context, c call) (Result, error) {
	v, code := wire.ParseBody(c.body, registerFields, wire.Limits{Picture: s.opts.Governor.Picture()})
	if code == 0 {
		code = v.Check()
	}
	if code != 0 {
		return Result{}, code
	}
	u := kv.User{Account: v.Get("account"), Gateway: c.gateway.Name}
	v.SetProfile((*wire.ProfileFields)(&u.Profile))
	if u.Name == "" {
		u.Name = u.Account
	}
	if !c.gateway.MayRegister(u.Account) {
		return Result{}, wire.ProtocolError
	}
	unlock, err := s.adding.Lock(ctx, c.gateway.Name)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	have, err := s.opts.Store.Users.ByAccount(ctx, u.Account)
	if err == nil && have.Gateway == c.gateway.Name {
		return Result{ID: have.ID}, nil
	}
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return Result{}, err
	}
	var room []kv.Part
	if limit := s.limit(c.gateway); limit > 0 {
		room = append(room, s.opts.Store.Users.Room(c.gateway.Name, limit))
	}
	u, err = s.opts.Accounts.RegisterOwned(ctx, u, room...)
	if errors.Is(err, kv.ErrGatewayFull) {
		err = wire.QuotaExceeded
	}
	if err != nil {
		return Result{}, err
	}
	s.opts.Audit.Add(audit.Event{Event: audit.UserCreated, Actor: audit.Ref{Kind: audit.Attachment, ID: c.gateway.Name}, Subject: audit.Ref{Kind: audit.User, ID: u.ID}})
	return Result{ID: u.ID}, nil
}

// limit returns how many users a gateway may have, 0 for no limit.
func (s *Service) limit(a kv.Attachment) int {
	limit := s.opts.MaxUsers
	if a.MaxUsers > 0 && (limit == 0 || a.MaxUsers < limit) {
		limit = a.MaxUsers
	}
	return limit
}

// users lists the users of the gateway.
func (s *Service) users(ctx context.Context, c call) (Result, error) {
	v, code := wire.ParseBody(c.body, []wire.Field{{Name: "after", Kind: wire.Number}, {Name: "limit", Kind: wire.Number, Least: 1, Most: maxPage}}, wire.Limits{})
	if code != 0 {
		return Result{}, code
	}
	after, _ := v.Number("after")
	limit, given := v.Number("limit")
	if !given {
		limit = maxPage
	}
	ids, next, err := s.opts.Store.Users.Owned(ctx, c.gateway.Name, after, int(limit))
	if err != nil {
		return Result{}, err
	}
	all, err := s.opts.Store.Users.GetMany(ctx, ids)
	if err != nil {
		return Result{}, err
	}
	result := Result{Users: []User{}}
	for _, id := range ids {
		if u, ok := all[id]; ok {
			result.Users = append(result.Users, User{ID: u.ID, Account: u.Account, Name: u.Name, Disabled: u.Disabled})
		}
	}
	if next > 0 {
		result.Next = strconv.FormatUint(next, 10)
	}
	return result, nil
}

// open opens a session of the gateway on this node, and ends its earlier one, on any node.
func (s *Service) open(ctx context.Context, c call) (Result, error) {
	if _, err := parseDeclaration(c.body); err != nil {
		return Result{}, err
	}
	if !s.opts.Fresh() {
		return Result{}, wire.InternalError
	}
	r, err := s.newSession(c.gateway.Name)
	if err != nil {
		return Result{}, err
	}
	if err := s.enter(ctx, r); err != nil {
		r.nc.Close()
		return Result{}, err
	}
	return Result{Session: s.opts.Node + "." + r.id, Lease: int(s.opts.Lease.Seconds()), Online: new(int)}, nil
}

// enter notes a session as the last one of its gateway, ends the one before, and starts it.
//
// Errors: wire.AuthIllegal if there is no such gateway, wire.LoginElsewhere if it has opened a later session meanwhile.
func (s *Service) enter(ctx context.Context, r *session) error {
	revision, err := s.opts.Store.Attachments.OpenSession(ctx, r.gateway, s.opts.Node)
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		return wire.AuthIllegal
	}
	if err != nil {
		return err
	}
	r.revision, r.id = revision, strconv.FormatUint(revision, 10)
	if err := s.opts.Cluster.Broadcast(ctx, cluster.GatewayOpened{Gateway: r.gateway, Revision: revision}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return wire.InternalError
	case s.opened[r.gateway] > r.revision:
		return wire.LoginElsewhere
	}
	s.sessions[r.gateway] = r
	r.start()
	return nil
}

// session returns the session that a call names.
//
// Errors: wire.LoginElsewhere if the gateway has opened another one, wire.AuthIllegal if the session has ended.
func (s *Service) session(c call) (*session, error) {
	revision, err := strconv.ParseUint(c.words[len(c.words)-1], 10, 64)
	if err != nil {
		return nil, wire.AuthIllegal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.sessions[c.gateway.Name]
	switch {
	case r != nil && r.revision == revision:
		return r, nil
	case s.opened[c.gateway.Name] > revision:
		return nil, wire.LoginElsewhere
	}
	return nil, wire.AuthIllegal
}

// declaration is the body of online and offline.
type declaration struct {
	Users []string `json:"users"`
}

func parseDeclaration(body []byte) ([]string, error) {
	var d declaration
	if len(body) > 0 {
		if err := json.Unmarshal(body, &d); err != nil {
			return nil, wire.ProtocolError
		}
	}
	if len(d.Users) > maxPage {
		return nil, wire.ProtocolError
	}
	return d.Users, nil
}

// online renews the lease of a session, and brings users online.
func (s *Service) online(ctx context.Context, c call) (Result, error) {
	users, err := parseDeclaration(c.body)
	if err != nil {
		return Result{}, err
	}
	r, err := s.session(c)
	if err != nil {
		return Result{}, err
	}
	var result Result
	var added []string
	for _, user := range users {
		ok, err := s.bring(ctx, r, user)
		switch {
		case errors.Is(err, wire.AuthIllegal):
			result.Refused = append(result.Refused, user)
		case err != nil:
			return Result{}, err
		case ok:
			added = append(added, user)
		}
	}
	if len(added) > 0 {
		if err := r.nc.FlushWithContext(ctx); err != nil {
			return Result{}, fmt.Errorf("subscribe for a gateway: %w", err)
		}
		added = slices.DeleteFunc(added, func(user string) bool { return !r.has(user) })
		s.news.add(true, added...)
	}
	return s.renewed(r, result)
}

// bring brings a user of the session's gateway online.
func (s *Service) bring(ctx context.Context, r *session, user string) (added bool, err error) {
	if err := s.Owns(ctx, r.gateway, user); err != nil {
		return false, err
	}
	if added, err = r.add(user); err != nil {
		return false, err
	}
	// The user may have been disabled after it was read, and before Forget could see it online.
	if err := s.Owns(ctx, r.gateway, user); err != nil {
		r.remove(user)
		return false, err
	}
	return added, nil
}

// offline takes users offline, or without users ends the session.
func (s *Service) offline(_ context.Context, c call) (Result, error) {
	users, err := parseDeclaration(c.body)
	if err != nil {
		return Result{}, err
	}
	r, err := s.session(c)
	if err != nil {
		return Result{}, err
	}
	if users == nil {
		r.end("the gateway has ended it")
		return Result{Online: new(int)}, nil
	}
	for _, user := range users {
		r.remove(user)
	}
	return s.renewed(r, Result{})
}

// renewed renews the lease of a session, and tells how many users are online.
func (s *Service) renewed(r *session, result Result) (Result, error) {
	if !r.renew() {
		return Result{}, wire.AuthIllegal
	}
	n := len(r.list())
	result.Online = &n
	return result, nil
}
