// Package admin is the administration over NATS: the micro service
// imctl that every bridge runs, with subjects <prefix>.admin.<noun>.<verb>, and the
// client of it that the command line uses. Requests and answers are JSON objects;
// a failure is a micro service error with one of the codes below.
//
// Who may call is decided by NATS: only an administrator may publish on these subjects.
package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imctl/bridge"
	"imctl/kv"
)

// ServiceName is the name under which the service is found ($SRV.INFO.imctl).
const ServiceName = "imctl"

// version is that of the subjects and messages. Its first number changes when a client of the last would break.
const version = "1.0.0"

// MaxPage is how many entries one answer of a list holds at most.
const MaxPage = 500

// Code says what kind of failure an answer is.
type Code string

// The codes, as the header Nats-Service-Error-Code has them.
const (
	NotFound      Code = "not_found"      // there is no such user, session, attachment
	AlreadyExists Code = "already_exists" // the name is taken; the two are friends
	Invalid       Code = "invalid"        // the request can't be carried out as it is
	Failed        Code = "failed"         // the server could not do it; trying again may help
	Unavailable   Code = "unavailable"    // only a server that runs can do it, and none does
	Restoring     Code = "restoring"      // a restore is replacing the data, or was interrupted while it did
)

// Error is a failure that the service answered. It holds nothing secret.
type Error struct {
	Code    Code
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func failure(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrNoService: nobody on that NATS answers for the administration.
var ErrNoService = errors.New("no imctl server answers there")

// Accounts does the changes; bridge.Service is one. Errors are those of package kv.
type Accounts interface {
	// Register makes an account with that password. gate is nil.
	Register(ctx context.Context, user kv.User, password string, gate func() error) (kv.User, error)
	// SetPassword changes the password, revokes the tokens and ends the sessions.
	SetPassword(ctx context.Context, id, password string) error
	// SetDisabled bars the account, which revokes its tokens and ends its sessions, or lets it in again.
	SetDisabled(ctx context.Context, id string, disabled bool) error
	// DeleteUser removes the account and all that is held about it.
	DeleteUser(ctx context.Context, id string) error
	// RestoreUsers makes the accounts that are not there yet, as they were.
	RestoreUsers(ctx context.Context, users []kv.User) []kv.Restored
	// RestoreRosters adds what the rosters lack of what was.
	RestoreRosters(ctx context.Context, all ...kv.UserSnapshot) ([]kv.Change, error)
	// Befriend makes friends of two users at once.
	Befriend(ctx context.Context, a, b string) (kv.Change, error)
	// Unfriend ends a friendship.
	Unfriend(ctx context.Context, a, b string) error
	// RevokeTokens ends tokens, by their hashes, and the sessions that live by them.
	RevokeTokens(ctx context.Context, id string, hashes ...string) error
	// AttachAdd, AttachList, AttachRotate and AttachRemove are for the programs that may log in to NATS.
	AttachAdd(ctx context.Context, name string, role kv.Role, filter string) (kv.Attachment, bridge.NATSContext, error)
	AttachList(ctx context.Context) ([]kv.Attachment, error)
	AttachRotate(ctx context.Context, name string) (kv.Attachment, bridge.NATSContext, error)
	AttachRemove(ctx context.Context, name string) error
}

// Live is what servers know that run; bridge.Service is one.
type Live interface {
	Sessions(ctx context.Context, f bridge.SessionFilter) ([]bridge.SessionInfo, error)
	// EndSessions ends those named, or all with all connections to NATS.
	EndSessions(ctx context.Context, id, reason string, sessions ...string) error
	Nodes(ctx context.Context) ([]bridge.NodeStatus, error)
	// FollowLog makes a consumer on the log for somebody who watches.
	FollowLog(ctx context.Context, filter string) (stream, consumer string, err error)
}

// User is an account as lists show it.
type User struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	Mail     string    `json:"mail"`
	Created  time.Time `json:"created,omitzero"` // left out if unknown
	Disabled bool      `json:"disabled"`
}

// UserDetails is all that is shown of one account. Only an export has the password's hash, and nothing the password.
type UserDetails struct {
	User
	Sex      string `json:"sex"`
	Birthday string `json:"birthday"`
	Sign     string `json:"sign"`
	Picture  string `json:"picture"`
	Friends  int    `json:"friends"`
	Requests int    `json:"requests"` // pending, to this user
	Tokens   int    `json:"tokens"`
	Sessions *int   `json:"sessions"` // null where no server counts them
}

// ListUsers asks for a page of the accounts. The zero value asks for the first of all.
type ListUsers struct {
	After    string `json:"after,omitempty"`    // the cursor that the page before had as its next
	Limit    int    `json:"limit,omitempty"`    // 1 to MaxPage; 0 is MaxPage
	Begins   string `json:"begins,omitempty"`   // how account or name begin, compared folded
	Disabled *bool  `json:"disabled,omitempty"` // null for both
}

// Users is a page, in the order in which the accounts were last changed. It may be
// short, and even empty, though others follow. An account that changes while pages
// are read may be in two of them, but is never left out.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next"` // cursor of the next page, "" on the last
}

// CreateUser asks for a new account. Mail, unlike at registration, may be empty; an empty name becomes the account.
type CreateUser struct {
	Account  string `json:"account"`
	Password string `json:"password"`
	Name     string `json:"name,omitempty"`
	Mail     string `json:"mail,omitempty"`
	Sex      string `json:"sex,omitempty"`
	Birthday string `json:"birthday,omitempty"`
	Sign     string `json:"sign,omitempty"`
}

// UserRef names a user by its account, or by its id, with or without "id:" before
// it. What is the id of a user is taken as that, even where it is an account too.
type UserRef struct {
	User string `json:"user"`
}

// SetPassword asks for another password.
type SetPassword struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// LookUp asks for the accounts that have these ids.
type LookUp struct {
	IDs []string `json:"ids"`
}
