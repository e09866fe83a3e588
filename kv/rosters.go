package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"imctl/kv/keymutex"
)

// Rosters is the bucket of friendships: one key for each user, with that user's whole roster. A user
// without a roster has no key. A deleted user has a delete marker, so that a call which began before
// the deletion fails.
type Rosters struct {
	b     *bucket
	most  atomic.Pointer[limits]
	locks keymutex.Mutex // by user id: changes of one roster on this node wait for each other instead of conflicting
}

func newRosters(b *bucket, o Options) *Rosters {
	r := &Rosters{b: b}
	r.SetLimits(o.MaxFriends, o.MaxRequests)
	return r
}

// SetLimits changes how many friends and how many pending requests a user may have. Who has more keeps them.
func (r *Rosters) SetLimits(friends, requests int) {
	r.most.Store(&limits{friends: friends, requests: requests})
}

// Change is what a call did to the two who are concerned, as notices need it.
type Change struct {
	Kind Kind
	A, B string // the caller and the other

	// The revision of each one's roster after the change; 0 where the roster was not written.
	// Of two changes of one roster the later has the higher.
	RevisionA, RevisionB uint64

	FriendOfA Friend  // A's entry of B, if they are friends now
	FriendOfB Friend  // B's entry of A, if they are friends now
	Request   Request // A's pending request to B, if Requested
}

// Get returns the user's roster and its revision: an empty one and 0 for who has none.
func (r *Rosters) Get(ctx context.Context, id string) (Roster, uint64, error) {
	e, err := r.read(ctx, id)
	if err != nil {
		return Roster{}, 0, fmt.Errorf("kv: get a roster: %w", err)
	}
	return e.Roster, e.revision, nil
}

// Request lets from ask to, with a note. Asking again while the request is pending changes the note.
// The caller must check that to has an account: Request recognizes deleted users only.
//
// Errors: ErrSelf, ErrAlreadyFriends, ErrUserNotFound, ErrTooManyRequests, ErrConflict.
func (r *Rosters) Request(ctx context.Context, from, to, note string) (Change, error) {
	change, err := r.apply(ctx, from, to, func(a, b *party) (Kind, error) {
		return request(a, b, note, now(), *r.most.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: request a friend: %w", err)
	}
	return change, nil
}

// Add lets me answer from's pending request, and name it; or, where from answered mine, name it.
//
// Errors: ErrAlreadyFriends if that friend has a name, ErrNoRequest, ErrTooManyFriends,
// ErrUserNotFound, ErrConflict.
func (r *Rosters) Add(ctx context.Context, me, from, alias string) (Change, error) {
	change, err := r.apply(ctx, me, from, func(a, b *party) (Kind, error) {
		return add(a, b, alias, now(), *r.most.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: add a friend: %w", err)
	}
	return change, nil
}

// Remove ends the friendship of the two at both ends, and withdraws what requests are pending between
// them. Requests without a friendship are withdrawn too; the change is then Withdrawn, beside ErrNotFriends.
//
// Errors: ErrNotFriends, ErrConflict.
func (r *Rosters) Remove(ctx context.Context, me, other string) (Change, error) {
	change, err := r.apply(ctx, me, other, remove)
	switch {
	case errors.Is(err, ErrUserNotFound):
		return Change{}, fmt.Errorf("kv: remove a friend: %w", ErrNotFriends)
	case err != nil:
		return Change{}, fmt.Errorf("kv: remove a friend: %w", err)
	case change.Kind != Removed:
		return change, fmt.Errorf("kv: remove a friend: %w", ErrNotFriends)
	}
	return change, nil
}

// Befriend makes the two friends at once and unasked: the administrator's way. It leaves friends as
// they are.
//
// Errors: ErrSelf, ErrUserNotFound, ErrTooManyFriends, ErrConflict.
func (r *Rosters) Befriend(ctx context.Context, a, b string) (Change, error) {
	change, err := r.apply(ctx, a, b, func(a, b *party) (Kind, error) {
		return befriend(a, b, now(), *r.most.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: befriend: %w", err)
	}
	return change, nil
}

// rosterEntry is a roster as it was read.
type rosterEntry struct {
	party
	revision uint64
	raw      []byte
	gone     bool // its user was deleted
}

// read returns an empty roster at revision 0 where there is no key. It never takes a late replica's
// word: who gets a roster keeps it for a session's life and learns of later changes only.
// Errors: ErrUserNotFound for what is no id.
func (r *Rosters) read(ctx context.Context, id string) (rosterEntry, error) {
	if !ValidID(id) {
		return rosterEntry{}, ErrUserNotFound
	}
	e, err := r.b.get(ctx, id, true)
	if errors.Is(err, errNoKey) {
		return rosterEntry{party: party{id: id}}, nil
	}
	if err != nil {
		return rosterEntry{}, err
	}
	return decodeRoster(e)
}

func decodeRoster(e entry) (rosterEntry, error) {
	r := rosterEntry{party: party{id: e.key}, revision: e.revision, raw: e.value, gone: e.deleted}
	if e.deleted {
		return r, nil
	}
	if err := json.Unmarshal(e.value, &r.Roster); err != nil {
		return rosterEntry{}, fmt.Errorf("the roster at revision %d of %s is damaged", e.revision, e.key)
	}
	return r, nil
}

func encodeRoster(r Roster) ([]byte, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a roster: %w", err)
	}
	return value, nil
}

// write appends what has to be written for the roster to writes, if anything.
func (e rosterEntry) write(writes []write) ([]write, bool, error) {
	value, err := encodeRoster(e.Roster)
	if err != nil {
		return nil, false, err
	}
	if bytes.Equal(value, e.raw) || e.raw == nil && len(value) == len("{}") {
		return writes, false, nil
	}
	return append(writes, putAt(e.id, value, e.revision)), true, nil
}

// apply reads both rosters, lets rule change them and writes those that changed, at once.
func (r *Rosters) apply(ctx context.Context, a, b string, rule func(a, b *party) (Kind, error)) (Change, error) {
	if a != b && (!ValidID(a) || !ValidID(b)) {
		return Change{}, ErrUserNotFound
	}
	unlock, err := r.locks.Lock(ctx, a, b)
	if err != nil {
		return Change{}, err
	}
	defer unlock()
	var change Change
	err = swap(ctx, func(ctx context.Context) (err error) {
		change, err = r.try(ctx, a, b, rule)
		return err
	})
	return change, err
}

func (r *Rosters) try(ctx context.Context, a, b string, rule func(a, b *party) (Kind, error)) (Change, error) {
	ends, err := r.readAll(ctx, []string{a, b})
	if err != nil {
		return Change{}, err
	}
	own, other := &ends[0], &ends[1]
	if own.gone || other.gone {
		return Change{}, ErrUserNotFound // and nobody's roster names it any more, see Drop
	}
	kind, err := rule(&own.party, &other.party)
	if err != nil && kind != Withdrawn {
		return Change{}, err
	}
	writes, wroteA, err := own.write(nil)
	if err != nil {
		return Change{}, err
	}
	writes, wroteB, err := other.write(writes)
	if err != nil {
		return Change{}, err
	}
	change := Change{Kind: kind, A: a, B: b}
	change.FriendOfA, _ = own.Friend(b)
	change.FriendOfB, _ = other.Friend(a)
	change.Request, _ = other.Roster.Request(a)
	if len(writes) == 0 {
		return change, nil
	}
	last, err := r.b.write(ctx, writes...)
	if err != nil {
		return Change{}, err
	}
	if wroteB {
		change.RevisionB = last
		last--
	}
	if wroteA {
		change.RevisionA = last
	}
	return change, nil
}
