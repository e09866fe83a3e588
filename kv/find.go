package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	findPage  = 128 // keys read at once
	findPages = 32  // read at most, should all that match be left out
	// findMany is from how many matches on they are read one by one. The index lists up to 1,024, but to tell where each is, the server
	// loads the index of every block of the stream that has one: a thousand matches that a million accounts were spread
	// around took 9 s the first time, and a gigabyte of memory.
	findMany = 200
)

// Find returns up to limit users whose name is name, then such whose name begins with it, compared
// folded; each in the order in which they took their names. Left out are disabled users and except.
func (u *Users) Find(ctx context.Context, name string, limit int, except string) ([]User, error) {
	folded := FoldAccount(name)
	if folded == "" || limit <= 0 {
		return nil, nil
	}
	f := finder{users: u, folded: folded, limit: limit, seen: map[string]bool{except: true}}
	// A name's key ends with an id, which is longer than any character's token: * stands for
	// the id alone, > for more characters and an id too.
	for _, rest := range []string{".*", ".>"} {
		f.whole = rest == ".*"
		if err := f.collect(ctx, "name."+nameTokens(folded)+rest); err != nil {
			return nil, fmt.Errorf("kv: find a name: %w", err)
		}
	}
	return f.found, nil
}

type finder struct {
	users  *Users
	folded string
	limit  int
	seen   map[string]bool
	found  []User
	whole  bool // take only names that equal folded
}

func (f *finder) full() bool { return len(f.found) >= f.limit }

func (f *finder) collect(ctx context.Context, filter string) error {
	// The first that matches, and how many more do, which costs a tenth of what listing them takes, only to be refused.
	p, err := f.users.b.next(ctx, filter, 0, 1)
	if err == nil && p.pending > 0 && p.pending < findMany {
		few, tooMany := f.users.b.matching(ctx, filter, findPage)
		if !errors.Is(tooMany, errTooMany) {
			p, err = few, tooMany
		}
	}
	for range findPages {
		if err != nil {
			return err
		}
		if err := f.take(ctx, p); err != nil {
			return err
		}
		if f.full() || p.pending == 0 || len(p.entries) == 0 {
			return nil
		}
		p, err = f.step(ctx, filter, p.last())
	}
	return err
}

// step reads the next keys one by one, as many as are still wanted and a few more for those that will be
// left out. Its page says that one more is pending as long as it did not come to the end.
func (f *finder) step(ctx context.Context, filter string, after uint64) (page, error) {
	var p page
	for range f.limit - len(f.found) + 4 {
		e, err := f.users.b.one(ctx, filter, after)
		if errors.Is(err, errNoKey) {
			return p, nil
		}
		if err != nil {
			return page{}, err
		}
		p.entries = append(p.entries, e)
		after = e.revision
	}
	p.pending = 1
	return p, nil
}

// take adds the users of a page, as far as they are wanted, reading no more records than needed.
func (f *finder) take(ctx context.Context, p page) error {
	var ids []string
	for _, e := range p.entries {
		if _, id := nameOf(e.key); !e.deleted && !f.seen[id] && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for len(ids) > 0 && !f.full() {
		some := ids[:min(len(ids), f.limit-len(f.found))]
		ids = ids[len(some):]
		users, err := f.users.GetMany(ctx, some)
		if err != nil {
			return err
		}
		for _, id := range some {
			// The record decides: it may have changed since its key was read, a rename may have left the key behind, and
			// long names are indexed by their beginning only.
			user, ok := users[id]
			name := FoldAccount(user.Name)
			if !ok || !strings.HasPrefix(name, f.folded) || f.whole && nameTokens(name) != nameTokens(f.folded) {
				continue
			}
			if f.seen[id] = true; !user.Disabled {
				f.found = append(f.found, user)
			}
		}
	}
	return nil
}
