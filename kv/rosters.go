package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"imctl/kv/keymutex"
)

// Rosters is the bucket of friendships. It has one key for each user, with that user's whole roster. A user without a
// roster has no key. A deleted user has a delete marker, so that a call which began before the deletion fails.
type Rosters struct {
	b      *bucket
	limits atomic.Pointer[limits]
	locks  keymutex.Mutex // by user id: changes of one roster on this node wait for each other instead of conflicting
}

func newRosters(b *bucket, opts Options) *Rosters {
	r := &Rosters{b: b}
	r.SetLimits(opts.MaxFriends, opts.MaxRequests, opts.Cooldown)
	return r
}

// SetLimits changes how many friends and how many pending requests a user may have, and how long the cooldown of a
// request is. Existing rosters over the limits are kept.
func (r *Rosters) SetLimits(friends, requests int, cooldown time.Duration) {
	r.limits.Store(&limits{friends: friends, requests: requests, cooldown: cooldown})
}

// Limits returns how many friends and how many pending requests a user may have; 0: no limit.
func (r *Rosters) Limits() (friends, requests int) {
	l := r.limits.Load()
	return l.friends, l.requests
}

// Change is what a call changed between two users. Notices to clients are built from it.
type Change struct {
	Kind Kind
	A, B string // ids of the caller and of the other user

	// The revisions of the two rosters after the change. 0: the roster was not written. Of two changes of one roster,
	// the later one has the higher revision.
	RevisionA, RevisionB uint64

	FriendOfA Friend  // A's entry of B, if they are friends now
	FriendOfB Friend  // B's entry of A, if they are friends now
	Request   Request // A's pending request to B, if Requested and heard

	Quiet   bool // the clients of B must not be shown the change
	Unheard bool // nothing changed for B, and A must not be told
}

// Get returns a user's roster and its revision. For a user without a roster they are empty and 0.
//
// Errors: ErrUserNotFound for an invalid id.
func (r *Rosters) Get(ctx context.Context, id string) (Roster, uint64, error) {
	e, err := r.read(ctx, id)
	if err != nil {
		return Roster{}, 0, fmt.Errorf("kv: get a roster: %w", err)
	}
	return e.Roster, e.revision, nil
}

