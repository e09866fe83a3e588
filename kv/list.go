package kv

import (
	"context"
	"fmt"
	"strings"
)

const (
	listLimit = 256
	// A page has three keys for each user, of which one is the record: with pictures of
	// 64 KiB, 16 MiB at most.
	listPage    = 3 * listLimit
	listMinimum = 64
	listPages   = 16 // read for one call at most, so that a filter that matches nothing answers too
)

// ListOptions say which users are listed.
type ListOptions struct {
	After    uint64 // the cursor that the call before returned; 0 to begin
	Limit    int    // of users returned; default 256
	Prefix   string // beginning of the account or the name, compared folded; "" for all
	Disabled *bool  // nil for both
}

func (o ListOptions) match(user User, prefix string) bool {
	if o.Disabled != nil && *o.Disabled != user.Disabled {
		return false
	}
	return prefix == "" ||
		strings.HasPrefix(FoldAccount(user.Account), prefix) ||
		strings.HasPrefix(FoldAccount(user.Name), prefix)
}

// List returns a part of the users in the order in which they were last written, and the cursor for
// the next part. It ends when the cursor is 0; until then a part may have fewer users than asked
// for, or none. A user that changes meanwhile moves to the end: it may be listed twice, but never missed.
func (u *Users) List(ctx context.Context, o ListOptions) ([]User, uint64, error) {
	if o.Limit <= 0 {
		o.Limit = listLimit
	}
	prefix := FoldAccount(o.Prefix)
	var users []User
	after := o.After
	for range listPages {
		p, err := u.b.walk(ctx, after, max(listMinimum, min(listPage, 3*o.Limit)))
		if err != nil {
			return nil, 0, fmt.Errorf("kv: list users: %w", err)
		}
		for i, e := range p.entries {
			after = e.revision
			if e.deleted || !strings.HasPrefix(e.key, userKey("")) {
				continue
			}
			user, err := decodeUser(e)
			if err != nil {
				return nil, 0, fmt.Errorf("kv: list users: %w", err)
			}
			if !o.match(user, prefix) {
				continue
			}
			users = append(users, user)
			if len(users) == o.Limit && (i < len(p.entries)-1 || p.pending > 0) {
				return users, after, nil
			}
		}
		if p.pending == 0 {
			return users, 0, nil
		}
	}
	return users, after, nil
}

// Count returns the number of users, by the stream's own count of keys: 30 ms for 100,000. It counts the claims, since a
// deleted user's record remains as a delete marker.
func (u *Users) Count(ctx context.Context) (int, error) {
	p, err := u.b.next(ctx, "account.*", 0, 1)
	if err != nil {
		return 0, fmt.Errorf("kv: count users: %w", err)
	}
	return len(p.entries) + p.pending, nil
}
