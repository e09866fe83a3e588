package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	f := finder{users: u, folded: FoldAccount(name), limit: limit, seen: map[string]bool{except: true}}
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	return f.found, nil
}

// FindCursor is the place at which a page of a search begins. The zero FindCursor is the beginning.
type FindCursor struct {
	part  int    // of the search: 0 for names that are the text, 1 for names that begin with it
	after uint64 // revision of the last key that was looked at
}

// String returns a text for ParseFindCursor, "" for the beginning.
func (c FindCursor) String() string {
	if c == (FindCursor{}) {
		return ""
	}
	return strconv.Itoa(c.part) + "-" + strconv.FormatUint(c.after, 36)
}

// ParseFindCursor parses a text of String. ok is false for any other text.
func ParseFindCursor(s string) (c FindCursor, ok bool) {
	if s == "" {
		return FindCursor{}, true
	}
	part, after, found := strings.Cut(s, "-")
	revision, err := strconv.ParseUint(after, 36, 63)
	if !found || err != nil || part != "0" && part != "1" {
		return FindCursor{}, false
	}
	return FindCursor{part: int(part[0] - '0'), after: revision}, true
}

// FindPage returns up to limit users that Find would return, from a cursor on, without the users with the ids except.
// next is where the next page begins; it is the zero FindCursor after the last page. A user who takes another name
// meanwhile may be on two pages or on none.
//
// Errors: only those of NATS and ctx.
func (u *Users) FindPage(ctx context.Context, name string, from FindCursor, limit int, except ...string) (_ []User, next FindCursor, _ error) {
	f := finder{users: u, folded: FoldAccount(name), limit: limit + 1, seen: make(map[string]bool), at: from} // one more: is there a next page?
	for _, id := range except {
		f.seen[id] = true
	}
	if err := f.find(ctx); err != nil {
		return nil, FindCursor{}, err
	}
	if len(f.found) <= limit {
		if f.cut {
			next = f.at
		}
		return f.found, next, nil
	}
	return f.found[:limit], f.places[limit-1], nil
}

// finder collects the users of one call of Find.
type finder struct {
	users  *Users
	folded string
	limit  int
	seen   map[string]bool
	found  []User
	at     FindCursor   // the last key that was looked at
	places []FindCursor // of the users found
	cut    bool         // the bound of pages ended the search
}

// find runs the two parts of the search.
func (f *finder) find(ctx context.Context) error {
	if f.folded == "" || f.limit <= 0 {
		return nil
	}
	// The key of a name ends with an id, which is longer than the token of any character. So * matches only an id,
	// and > matches further characters, too.
	for part, rest := range []string{".*", ".>"} {
		if part < f.at.part || f.cut {
			continue
		}
		if part > f.at.part {
			f.at = FindCursor{part: part}
		}
		if err := f.collect(ctx, "name."+nameTokens(f.folded)+rest); err != nil {
			return fmt.Errorf("kv: find a name: %w", err)
		}
	}
	return nil
}

func (f *finder) full() bool { return len(f.found) >= f.limit }

// collect adds the users whose names' keys match filter.
func (f *finder) collect(ctx context.Context, filter string) error {
	// Reading one match also returns the number of matches, at a tenth of the cost of an index lookup that is refused.
	p, err := f.users.b.nextPage(ctx, filter, f.at.after, 1)
	if err == nil && f.at.after == 0 && p.pending > 0 && p.pending < maxFindIndexed {
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
	f.cut = true
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
	places := make(map[string]uint64)
	for _, e := range p.entries {
		if _, id := nameOf(e.key); !e.deleted && !f.seen[id] && !slices.Contains(ids, id) {
			ids, places[id] = append(ids, id), e.revision
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
			whole := nameTokens(name) == nameTokens(f.folded)
			// A page may begin in the second part. The users of the first one are on the pages before.
			if !ok || !strings.HasPrefix(name, f.folded) || whole != (f.at.part == 0) {
				continue
			}
			if f.seen[id] = true; !user.Disabled {
				f.found, f.places = append(f.found, user), append(f.places, FindCursor{f.at.part, places[id]})
			}
		}
	}
	if len(p.entries) > 0 {
		f.at.after = p.last()
	}
	return nil
}
