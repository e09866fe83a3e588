package kv

import (
	"context"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"strings"
)

// Findings counts keys that belong to no existing user, and other keys that must not exist.
type Findings struct {
	Users       int `json:"users"`       // records of users without a claim of their account
	Accounts    int `json:"accounts"`    // claims of users that do not exist
	Looks       int `json:"looks"`       // claims of looks by users that do not exist
	Names       int `json:"names"`       // names that their users do not have
	Resets      int `json:"resets"`      // codes of users that do not exist
	Reports     int `json:"reports"`     // by or about users that do not exist
	Rosters     int `json:"rosters"`     // of users that do not exist
	Cursors     int `json:"cursors"`     // of users that do not exist
	Friends     int `json:"friends"`     // entries of users that do not exist in rosters of others
	Tokens      int `json:"tokens"`      // of users that do not exist
	Push        int `json:"push"`        // subscriptions of users that do not exist
	Talks       int `json:"talks"`       // conversations with users that do not exist
	Files       int `json:"files"`       // of users that do not exist
	Owned       int `json:"owned"`       // entries of gateways for users that do not exist
	Attachments int `json:"attachments"` // that an older version may have removed
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
		{"users without an account", f.Users}, {"accounts without a user", f.Accounts}, {"looks without a user", f.Looks}, {"names without a user", f.Names},
		{"reset codes without a user", f.Resets}, {"reports without a user", f.Reports}, {"rosters without a user", f.Rosters}, {"cursors without a user", f.Cursors},
		{"friends that do not exist", f.Friends},
		{"tokens without a user", f.Tokens}, {"push subscriptions without a user", f.Push}, {"conversations without a user", f.Talks}, {"files without a user", f.Files},
		{"users of gateways that do not exist", f.Owned}, {"attachments not confirmed", f.Attachments}, {"keys of unknown kind (kept)", f.Unknown},
	}
}

// decision says whether a key is kept, and with which value.
type decision struct {
	entry
	keep    bool
	want    []byte // the corrected value; nil if the value is right
	counter *int   // the count of Findings that the key adds to; nil for a valid key
	count   int    // how much it adds
}

// drop decides to remove the key, and to count it once.
func (d *decision) drop(counter *int) { d.keep, d.counter, d.count = false, counter, 1 }

// orphanFinder finds the keys that belong to no existing user.
type orphanFinder struct {
	users    *Users
	found    Findings
	known    map[[16]byte]knownUser
	lookedUp map[[16]byte]struct{} // the users of known that lookUp has read
	seed     maphash.Seed
	disabled int // users that exist and are disabled
}

// knownUser is what an orphanFinder stores of a user: 80 MB for a million.
type knownUser struct {
	account, name uint64           // hashes of the keys of the record's account and name; name is 0 for none
	looks         [maxLooks]uint64 // hashes of the keys of the account's looks; 0 for none
	record        bool             // the user has a record
	claimed       bool             // the user has the claim of account
	disabled      bool
}

func (k knownUser) exists() bool { return k.record && k.claimed }

func newOrphanFinder(users *Users) *orphanFinder {
	return &orphanFinder{users: users, known: make(map[[16]byte]knownUser), lookedUp: make(map[[16]byte]struct{}), seed: maphash.MakeSeed()}
}

// hash returns the hash of a key, 0 for "".
func (f *orphanFinder) hash(key string) uint64 {
	if key == "" {
		return 0
	}
	return max(1, maphash.String(f.seed, key))
}

// readUsers reads all users. So only users with a key that seems to be an orphan must be looked up later.
func (f *orphanFinder) readUsers(ctx context.Context, progress func(entries []entry)) error {
	return f.users.b.pages(ctx, 0, func(entries []entry) error {
		for _, e := range entries {
			if err := f.addKey(e); err != nil {
				return err
			}
		}
		progress(entries)
		return nil
	})
}

