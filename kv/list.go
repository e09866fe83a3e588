package kv

import (
	"context"
	"fmt"
	"strings"
)

const (
	defaultListLimit = 256
	// List reads three keys for each user, of which one is the record. With pictures of 64 KiB, a page has at most 16
	// MiB.
	maxListKeys  = 3 * defaultListLimit
	minListKeys  = 64
	maxListPages = 16 // bounds the pages read for one call, so that a call whose filter matches nothing ends
)

// ListOptions select the users that List returns.
type ListOptions struct {
	After    uint64 // the cursor that the last call returned; 0 for the first call
	Limit    int    // number of users; default 256
	Prefix   string // of the account or the name, compared folded; "" for all
	Disabled *bool  // nil for both
	Gateway  string // name of the gateway that speaks for the user; "" for all
}

// match reports whether a user is selected. prefix is folded.
func (opts ListOptions) match(user User, prefix string) bool {
	if opts.Disabled != nil && *opts.Disabled != user.Disabled {
		return false
	}
	if opts.Gateway != "" && opts.Gateway != user.Gateway {
		return false
	}
	return prefix == "" ||
		strings.HasPrefix(FoldAccount(user.Account), prefix) ||
		strings.HasPrefix(FoldAccount(user.Name), prefix)
}

// List returns a part of the users, in the order in which they were last written, and the cursor for the next part.
// The cursor of the last part is 0. Any part may have fewer users than the limit, or none. A user that changes
// meanwhile moves to the end: it may be listed twice, but is never missed.
//
// Errors: only those of NATS and ctx.
func (u *Users) List(ctx context.Context, opts ListOptions) ([]User, uint64, error) {
	if opts.Limit <= 0 {
		opts.Limit = defaultListLimit
	}
	prefix := FoldAccount(opts.Prefix)
	var users []User
	after := opts.After
	for range maxListPages {
		p, err := u.b.nextKeys(ctx, after, max(minListKeys, min(maxListKeys, 3*opts.Limit)))
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
			if !opts.match(user, prefix) {
				continue
			}
			users = append(users, user)
			if len(users) == opts.Limit && (i < len(p.entries)-1 || p.pending > 0) {
				return users, after, nil
			}
		}
		if p.pending == 0 {
			return users, 0, nil
		}
	}
	return users, after, nil
}

// Count returns the number of users. The server counts the keys: 30 ms for 100,000. Count counts claims, since the
// record of a deleted user remains as a delete marker.
//
// Errors: only those of NATS and ctx.
func (u *Users) Count(ctx context.Context) (int, error) {
	p, err := u.b.nextPage(ctx, "account.*", 0, 1)
	if err != nil {
		return 0, fmt.Errorf("kv: count users: %w", err)
	}
	return len(p.entries) + p.pending, nil
}
