package delivery

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// User is a user that is online on this node, with its sinks here and its roster.
type User struct {
	id   string
	lane *lane
	sub  *nats.Subscription // of all live subjects of the user

	elsewhere atomic.Bool // it has other clients than the sinks here, as far as this node knows

	awaiting awaited

	mu       sync.RWMutex
	members  []*Member // oldest first; replaced, never changed, so that readers walk it without the lock
	friends  map[string]friendship
	revision uint64 // of the roster that friends was loaded from
	ended    int    // entries in friends of ended friendships
}

// maxEnded bounds User.ended. An entry of an ended friendship keeps a late command from reviving the friendship. It is
// not needed once the roster is loaded at a later revision.
const maxEnded = 64

// friendship is what this node knows of one other user. Changes arrive in any order; the revision of the roster that
// has the change tells which is the later one.
type friendship struct {
	Relation
	revision uint64
}

// Relation is what a user's roster says of another user. Blocked and BlockedBy count only between friends.
type Relation struct {
	Friend    bool
	Blocked   bool // the user blocks the other one
	BlockedBy bool // the other user blocks this one, who must not be told: it sees a friend that is offline
}

// MaySend reports whether the user may send the other one dialogues.
func (r Relation) MaySend() bool { return r.Friend && !r.Blocked }

// Hidden reports whether the two must not see each other's presence.
func (r Relation) Hidden() bool { return r.Blocked || r.BlockedBy }

// RelationOf returns what a roster says of another user.
func RelationOf(r kv.Roster, other string) Relation {
	f, ok := r.Friend(other)
	return Relation{Friend: ok, Blocked: ok && r.Blocks(other), BlockedBy: f.BlockedBy}
}

func newUser(id string, l *lane) *User {
	return &User{id: id, lane: l, friends: make(map[string]friendship)}
}

// ID returns the user's id.
func (u *User) ID() string { return u.id }

func (u *User) add(m *Member) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.members = append(slices.Clip(u.members), m)
}

// remove removes a member. It reports whether that was the last one.
func (u *User) remove(m *Member) (last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.members, m)
	if i < 0 {
		return false
	}
	u.members = slices.Delete(slices.Clone(u.members), i, i+1)
	return len(u.members) == 0
}

func (u *User) list() []*Member {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.members
}

// Sinks returns the user's sinks on this node, oldest first.
func (u *User) Sinks() []Sink {
	members := u.list()
	sinks := make([]Sink, len(members))
	for i, m := range members {
		sinks[i] = m.sink
	}
	return sinks
}

// relation returns what the roster says of another user.
func (u *User) relation(id []byte) Relation {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.friends[string(id)].Relation
}

// visible returns the ids of the friends that may see the user's presence, and whose presence it may see.
func (u *User) visible() []string {
	u.mu.RLock()
	defer u.mu.RUnlock()
	ids := make([]string, 0, len(u.friends))
	for id, f := range u.friends {
		if f.Friend && !f.Hidden() {
			ids = append(ids, id)
		}
	}
	return ids
}

// LoadRoster replaces the roster with one from its bucket. It keeps changes of later revisions.
func (u *User) LoadRoster(r kv.Roster, revision uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if revision < u.revision {
		return
	}
	u.revision = revision
	friends := make(map[string]friendship, len(r.Friends))
	for _, f := range r.Friends {
		friends[f.ID] = friendship{Relation{Friend: true, BlockedBy: f.BlockedBy}, revision}
	}
	for _, id := range r.Blocked {
		if f, ok := friends[id]; ok {
			f.Blocked = true
			friends[id] = f
		}
	}
	u.ended = 0
	for id, f := range u.friends {
		if f.revision > revision {
			friends[id] = f
			if !f.Friend {
				u.ended++
			}
		}
	}
	u.friends = friends
}

// ApplyRoster applies one change of the roster, unless a later one is known.
func (u *User) ApplyRoster(id string, now Relation, revision uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was, known := u.friends[id]
	if revision <= was.revision || revision <= u.revision {
		return
	}
	if known && !was.Friend {
		u.ended--
	}
	if !now.Friend {
		u.ended++
	}
	u.friends[id] = friendship{now, revision}
}

// NeedsReload reports whether the roster should be reloaded, to drop entries of ended friendships.
func (u *User) NeedsReload() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.ended > maxEnded
}

// Notify sends a frame to the sinks on this node that want notices.
func (u *User) Notify(frame []byte) {
	for _, m := range u.list() {
		if m.push {
			m.notify(frame)
		}
	}
}

// notifyKeep sends a frame to the sinks on this node that take part in kept conversations.
func (u *User) notifyKeep(frame []byte) {
	for _, m := range u.list() {
		if m.keep {
			m.notify(frame)
		}
	}
}

// MarkElsewhere notes that the user has clients other than the sinks here. The note ends with the last of these.
func (u *User) MarkElsewhere() {
	if !u.elsewhere.Load() {
		u.elsewhere.Store(true)
	}
}
