// Package admin implements the administration over NATS: the micro service imctl, which every bridge runs with the
// subjects <prefix>.admin.<noun>.<verb>, and its client, which the command line uses. Requests and answers are JSON
// objects. A failure is a micro service error with one of the codes below.
//
// NATS controls the access: only administrators may publish on these subjects.
package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imctl/bridge/cluster"
	"imctl/bridge/natsauth"
	"imctl/kv"
)

// version is the version of the subjects and messages. Its first number changes with every incompatible change.
const version = "1.0.0"

// MaxPage is the maximum number of entries in a page of a list.
const MaxPage = 500

// Code is the kind of a failure.
type Code string

// The codes, as in the header Nats-Service-Error-Code.
const (
	NotFound      Code = "not_found"      // the user, session, token or attachment does not exist
	AlreadyExists Code = "already_exists" // the name is taken, or the two are already friends
	Invalid       Code = "invalid"        // the request is invalid
	Failed        Code = "failed"         // the server failed; a retry may succeed
	Unavailable   Code = "unavailable"    // the request needs a running server, and none runs
	Restoring     Code = "restoring"      // a restore is in progress, or was interrupted
)

// Error is a failure reported by the service. It has no secrets.
type Error struct {
	Code    Code
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func failure(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrNoService means that no administration service answers on that NATS.
var ErrNoService = errors.New("no imctl server answers on that NATS")

// AccountService changes accounts. im.Accounts is one. Errors are those of package kv.
type AccountService interface {
	// Register creates an account with that password. limit is nil.
	Register(ctx context.Context, user kv.User, password string) (kv.User, error)
	// RegisterOwned creates an account that no password logs in to.
	RegisterOwned(ctx context.Context, user kv.User, parts ...kv.Part) (kv.User, error)
	// SetPassword changes the password, revokes the tokens and ends the sessions.
	SetPassword(ctx context.Context, id, password string) error
	// SetSource makes another system check the sign-in, or the server again, revokes the tokens and ends the sessions.
	SetSource(ctx context.Context, id string, e kv.External) error
	// SetDisabled disables the account, which revokes its tokens and ends its sessions, or enables it.
	SetDisabled(ctx context.Context, id string, disabled bool) error
	// Delete removes the account and all its records.
	Delete(ctx context.Context, id string) error
	// Restore creates the accounts that do not exist yet, as they were.
	Restore(ctx context.Context, users []kv.User) []kv.Restored
	// CheckHash returns an error for a password hash that no password can be verified with.
	CheckHash(hash string) error
	// HashPassword returns the hash of a password.
	HashPassword(ctx context.Context, password string) (string, error)
	// TooLong reports whether a password is longer than the longest valid one.
	TooLong(password string) bool
	// RevokeTokens revokes tokens, by their hashes, and ends the sessions that live by them.
	RevokeTokens(ctx context.Context, id string, hashes ...string) error
}

// FriendService changes friendships. im.Friends is one. Errors are those of package kv.
type FriendService interface {
	// Befriend makes two users friends.
	Befriend(ctx context.Context, a, b string) (kv.Change, error)
	// Unfriend ends a friendship.
	Unfriend(ctx context.Context, a, b string) error
	// Restore adds what rosters lack of the given ones.
	Restore(ctx context.Context, all ...kv.UserSnapshot) ([]kv.Change, error)
}

// AttachmentService manages the programs that may log in to NATS. natsauth.Attachments is one. Errors are those of
// package kv.
type AttachmentService interface {
	// AddAs adds an attachment with its name, role, and the properties of a service.
	AddAs(ctx context.Context, a kv.Attachment, filters ...string) (kv.Attachment, natsauth.Context, error)
	// Statuses returns all attachments, each with the lag of its consumer.
	Statuses(ctx context.Context) ([]natsauth.Status, error)
	Rotate(ctx context.Context, name string) (kv.Attachment, natsauth.Context, error)
	Remove(ctx context.Context, name string) error
	// Resume gives a detached attachment a new consumer.
	Resume(ctx context.Context, name string) (kv.Attachment, error)
	// ClientCert reports whether the NATS server may require a client certificate.
	ClientCert() bool
	// Unanswered reports whether the calls of a new reader get no answer.
	Unanswered(a kv.Attachment, c natsauth.Context) bool
}

// Live is what only running servers know and do.
type Live interface {
	Sessions(ctx context.Context, query cluster.ListSessions) ([]cluster.Session, error)
	// EndSessions ends the sessions with the given ids, or all, together with all connections to NATS.
	EndSessions(ctx context.Context, id, reason string, sessions ...string) error
	Nodes(ctx context.Context) ([]cluster.NodeStatus, error)
	// FollowLog creates a consumer of the event log for a client that watches.
	FollowLog(ctx context.Context, filter string) (stream, consumer string, err error)
}

// User is an account in a list.
type User struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	Mail     string    `json:"mail"`
	Created  time.Time `json:"created,omitzero"` // omitted if unknown
	Disabled bool      `json:"disabled"`
	Source   string    `json:"source,omitempty"`  // what checks the sign-in: nats, jwt or oidc; "": the server, by password
	Gateway  string    `json:"gateway,omitempty"` // name of the gateway that speaks for the user
}

// UserDetails has the details of one account. It has no password hash: only an export does.
type UserDetails struct {
	User
	Sex      string `json:"sex"`
	Birthday string `json:"birthday"`
	Sign     string `json:"sign"`
	Picture  string `json:"picture"`
	Friends  int    `json:"friends"`
	Requests int    `json:"requests"` // pending, to this user
	Tokens   int    `json:"tokens"`
	Sessions *int   `json:"sessions"` // null if no server runs
}

// ListUsers requests a page of the accounts. The zero value requests the first page of all accounts.
type ListUsers struct {
	After    string `json:"after,omitempty"`    // the Next of the previous page
	Limit    int    `json:"limit,omitempty"`    // 1 to MaxPage; 0 is MaxPage
	Begins   string `json:"begins,omitempty"`   // prefix of the account or name, ignoring case
	Disabled *bool  `json:"disabled,omitempty"` // null for both
	Gateway  string `json:"gateway,omitempty"`  // only users of this gateway
}

// Users is a page of accounts, in the order of their last change. It may be short or even empty although more pages
// follow. An account that changes while the pages are read may be in two of them, but is never missing.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next"` // cursor of the next page, "" on the last
}

// CreateUser creates an account. Unlike at registration, Mail may be empty. An empty Name is replaced by the account.
type CreateUser struct {
	Account  string `json:"account"`
	Password string `json:"password"`
	Name     string `json:"name,omitempty"`
	Mail     string `json:"mail,omitempty"`
	Sex      string `json:"sex,omitempty"`
	Birthday string `json:"birthday,omitempty"`
	Sign     string `json:"sign,omitempty"`
}

// UserRef names a user by its account or its id, with or without the prefix "id:". An existing id takes precedence
// over an account with the same text.
type UserRef struct {
	User string `json:"user"`
}

// SetPassword sets a new password.
type SetPassword struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// SetSource changes what checks the sign-in of a user.
type SetSource struct {
	User    string `json:"user"`
	Source  string `json:"source"` // builtin, nats, jwt or oidc
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"` // "": that of the first sign-in
}

// LookUp requests the accounts with these ids.
type LookUp struct {
	IDs []string `json:"ids"`
}