// Request makes user from ask user to for friendship, with a note. Another call while the request is pending changes
// the note. The caller must check that user to has an account: Request recognizes only deleted users.
//
// Errors: ErrSelf, ErrAlreadyFriends, ErrBlocked, ErrUserNotFound, ErrTooManyRequests, ErrConflict.
func (r *Rosters) Request(ctx context.Context, from, to, note string) (Change, error) {
	change, err := r.apply(ctx, from, to, func(a, b *party) (Kind, error) {
		return request(a, b, note, now(), *r.limits.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: request a friend: %w", err)
	}
	return change, nil
}

// Add makes user me accept the pending request of user from, and give that friend an alias. If the two are friends
// and me has not given an alias yet, Add only does that.
//
// Errors: ErrAlreadyFriends if that friend has an alias, ErrNoRequest, ErrTooManyFriends, ErrUserNotFound,
// ErrConflict.
func (r *Rosters) Add(ctx context.Context, me, from, alias string) (Change, error) {
	change, err := r.apply(ctx, me, from, func(a, b *party) (Kind, error) {
		return add(a, b, alias, now(), *r.limits.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: add a friend: %w", err)
	}
	return change, nil
}

// Remove ends the friendship of two users at both ends, and withdraws pending requests between them. If they are not
// friends, it returns ErrNotFriends; the change is then Withdrawn if there were requests.
//
// Errors: ErrNotFriends, ErrConflict.
func (r *Rosters) Remove(ctx context.Context, me, other string) (Change, error) {
	change, err := r.apply(ctx, me, other, func(a, b *party) (Kind, error) {
		return remove(a, b, now(), *r.limits.Load())
	})
	switch {
	case errors.Is(err, ErrUserNotFound):
		if ValidID(other) {
			if _, err := r.forget(ctx, me, other); err != nil && !errors.Is(err, ErrUserNotFound) {
				return Change{}, fmt.Errorf("kv: remove a friend: %w", err)
			}
		}
		return Change{}, fmt.Errorf("kv: remove a friend: %w", ErrNotFriends)
	case err != nil:
		return Change{}, fmt.Errorf("kv: remove a friend: %w", err)
	case change.Kind != Removed:
		return change, fmt.Errorf("kv: remove a friend: %w", ErrNotFriends)
	}
	return change, nil
}

// Cancel withdraws the request of user me to another user. It never ends a friendship, and never declines a request of
// the other user.
//
// Errors: ErrAlreadyFriends, ErrNoRequest, ErrConflict.
func (r *Rosters) Cancel(ctx context.Context, me, other string) (Change, error) {
	change, err := r.apply(ctx, me, other, cancel)
	if errors.Is(err, ErrUserNotFound) && ValidID(other) { // a deleted user: nothing is left but the id
		own, _, err := r.Get(ctx, me)
		if err == nil && own.asked(other) {
			change, err = r.forget(ctx, me, other)
			change.Kind, change.Unheard = Withdrawn, true
		} else if err == nil {
			err = ErrNoRequest
		}
		if err != nil {
			return Change{}, fmt.Errorf("kv: cancel a request: %w", err)
		}
		return change, nil
	}
	if errors.Is(err, ErrUserNotFound) {
		err = ErrNoRequest
	}
	if err != nil {
		return Change{}, fmt.Errorf("kv: cancel a request: %w", err)
	}
	return change, nil
}

// Befriend makes two users friends without a request, for administrators. It does not change users who are friends
// already.
//
// Errors: ErrSelf, ErrUserNotFound, ErrTooManyFriends, ErrConflict.
func (r *Rosters) Befriend(ctx context.Context, a, b string) (Change, error) {
	change, err := r.apply(ctx, a, b, func(a, b *party) (Kind, error) {
		return befriend(a, b, now(), *r.limits.Load())
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
	deleted  bool // the user was deleted
}

// read returns a user's roster, or an empty one with revision 0 if there is no key. It never uses an outdated
// replica: a session keeps the roster and receives only later changes.
//
// Errors: ErrUserNotFound for an invalid id.
func (r *Rosters) read(ctx context.Context, id string) (rosterEntry, error) {
	if !ValidID(id) {
		return rosterEntry{}, ErrUserNotFound
	}
	e, err := r.b.get(ctx, id, true)
	if errors.Is(err, errKeyNotFound) {
		return rosterEntry{party: party{id: id}}, nil
	}
	if err != nil {
		return rosterEntry{}, err
	}
	return decodeRoster(e)
}

func decodeRoster(e entry) (rosterEntry, error) {
	r := rosterEntry{party: party{id: e.key}, revision: e.revision, raw: e.value, deleted: e.deleted}
	if e.deleted {
		return r, nil
	}
	if err := json.Unmarshal(e.value, &r.Roster); err != nil {
		return rosterEntry{}, damaged(e)
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

// write appends the write of the roster to writes, unless the roster is unchanged, and reports whether it did. An
// unheard change is written although it changes nothing.
func (e rosterEntry) write(writes []write) ([]write, bool, error) {
	value, err := encodeRoster(e.Roster)
	if err != nil {
		return nil, false, err
	}
	if !e.unheard && (bytes.Equal(value, e.raw) || e.raw == nil && len(value) == len("{}")) {
		return writes, false, nil
	}
	return append(writes, putAt(e.id, value, e.revision)), true, nil
}

// confirm reads rosters again and returns decision, unless one of them has changed since: then it returns an error that
// compareAndSwap retries. Another node may change both rosters between the two reads of a decision, which is then based
// on rosters that never existed together. NATS notices that only for the rosters that the decision writes.
func (r *Rosters) confirm(ctx context.Context, read []rosterEntry, decision error) error {
	ids := make([]string, len(read))
	for i, e := range read {
		ids[i] = e.id
	}
	now, err := r.readAll(ctx, ids)
	if err != nil {
		return err
	}
	for i := range now {
		if now[i].revision != read[i].revision {
			return errChanged
		}
	}
	return decision
}

// apply reads both rosters, changes them by rule, and writes the changed ones in one batch.
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
	err = compareAndSwap(ctx, func(ctx context.Context) (err error) {
		change, err = r.applyOnce(ctx, a, b, rule)
		return err
	})
	return change, err
}

// applyOnce is apply without retries.
func (r *Rosters) applyOnce(ctx context.Context, a, b string, rule func(a, b *party) (Kind, error)) (Change, error) {
	ends, err := r.readAll(ctx, []string{a, b})
	if err != nil {
		return Change{}, err
	}
	own, other := &ends[0], &ends[1]
	if own.deleted || other.deleted {
		return Change{}, ErrUserNotFound // RemoveUser has removed the user from the other rosters
	}
	kind, refused := rule(&own.party, &other.party)
	if refused != nil && kind != Withdrawn {
		return Change{}, r.confirm(ctx, ends, refused)
	}
	writes, writtenA, err := own.write(nil)
	if err != nil {
		return Change{}, err
	}
	writes, writtenB, err := other.write(writes)
	if err != nil {
		return Change{}, err
	}
	if len(writes) < len(ends) {
		if err := r.confirm(ctx, ends, nil); err != nil {
			return Change{}, err
		}
	}
	change := Change{Kind: kind, A: a, B: b, Quiet: other.quiet || other.unheard, Unheard: other.unheard}
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
	if writtenB {
		change.RevisionB = last
		last--
	}
	if writtenA {
		change.RevisionA = last
	}
	return change, nil
}
