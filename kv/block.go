package kv

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// A user may block another one. The list is in the roster of the user who blocks. If the two are friends they stay
// friends, and the entry of the blocked one says that the friend blocks it (Friend.BlockedBy), so that every node that
// holds the roster of either knows. The blocked user must not be told, neither by an answer nor by its duration.

// MaxBlocked is how many users one user may block.
const MaxBlocked = 1000

// Blocks reports whether the roster's owner blocks the user with this id.
func (r Roster) Blocks(id string) bool { return slices.Contains(r.Blocked, id) }

// block makes a block b. The requests between the two are withdrawn: one of a as by remove, and one of b becomes
// unheard, so that b does not see the difference.
//
// Errors: ErrSelf, ErrTooManyBlocked.
func block(a, b *party) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	repair(a, b)
	if a.Blocks(b.id) {
		return Unchanged, nil
	}
	if len(a.Blocked) >= MaxBlocked {
		return 0, ErrTooManyBlocked
	}
	heard := b.Roster.request(a.id)
	b.quiet = heard < 0 || b.Requests[heard].Quiet
	b.unheard = heard < 0 && a.asked(b.id)
	a.forgetRequests(b.id)
	b.Requests = slices.DeleteFunc(b.Requests, func(q Request) bool { return q.From == a.id })
	a.Blocked = append(a.Blocked, b.id)
	repair(a, b)
	return Blocked, nil
}

// unblock makes a no longer block b. The next request of b is shown at once, unless a declined one within the cooldown.
func unblock(a, b *party) (Kind, error) {
	if !a.Blocks(b.id) {
		return Unchanged, nil
	}
	a.Blocked = slices.DeleteFunc(a.Blocked, func(id string) bool { return id == b.id })
	repair(a, b)
	b.Recent = slices.DeleteFunc(b.Recent, func(r Recent) bool { return r.ID == a.id && !r.Declined })
	return Unblocked, nil
}

// Block makes user me block user to. The caller must check that user to has an account: Block recognizes only deleted
// users.
//
// Errors: ErrSelf, ErrUserNotFound, ErrTooManyBlocked, ErrConflict.
func (r *Rosters) Block(ctx context.Context, me, to string) (Change, error) {
	change, err := r.apply(ctx, me, to, block)
	if err != nil {
		return Change{}, fmt.Errorf("kv: block a user: %w", err)
	}
	return change, nil
}

// Unblock makes user me no longer block user to, who may have been deleted.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (r *Rosters) Unblock(ctx context.Context, me, to string) (Change, error) {
	change, err := r.apply(ctx, me, to, unblock)
	if errors.Is(err, ErrUserNotFound) && ValidID(to) {
		change, err = r.forget(ctx, me, to)
	}
	if err != nil {
		return Change{}, fmt.Errorf("kv: unblock a user: %w", err)
	}
	return change, nil
}

// forget removes a deleted user from the lists of blocked and of asked users. No friendship is left: RemoveUser has
// ended it.
func (r *Rosters) forget(ctx context.Context, me, deleted string) (Change, error) {
	change := Change{A: me, B: deleted}
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		own, err := r.read(ctx, me)
		if err == nil && own.deleted {
			err = ErrUserNotFound
		}
		if err != nil {
			return err
		}
		change.Kind, _ = unblock(&own.party, &party{id: deleted}) // it never fails
		own.forgetRequests(deleted)
		writes, written, err := own.write(nil)
		if err != nil || !written {
			return err
		}
		change.RevisionA, err = r.b.write(ctx, writes...)
		return err
	})
	return change, err
}

// Recent is what a roster keeps of the owner's last request to another user: for the cooldown, and while the request is
// pending or unheard, to recognize a repeated one.
type Recent struct {
	ID       string    `json:"id"`                 // of the other user
	Since    time.Time `json:"since"`              // when the other user's clients were shown a request, or it was declined
	Declined bool      `json:"declined,omitempty"` // the other user declined
	Note     uint32    `json:"note,omitempty"`     // hash of the last note
}

// maxRecent is how many users a roster keeps. One more drops the oldest.
const maxRecent = 1000

// recent returns the entry of the user with this id, or the zero Recent, and whether it is within the cooldown.
func (r Roster) recent(id string, now time.Time, cooldown time.Duration) (e Recent, within bool) {
	i := slices.IndexFunc(r.Recent, func(e Recent) bool { return e.ID == id })
	if i < 0 {
		return Recent{}, false
	}
	return r.Recent[i], now.Sub(r.Recent[i].Since) < cooldown
}

// again returns the entry after another request. within reports whether e is within the cooldown, which a further
// request does not extend.
func (e Recent) again(within bool, note string, now time.Time) Recent {
	if !within {
		e = Recent{Since: now}
	}
	e.Note = hashNote(note)
	return e
}

// remember replaces the entry of the user with this id, and drops entries that are no longer needed.
func (p *party) remember(id string, e Recent, now time.Time, cooldown time.Duration) {
	e.ID = id
	p.forgetRecent(id)
	p.Recent = append(p.Recent, e)
	p.Recent = slices.DeleteFunc(p.Recent, func(e Recent) bool { return now.Sub(e.Since) >= cooldown && !p.asked(e.ID) })
	if over := len(p.Recent) - maxRecent; over > 0 {
		p.Recent = slices.Delete(p.Recent, 0, over)
	}
}

func (p *party) forgetRecent(id string) {
	p.Recent = slices.DeleteFunc(p.Recent, func(e Recent) bool { return e.ID == id })
}

// forgetDeclined ends the cooldown of a request that the user with this id declined.
func (p *party) forgetDeclined(id string) {
	p.Recent = slices.DeleteFunc(p.Recent, func(e Recent) bool { return e.ID == id && e.Declined })
}

// hashNote returns a hash of a note.
func hashNote(note string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(note)) // it never fails
	return h.Sum32()
}
