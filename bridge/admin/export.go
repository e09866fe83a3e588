package admin

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
)

// MaxRecords is how many records one export or import has at most.
const MaxRecords = 100

const (
	recordVersion = 1
	rostersAtOnce = 32 // read side by side for an export
)

// Record is all that is held about a person.
type Record struct {
	Version      int       `json:"v"` // 1; 0 counts as that
	ID           string    `json:"id,omitempty"`
	Account      string    `json:"account"`
	PasswordHash string    `json:"password_hash"` // "": nobody can log in until there is a password
	Mail         string    `json:"mail"`
	Name         string    `json:"name"`
	Picture      string    `json:"picture"`
	Sex          string    `json:"sex"`
	Birthday     string    `json:"birthday"`
	Sign         string    `json:"sign"`
	Created      time.Time `json:"created,omitzero"` // left out if unknown; an import then sets its own time
	Disabled     bool      `json:"disabled"`

	Friends  []RecordFriend  `json:"friends"`
	Requests []RecordRequest `json:"requests"` // to this person
	Asked    []RecordRequest `json:"asked"`    // of this person; the id is of who was asked
}

// RecordFriend is a friendship as one of the two has it.
type RecordFriend struct {
	ID    string    `json:"id"`
	Alias string    `json:"alias"`
	Since time.Time `json:"since,omitzero"` // as Record.Created
}

// RecordRequest is a pending request.
type RecordRequest struct {
	ID    string    `json:"id"`
	Note  string    `json:"note"`
	Since time.Time `json:"since,omitzero"` // as Record.Created
}

// Bonds is how many others the record names.
func (r *Record) Bonds() int { return len(r.Friends) + len(r.Requests) + len(r.Asked) }

// ExportUsers asks for the records of one user, or for a page of all.
type ExportUsers struct {
	User  string `json:"user,omitempty"`
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"` // 1 to MaxRecords; 0 is MaxRecords
}

// Records is a page. It may be short though others follow.
type Records struct {
	Users []Record `json:"users"`
	Next  string   `json:"next"`
}

// ImportUsers brings records.
type ImportUsers struct {
	Users []Record `json:"users"`
}

// What became of a record.
const (
	StateCreated = "created"
	StateThere   = "there" // it is as it was
	StateDone    = "done"
	StateFailed  = "failed"
)

// Imported is what became of one record.
type Imported struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Friends  int    `json:"friends"`  // friendships that were made
	Requests int    `json:"requests"` // likewise
	Missing  int    `json:"missing"`  // friendships and requests with somebody who is not there
	Error    string `json:"error"`
}

// ImportResult has an answer for each record.
type ImportResult struct {
	Results []Imported `json:"results"`
}

func (s *Service) exportEndpoints() []endpoint {
	const record = `{"v": 1, "id", "account", "password_hash", "mail", "name", "picture", "sex", "birthday", "sign", "created", "disabled", ` +
		`"friends": [{"id", "alias", "since"}], "requests" and "asked": [{"id", "note", "since"}]}`
	return []endpoint{
		{"user", "export", "All that is held about one person, or about a page of all",
			`{"user"} or {"after": cursor, "limit": 1 to 100}`, `{"users": [` + record + `], "next": cursor, "" on the last page}`,
			"not_found, invalid, failed", handler(s.exportUsers)},
		{"user", "import", "Make accounts as they were; what is there stays, and friendships are left to friend.import",
			`{"users": up to 100 of ` + record + `}; all but account may be left out`,
			`{"results": [{"id", "state": created, there or failed, "error"}]}, in the order of the users`,
			"invalid, failed", handler(s.importUsers)},
	}
}

func (s *Service) exportUsers(ctx context.Context, r ExportUsers) (Records, error) {
	if r.User != "" {
		u, err := s.resolve(ctx, r.User)
		if err != nil {
			return Records{}, err
		}
		records, err := s.records(ctx, []kv.User{u})
		return Records{Users: records}, err
	}
	after := uint64(0)
	if r.After != "" {
		var err error
		if after, err = strconv.ParseUint(r.After, 10, 64); err != nil {
			return Records{}, failure(Invalid, "after is not a cursor")
		}
	}
	return fitting(s, r.Limit, MaxRecords, func(limit int) (Records, error) {
		users, next, err := s.o.Store.Users.List(ctx, kv.ListOptions{After: after, Limit: limit})
		if err != nil {
			return Records{}, err
		}
		records, err := s.records(ctx, users)
		page := Records{Users: records}
		if next != 0 {
			page.Next = strconv.FormatUint(next, 10)
		}
		return page, err
	})
}

func (s *Service) records(ctx context.Context, users []kv.User) ([]Record, error) {
	records := make([]Record, len(users))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rostersAtOnce)
	for i, u := range users {
		g.Go(func() error {
			was, err := s.o.Store.Rosters.Snapshot(ctx, u.ID)
			records[i] = recordOf(u, was)
			return err
		})
	}
	return records, g.Wait()
}

func recordOf(u kv.User, was kv.RosterSnapshot) Record {
	r := Record{Version: recordVersion, ID: u.ID, Account: u.Account, PasswordHash: u.PasswordHash, Mail: u.Mail, Name: u.Name, Picture: u.Picture,
		Sex: u.Sex, Birthday: u.Birthday, Sign: u.Sign, Created: u.Created, Disabled: u.Disabled,
		Friends: []RecordFriend{}, Requests: []RecordRequest{}, Asked: []RecordRequest{}}
	for _, f := range was.Friends {
		r.Friends = append(r.Friends, RecordFriend(f))
	}
	for _, q := range was.Requests {
		r.Requests = append(r.Requests, RecordRequest{q.From, q.Note, q.Since})
	}
	for _, q := range was.Asked {
		r.Asked = append(r.Asked, RecordRequest{q.From, q.Note, q.Since})
	}
	return r
}

