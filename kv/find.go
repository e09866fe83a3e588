package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	findPageKeys = 128 // keys read at once
	maxFindPages = 32  // bounds the pages read for one call if all matches are left out
	// maxFindIndexed is the number of matches from which on Find reads them one by one. The server's index returns up
	// to 1,024 matches, but to find their messages the server loads the index of every block of the stream that has
	// one. A thousand matches spread among a million accounts took 9 s the first time, and a gigabyte of memory.
	maxFindIndexed = 200
)

// Find returns up to limit users: first those whose name is name, then those whose name begins with it. It compares
// folded names. Each part is in the order in which the users took their names. Find leaves out disabled users, and
// the user with the id except.
//
// Errors: only those of NATS and ctx.
func (u *Users) Find(ctx context.Context, name string, limit int, except string) ([]User, error) {
	folded := FoldAccount(name)
	if folded == "" || limit <= 0 {
		return nil, nil
	}
	f := finder{users: u, folded: folded, limit: limit, seen: map[string]bool{except: true}}
	// The key of a name ends with an id, which is longer than the token of any character. So * matches only an id,
	// and > matches further characters, too.
	for _, rest := range []string{".*", ".>"} {
		f.whole = rest == ".*"
		if err := f.collect(ctx, "name."+nameTokens(folded)+rest); err != nil {
			return nil, fmt.Errorf("kv: find a name: %w", err)
		}
	}
	return f.found, nil
}

// finder collects the users of one call of Find.
type finder struct {
	users  *Users
	folded string
	limit  int
	seen   map[string]bool
	found  []User
	whole  bool // accept only names that equal folded
}

func (f *finder) full() bool { return len(f.found) >= f.limit }

// collect adds the users whose names' keys match filter.
func (f *finder) collect(ctx context.Context, filter string) error {
	// Reading one match also returns the number of matches, at a tenth of the cost of an index lookup that is refused.
	p, err := f.users.b.nextPage(ctx, filter, 0, 1)
	if err == nil && p.pending > 0 && p.pending < maxFindIndexed {
		indexed, tooMany := f.users.b.firstPage(ctx, filter, findPageKeys)
		if !errors.Is(tooMany, errTooMany) {
			p, err = indexed, tooMany
		}
	}
	for range maxFindPages {
		if err != nil {
			return err
		}
		if err := f.add(ctx, p); err != nil {
			return err
		}
		if f.full() || p.pending == 0 || len(p.entries) == 0 {
			return nil
		}
		p, err = f.step(ctx, filter, p.last())
	}
	return err
}

// step reads the next keys one by one: as many as are still needed, and a few more for those that will be left out.
// In its page, pending is 1 until it comes to the end.
func (f *finder) step(ctx context.Context, filter string, after uint64) (page, error) {
	var p page
	for range f.limit - len(f.found) + 4 {
		e, err := f.users.b.nextKey(ctx, filter, after)
		if errors.Is(err, errKeyNotFound) {
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

// add adds the users of a page until f is full. It reads no more records than needed.
func (f *finder) add(ctx context.Context, p page) error {
	var ids []string
	for _, e := range p.entries {
		if _, id := nameOf(e.key); !e.deleted && !f.seen[id] && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for len(ids) > 0 && !f.full() {
		batch := ids[:min(len(ids), f.limit-len(f.found))]
		ids = ids[len(batch):]
		users, err := f.users.GetMany(ctx, batch)
		if err != nil {
			return err
		}
		for _, id := range batch {
			// The record decides: it may have changed since its key was read, a rename may have left the old key, and
			// the key has only the beginning of a long name.
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
