package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/answer"
	"imctl/bridge/audit"
	"imctl/bridge/governor"
	"imctl/bridge/picture"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Attachments of the roles reader and service read users, friendships and presence by requests on
// <prefix>.read.<attachment>.<call>. A service makes further calls on <prefix>.service.<attachment>.<call>. The subject
// tells which attachment calls: NATS does not let a client publish on that of another one.

// concurrentReads bounds the calls of attachments, besides lists of users. They have places of their own, so that they
// hold no user up.
const concurrentReads = 8

const (
	maxRead     = 100      // users of a page, and ids of one call
	maxReadBody = 16 << 10 // bytes of the body of a call, which is 4 KB with so many ids
	maxInboxes  = 1 << 10  // services whose inboxes are remembered
)

// Log is the event log that attachments follow. eventlog.Log is one.
type Log interface {
	// Last returns the sequence of the last entry, 0 for none.
	Last(ctx context.Context) (uint64, error)
}

// readRequest is the body of a call of an attachment. Each call uses some of the fields.
type readRequest struct {
	ID      string   `json:"id"`
	Account string   `json:"account"`
	IDs     []string `json:"ids"`
	After   string   `json:"after"`
	Limit   int      `json:"limit"`
}

// attachmentCall does the work of a call, and returns the keys of the answer besides those of all answers.
type attachmentCall func(ctx context.Context, api *API, a kv.Attachment, r readRequest) (map[string]any, error)

var readCalls = map[string]attachmentCall{
	"users":    readUsers,
	"user":     readUser,
	"friends":  readFriends,
	"presence": readPresence,
	"log":      readLog,
}

var serviceCalls = map[string]attachmentCall{"self": readSelf, "befriend": befriend}

// readableUser is a user without mail address, password hash and tokens.
type readableUser struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	Picture  string    `json:"picture"` // the address of the picture
	Sex      string    `json:"sex"`
	Birthday string    `json:"birthday"`
	Sign     string    `json:"sign"`
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled"`
}

func readable(u kv.User) readableUser {
	return readableUser{ID: u.ID, Account: u.Account, Name: u.Name, Picture: picture.Shown(u.ID, u.Picture), Sex: u.Sex,
		Birthday: u.Birthday, Sign: u.Sign, Created: u.Created, Disabled: u.Disabled}
}

// readUsers returns a page of the users, in the order in which they were last written.
func readUsers(ctx context.Context, api *API, _ kv.Attachment, r readRequest) (map[string]any, error) {
	after := uint64(0)
	if r.After != "" {
		var err error
		if after, err = strconv.ParseUint(r.After, 10, 64); err != nil {
			return nil, wire.ProtocolError
		}
	}
	found, next, err := api.opts.Store.Users.List(ctx, kv.ListOptions{After: after, Limit: r.Limit})
	if err != nil {
		return nil, err
	}
	users := make([]readableUser, len(found))
	for i, u := range found {
		users[i] = readable(u)
	}
	cursor := ""
	if next != 0 {
		cursor = strconv.FormatUint(next, 10)
	}
	return map[string]any{"users": users, "next": cursor}, nil
}

// readUser returns the user with an id, or with an account.
func readUser(ctx context.Context, api *API, _ kv.Attachment, r readRequest) (map[string]any, error) {
	var u kv.User
	var err error
	switch {
	case (r.ID == "") == (r.Account == ""):
		return nil, wire.ProtocolError
	case r.ID != "":
		u, err = api.opts.Store.Users.Get(ctx, r.ID)
	default:
		u, err = api.opts.Store.Users.ByAccount(ctx, r.Account)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"user": readable(u)}, nil
}

// readableFriend is an entry of a user's friends.
type readableFriend struct {
	ID    string    `json:"id"`
	Alias string    `json:"alias,omitempty"`
	Since time.Time `json:"since"`
}

// readableRequest is a pending request to a user.
type readableRequest struct {
	From  string    `json:"from"`
	Since time.Time `json:"since"`
}

