package kv

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
)

// Findings count keys that belong to a user who does not exist, and other keys that must not be there.
type Findings struct {
	Users       int `json:"users"`       // records of users without the account that they name
	Accounts    int `json:"accounts"`    // claims of users that do not exist
	Names       int `json:"names"`       // names that their users do not have
	Resets      int `json:"resets"`      // codes of users that do not exist
	Rosters     int `json:"rosters"`     // of users that do not exist
	Friends     int `json:"friends"`     // users that do not exist and are in the rosters of others
	Tokens      int `json:"tokens"`      // of users that do not exist
	Attachments int `json:"attachments"` // that an older version may have removed already
	Unknown     int `json:"unknown"`     // keys of no declared kind
}

// Finding is one count of Findings.
type Finding struct {
	Name  string
	Count int
}

// List returns all counts, zeros included.
func (f Findings) List() []Finding {
	return []Finding{
		{"users without an account", f.Users}, {"accounts without a user", f.Accounts}, {"names without a user", f.Names},
		{"reset codes without a user", f.Resets}, {"rosters without a user", f.Rosters}, {"friends that do not exist", f.Friends},
		{"tokens without a user", f.Tokens}, {"attachments not confirmed", f.Attachments}, {"keys of unknown kind (kept)", f.Unknown},
	}
}

// ruling says whether a key is kept, and with which value.
type ruling struct {
	entry
	keep    bool
	want    []byte // the corrected value; nil if the value is right
	counter *int   // the count of Findings that the key adds to; nil for a valid key
	found   int    // how much it adds
}

func (r *ruling) drop(counter *int) { r.keep, r.counter, r.found = false, counter, 1 }

// inspector finds the keys that belong to no existing user.
type inspector struct {
	users *Users
	found Findings
	alive map[[16]byte]bool // whether a user exists, for the users that were looked up

	disabled int // users that exist and are disabled
}

func newInspector(users *Users) *inspector {
	return &inspector{users: users, alive: make(map[[16]byte]bool)}
}

// lookUp finds out which of the users exist, unless it has looked them up before.
func (i *inspector) lookUp(ctx context.Context, ids []string) error {
	ids = slices.DeleteFunc(ids, func(id string) bool {
		key, ok := parseID(id)
		_, known := i.alive[key]
		return !ok || known
	})
	for some := range slices.Chunk(ids, inspectedAtOnce) {
		good, err := i.owners(ctx, slices.Clone(some))
		if err != nil {
			return err
		}
		for _, id := range some {
			key, _ := parseID(id)
			i.alive[key] = good[id] != nil
		}
	}
	return nil
}

// exists reports whether a user exists. The user must have been looked up.
func (i *inspector) exists(id string) bool {
	key, ok := parseID(id)
	return ok && i.alive[key]
}

// parseID returns the bytes of an id.
func parseID(id string) (key [16]byte, ok bool) {
	if !ValidID(id) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

// owners returns the records of the users that own the account in their record. The others do not count as users.
func (i *inspector) owners(ctx context.Context, ids []string) (map[string]*userRecord, error) {
	ids = slices.DeleteFunc(ids, func(id string) bool { return !ValidID(id) })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	keys := make([]string, len(ids))
	for n, id := range ids {
		keys[n] = userKey(id)
	}
	records, err := i.users.b.getMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	good := make(map[string]*userRecord, len(records))
	keys = keys[:0]
	for _, e := range records {
		r, err := decodeUserRecord(e)
		if err != nil {
			return nil, err
		}
		good[r.ID] = &r
		keys = append(keys, accountKey(FoldAccount(r.Account)))
	}
	claims, err := i.users.b.getMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	for id, r := range good {
		if string(claims[accountKey(FoldAccount(r.Account))].value) != id {
			delete(good, id)
		}
	}
	return good, nil
}

// inUsers rules on keys of the bucket of users.
func (i *inspector) inUsers(ctx context.Context, entries []entry) ([]ruling, error) {
	var ids []string
	for _, e := range entries {
		ids = append(ids, concerns(e))
	}
	good, err := i.owners(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]ruling, len(entries))
	for n, e := range entries {
		r := &all[n]
		r.entry, r.keep = e, true
		user := good[concerns(e)]
		k, known := kindOf(i.users.b.at.Load().kinds, e.key)
		switch {
		case e.deleted:
		case !known:
			r.drop(&i.found.Unknown)
		case k.name == "user" && user == nil:
			r.drop(&i.found.Users)
		case k.name == "user":
			key, _ := parseID(user.ID)
			i.alive[key] = true
			if user.Disabled {
				i.disabled++
			}
		case k.name == "account" && (user == nil || accountKey(FoldAccount(user.Account)) != e.key):
			r.drop(&i.found.Accounts)
		case k.name == "name" && (user == nil || user.nameKey() != e.key):
			r.drop(&i.found.Names)
		case k.name == "reset" && user == nil:
			r.drop(&i.found.Resets)
		}
	}
	return all, nil
}

