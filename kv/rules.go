package kv

import (
	"slices"
	"time"
)

// The rules of friendship. Each is a pure function of two rosters: the caller's (a) and that of the other user (b).
// It changes the rosters and returns what it changed, or it returns an error. It never changes entries of third
// users.
//
// Between two users there is at any time one of: nothing; a request of one, of the other, or of both; a friendship,
// which has an entry in both rosters, each with or without an alias. A request is an entry in the roster of the user
// who was asked, and an id in Asked of the user who asked. An id in Asked alone is an unheard request: the user who
// was asked has blocked the other one, has declined a moment ago, or had too many requests. The user who asked must
// not see a difference. So every rule that changes a request also writes the roster of the other user if the request is
// unheard: both cases cost the same time.
//
// Beside that, each of the two may block the other; see block.go.

// Friend is an entry of a roster.
type Friend struct {
	ID    string    `json:"id"`
	Alias string    `json:"alias,omitempty"` // given by the roster's owner; "" for none
	Since time.Time `json:"since"`

	BlockedBy bool `json:"blocked_by,omitempty"` // the friend blocks the roster's owner, who must not be told
}

// Request is a pending request to the roster's owner.
type Request struct {
	From  string    `json:"from"`
	Note  string    `json:"note,omitempty"`
	Since time.Time `json:"since"`
	Quiet bool      `json:"quiet,omitempty"` // the owner's clients were not shown it when it came
}

// Roster has the friends and pending requests of one user. The zero Roster is empty.
type Roster struct {
	Friends  []Friend  `json:"friends,omitempty"`
	Requests []Request `json:"requests,omitempty"`
	Asked    []string  `json:"asked,omitempty"` // ids of the users whom the owner asked, with unheard requests
	// AskedAt has the times of these requests, in seconds since 1970. Requests that an older version stored have none.
	// It is the same for an unheard request, so it is not in the roster of the other user.
	AskedAt map[string]int64 `json:"asked_at,omitempty"`
	Blocked []string         `json:"blocked,omitempty"` // ids of the users whom the owner blocks, oldest first
	Recent  []Recent         `json:"recent,omitempty"`  // for the cooldown of the owner's requests, oldest first
	// BefriendedBy are the ids of the services that have befriended the owner by themselves. Each may do so once, so that
	// the owner can end it for good.
	BefriendedBy []string `json:"befriended_by,omitempty"`
}

// Friend returns the entry of the friend with this id.
func (r Roster) Friend(id string) (Friend, bool) {
	if i := r.friend(id); i >= 0 {
		return r.Friends[i], true
	}
	return Friend{}, false
}

// Request returns the pending request of the user with this id.
func (r Roster) Request(from string) (Request, bool) {
	if i := r.request(from); i >= 0 {
		return r.Requests[i], true
	}
	return Request{}, false
}

// friend returns the index of a friend, -1 for none.
func (r Roster) friend(id string) int {
	return slices.IndexFunc(r.Friends, func(f Friend) bool { return f.ID == id })
}

// request returns the index of a pending request, -1 for none.
func (r Roster) request(from string) int {
	return slices.IndexFunc(r.Requests, func(q Request) bool { return q.From == from })
}

// Kind is what a call changed.
type Kind int

const (
	Unchanged  Kind = iota // nothing
	Requested              // A asked B, or changed the note
	Befriended             // A and B became friends
	Named                  // A gave B its alias
	Removed                // A and B are no longer friends
	Withdrawn              // requests between A and B were withdrawn; they were not friends
	Blocked                // A blocked B
	Unblocked              // A no longer blocks B
)

