package cmd

import (
	"context"

	"imctl/bridge/admin"
	"imctl/kv"
)

// importTrial remembers what a dry run would have written, which the server does not know. It is for one goroutine.
type importTrial struct {
	claims map[string]string // claims of accounts to create: the folded account of each
	ids    map[string]string // of accounts to create: the same
	pairs  map[[3]string]bool
}

func newImportTrial() *importTrial {
	return &importTrial{make(map[string]string), make(map[string]string), make(map[[3]string]bool)}
}

// users returns the results that an import of the records would have after the records before them.
func (t *importTrial) users(ctx context.Context, client *admin.Client, records []admin.Record) (admin.ImportResult, error) {
	result, err := client.TryImportUsers(ctx, records)
	if err != nil {
		return result, err
	}
	for n := range records {
		if r := &result.Results[n]; r.State == admin.StateCreated {
			t.create(&records[n], r)
		}
	}
	return result, nil
}

// create notes an account to create, and changes its result if an earlier one is in its way.
func (t *importTrial) create(record *admin.Record, r *admin.Imported) {
	folded := kv.FoldAccount(record.Account)
	claims := kv.ClaimKeys(record.Account)
	owner, sameID := t.ids[record.ID]
	_, sameAccount := t.claims[claims[0]]
	switch {
	case sameID && owner != folded, sameAccount && record.ID != "" && !sameID:
		*r = admin.Imported{State: admin.StateFailed, Error: "account or id belongs to another user"}
		return
	case sameAccount:
		*r = admin.Imported{State: admin.StateThere}
		return
	}
	for _, key := range claims {
		if _, ok := t.claims[key]; ok {
			*r = admin.Imported{State: admin.StateFailed, Error: "account looks like that of another user"}
			return
		}
	}
	for _, key := range claims {
		t.claims[key] = folded
	}
	if record.ID != "" {
		t.ids[record.ID] = folded
	}
}

// creates reports whether the import would create the user with this id or account.
func (t *importTrial) creates(id, account string) bool {
	if _, ok := t.ids[id]; ok {
		return true
	}
	claims := kv.ClaimKeys(account)
	if len(claims) == 0 {
		return false
	}
	_, ok := t.claims[claims[0]]
	return ok
}

// first reports whether a bond is the first of its kind between two users. from and to are the users of a request.
func (t *importTrial) first(kind string, from, to *admin.Record) bool {
	a, b := t.name(from.ID, from.Account), t.name(to.ID, to.Account)
	if kind == "friends" && a > b {
		a, b = b, a
	}
	key := [3]string{kind, a, b}
	seen := t.pairs[key]
	t.pairs[key] = true
	return !seen
}

// name returns one name of a user, whether a record has the id or the account.
func (t *importTrial) name(id, account string) string {
	if folded, ok := t.ids[id]; ok {
		return folded
	}
	if account != "" {
		return kv.FoldAccount(account)
	}
	return "id:" + id
}

// friends returns the results that an import of the bonds of the records would have after the records before them.
func (t *importTrial) friends(ctx context.Context, client *admin.Client, records []admin.Record) (admin.ImportResult, error) {
	for n := range records {
		t.dropRepeated(&records[n])
	}
	result, err := client.TryImportFriends(ctx, records)
	if err != nil {
		return result, err
	}
	for n := range records {
		if r := &result.Results[n]; r.State == admin.StateDone {
			t.count(&records[n], r)
		}
	}
	return result, nil
}

// dropRepeated removes the bonds that an earlier record has too, as both users of a friendship do.
func (t *importTrial) dropRepeated(r *admin.Record) {
	kept := *r
	kept.Friends, kept.Requests, kept.Asked = nil, nil, nil
	for _, f := range r.Friends {
		if t.first("friends", r, &admin.Record{ID: f.ID, Account: f.Account}) {
			kept.Friends = append(kept.Friends, f)
		}
	}
	for _, q := range r.Requests {
		if t.first("request", &admin.Record{ID: q.ID, Account: q.Account}, r) {
			kept.Requests = append(kept.Requests, q)
		}
	}
	for _, q := range r.Asked {
		if t.first("request", r, &admin.Record{ID: q.ID, Account: q.Account}) {
			kept.Asked = append(kept.Asked, q)
		}
	}
	*r = kept
}

// count adds the bonds of users to create, which the server does not know, to the result of a record.
func (t *importTrial) count(record *admin.Record, r *admin.Imported) {
	unknown := make(map[string]bool)
	for _, name := range r.Unknown {
		unknown[name] = true
	}
	isNew := r.ID == ""
	own := !isNew || t.creates(record.ID, record.Account)
	if !own {
		r.State, r.Error, r.Unknown = admin.StateFailed, "user \""+record.Account+"\" does not exist", []string{record.Account}
		return
	}
	r.Missing, r.Unknown = 0, nil
	bond := func(id, account string, counter *int) {
		name := id
		if name == "" {
			name = account
		}
		switch {
		case unknown[name] && !t.creates(id, account):
			r.Missing++
			r.Unknown = append(r.Unknown, name)
		case unknown[name] || isNew: // else the server has counted it
			*counter++
		}
	}
	for _, f := range record.Friends {
		bond(f.ID, f.Account, &r.Friends)
	}
	for _, q := range append(append([]admin.RecordRequest{}, record.Requests...), record.Asked...) {
		bond(q.ID, q.Account, &r.Requests)
	}
	for _, id := range record.Blocked {
		var blocked int
		bond(id, "", &blocked)
	}
}
