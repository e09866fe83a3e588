package kv

import (
	"slices"
	"time"
)

// The rules of friendship. Each is a pure function of two rosters, the caller's (a) and the
// other's (b): it returns what happened and leaves the rosters as they are afterwards, or returns an
// error that forbids it. What a roster says about anybody else it never touches.
//
// Between two people there is at any time one of: nothing; a request of one, of the other, or of
// both; a friendship, which has a friend's entry at both ends, each with or without an alias. A
// request is an entry at the one who was asked and a mark at the one who asked.

// Friend is an entry of a roster.
type Friend struct {
	ID    string    `json:"id"`
	Alias string    `json:"alias,omitempty"` // given by the roster's owner; "" while it has given none
	Since time.Time `json:"since"`
}

// Request is a pending request to the roster's owner.
type Request struct {
	From  string    `json:"from"`
	Note  string    `json:"note,omitempty"`
	Since time.Time `json:"since"`
}

// Roster is all that one user's friendships are. The zero Roster is an empty one.
type Roster struct {
	Friends  []Friend  `json:"friends,omitempty"`
	Requests []Request `json:"requests,omitempty"`
	Asked    []string  `json:"asked,omitempty"` // whom the owner asked, and has no answer from
}

// Friend returns the entry of a friend.
func (r Roster) Friend(id string) (Friend, bool) {
	if i := r.friend(id); i >= 0 {
		return r.Friends[i], true
	}
	return Friend{}, false
}

// Request returns the pending request of somebody.
func (r Roster) Request(from string) (Request, bool) {
	if i := r.request(from); i >= 0 {
		return r.Requests[i], true
	}
	return Request{}, false
}

func (r Roster) friend(id string) int {
	return slices.IndexFunc(r.Friends, func(f Friend) bool { return f.ID == id })
}

func (r Roster) request(from string) int {
	return slices.IndexFunc(r.Requests, func(q Request) bool { return q.From == from })
}

// Kind is what a call did.
type Kind int

const (
	Unchanged  Kind = iota // nothing: it was so already
	Requested              // A asks B, or asks with another note
	Befriended             // A and B became friends
	Named                  // A gave B its alias
	Removed                // A and B are friends no more
	Withdrawn              // requests between A and B are gone; they were no friends
)