func (r *Record) user() (kv.User, error) {
	u := kv.User{ID: r.ID, Account: r.Account, PasswordHash: r.PasswordHash, Mail: r.Mail, Created: r.Created, Disabled: r.Disabled,
		Profile: kv.Profile{Name: r.Name, Picture: r.Picture, Sex: r.Sex, Birthday: r.Birthday, Sign: r.Sign}}
	if r.Version != 0 && r.Version != recordVersion {
		return u, failure(Invalid, "v is %d: this server knows version %d", r.Version, recordVersion)
	}
	if err := tidyUser(&u); err != nil {
		return u, err
	}
	if kv.CheckHash(r.PasswordHash) != nil {
		return u, failure(Invalid, "password_hash is not an argon2id hash in the PHC format")
	}
	return u, nil
}

func checkRecords(r ImportUsers) error {
	if len(r.Users) > MaxRecords {
		return failure(Invalid, "at most %d users can be imported at once", MaxRecords)
	}
	return nil
}

func (s *Service) importUsers(ctx context.Context, r ImportUsers) (ImportResult, error) {
	if err := checkRecords(r); err != nil {
		return ImportResult{}, err
	}
	results := make([]Imported, len(r.Users))
	var users []kv.User
	var places []int
	for i := range r.Users {
		u, err := r.Users[i].user()
		if err != nil {
			results[i] = s.notImported(err)
			continue
		}
		users, places = append(users, u), append(places, i)
	}
	for i, restored := range s.o.Accounts.RestoreUsers(ctx, users) {
		result := Imported{ID: restored.User.ID, State: StateThere}
		switch {
		case errors.Is(restored.Err, kv.ErrAccountExists):
			result = s.notImported(failure(AlreadyExists, "account or id belong to somebody else already"))
		case errors.Is(restored.Err, kv.ErrUserNotFound):
			result = s.notImported(failure(Invalid, "id is not 32 lower-case hex digits"))
		case restored.Err != nil:
			result = s.notImported(restored.Err)
		case restored.Created:
			result.State = StateCreated
		}
		results[places[i]] = result
	}
	return ImportResult{results}, ctx.Err()
}

func (s *Service) notImported(err error) Imported {
	return Imported{State: StateFailed, Error: s.explain(endpoint{noun: "user", verb: "import"}, err).Message}
}

func (s *Service) importFriends(ctx context.Context, r ImportUsers) (ImportResult, error) {
	if err := checkRecords(r); err != nil {
		return ImportResult{}, err
	}
	there, err := s.there(ctx, r.Users)
	if err != nil {
		return ImportResult{}, err
	}
	results := make([]Imported, len(r.Users))
	var all []kv.UserSnapshot
	places := make(map[string]int)
	for i := range r.Users {
		m, missing, err := s.remembered(ctx, &r.Users[i], there)
		if err != nil {
			results[i] = s.notImported(err)
			continue
		}
		results[i] = Imported{ID: m.ID, State: StateDone, Missing: missing}
		places[m.ID], all = i, append(all, m)
	}
	changes, err := s.o.Accounts.RestoreRosters(ctx, all...)
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

// there looks up who of those is there whom the records name.
func (s *Service) there(ctx context.Context, records []Record) (map[string]kv.User, error) {
	var ids []string
	for _, r := range records {
		for _, f := range r.Friends {
			ids = append(ids, f.ID)
		}
		for _, q := range slices.Concat(r.Requests, r.Asked) {
			ids = append(ids, q.ID)
		}
	}
	slices.Sort(ids)
	return s.o.Store.Users.GetMany(ctx, slices.Compact(ids))
}

// remembered is what a record says of others who are there, and how many are not.
func (s *Service) remembered(ctx context.Context, r *Record, there map[string]kv.User) (m kv.UserSnapshot, missing int, err error) {
	ref := r.Account
	if r.ID != "" {
		ref = "id:" + r.ID
	}
	u, err := s.resolve(ctx, ref)
	if err != nil {
		return m, 0, err
	}
	m.ID = u.ID
	known := func(id string) bool {
		_, ok := there[id]
		if !ok {
			missing++
		}
		return ok
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, f := range r.Friends {
		f.Since = orTime(f.Since, now)
		if err := tidy("alias", &f.Alias, wire.MaxAlias); err != nil {
			return m, 0, err
		}
		if known(f.ID) {
			m.Friends = append(m.Friends, kv.Friend(f))
		}
	}
	for _, list := range []struct {
		from []RecordRequest
		to   *[]kv.Request
	}{{r.Requests, &m.Requests}, {r.Asked, &m.Asked}} {
		for _, q := range list.from {
			if err := tidy("note", &q.Note, wire.MaxNote); err != nil {
				return m, 0, err
			}
			if known(q.ID) {
				*list.to = append(*list.to, kv.Request{From: q.ID, Note: q.Note, Since: orTime(q.Since, now)})
			}
		}
	}
	return m, missing, nil
}

// orTime returns t, or fallback if t is zero.
func orTime(t, fallback time.Time) time.Time {
	if t.IsZero() {
		return fallback
	}
	return t
}