// concerns returns the id of the user that a key of the bucket of users belongs to, "" for none.
func concerns(e entry) string {
	kind, rest, _ := strings.Cut(e.key, ".")
	switch kind {
	case "user", "reset":
		return rest
	case "account":
		return string(e.value)
	case "name":
		_, id := nameOf(e.key)
		return id
	}
	return ""
}

// inRosters rules on keys of the bucket of friendships.
func (i *inspector) inRosters(ctx context.Context, entries []entry) ([]ruling, error) {
	rosters := make([]rosterEntry, len(entries))
	var ids []string
	for n, e := range entries {
		if e.deleted || !ValidID(e.key) {
			continue
		}
		var err error
		if rosters[n], err = decodeRoster(e); err != nil {
			return nil, err
		}
		ids = append(append(ids, e.key), rosters[n].named()...)
	}
	slices.Sort(ids)
	if err := i.lookUp(ctx, slices.Compact(ids)); err != nil {
		return nil, err
	}
	all := make([]ruling, len(entries))
	for n, e := range entries {
		r := &all[n]
		r.entry, r.keep = e, true
		switch {
		case e.deleted:
		case !ValidID(e.key):
			r.drop(&i.found.Unknown)
		case !i.exists(e.key):
			r.drop(&i.found.Rosters)
		default:
			if err := i.clean(r, rosters[n].party); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// clean removes users that do not exist from a roster.
func (i *inspector) clean(r *ruling, own party) (err error) {
	for _, id := range own.named() {
		if !i.exists(id) {
			own.unfriend(id)
			own.forgetRequests(id)
			r.counter, r.found = &i.found.Friends, r.found+1
		}
	}
	if r.found > 0 {
		r.want, err = encodeRoster(own.Roster)
	}
	return err
}

// inTokens rules on keys of the bucket of tokens.
func (i *inspector) inTokens(ctx context.Context, entries []entry) ([]ruling, error) {
	ids := make([]string, len(entries))
	for n, e := range entries {
		ids[n], _, _ = strings.Cut(e.key, ".")
	}
	if err := i.lookUp(ctx, slices.Clone(ids)); err != nil {
		return nil, err
	}
	all := make([]ruling, len(entries))
	for n, e := range entries {
		all[n] = ruling{entry: e, keep: true}
		if !e.deleted && !i.exists(ids[n]) {
			all[n].drop(&i.found.Tokens)
		}
	}
	return all, nil
}

// pages calls do with all entries of a bucket up to revision upTo, a page at a time. If upTo is 0, it reads to the end.
func (b *bucket) pages(ctx context.Context, upTo uint64, do func([]entry) error) error {
	for after := uint64(0); ; {
		p, err := b.walk(ctx, after, inspectedAtOnce)
		if err != nil {
			return err
		}
		entries := p.entries
		if upTo > 0 {
			entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.revision > upTo })
		}
		if len(entries) > 0 {
			if err := do(entries); err != nil {
				return err
			}
		}
		if p.pending == 0 || len(entries) < len(p.entries) {
			return nil
		}
		after = p.last()
	}
}

// inspectedAtOnce bounds the records in memory.
const inspectedAtOnce = 500