// addKey updates a known user by one of its keys. If keys contradict each other, the known user does not exist.
func (f *orphanFinder) addKey(e entry) error {
	kind, _, _ := strings.Cut(e.key, ".")
	id, ok := parseID(userOf(e))
	if !ok || kind != "user" && kind != "account" {
		return nil
	}
	k := f.known[id]
	switch {
	case kind == "user" && e.deleted:
		k.record = false
	case kind == "user":
		r, err := decodeUserRecord(e)
		if err != nil {
			return err
		}
		f.setRecord(&k, r)
	case e.deleted:
		return nil
	case !k.record && !k.claimed:
		k.account, k.claimed = f.hash(e.key), true
	case k.account == f.hash(e.key):
		k.claimed = true
	}
	f.known[id] = k
	return nil
}

// setRecord updates a known user by its record.
func (f *orphanFinder) setRecord(k *knownUser, r userRecord) {
	account := f.hash(accountKey(FoldAccount(r.Account)))
	k.claimed = k.claimed && k.account == account
	k.account, k.name, k.record, k.disabled = account, f.hash(r.nameKey()), true, r.Disabled
	k.looks = [maxLooks]uint64{}
	for i, key := range lookKeys(r.Account) {
		k.looks[i] = f.hash(key)
	}
}

// lookUp reads the users that were not looked up before.
func (f *orphanFinder) lookUp(ctx context.Context, ids []string) error {
	var keys []string
	for _, id := range ids {
		key, ok := parseID(id)
		if _, known := f.lookedUp[key]; ok && !known {
			f.lookedUp[key] = struct{}{}
			delete(f.known, key)
			keys = append(keys, userKey(id))
		}
	}
	for chunk := range slices.Chunk(keys, lookUpKeys) {
		records, err := f.users.b.getMany(ctx, chunk)
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
			var k knownUser
			f.setRecord(&k, r)
			f.known[id] = k
			claims = append(claims, accountKey(FoldAccount(r.Account)))
		}
		claimed, err := f.users.b.getMany(ctx, claims)
		if err != nil {
			return err
		}
		for _, e := range claimed {
			if err := f.addKey(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// exists reports whether a user exists, as far as it is known.
func (f *orphanFinder) exists(id string) bool {
	key, ok := parseID(id)
	return ok && f.known[key].exists()
}

// missing removes the ids of existing users from ids, and returns the rest.
func (f *orphanFinder) missing(ids []string) []string {
	return slices.DeleteFunc(ids, f.exists)
}

// parseID returns the bytes of an id. ok is false for an invalid id.
func parseID(id string) (key [16]byte, ok bool) {
	if !ValidID(id) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

// checkUserKeys decides on keys of the bucket of users.
func (f *orphanFinder) checkUserKeys(ctx context.Context, entries []entry) ([]decision, error) {
	var suspects []string
	for _, e := range entries {
		if f.orphan(e) != nil {
			suspects = append(suspects, userOf(e))
			if strings.HasPrefix(e.key, reportPrefix) {
				_, user := reportUsers(e.key)
				suspects = append(suspects, user)
			}
		}
	}
	if err := f.lookUp(ctx, suspects); err != nil {
		return nil, err
	}
	all := make([]decision, len(entries))
	for n, e := range entries {
		d := &all[n]
		d.entry, d.keep = e, true
		if counter := f.orphan(e); counter != nil {
			d.drop(counter)
		} else if id, ok := parseID(userOf(e)); ok && !e.deleted && e.key == userKey(userOf(e)) && f.known[id].disabled {
			f.disabled++
		}
	}
	return all, nil
}

// orphan returns the counter for a key of the bucket of users if the key is an orphan, as far as the users are known,
// else nil.
func (f *orphanFinder) orphan(e entry) *int {
	kind, declared := kindOf(f.users.b.kinds(), e.key)
	var k knownUser
	if id, ok := parseID(userOf(e)); ok {
		k = f.known[id]
	}
	switch {
	case e.deleted:
	case !declared:
		return &f.found.Unknown
	case kind.name == "user" && !k.exists():
		return &f.found.Users
	case kind.name == "account" && (!k.exists() || k.account != f.hash(e.key)):
		return &f.found.Accounts
	case kind.name == "look" && (!k.exists() || !slices.Contains(k.looks[:], f.hash(e.key))):
		return &f.found.Looks
	case kind.name == "name" && (!k.exists() || k.name != f.hash(e.key)):
		return &f.found.Names
	case kind.name == "reset" && !k.exists():
		return &f.found.Resets
	case kind.name == "push" && !k.exists():
		return &f.found.Push
	case kind.name == "owned" && !k.exists():
		return &f.found.Owned
	case kind.name == "report":
		if by, user := reportUsers(e.key); !f.exists(by) || !f.exists(user) {
			return &f.found.Reports
		}
	}
	return nil
}

// userOf returns the id of the user that a key of the bucket of users belongs to, "" for none. A report belongs to the
// user who reports.
func userOf(e entry) string {
	kind, rest, _ := strings.Cut(e.key, ".")
	switch kind {
	case "user":
		return rest
	case "reset", "push":
		id, _, _ := strings.Cut(rest, ".")
		return id
	case "account", "look":
		return string(e.value)
	case "owned":
		_, id, _ := strings.Cut(rest, ".")
		return id
	case "name":
		_, id := nameOf(e.key)
		return id
	case "report":
		by, _ := reportUsers(e.key)
		return by
	}
	return ""
}

// checkRosters decides on keys of the bucket of friendships.
func (f *orphanFinder) checkRosters(ctx context.Context, entries []entry) ([]decision, error) {
	rosters := make([]rosterEntry, len(entries))
	var ids []string
	for n, e := range entries {
		if e.deleted {
			continue
		}
		if user, ok := strings.CutPrefix(e.key, cursorsPrefix); ok {
			ids = append(ids, user)
			if _, err := decodeCursors(e.value); err != nil {
				return nil, damaged(e)
			}
			continue
		}
		if !ValidID(e.key) {
			continue
		}
		var err error
		if rosters[n], err = decodeRoster(e); err != nil {
			return nil, err
		}
		ids = append(append(ids, e.key), rosters[n].named()...)
	}
	if err := f.lookUp(ctx, f.missing(ids)); err != nil {
		return nil, err
	}
	all := make([]decision, len(entries))
	for n, e := range entries {
		d := &all[n]
		d.entry, d.keep = e, true
		user, isCursors := strings.CutPrefix(e.key, cursorsPrefix)
		switch {
		case e.deleted, strings.HasPrefix(e.key, paddingPrefix):
		case isCursors:
			if !f.exists(user) {
				d.drop(&f.found.Cursors)
			}
		case !ValidID(e.key):
			d.drop(&f.found.Unknown)
		case !f.exists(e.key):
			d.drop(&f.found.Rosters)
		default:
			if err := f.clean(d, rosters[n].party); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// clean removes users that do not exist from a roster. A user that was asked and does not exist is alone no finding: an
// unheard request outlives the user.
func (f *orphanFinder) clean(d *decision, own party) (err error) {
	for _, id := range own.named() {
		if f.exists(id) {
			continue
		}
		if own.friend(id) >= 0 || own.Roster.request(id) >= 0 {
			d.counter, d.count = &f.found.Friends, d.count+1
		}
		own.unfriend(id)
		own.forgetRequests(id)
	}
	if d.count > 0 {
		d.want, err = encodeRoster(own.Roster)
	}
	return err
}

// checkTokens decides on keys of the bucket of tokens.
func (f *orphanFinder) checkTokens(ctx context.Context, entries []entry) ([]decision, error) {
	ids := make([]string, len(entries))
	for n, e := range entries {
		ids[n], _, _ = strings.Cut(e.key, ".")
	}
	if err := f.lookUp(ctx, f.missing(slices.Clone(ids))); err != nil {
		return nil, err
	}
	all := make([]decision, len(entries))
	for n, e := range entries {
		all[n] = decision{entry: e, keep: true}
		if !e.deleted && !f.exists(ids[n]) {
			all[n].drop(&f.found.Tokens)
		}
	}
	return all, nil
}

// lookUpKeys bounds how many keys are read at once.
const lookUpKeys = 2000
