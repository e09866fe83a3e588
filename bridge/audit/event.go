package audit

import (
	"encoding/json"
	"hash/fnv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what happened: two or three words joined by dots. An action of an administrator is "admin.", the noun and
// the verb of the endpoint, as in "admin.user.disable".
type Kind string

// The kinds, besides those of administrators.
const (
	LoginDone   Kind = "login.done"
	LoginFailed Kind = "login.failed"

	// LimitReached: a limit of the governor was reached. Detail is the reason.
	LimitReached Kind = "limited"

	UserCreated  Kind = "user.created"
	UserPassword Kind = "user.password"
	UserMail     Kind = "user.mail"
	UserLogout   Kind = "user.logout"
	UserSessions Kind = "user.sessions" // a user ended sessions of its own
	UserDeleted  Kind = "user.deleted"  // by itself

	UserBefriended Kind = "user.befriended" // a service has become a friend of a user by itself

	AttachmentDetached Kind = "attachment.detached" // its consumer was removed, since its program was away while the log filled up
	AttachmentResumed  Kind = "attachment.resumed"  // its program is back and has a new consumer

	// WebhookDisabled: its destination answered 410 Gone.
	WebhookDisabled Kind = "webhook.disabled"

	ServerStarted  Kind = "server.started"
	ServerStopped  Kind = "server.stopped"
	ServerReloaded Kind = "server.reloaded"
	ServerRestored Kind = "server.restored"
)

// Kinds returns the kinds, besides those of administrators.
func Kinds() []Kind {
	return []Kind{LoginDone, LoginFailed, LimitReached, UserCreated, UserPassword, UserMail, UserLogout, UserSessions, UserDeleted, UserBefriended,
		AttachmentDetached, AttachmentResumed, WebhookDisabled, ServerStarted, ServerStopped, ServerReloaded, ServerRestored}
}

// Admin returns the kind of an action of an administrator.
func Admin(noun, verb string) Kind { return Kind("admin." + noun + "." + verb) }

// The kinds of a Ref.
const (
	Administrator = "administrator" // ID: the name that the command gives, which the server cannot verify
	User          = "user"          // ID: the user's id
	Attachment    = "attachment"    // ID: the name
	Webhook       = "webhook"       // ID: the name
	Client        = "client"        // without a login
	Server        = "server"        // a node itself
)

// Ref names the actor or the subject of an event.
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

// Event is one entry of the trail. It has no secret, and nothing that a client typed to log in.
type Event struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node,omitempty"`
	Event   Kind      `json:"event"`
	Actor   Ref       `json:"actor"`
	Address string    `json:"address,omitempty"` // an IPv4 address, or the /64 network of an IPv6 address
	Subject Ref       `json:"subject,omitzero"`
	Count   int       `json:"count,omitempty"` // of a summary: how many such events have no entry of their own
	Detail  string    `json:"detail,omitempty"`
}

// A class of events has a fixed number of subjects. The stream keeps the same number of entries on each subject, so
// no class can drop the entries of another one: an attacker with many failed logins leaves all other entries in place.
type class struct {
	name   string
	shares int
}

var (
	loginsDone   = class{"login_done", 16}
	loginsFailed = class{"login_failed", 16}
	limits       = class{"limited", 4}
	users        = class{"user", 8}
	admins       = class{"admin", 16}
	servers      = class{"server", 4}
)

// allShares is the number of subjects of all classes.
var allShares = loginsDone.shares + loginsFailed.shares + limits.shares + users.shares + admins.shares + servers.shares

// maxEntry is the space in bytes that an entry takes in the stream at most, and maxBody that of its JSON.
const (
	maxEntry = 512
	maxBody  = maxEntry - 64 // NATS adds 30 bytes and the subject
)

func classOf(k Kind) class {
	word, _, _ := strings.Cut(string(k), ".")
	switch {
	case k == LoginDone:
		return loginsDone
	case k == LoginFailed:
		return loginsFailed
	case k == LimitReached:
		return limits
	case word == "user":
		return users
	case word == "server":
		return servers
	}
	return admins
}

// Class returns the class of the events whose kind is filter, or begins with filter and a dot. It returns "" if they
// are in several classes.
func Class(filter string) string {
	if filter == "login" {
		return ""
	}
	return classOf(Kind(filter)).name
}

// Matches reports whether the kind is filter, or begins with filter and a dot.
func (k Kind) Matches(filter string) bool {
	rest, ok := strings.CutPrefix(string(k), filter)
	return ok && (rest == "" || rest[0] == '.')
}

// Concerns reports whether a user acted, or is the subject.
func (e *Event) Concerns(user string) bool {
	return e.Actor == Ref{User, user} || e.Subject == Ref{User, user}
}

// share returns the number of the event's subject within its class. Events of one source are on one subject, so that
// it cannot drop those of all other sources. The actions of administrators and servers are on all subjects in turn.
func (e *Event) share(turn uint64) int {
	c := classOf(e.Event)
	if c == admins || c == servers {
		return int(turn % uint64(c.shares))
	}
	h := fnv.New32a()
	h.Write([]byte(e.source()))
	return int(h.Sum32() % uint32(c.shares))
}

// source is the address of a client without a login, or the user or attachment that acted.
func (e *Event) source() string {
	if e.Actor.ID != "" {
		return e.Actor.ID
	}
	return e.Address
}

// The longest texts of an entry, in bytes.
const (
	maxName   = 64
	maxDetail = 96
)

// body returns the JSON of the event, at most maxBody bytes. It shortens long texts.
func (e Event) body() []byte {
	e.Actor.ID, e.Subject.ID, e.Address = cut(e.Actor.ID, maxName), cut(e.Subject.ID, maxName), cut(e.Address, maxName)
	e.Detail = cut(e.Detail, maxDetail)
	for {
		b, err := json.Marshal(e)
		if err != nil {
			panic(err) // texts, a number and a time of this century always marshal
		}
		switch {
		case len(b) <= maxBody, e.Actor.ID == "" && e.Subject.ID == "" && e.Address == "" && e.Detail == "":
			return b
		case e.Detail != "":
			e.Detail = ""
		default: // only names that JSON escapes are that long
			e.Actor.ID, e.Subject.ID = cut(e.Actor.ID, len(e.Actor.ID)/2), cut(e.Subject.ID, len(e.Subject.ID)/2)
			e.Address = cut(e.Address, len(e.Address)/2)
		}
	}
}

// cut returns at most limit bytes of text, and no part of a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