func (k Kind) String() string {
	names := [...]string{"unchanged", "requested", "befriended", "named", "removed", "withdrawn"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// limits bound the rosters. Both ends' are checked, since both grow.
type limits struct{ friends, requests int }

// party is one end of a call: whose roster it is, and the roster.
type party struct {
	id string
	Roster
}

// mend repairs what rosters that were written together never say, and a damaged restore may: a
// friendship at one end only is none, a request counts where it is to be answered, and friends
// have no requests. So the rules below need to know consistent states only.
func mend(a, b *party) {
	both := a.friend(b.id) >= 0 && b.friend(a.id) >= 0
	mendEnd(a, b, both)
	mendEnd(b, a, both)
}

func mendEnd(own, other *party, friends bool) {
	if friends {
		own.forgetRequests(other.id)
		return
	}
	own.unfriend(other.id)
	asked := slices.Contains(own.Asked, other.id)
	if pending := other.request(own.id) >= 0; pending && !asked {
		own.Asked = append(own.Asked, other.id)
	} else if asked && !pending {
		own.forgetAsked(other.id)
	}
}

func (p *party) unfriend(id string) {
	p.Friends = slices.DeleteFunc(p.Friends, func(f Friend) bool { return f.ID == id })
}

func (p *party) forgetAsked(id string) {
	p.Asked = slices.DeleteFunc(p.Asked, func(asked string) bool { return asked == id })
}

func (p *party) forgetRequests(id string) {
	p.Requests = slices.DeleteFunc(p.Requests, func(q Request) bool { return q.From == id })
	p.forgetAsked(id)
}

// request: a asks b to be friends. Asking again changes the note and nothing else.
// Errors: ErrSelf, ErrAlreadyFriends, ErrTooManyRequests.
func request(a, b *party, note string, now time.Time, most limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	mend(a, b)
	if a.friend(b.id) >= 0 {
		return 0, ErrAlreadyFriends
	}
	if i := b.Roster.request(a.id); i >= 0 {
		if b.Requests[i].Note == note {
			return Unchanged, nil
		}
		b.Requests[i].Note = note
		return Requested, nil
	}
	if len(b.Requests) >= most.requests || len(a.Asked) >= most.requests {
		return 0, ErrTooManyRequests
	}
	b.Requests = append(b.Requests, Request{From: a.id, Note: note, Since: now})
	a.Asked = append(a.Asked, b.id)
	return Requested, nil
}

// add: a answers the request of b, and names b; or, being a friend already, names b for the first time.
// Errors: ErrAlreadyFriends, ErrNoRequest, ErrTooManyFriends.
func add(a, b *party, alias string, now time.Time, most limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrNoRequest
	}
	mend(a, b)
	if i := a.friend(b.id); i >= 0 {
		if a.Friends[i].Alias != "" {
			return 0, ErrAlreadyFriends
		}
		a.Friends[i].Alias = alias
		return Named, nil
	}
	if a.Roster.request(b.id) < 0 {
		return 0, ErrNoRequest
	}
	return join(a, b, alias, now, most)
}

// remove: a ends the friendship with b, at both ends, and all requests between the two. Requests
// without a friendship are withdrawn too, and ErrNotFriends is returned all the same: with Withdrawn,
// there is something to be written.
func remove(a, b *party) (Kind, error) {
	kind, err := Unchanged, ErrNotFriends
	if a.id == b.id {
		return kind, err
	}
	if a.friend(b.id) >= 0 || b.friend(a.id) >= 0 {
		// One end alone is enough: to its owner it looks like a friend, and it must go.
		kind, err = Removed, nil
	} else if a.linked(b.id) || b.linked(a.id) {
		kind = Withdrawn
	}
	for _, end := range [...]struct {
		own   *party
		other string
	}{{a, b.id}, {b, a.id}} {
		end.own.unfriend(end.other)
		end.own.forgetRequests(end.other)
	}
	return kind, err
}

// linked tells that the roster names id in any way.
func (p *party) linked(id string) bool {
	return p.friend(id) >= 0 || p.Roster.request(id) >= 0 || slices.Contains(p.Asked, id)
}

// befriend makes a and b friends without being asked, and without aliases.
// Errors: ErrSelf, ErrTooManyFriends.
func befriend(a, b *party, now time.Time, most limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	mend(a, b)
	if a.friend(b.id) >= 0 {
		return Unchanged, nil
	}
	return join(a, b, "", now, most)
}

// join makes friends of two who are none, which answers every request between them.
func join(a, b *party, alias string, now time.Time, most limits) (Kind, error) {
	if len(a.Friends) >= most.friends || len(b.Friends) >= most.friends {
		return 0, ErrTooManyFriends
	}
	a.forgetRequests(b.id)
	b.forgetRequests(a.id)
	a.Friends = append(a.Friends, Friend{ID: b.id, Alias: alias, Since: now})
	b.Friends = append(b.Friends, Friend{ID: a.id, Since: now})
	return Befriended, nil
}

// restoreFriend: a and b are friends again, since when they were and by the alias that a had given, where a has
// given none meanwhile.
func restoreFriend(a, b *party, was Friend) Kind {
	if a.id == b.id {
		return Unchanged
	}
	mend(a, b)
	if i := a.friend(b.id); i >= 0 {
		if a.Friends[i].Alias != "" || was.Alias == "" {
			return Unchanged
		}
		a.Friends[i].Alias = was.Alias
		return Named
	}
	a.forgetRequests(b.id)
	b.forgetRequests(a.id)
	a.Friends = append(a.Friends, Friend{ID: b.id, Alias: was.Alias, Since: was.Since})
	b.Friends = append(b.Friends, Friend{ID: a.id, Since: was.Since})
	return Befriended
}

// restoreRequest: a asks b again, unless they are friends or a has asked meanwhile.
func restoreRequest(a, b *party, was Request) Kind {
	if a.id == b.id {
		return Unchanged
	}
	mend(a, b)
	if a.friend(b.id) >= 0 || b.Roster.request(a.id) >= 0 {
		return Unchanged
	}
	b.Requests = append(b.Requests, Request{From: a.id, Note: was.Note, Since: was.Since})
	a.Asked = append(a.Asked, b.id)
	return Requested
}