// readFriends returns a page of a user's friends, by id. The first page has the pending requests to the user and the
// users that it blocks too.
func readFriends(ctx context.Context, api *API, _ kv.Attachment, r readRequest) (map[string]any, error) {
	if _, err := api.opts.Store.Users.Get(ctx, r.ID); err != nil {
		return nil, err
	}
	roster, _, err := api.opts.Store.Rosters.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	friends := make([]readableFriend, 0, len(roster.Friends))
	for _, f := range roster.Friends {
		if f.ID > r.After {
			friends = append(friends, readableFriend{f.ID, f.Alias, f.Since})
		}
	}
	slices.SortFunc(friends, func(x, y readableFriend) int { return strings.Compare(x.ID, y.ID) })
	next := ""
	if len(friends) > r.Limit {
		friends = friends[:r.Limit]
		next = friends[r.Limit-1].ID
	}
	all := map[string]any{"friends": friends, "next": next}
	if r.After == "" {
		requests := make([]readableRequest, len(roster.Requests))
		for i, q := range roster.Requests {
			requests[i] = readableRequest{q.From, q.Since}
		}
		all["requests"], all["blocked"] = requests, append([]string{}, roster.Blocked...)
	}
	return all, nil
}

// readPresence returns which of some users are online.
func readPresence(ctx context.Context, api *API, _ kv.Attachment, r readRequest) (map[string]any, error) {
	if len(r.IDs) == 0 || len(r.IDs) > maxRead || slices.ContainsFunc(r.IDs, func(id string) bool { return !kv.ValidID(id) }) {
		return nil, wire.ProtocolError
	}
	are, err := api.opts.Lanes.Online(ctx, r.IDs...)
	if err != nil {
		return nil, err
	}
	online := []string{}
	for i, id := range r.IDs {
		if are[i] {
			online = append(online, id)
		}
	}
	return map[string]any{"online": online}, nil
}

// readLog returns the sequence of the last entry of the event log. What a call reads afterwards has at least the changes
// that are in the log up to it.
func readLog(ctx context.Context, api *API, _ kv.Attachment, _ readRequest) (map[string]any, error) {
	last, err := api.opts.Log.Last(ctx)
	return map[string]any{"last": last}, err
}

// readSelf returns the user that a service is.
func readSelf(ctx context.Context, api *API, a kv.Attachment, _ readRequest) (map[string]any, error) {
	return readUser(ctx, api, a, readRequest{ID: a.User})
}

// befriend makes the user of a service and another one friends, once, if an administrator lets the service do so.
func befriend(ctx context.Context, api *API, a kv.Attachment, r readRequest) (map[string]any, error) {
	if !a.Befriends {
		return nil, wire.ProtocolError
	}
	me, err := api.opts.Accounts.Active(ctx, a.User)
	if err != nil {
		return nil, err
	}
	if err := api.opts.Governor.Allow(governor.FriendChanges, me.ID); err != nil {
		return nil, err
	}
	made, err := api.opts.Friends.BefriendOnce(ctx, me, r.ID)
	if err == nil && made {
		api.opts.Logger.Info("a service has become a friend of a user by itself", "attachment", a.Name, "user", r.ID)
		api.opts.Audit.Add(audit.Event{Event: audit.UserBefriended, Actor: audit.Ref{Kind: audit.Attachment, ID: a.Name},
			Subject: audit.Ref{Kind: audit.User, ID: r.ID}, Detail: me.Account})
	}
	return nil, err
}

// costOfRead returns as how many calls a call counts. A list reads 100 users.
func costOfRead(name string, size int) int {
	switch name {
	case "users":
		return 10
	case "presence":
		return governor.CostOfIDs(size)
	}
	return 1
}

