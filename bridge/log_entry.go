package bridge

import (
	"encoding/json"
	"strings"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// logEntry is one message of the log.
type logEntry struct {
	subject string
	data    []byte
	flight  *flight   // whose asker waits for it; nil: nobody does
	expires time.Time // it is not tried any longer
}

func (e *logEntry) size() int { return len(e.subject) + len(e.data) }

// logTime has always nine digits after the point, so that its text sorts as the time does.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// appendHead appends what every entry begins with.
func appendHead(dst []byte, at time.Time) []byte {
	dst = append(dst, `{"v":1,"time":"`...)
	dst = at.UTC().AppendFormat(dst, logTime)
	return append(dst, '"')
}

// dialogueEntry is the entry of a dialogue that was taken. Its id and payload are those of the frame, byte for byte.
func (l *EventLog) dialogueEntry(f *flight) (logEntry, bool) {
	d, ok := wire.ParseDialogue(f.data)
	to, found := strings.CutSuffix(strings.TrimPrefix(f.subject, l.o.Prefix+".user."), "."+leafDialogue)
	if !ok || !found {
		return logEntry{}, false
	}
	subject := make([]byte, 0, len(l.prefix)+len("dialogue..")+len(d.From)+len(to))
	subject = append(subject, l.prefix...)
	subject = append(subject, "dialogue."...)
	subject = append(subject, d.From...)
	subject = append(subject, '.')
	subject = append(subject, to...)
	body := make([]byte, 0, len(f.data)+len(to)+80)
	body = appendHead(body, time.Now())
	body = append(body, `,"id":`...)
	body = append(body, d.ID...)
	body = append(body, `,"from":"`...) // ids need no escaping
	body = append(body, d.From...)
	body = append(body, `","to":"`...)
	body = append(body, to...)
	body = append(body, `","payload":`...)
	body = append(body, d.Payload...)
	body = append(body, '}')
	return logEntry{subject: string(subject), data: body}, true
}

// eventBody is the JSON of an entry other than a dialogue's; what does not apply to an event is left out.
type eventBody struct {
	V    int    `json:"v"`
	Time string `json:"time"`

	// Of a user's account, and of whom a session belongs to.
	User    string `json:"user,omitempty"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`

	// Of a session.
	Session string `json:"session,omitempty"`
	Node    string `json:"node,omitempty"`

	// Of a friendship: who acted and whom it concerns.
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Note  string `json:"note,omitempty"`
	Alias string `json:"alias,omitempty"`
}

func newEventBody(at time.Time, fill func(*eventBody)) []byte {
	e := eventBody{V: 1, Time: at.UTC().Format(logTime)}
	fill(&e)
	b, err := json.Marshal(e)
	if err != nil { // of strings and a number there is none
		panic(err)
	}
	return b
}

// What happens to an account.
const (
	userCreated  = "created"
	userUpdated  = "updated"
	userPassword = "password"
	userDisabled = "disabled"
	userEnabled  = "enabled"
	userDeleted  = "deleted"
)

// user tells what happened to an account.
func (l *EventLog) user(what string, u kv.User) {
	l.event("user."+what+"."+u.ID, func(e *eventBody) {
		e.User, e.Account, e.Name = u.ID, u.Account, u.Name
	})
}

// profile tells what a user changed of its account.
func (l *EventLog) profile(before, now kv.User) {
	if before.PasswordHash != now.PasswordHash {
		l.user(userPassword, now)
	}
	if before.Profile != now.Profile || before.Mail != now.Mail {
		l.user(userUpdated, now)
	}
}

func disabledEvent(disabled bool) string {
	if disabled {
		return userDisabled
	}
	return userEnabled
}

// friendEvents are the changes of friendships by the word of their subject.
var friendEvents = map[kv.Kind]string{
	kv.Requested:  "requested",
	kv.Befriended: "added",
	kv.Named:      "named",
	kv.Removed:    "removed",
	kv.Withdrawn:  "withdrawn",
}

// friend tells of a change of two rosters.
func (l *EventLog) friend(c kv.Change) {
	what, ok := friendEvents[c.Kind]
	if !ok {
		return
	}
	l.event("friend."+what+"."+c.A+"."+c.B, func(e *eventBody) {
		e.From, e.To = c.A, c.B
		switch c.Kind {
		case kv.Requested:
			e.Note = c.Request.Note
		case kv.Befriended, kv.Named:
			e.Alias = c.FriendOfA.Alias
		}
	})
}

// What happens to a session.
const (
	sessionBegan = "began"
	sessionEnded = "ended"
)

func (l *EventLog) session(what string, s *session) {
	l.event("session."+what+"."+s.user.id, func(e *eventBody) {
		e.User, e.Session, e.Node = s.user.id, s.id, s.bridge.node.ID
	})
}
