package kv

import (
	"context"
)

// claim returns the claim on the user's account, if it is the user's. A damaged record may have none, and its account
// may belong to another user since.
func (u *Users) claim(ctx context.Context, user User) (e entry, claimed bool, err error) {
	folded := FoldAccount(user.Account)
	if folded == "" {
		return entry{}, false, nil
	}
	e, there, err := u.peek(ctx, accountKey(folded))
	return e, there && string(e.value) == user.ID, err
}
