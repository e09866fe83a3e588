// Package im is what users and administrators do: accounts and sessions, friendships, forgotten passwords. Each change
// is written to its bucket, then told to the nodes that hold the users concerned, and only then does the call return.
// HTTP, NATS and the command line all call this package.
package im

import (
	"context"
	"fmt"
	"log/slog"

	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/picture"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Cluster brings a command into force on all nodes before it returns. cluster.Cluster is one.
type Cluster interface {
	Broadcast(ctx context.Context, c cluster.Command) error
	// Sessions lists sessions on all nodes. With an error it returns those of the nodes that answered.
	Sessions(ctx context.Context, query cluster.ListSessions) ([]cluster.Session, error)
}

// Log writes events for programs that read along. eventlog.Log is one.
type Log interface {
	User(event eventlog.UserEvent, u kv.User)
	Friend(c kv.Change)
	Report(r kv.Report)
}

// Presence reports which users are online, in the order of their ids. delivery.Lanes is one.
type Presence interface {
	Online(ctx context.Context, ids ...string) ([]bool, error)
}

// Notices shows a frame to the clients that a user has at the moment. A client that is offline misses it, and sees its
// effect at the next login. delivery.Notices is one.
type Notices interface {
	Notify(user string, frame []byte) error
}

// Disconnector closes the connections of a user to NATS. natsauth.Disconnector is one.
type Disconnector interface {
	DisconnectUser(ctx context.Context, id string) error
}

// Push sends messages to devices. push.Service is one.
type Push interface {
	// Requested is called when a user has sent a friend request. It must not block.
	Requested(user, from string)
}

// Conversations are the kept conversations. talk.Service is one.
type Conversations interface {
	// Cursors returns how far a user has come, by the id of the friend.
	Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error)
	// TalksOf returns the conversations of a user with these others that have dialogues.
	TalksOf(ctx context.Context, user string, others []string, cursors map[string]kv.Cursor) ([]talk.Talk, error)
}

// Deps are what Accounts, Friends and Resets work on.
type Deps struct {
	Store        *kv.Store
	Hasher       *kv.Hasher
	Cluster      Cluster
	Log          Log
	Presence     Presence
	Notices      Notices
	Disconnector Disconnector
	Logger       *slog.Logger

	Conversations Conversations // nil: they are not kept
	Push          Push          // nil: none
	Hooks         Hooks         // nil: none
}

// Hooks ask moderators about calls before they take effect. hook.Service is one.
type Hooks interface {
	// Register asks about an account that a client at an address registers. The error is the code of a refusal.
	Register(account, name, address string) error
	// Request asks about a friend request, and returns its note. Errors: hook.ErrDropped, and the code of a refusal.
	Request(from, to, note string) (string, error)
}

// notify sends a frame to a user's clients.
func (d *Deps) notify(user string, frame []byte) error {
	if err := d.Notices.Notify(user, frame); err != nil {
		return fmt.Errorf("notice to user %s: %w", user, err)
	}
	return nil
}

// ProfileOf returns the profile of a user, as the protocol shows it.
func ProfileOf(u kv.User) wire.Profile {
	return wire.Profile{ID: u.ID, ProfileFields: wire.ProfileFields(u.Profile)}
}

// withAddress returns a user with the address of its picture instead of the picture, as clients with push see it.
func withAddress(u kv.User) kv.User {
	u.Picture = picture.Shown(u.ID, u.Picture)
	return u
}

// friendOf returns a user as a friend sees it: under the alias that the friend gave, if any.
func friendOf(u kv.User, alias string, online bool) wire.Friend {
	return asFriend(ProfileOf(u), alias, online)
}

// asFriend is friendOf with a profile.
func asFriend(p wire.Profile, alias string, online bool) wire.Friend {
	f := wire.Friend{Profile: p, Online: online}
	if alias != "" {
		f.Name = alias
	}
	return f
}
