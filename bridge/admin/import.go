package admin

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
)

// hashProblem returns what is wrong with a password hash, and the remedy.
func hashProblem(err error) string {
	_, reason, _ := strings.Cut(err.Error(), kv.ErrHashUnusable.Error())
	return kv.ErrHashUnusable.Error() + reason + " (docs/import.md lists the formats)"
}

func (s *Service) importUsers(ctx context.Context, r ImportUsers) (ImportResult, error) {
	if err := checkRecords(r); err != nil {
		return ImportResult{}, err
	}
	results := make([]Imported, len(r.Users))
	var users []kv.User
	var places []int
	for i := range r.Users {
		u, err := r.Users[i].user(s.o.Accounts.CheckHash)
		if err == nil && u.PasswordHash == "" && s.o.Accounts.TooLong(r.Users[i].Password) {
			err = failure(Invalid, "password is too long")
		}
		if err != nil {
			results[i] = s.notImported(err)
			continue
		}
		users, places = append(users, u), append(places, i)
	}
	restored, err := s.restore(ctx, users, func(i int) string { return r.Users[places[i]].Password }, r.DryRun)
	if err != nil {
		return ImportResult{}, err
	}
	for i, restored := range restored {
		result := Imported{ID: restored.User.ID, State: StateThere}
		switch {
		case errors.Is(restored.Err, kv.ErrAccountLooksAlike):
			result = s.notImported(failure(AlreadyExists, "account looks like that of another user"))
		case errors.Is(restored.Err, kv.ErrAccountExists):
			result = s.notImported(failure(AlreadyExists, "account or id belongs to another user"))
		case errors.Is(restored.Err, kv.ErrUserNotFound):
			result = s.notImported(failure(Invalid, "id is not 32 lowercase hex digits"))
		case restored.Err != nil:
			result = s.notImported(restored.Err)
		case restored.Created:
			result.State = StateCreated
		}
		results[places[i]] = result
	}
	return ImportResult{results}, ctx.Err()
}

// restore restores users. It hashes the passwords of those that do not exist yet and have no hash. With dryRun it writes
// and hashes nothing. Errors: kv.ErrBusy, and those of NATS and ctx.
func (s *Service) restore(ctx context.Context, users []kv.User, password func(i int) string, dryRun bool) ([]kv.Restored, error) {
	if dryRun {
		return s.o.Store.Users.WouldRestore(ctx, users), nil
	}
	var plain []kv.User
	var places []int
	for i, u := range users {
		if u.PasswordHash == "" && password(i) != "" {
			plain, places = append(plain, u), append(places, i)
		}
	}
	for i, would := range s.o.Store.Users.WouldRestore(ctx, plain) {
		if !would.Created {
			continue
		}
		hash, err := s.o.Accounts.HashPassword(ctx, password(places[i]))
		if err != nil {
			return nil, err
		}
		users[places[i]].PasswordHash = hash
	}
	return s.o.Accounts.Restore(ctx, users), nil
}

func (s *Service) notImported(err error) Imported {
	return Imported{State: StateFailed, Error: s.explain(endpoint{noun: "user", verb: "import"}, err).Message}
}

func (s *Service) importFriends(ctx context.Context, r ImportUsers) (ImportResult, error) {
	if err := checkRecords(r); err != nil {
		return ImportResult{}, err
	}
	if err := s.nameByID(ctx, r.Users); err != nil {
		return ImportResult{}, err
	}
	existing, err := s.existing(ctx, r.Users)
	if err != nil {
		return ImportResult{}, err
	}
	results := make([]Imported, len(r.Users))
	var all []kv.UserSnapshot
	places := make(map[string]int)
	for i := range r.Users {
		m, unknown, err := s.remembered(ctx, &r.Users[i], existing)
		switch {
		case errors.Is(err, errNoUser) && r.DryRun:
			results[i] = Imported{State: StateDone, Missing: len(unknown), Unknown: unknown}
		case err != nil:
			results[i] = s.notImported(err)
			if errors.Is(err, errNoUser) {
				results[i].Unknown = []string{r.Users[i].Account}
			}
		default:
			results[i] = Imported{ID: m.ID, State: StateDone, Missing: len(unknown), Unknown: unknown}
			places[m.ID], all = i, append(all, m)
		}
	}
	restore := s.o.Friends.Restore
	if r.DryRun {
		restore = s.o.Store.Rosters.WouldRestore
	}
	changes, err := restore(ctx, all...)
	if err != nil {
		return ImportResult{}, err
	}
	for _, c := range changes {
		i, ok := places[c.A]
		if !ok {
			i = places[c.B]
		}
		switch c.Kind {
		case kv.Befriended:
			results[i].Friends++
		case kv.Requested:
			results[i].Requests++
		}
	}
	return ImportResult{results}, nil
}

