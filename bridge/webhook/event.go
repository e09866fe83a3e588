// Package webhook posts events to HTTP servers, in the format of Standard Webhooks (standardwebhooks.com).
//
//	event log ─▶ consumer of the webhook ─▶ queue, in a stream of its own ─▶ POST
//	                                                       └─▶ dead letters, in the same stream
//
// The queue keeps a slow destination from filling the event log. NATS delivers to one node at a time, so entries keep
// their order, and another node takes over when that one ends.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

// event is what a webhook posts.
type event struct {
	id   string // webhook-id: the same for all attempts
	key  string // events with the same key are posted in order
	body []byte
}

// envelope is the body of a request, as Standard Webhooks recommends it.
type envelope struct {
	Type      string                     `json:"type"`
	Timestamp string                     `json:"timestamp"`
	Data      map[string]json.RawMessage `json:"data"`
}

var errEntry = errors.New("the entry of the event log is malformed")

// directory completes events with what their entries do not have.
type directory struct {
	store *kv.Store
	talks Talks // nil: no conversations are kept
	users *expirable.LRU[string, kv.User]
}

const (
	knownUsers   = 1 << 10
	knownUserFor = 10 * time.Second
)

func newDirectory(store *kv.Store, talks Talks) *directory {
	return &directory{store: store, talks: talks, users: expirable.NewLRU[string, kv.User](knownUsers, nil, knownUserFor)}
}

// eventID returns the id of the event of a log entry. The time tells entries apart that have the same sequence in a
// restored log.
func eventID(sequence uint64, at time.Time) string {
	return "msg_" + strconv.FormatUint(sequence, 36) + "_" + strconv.FormatInt(at.UnixNano(), 36)
}

// event returns the event of a log entry. words is its subject without the prefix. Without payload it has no text of a
// dialogue.
//
// Errors: errEntry, and those of NATS.
func (d *directory) event(ctx context.Context, words string, sequence uint64, at time.Time, data []byte, payload bool) (event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return event{}, errEntry
	}
	e := envelope{Type: eventlog.EventName(words), Data: fields}
	if err := json.Unmarshal(fields["time"], &e.Timestamp); err != nil {
		return event{}, errEntry
	}
	delete(fields, "v")
	delete(fields, "time")
	if !payload {
		delete(fields, "payload")
	}
	if e.Type == "dialogue.offline" {
		if err := d.complete(ctx, fields); err != nil {
			return event{}, err
		}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return event{}, fmt.Errorf("%w: %w", errEntry, err)
	}
	return event{id: eventID(sequence, at), key: orderKey(words), body: body}, nil
}

// orderKey returns the key of the events that are posted in order: those of the same two users, or of the same user.
func orderKey(words string) string {
	parts := strings.Split(words, ".")
	switch n := len(parts); parts[0] {
	case "user", "session":
		return parts[n-1]
	default:
		if n < 3 {
			return words
		}
		return min(parts[n-1], parts[n-2]) + "." + max(parts[n-1], parts[n-2])
	}
}

// complete adds to a dialogue.offline what a push gateway needs: the accounts and names of both users, how many
// dialogues of the conversation the friend has not read, and whether it has muted the conversation.
func (d *directory) complete(ctx context.Context, fields map[string]json.RawMessage) error {
	var from, to string
	if json.Unmarshal(fields["from"], &from) != nil || json.Unmarshal(fields["to"], &to) != nil {
		return errEntry
	}
	for word, id := range map[string]string{"from": from, "to": to} {
		u, err := d.user(ctx, id)
		if err != nil {
			return err
		}
		fields[word+"_account"], fields[word+"_name"] = text(u.Account), text(u.Name)
	}
	if d.talks == nil {
		return nil
	}
	cursors, err := d.talks.Cursors(ctx, to)
	if err != nil {
		return err
	}
	c := cursors[from]
	fields["muted"] = json.RawMessage(strconv.FormatBool(c.Marks.Muted()))
	var n uint64
	if raw, kept := fields["n"]; kept && json.Unmarshal(raw, &n) == nil {
		fields["unread"] = json.RawMessage(strconv.FormatUint(n-min(n, max(c.Read, c.Forgot)), 10))
	}
	return nil
}

// user returns a user, or for a deleted one the zero User.
func (d *directory) user(ctx context.Context, id string) (kv.User, error) {
	if u, ok := d.users.Get(id); ok {
		return u, nil
	}
	u, err := d.store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, nil
	}
	if err == nil {
		d.users.Add(id, u)
	}
	return u, err
}

func text(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return b
}
