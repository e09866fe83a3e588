package bridge

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// user is somebody who is online on this node, with all the sessions it has here.
type user struct {
	id   string
	lane *lane
	sub  *nats.Subscription // of all live subjects of the user

	mu       sync.RWMutex
	sessions []*session // oldest first; replaced, never changed, so that a reader needs no lock while it walks
	friends  map[string]friendship
	revision uint64 // of the roster that friends was loaded from
}

// friendship is what is known of one other user. Changes arrive by notices in whatever order nodes sent them; the
// revision of the roster that holds the change tells which is the later one.
type friendship struct {
	friend   bool
	revision uint64
}

func newUser(id string, l *lane) *user {
	return &user{id: id, lane: l, friends: make(map[string]friendship)}
}

// add appends a session and returns the oldest ones past the limit. They stay until they have ended.
func (u *user) add(s *session, limit int) (surplus []*session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions = append(slices.Clip(u.sessions), s)
	if limit > 0 && len(u.sessions) > limit {
		surplus = slices.Clone(u.sessions[:len(u.sessions)-limit])
	}
	return surplus
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

// load takes over a roster that was read from its bucket. What notices said of later revisions stands.
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
	for id, f := range u.friends {
		if f.revision > revision {
			friends[id] = f
		}
	}
	u.friends = friends
}

// apply takes over one change of the roster.
func (u *user) apply(id string, friend bool, revision uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if revision > u.friends[id].revision && revision > u.revision {
		u.friends[id] = friendship{friend, revision}
	}
}

// notice does what a notice says at this node and answers it. See notice.go for what there is.
func (u *user) notice(m *nats.Msg) {
	n, err := parseNotice(m)
	if err != nil {
		u.lane.log.Warn("notice not understood", "subject", m.Subject, "err", err)
		return
	}
	switch n.op {
	case opFriend:
		u.apply(n.other, true, n.revision)
	case opUnfriend:
		u.apply(n.other, false, n.revision)
	case opClose:
		for _, s := range u.list() {
			if n.concerns(s) {
				s.closeWith(n.last, n.closeCode, n.reason)
			}
		}
	}
	if len(m.Data) > 0 && n.op != opClose {
		for _, s := range u.list() {
			if s.push {
				s.notify(m.Data)
			}
		}
	}
	u.lane.answer(m.Reply, nil)
}
