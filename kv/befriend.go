package kv

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// befriendOnce makes a, the user of a service, and b friends without a request, unless a has done so before, or one of
// the two blocks the other. So b can end the friendship for good. The answer is the same in all these cases.
//
// Errors: ErrSelf, ErrNotFriends, ErrTooManyFriends.
func befriendOnce(a, b *party, now time.Time, max limits) (Kind, error) {
	if a.id == b.id {
		return 0, ErrSelf
	}
	repair(a, b)
	if a.friend(b.id) >= 0 {
		return Unchanged, nil
	}
	if slices.Contains(b.BefriendedBy, a.id) || a.Blocks(b.id) || b.Blocks(a.id) {
		return 0, ErrNotFriends
	}
	kind, err := join(a, b, "", now, max)
	if err == nil {
		b.BefriendedBy = append(b.BefriendedBy, a.id)
	}
	return kind, err
}

// BefriendOnce makes the user of a service and another user friends without a request, for services that an
// administrator lets do so. It does not change users who are friends already. The caller must check that the user to has
// an account.
//
// Errors: ErrNotFriends if the service has befriended that user before, or one blocks the other; ErrSelf,
// ErrUserNotFound, ErrTooManyFriends, ErrConflict.
func (r *Rosters) BefriendOnce(ctx context.Context, service, to string) (Change, error) {
	change, err := r.apply(ctx, service, to, func(a, b *party) (Kind, error) {
		return befriendOnce(a, b, now(), *r.limits.Load())
	})
	if err != nil {
		return Change{}, fmt.Errorf("kv: befriend a user: %w", err)
	}
	return change, nil
}
