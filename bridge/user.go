package bridge

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// user is somebody who is online on this node, with all the sessions it has here.
type user struct {
	id   string
	lane *lane
	sub  *nats.Subscription // of all live subjects of the user

	elsewhere atomic.Bool // it has other clients than the sessions here, as far as this node has heard

	mu       sync.RWMutex
	sessions []*session // oldest first; replaced, never changed, so that a reader needs no lock while it walks
	friends  map[string]friendship
	revision uint64 // of the roster that friends was loaded from
	ended    int    // entries in friends of ended friendships
}

// endedMost bounds user.ended. An entry of an ended friendship keeps a late command from reviving the friendship. It is
// not needed once the roster is loaded at a later revision.
const endedMost = 64

// friendship is what is known of one other user. Changes arrive in whatever order nodes sent them; the revision of the roster that holds the change tells which is the later one.
type friendship struct {
	friend   bool
	revision uint64
}

func newUser(id string, l *lane) *user {
	return &user{id: id, lane: l, friends: make(map[string]friendship)}
}

func (u *user) add(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions = append(slices.Clip(u.sessions), s)
}

// remove takes a session out and reports whether it was the last one.
func (u *user) remove(s *session) (last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.sessions, s)
	if i < 0 {
		return false
	}
	u.sessions = slices.Delete(slices.Clone(u.sessions), i, i+1)
	return len(u.sessions) == 0
}

func (u *user) list() []*session {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.sessions
}

func (u *user) isFriend(id []byte) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.friends[string(id)].friend
}

// friendIDs lists the friends.
func (u *user) friendIDs() []string {
	u.mu.RLock()
	defer u.mu.RUnlock()
	ids := make([]string, 0, len(u.friends))
	for id, f := range u.friends {
		if f.friend {
			ids = append(ids, id)
		}
	}
	return ids
}

// load takes over a roster that was read from its bucket. What was heard of later revisions stands.
func (u *user) load(r kv.Roster, revision uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if revision < u.revision {
		return
	}
	u.revision = revision
	friends := make(map[string]friendship, len(r.Friends))
	for _, f := range r.Friends {
		friends[f.ID] = friendship{true, revision}
	}
	u.ended = 0
	for id, f := range u.friends {
		if f.revision > revision {
			friends[id] = f
			if !f.friend {
				u.ended++
			}
		}
	}
	u.friends = friends
}

// apply takes over one change of the roster.
func (u *user) apply(id string, friend bool, revision uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was, known := u.friends[id]
	if revision <= was.revision || revision <= u.revision {
		return
	}
	if known && !was.friend {
		u.ended--
	}
	if !friend {
		u.ended++
	}
	u.friends[id] = friendship{friend, revision}
}

// crowded reports whether the roster should be reloaded, to drop entries of ended friendships.
func (u *user) crowded() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.ended > endedMost
}

// notice shows a frame to those of the user's sessions that asked for such frames.
func (u *user) notice(frame []byte) {
	for _, s := range u.list() {
		if s.push {
			s.notify(frame)
		}
	}
}