// existing returns the users named in the records that exist, by id.
func (s *Service) existing(ctx context.Context, records []Record) (map[string]kv.User, error) {
	var ids []string
	for _, r := range records {
		for _, f := range r.Friends {
			ids = append(ids, f.ID)
		}
		for _, q := range slices.Concat(r.Requests, r.Asked) {
			ids = append(ids, q.ID)
		}
		ids = append(append(ids, r.Blocked...), r.BefriendedBy...)
	}
	slices.Sort(ids)
	return s.o.Store.Users.GetMany(ctx, slices.Compact(ids))
}

// nameByID sets the ids of the users that the records name by account. A user that does not exist keeps an empty id.
func (s *Service) nameByID(ctx context.Context, records []Record) error {
	ids := make(map[string]string) // by account
	for i := range records {
		for _, r := range records[i].named() {
			if *r.id == "" {
				ids[r.account] = ""
			}
		}
	}
	accounts := slices.Collect(maps.Keys(ids))
	found := make([]string, len(accounts))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRosters)
	for i, account := range accounts {
		g.Go(func() error {
			u, err := s.o.Store.Users.ByAccount(groupCtx, account)
			if errors.Is(err, kv.ErrUserNotFound) {
				return nil
			}
			found[i] = u.ID
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, account := range accounts {
		ids[account] = found[i]
	}
	for i := range records {
		for _, r := range records[i].named() {
			if *r.id == "" {
				*r.id = ids[r.account]
			}
		}
	}
	return nil
}

// namedUser is another user in a record: the id, and the account that an import may have instead.
type namedUser struct {
	id      *string
	account string
}

// named returns the other users in a record that are friends or have sent or received requests.
func (r *Record) named() []namedUser {
	var all []namedUser
	for i := range r.Friends {
		all = append(all, namedUser{&r.Friends[i].ID, r.Friends[i].Account})
	}
	for _, list := range [][]RecordRequest{r.Requests, r.Asked} {
		for i := range list {
			all = append(all, namedUser{&list[i].ID, list[i].Account})
		}
	}
	return all
}

// remembered returns the friendships and requests of a record with existing users, and the ids or accounts of those that do
// not exist. Errors: errNoUser, with the others that do not exist.
func (s *Service) remembered(ctx context.Context, r *Record, existing map[string]kv.User) (m kv.UserSnapshot, unknown []string, err error) {
	known := func(id, account string) bool {
		_, ok := existing[id]
		if !ok && id == "" {
			id = account
		}
		if !ok {
			unknown = append(unknown, id)
		}
		return ok
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, f := range r.Friends {
		f.Since = orTime(f.Since, now)
		if err := normalize(wire.Field{Name: "alias", Kind: wire.Name, Max: wire.MaxAlias}, &f.Alias); err != nil {
			return m, nil, err
		}
		if known(f.ID, f.Account) {
			m.Friends = append(m.Friends, kv.Friend{ID: f.ID, Alias: f.Alias, Since: f.Since})
		}
	}
	for _, list := range []struct {
		from []RecordRequest
		to   *[]kv.Request
	}{{r.Requests, &m.Requests}, {r.Asked, &m.Asked}} {
		for _, q := range list.from {
			if err := normalize(wire.Field{Name: "note", Kind: wire.Lines, Max: wire.MaxNote}, &q.Note); err != nil {
				return m, nil, err
			}
			if known(q.ID, q.Account) {
				*list.to = append(*list.to, kv.Request{From: q.ID, Note: q.Note, Since: orTime(q.Since, now)})
			}
		}
	}
	for _, id := range r.Blocked {
		if known(id, "") {
			m.Blocked = append(m.Blocked, id)
		}
	}
	for _, id := range r.BefriendedBy {
		if _, ok := existing[id]; ok { // a service that was deleted needs no memory
			m.BefriendedBy = append(m.BefriendedBy, id)
		}
	}
	ref := r.Account
	if r.ID != "" {
		ref = "id:" + r.ID
	}
	u, err := s.resolve(ctx, ref)
	m.ID = u.ID
	return m, unknown, err
}