// String returns the kind in lower case.
func (k Kind) String() string {
	names := [...]string{"unchanged", "requested", "befriended", "named", "removed", "withdrawn", "blocked", "unblocked"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// limits bound a roster. The rules check both rosters, since both grow.
type limits struct {
	friends, requests int
	cooldown          time.Duration // after a request that was shown or declined; 0: none
}

// party is one of the two users of a call, with the roster.
type party struct {
	id string
	Roster
	quiet   bool // a rule found that the user's clients must not be shown the change
	unheard bool // a rule changed nothing in the roster, which must be written all the same
}

// repair makes two rosters consistent. Rosters that were written together are consistent, but those of a damaged
// backup may not be. A friendship that only one roster has is removed. A request counts if the roster of the user who
// was asked has it, and is unheard if only the roster of the other user has it. Friends have no requests. So the rules
// below need to handle only consistent rosters.
func repair(a, b *party) {
	both := a.friend(b.id) >= 0 && b.friend(a.id) >= 0
	repairEnd(a, b, both)
	repairEnd(b, a, both)
}

// repairEnd repairs one of the two rosters. friends reports whether both have the friendship.
func repairEnd(own, other *party, friends bool) {
	if friends {
		own.forgetRequests(other.id)
		own.Friends[own.friend(other.id)].BlockedBy = other.Blocks(own.id)
		return
	}
	own.unfriend(other.id)
	if i := other.request(own.id); i >= 0 {
		own.ask(other.id, other.Requests[i].Since)
	}
}

// asked reports whether the owner has asked the user with this id, heard or not.
func (r Roster) asked(id string) bool { return slices.Contains(r.Asked, id) }

func (p *party) unfriend(id string) {
	p.Friends = slices.DeleteFunc(p.Friends, func(f Friend) bool { return f.ID == id })
}

// ask adds a request to the user with this id, unless there is one.
func (p *party) ask(id string, at time.Time) {
	if p.asked(id) {
		return
	}
	p.Asked = append(p.Asked, id)
	if p.AskedAt == nil {
		p.AskedAt = make(map[string]int64)
	}
	p.AskedAt[id] = at.Unix()
}

func (p *party) forgetAsked(id string) {
	p.Asked = slices.DeleteFunc(p.Asked, func(asked string) bool { return asked == id })
	delete(p.AskedAt, id)
}

func (p *party) forgetRequests(id string) {
	p.Requests = slices.DeleteFunc(p.Requests, func(q Request) bool { return q.From == id })
	p.forgetAsked(id)
}

// request makes a ask b for friendship. If the request is pending already, it only changes the note. The clients of b
// are shown at most one request of a within the cooldown: further ones are quiet. If b blocks a, or has declined a
// request within the cooldown, the request is unheard. A request to a user with too many requests replaces the oldest
// one, which becomes unheard.
//
// Errors: ErrSelf, ErrAlreadyFriends, ErrBlocked if a blocks b, ErrTooManyRequests if a has asked too many users.
func request(a, b *party, note string, now time.Time, max limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	repair(a, b)
	switch {
	case a.friend(b.id) >= 0:
		return 0, ErrAlreadyFriends
	case a.Blocks(b.id):
		return 0, ErrBlocked
	}
	b.forgetDeclined(a.id) // a changed its mind
	last, recent := a.recent(b.id, now, max.cooldown)
	pending, asked := b.Roster.request(a.id), a.asked(b.id)
	unheard := pending < 0 && (b.Blocks(a.id) || recent && last.Declined)
	switch {
	case pending >= 0 && b.Requests[pending].Note == note, unheard && asked && last.ID != "" && last.Note == hashNote(note):
		return Unchanged, nil
	case !asked && len(a.Asked) >= max.requests:
		return 0, ErrTooManyRequests
	}
	a.ask(b.id, now)
	a.remember(b.id, last.again(recent, note, now), now, max.cooldown)
	if b.quiet, b.unheard = recent, unheard; unheard {
		return Requested, nil
	}
	if pending >= 0 {
		b.Requests[pending].Note = note
		b.Requests[pending].Quiet = b.Requests[pending].Quiet && recent
	} else {
		b.Requests = append(b.Requests, Request{From: a.id, Note: note, Since: now, Quiet: recent})
	}
	b.dropOldestRequests(max.requests)
	return Requested, nil
}

// maxNotes bounds the notes of a roster's requests in bytes, since a roster has to fit into a message of 1 MiB.
const maxNotes = 256 << 10

// dropOldestRequests drops the oldest requests while there are too many, or their notes are too long together.
func (p *party) dropOldestRequests(most int) {
	notes := 0
	for i := len(p.Requests) - 1; i >= 0; i-- {
		notes += len(p.Requests[i].Note)
		if kept := len(p.Requests) - i; kept > 1 && (kept > most || notes > maxNotes) {
			p.Requests = slices.Delete(p.Requests, 0, i+1)
			return
		}
	}
}

// add makes a accept the request of b, and give b an alias. If they are friends and b has no alias yet, it only gives
// the alias.
//
// Errors: ErrAlreadyFriends, ErrNoRequest, ErrTooManyFriends.
func add(a, b *party, alias string, now time.Time, max limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrNoRequest
	}
	repair(a, b)
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
	return join(a, b, alias, now, max)
}

// remove ends the friendship of a and b in both rosters, and withdraws all requests between them. If they are not
// friends, it returns ErrNotFriends. The kind is then Withdrawn if there were requests, and the rosters must be
// written. If b had asked a, the cooldown of b begins. A request that the clients of b were not shown is withdrawn
// quietly.
func remove(a, b *party, now time.Time, max limits) (Kind, error) {
	if a.id == b.id {
		return Unchanged, ErrNotFriends
	}
	if a.Roster.request(b.id) >= 0 && a.friend(b.id) < 0 {
		b.remember(a.id, Recent{Since: now, Declined: true}, now, max.cooldown)
	}
	return part(a, b)
}

// part is remove without a cooldown. It keeps an unheard request of b: for a there is none.
func part(a, b *party) (Kind, error) {
	kind, err := Unchanged, ErrNotFriends
	declined, heard := a.Roster.request(b.id) >= 0, b.Roster.request(a.id)
	switch {
	case a.friend(b.id) >= 0 || b.friend(a.id) >= 0:
		// One entry is enough: its owner sees a friend, who must be removed.
		kind, err = Removed, nil
		declined = true
	case declined || heard >= 0 || a.asked(b.id):
		kind = Withdrawn
		b.unheard = !declined && heard < 0
		b.quiet = !declined && heard >= 0 && b.Requests[heard].Quiet
	}
	a.unfriend(b.id)
	b.unfriend(a.id)
	a.forgetRequests(b.id)
	b.Requests = slices.DeleteFunc(b.Requests, func(q Request) bool { return q.From == a.id })
	if declined {
		b.forgetAsked(a.id)
	}
	return kind, err
}

// cancel withdraws the request of a to b, heard or not. A request of b to a stays. If the clients of b were not shown
// the request, it is withdrawn quietly.
//
// Errors: ErrAlreadyFriends, ErrNoRequest.
func cancel(a, b *party) (Kind, error) {
	if a.id == b.id {
		return 0, ErrNoRequest
	}
	repair(a, b)
	switch {
	case a.friend(b.id) >= 0:
		return 0, ErrAlreadyFriends
	case !a.asked(b.id):
		return 0, ErrNoRequest
	}
	heard := b.Roster.request(a.id)
	b.unheard = heard < 0
	b.quiet = heard >= 0 && b.Requests[heard].Quiet
	a.forgetAsked(b.id)
	b.Requests = slices.DeleteFunc(b.Requests, func(q Request) bool { return q.From == a.id })
	return Withdrawn, nil
}

// befriend makes a and b friends without a request and without aliases.
//
// Errors: ErrSelf, ErrTooManyFriends.
func befriend(a, b *party, now time.Time, max limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	repair(a, b)
	if a.friend(b.id) >= 0 {
		return Unchanged, nil
	}
	return join(a, b, "", now, max)
}

// join makes a and b, who are not friends, friends. This answers all requests between them. Errors: ErrTooManyFriends.
func join(a, b *party, alias string, now time.Time, max limits) (Kind, error) {
	if len(a.Friends) >= max.friends || len(b.Friends) >= max.friends {
		return 0, ErrTooManyFriends
	}
	a.forgetRequests(b.id)
	b.forgetRequests(a.id)
	a.forgetRecent(b.id)
	b.forgetRecent(a.id)
	a.Friends = append(a.Friends, Friend{ID: b.id, Alias: alias, Since: now, BlockedBy: b.Blocks(a.id)})
	b.Friends = append(b.Friends, Friend{ID: a.id, Since: now, BlockedBy: a.Blocks(b.id)})
	return Befriended, nil
}

// restoreFriend makes a and b friends again, with the time and the alias of the old entry. If they are friends, it
// only restores the alias, unless a has given another one since.
func restoreFriend(a, b *party, old Friend) Kind {
	if a.id == b.id {
		return Unchanged
	}
	repair(a, b)
	if i := a.friend(b.id); i >= 0 {
		if a.Friends[i].Alias != "" || old.Alias == "" {
			return Unchanged
		}
		a.Friends[i].Alias = old.Alias
		return Named
	}
	a.forgetRequests(b.id)
	b.forgetRequests(a.id)
	a.Friends = append(a.Friends, Friend{ID: b.id, Alias: old.Alias, Since: old.Since, BlockedBy: b.Blocks(a.id)})
	b.Friends = append(b.Friends, Friend{ID: a.id, Since: old.Since, BlockedBy: a.Blocks(b.id)})
	return Befriended
}

// restoreRequest makes a ask b again, unless they are friends, the request is pending, or one blocks the other.
func restoreRequest(a, b *party, old Request) Kind {
	if a.id == b.id {
		return Unchanged
	}
	repair(a, b)
	if a.friend(b.id) >= 0 || b.Roster.request(a.id) >= 0 || a.Blocks(b.id) || b.Blocks(a.id) {
		return Unchanged
	}
	b.Requests = append(b.Requests, Request{From: a.id, Note: old.Note, Since: old.Since})
	a.ask(b.id, old.Since)
	return Requested
}