// receiveAttachment returns the handler of requests of attachments whose role may make these calls. A call over the
// attachment's rate is answered here: it must not wait for a place, and keep others waiting, to be refused then.
func (s *NATSServer) receiveAttachment(calls map[string]attachmentCall, may func(kv.Role) bool) nats.MsgHandler {
	return func(m *nats.Msg) {
		name, callName := s.api.opts.Prefix.ParseAttachmentCall(m.Subject)
		label := "unknown" // the client chooses the name, and a metric's labels must be few
		if calls[callName] != nil {
			label = "attachment_" + callName
		}
		refused := func(err error) { s.refuseAttachment(m, name, label, err) }
		if len(m.Data) > maxReadBody {
			refused(answer.ErrTooLarge)
			return
		}
		if err := s.api.opts.Governor.AllowProgramCall(name, costOfRead(callName, len(m.Data))); err != nil {
			refused(err)
			return
		}
		s.reads.Run(name, callName == "users", len(m.Data), func() {
			defer recovery.Log(s.api.opts.Logger, "call of an attachment")
			s.attachmentCall(m, name, label, calls[callName], may)
		}, refused)
	}
}

// refuseAttachment answers a call that was not made, if the reply subject is the attachment's own.
func (s *NATSServer) refuseAttachment(m *nats.Msg, name, label string, err error) {
	if s.mayRefuse(m.Reply, name) {
		s.refuse(m, name, label, err)
		return
	}
	s.api.opts.Logger.Debug("a call of an attachment is ignored", "attachment", name, "reply", m.Reply)
}

// mayRefuse is ownReply for a call that is refused. It must cost little, so it reads the record of a service at most
// once: each call that is served notes the service's user again.
func (s *NATSServer) mayRefuse(reply, name string) bool {
	if subject.IsImportReply(reply) {
		return true
	}
	user, known := s.inboxes.Get(name)
	if !known {
		ctx, cancel := context.WithTimeout(context.Background(), s.api.opts.Timeout)
		defer cancel()
		a, err := s.api.opts.Store.Attachments.Get(ctx, name)
		if err != nil {
			return false
		}
		user = a.User
		s.inboxes.Add(name, user)
	}
	return user != "" && subject.InInbox(reply, user)
}

// attachmentCall serves a call of an attachment. A request with a reply subject that is not the attachment's own is
// ignored, as that of a user is.
func (s *NATSServer) attachmentCall(m *nats.Msg, name, label string, call attachmentCall, may func(kv.Role) bool) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var all map[string]any
	err := s.api.pass(func() error {
		a, err := s.api.opts.Store.Attachments.Get(ctx, name)
		if err == nil && (!may(a.Role) || !s.ownReply(m.Reply, a)) {
			err = kv.ErrAttachmentNotFound
		}
		if err != nil {
			return err
		}
		s.inboxes.Add(name, a.User)
		var r readRequest
		if call == nil || len(m.Data) > 0 && json.Unmarshal(m.Data, &r) != nil {
			return wire.ProtocolError
		}
		if r.Limit = cmp.Or(r.Limit, maxRead); r.Limit < 1 || r.Limit > maxRead {
			return wire.ProtocolError
		}
		all, err = call(ctx, s.api, a, r)
		return err
	})
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		s.api.opts.Logger.Debug("a call of an attachment is ignored", "attachment", name, "reply", m.Reply)
		return
	}
	code := s.api.observe(label, err, time.Since(started))
	if err != nil {
		s.fail(m, name, code, err)
		return
	}
	if all == nil {
		s.respond(m, wire.AppendReply(nil, code, nil))
		return
	}
	all["code"], all["message"], all["ok"] = code, code.Message(), true
	body, err := json.Marshal(all)
	if err != nil {
		s.api.opts.Logger.Error("encode the answer to an attachment", "err", err)
		return
	}
	s.respond(m, body)
}

// ownReply reports whether the reply subject of an attachment's request is its own: the inbox of the service's user, or
// what NATS makes for a request from the account of readers. No client can name one of the latter.
func (s *NATSServer) ownReply(reply string, a kv.Attachment) bool {
	if a.Role == kv.RoleService {
		return subject.InInbox(reply, a.User)
	}
	return subject.IsImportReply(reply)
}
