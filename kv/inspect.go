package kv

import (
	"context"
	"encoding/hex"
	"hash/maphash"
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
	users    *Users
	found    Findings
	marks    map[[16]byte]mark     // of the users that are known
	lookedUp map[[16]byte]struct{} // the users whose mark was read by lookUp
	seed     maphash.Seed
	disabled int // users that exist and are disabled
}

// mark is what an inspector keeps of a user: a million take 60 MB.
type mark struct {
	account, name uint64 // hashes of the keys that the record names; name is 0 for none
	record        bool   // there is a record
	claimed       bool   // account's key names this user
	disabled      bool
}

func (m mark) exists() bool { return m.record && m.claimed }

func newInspector(users *Users) *inspector {
	return &inspector{users: users, marks: make(map[[16]byte]mark), lookedUp: make(map[[16]byte]struct{}), seed: maphash.MakeSeed()}
}

func (i *inspector) hash(key string) uint64 {
	if key == "" {
		return 0
	}
	return max(1, maphash.String(i.seed, key))
}

// survey reads all users, so that only those have to be looked up of which a key seems not to be in order.
func (i *inspector) survey(ctx context.Context, progress func(entries []entry)) error {
	return i.users.b.pages(ctx, 0, func(entries []entry) error {
		for _, e := range entries {
			if err := i.note(e); err != nil {
				return err
			}
		}
		progress(entries)
		return nil
	})
}

// note updates the mark of a user by one key. Keys that contradict each other leave a mark that does not exist.
func (i *inspector) note(e entry) error {
	kind, _, _ := strings.Cut(e.key, ".")
	id, ok := parseID(concerns(e))
	if !ok || kind != "user" && kind != "account" {
		return nil
	}
	m := i.marks[id]
	switch {
	case kind == "user" && e.deleted:
		m.record = false
	case kind == "user":
		r, err := decodeUserRecord(e)
		if err != nil {
			return err
		}
		i.read(&m, r)
	case e.deleted:
		return nil
	case !m.record && !m.claimed:
		m.account, m.claimed = i.hash(e.key), true
	case m.account == i.hash(e.key):
		m.claimed = true
	}
	i.marks[id] = m
	return nil
}

// read updates a mark by the user's record.
func (i *inspector) read(m *mark, r userRecord) {
	account := i.hash(accountKey(FoldAccount(r.Account)))
	m.claimed = m.claimed && m.account == account
	m.account, m.name, m.record, m.disabled = account, i.hash(r.nameKey()), true, r.Disabled
}

// lookUp reads those of the users that were not looked up before.
func (i *inspector) lookUp(ctx context.Context, ids []string) error {
	var keys []string
	for _, id := range ids {
		key, ok := parseID(id)
		if _, known := i.lookedUp[key]; ok && !known {
			i.lookedUp[key] = struct{}{}
			delete(i.marks, key)
			keys = append(keys, userKey(id))
		}
	}
	for some := range slices.Chunk(keys, lookedUpAtOnce) {
		records, err := i.users.b.getMany(ctx, some)
		if err != nil {
			return err
		}
		claims := make([]string, 0, len(records))
		for _, e := range records {
			r, err := decodeUserRecord(e)
			if err != nil {
				return err
			}
			id, _ := parseID(r.ID)
			var m mark
			i.read(&m, r)
			i.marks[id] = m
			claims = append(claims, accountKey(FoldAccount(r.Account)))
		}
		claimed, err := i.users.b.getMany(ctx, claims)
		if err != nil {
			return err
		}
		for _, e := range claimed {
			if err := i.note(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// exists tells whether a user exists that was surveyed or looked up.
func (i *inspector) exists(id string) bool {
	key, ok := parseID(id)
	return ok && i.marks[key].exists()
}

// missing returns those of the ids whose users do not seem to exist.
func (i *inspector) missing(ids []string) []string {
	return slices.DeleteFunc(ids, i.exists)
}

// parseID returns the bytes of an id.
func parseID(id string) (key [16]byte, ok bool) {
	if !ValidID(id) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

// inUsers rules on keys of the bucket of users.
func (i *inspector) inUsers(ctx context.Context, entries []entry) ([]ruling, error) {
	var doubtful []string
	for _, e := range entries {
		if i.misfit(e) != nil {
			doubtful = append(doubtful, concerns(e))
		}
	}
	if err := i.lookUp(ctx, doubtful); err != nil {
		return nil, err
	}
	all := make([]ruling, len(entries))
	for n, e := range entries {
		r := &all[n]
		r.entry, r.keep = e, true
		if counter := i.misfit(e); counter != nil {
			r.drop(counter)
		} else if id, ok := parseID(concerns(e)); ok && !e.deleted && e.key == userKey(concerns(e)) && i.marks[id].disabled {
			i.disabled++
		}
	}
	return all, nil
}

// misfit returns the counter of a key of the bucket of users that is not in order, nil for one that is, as far as is known.
func (i *inspector) misfit(e entry) *int {
	k, known := kindOf(i.users.b.at.Load().kinds, e.key)
	id, ok := parseID(concerns(e))
	var m mark
	if ok {
		m = i.marks[id]
	}
	switch {
	case e.deleted:
	case !known:
		return &i.found.Unknown
	case k.name == "user" && !m.exists():
		return &i.found.Users
	case k.name == "account" && (!m.exists() || m.account != i.hash(e.key)):
		return &i.found.Accounts
	case k.name == "name" && (!m.exists() || m.name != i.hash(e.key)):
		return &i.found.Names
	case k.name == "reset" && !m.exists():
		return &i.found.Resets
	}
	return nil
}

// concerns returns the id of the user that a key of the bucket of users is about, "" for none.
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
	if err := i.lookUp(ctx, i.missing(ids)); err != nil {
		return nil, err
	}
	all := make([]ruling, len(entries))
	for n, e := range entries {
		r := &all[n]
		r.entry, r.keep = e, true
		switch {
		case e.deleted, strings.HasPrefix(e.key, fillKey):
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
	if err := i.lookUp(ctx, i.missing(slices.Clone(ids))); err != nil {
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

// lookedUpAtOnce bounds how many users are looked up at once.
const lookedUpAtOnce = 2000
