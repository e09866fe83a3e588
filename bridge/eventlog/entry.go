package eventlog

import (
	"encoding/json"
	"time"

	"imctl/kv"
)

// entry is one message of the log.
type entry struct {
	subject string
	data    []byte
	done    Done      // the sender that waits for the commit; nil: none
	expires time.Time // the end of retries
	id      string    // by which NATS recognizes a second try; "": it is tried once
}

func (e *entry) size() int { return len(e.subject) + len(e.data) }

// timeFormat always has nine digits after the point, so that the text sorts as the time does.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// dialogueBody returns the JSON of a dialogue's entry. Its id and payload are those of the frame, byte for byte.
func dialogueBody(d Dialogue, at time.Time) []byte {
	body := make([]byte, 0, len(d.ID)+len(d.From)+len(d.To)+len(d.Payload)+96)
	body = appendDialogue(body, at, d.ID, d.From, d.To)
	body = append(body, `","payload":`...)
	body = append(body, d.Payload...)
	return append(body, '}')
}

// appendDialogue appends the beginning of the JSON of an entry about a dialogue, up to the id of the friend, whose closing
// quotation mark is missing.
func appendDialogue(body []byte, at time.Time, id []byte, from, to string) []byte {
	body = append(body, `{"v":1,"time":"`...)
	body = at.UTC().AppendFormat(body, timeFormat)
	body = append(body, `","id":`...)
	body = append(body, id...)
	body = append(body, `,"from":"`...) // ids need no escaping
	body = append(body, from...)
	body = append(body, `","to":"`...)
	return append(body, to...)
}

// eventBody is the JSON of every other entry. Fields that do not apply to an event are left out.
type eventBody struct {
	V    int    `json:"v"`
	Time string `json:"time"`

	// An account, or the user of a session.
	User    string `json:"user,omitempty"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`

	// A session.
	Session string `json:"session,omitempty"`
	Node    string `json:"node,omitempty"`

	// A friendship: the user who acted, and the other.
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Note  string `json:"note,omitempty"`
	Alias string `json:"alias,omitempty"`

	// A report: from, to and note as above, and its id.
	Report string `json:"report,omitempty"`
}

func newEventBody(at time.Time, fill func(*eventBody)) []byte {
	e := eventBody{V: 1, Time: at.UTC().Format(timeFormat)}
	fill(&e)
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	return b
}

// UserEvent is what happened to an account: the word in the entry's subject.
type UserEvent string

// The events of an account.
const (
	UserCreated  UserEvent = "created"
	UserUpdated  UserEvent = "updated"
	UserPassword UserEvent = "password"
	UserDisabled UserEvent = "disabled"
	UserEnabled  UserEvent = "enabled"
	UserDeleted  UserEvent = "deleted"
)

// User writes what happened to an account.
func (l *Log) User(event UserEvent, u kv.User) {
	l.addEvent(l.names.Log("user", string(event), u.ID), func(e *eventBody) {
		e.User, e.Account, e.Name = u.ID, u.Account, u.Name
	})
}

// friendEvents are the changes of friendships by the word of their subject.
var friendEvents = map[kv.Kind]string{
	kv.Requested:  "requested",
	kv.Befriended: "added",
	kv.Named:      "named",
	kv.Removed:    "removed",
	kv.Withdrawn:  "withdrawn",
	kv.Blocked:    "blocked",
	kv.Unblocked:  "unblocked",
}

// Friend writes a change of two rosters.
func (l *Log) Friend(c kv.Change) {
	event, ok := friendEvents[c.Kind]
	if !ok {
		return
	}
	l.addEvent(l.names.Log("friend", event, c.A, c.B), func(e *eventBody) {
		e.From, e.To = c.A, c.B
		switch c.Kind {
		case kv.Requested:
			e.Note = c.Request.Note
		case kv.Befriended, kv.Named:
			e.Alias = c.FriendOfA.Alias
		}
	})
}

// Report writes that a user reported another one. The entry has the text, and not the dialogue.
func (l *Log) Report(r kv.Report) {
	l.addEvent(l.names.Log("report", "created", r.By, r.User), func(e *eventBody) {
		e.From, e.To, e.Note, e.Report = r.By, r.User, r.Text, r.ID
	})
}

// SessionEvent is what happened to a session: the word in the entry's subject.
type SessionEvent string

// The events of a session.
const (
	SessionBegan SessionEvent = "began"
	SessionEnded SessionEvent = "ended"
)

// Session writes what happened to a user's session on a node.
func (l *Log) Session(event SessionEvent, user, session, node string) {
	l.addEvent(l.names.Log("session", string(event), user), func(e *eventBody) {
		e.User, e.Session, e.Node = user, session, node
	})
}
