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

// MaxRecords is the maximum number of records in one export or import.
const MaxRecords = 100

const (
	recordVersion   = 1
	parallelRosters = 32 // rosters read concurrently for an export
)

// Record has all data of a user, for export and import.
type Record struct {
	Version      int       `json:"v"` // 1; 0 means the same
	ID           string    `json:"id,omitempty"`
	Account      string    `json:"account"`
	PasswordHash string    `json:"password_hash"` // "": no login until a password is set
	Mail         string    `json:"mail"`
	Unverified   bool      `json:"mail_unverified,omitempty"` // the user has not shown that it reads Mail
	Name         string    `json:"name"`
	Picture      string    `json:"picture"`
	Sex          string    `json:"sex"`
	Birthday     string    `json:"birthday"`
	Sign         string    `json:"sign"`
	Created      time.Time `json:"created,omitzero"` // omitted if unknown; an import then sets the current time
	Disabled     bool      `json:"disabled"`
	// External says who checks the sign-in of a user without a password.
	External kv.External `json:"external,omitzero"`
	Gateway  string      `json:"gateway,omitempty"` // name of the gateway that speaks for the user

	Friends  []RecordFriend  `json:"friends"`
	Requests []RecordRequest `json:"requests"` // to this user
	Asked    []RecordRequest `json:"asked"`    // from this user; ID is the receiver
	Blocked  []string        `json:"blocked"`  // ids of the users whom this user blocks
	// BefriendedBy are the ids of the services that have befriended this user by themselves.
	BefriendedBy []string `json:"befriended_by,omitempty"`
}

// RecordFriend is a friendship in the roster of one of the two users.
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

// Bonds returns the number of friendships, requests and blocked users in the record.
func (r *Record) Bonds() int { return len(r.Friends) + len(r.Requests) + len(r.Asked) + len(r.Blocked) }

// ExportUsers requests the record of one user, or a page of all records.
type ExportUsers struct {
	User  string `json:"user,omitempty"`
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"` // 1 to MaxRecords; 0 is MaxRecords
}

// Records is a page of records. It may be short although more pages follow.
type Records struct {
	Users []Record `json:"users"`
	Next  string   `json:"next"`
}

// ImportUsers has the records of an import.
type ImportUsers struct {
	Users []Record `json:"users"`
}

// The states of an imported record.
const (
	StateCreated = "created"
	StateThere   = "there" // the account already existed
	StateDone    = "done"
	StateFailed  = "failed"
)

// Imported is the result of importing one record.
type Imported struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Friends  int    `json:"friends"`  // friendships created
	Requests int    `json:"requests"` // requests created
	Missing  int    `json:"missing"`  // friendships and requests with users that do not exist
	Error    string `json:"error"`

	Dialogues int `json:"dialogues,omitempty"` // dialogues stored
}

// ImportResult has a result for each record, in their order.
type ImportResult struct {
	Results []Imported `json:"results"`
}

func (s *Service) exportEndpoints() []endpoint {
	const record = `{"v": 1, "id", "account", "password_hash", "mail", "mail_unverified", "name", "picture", "sex", "birthday", "sign", "created", "disabled", "external", "gateway", ` +
		`"friends": [{"id", "alias", "since"}], "requests" and "asked": [{"id", "note", "since"}], "blocked": [id]}`
	return []endpoint{
		{"user", "export", "Export all data of one user, or of a page of all users",
			`{"user"} or {"after": cursor, "limit": 1 to 100}`, `{"users": [` + record + `], "next": cursor, "" on the last page}`,
			"not_found, invalid, failed", handler(s.exportUsers)},
		{"user", "import", "Create accounts from exported records. Existing accounts are kept. Import friendships with friend.import",
			`{"users": up to 100 of ` + record + `}; all except account are optional`,
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
	return fitPage(s, r.Limit, MaxRecords, func(limit int) (Records, error) {
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
	g.SetLimit(parallelRosters)
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
	r := Record{Version: recordVersion, ID: u.ID, Account: u.Account, PasswordHash: u.PasswordHash, Mail: u.Mail, Unverified: u.MailUnverified, Name: u.Name, Picture: u.Picture,
		Sex: u.Sex, Birthday: u.Birthday, Sign: u.Sign, Created: u.Created, Disabled: u.Disabled, External: u.External, Gateway: u.Gateway,
		Friends: []RecordFriend{}, Requests: []RecordRequest{}, Asked: []RecordRequest{},
		Blocked: append([]string{}, was.Blocked...), BefriendedBy: was.BefriendedBy}
	for _, f := range was.Friends {
		r.Friends = append(r.Friends, RecordFriend{f.ID, f.Alias, f.Since})
	}
	for _, q := range was.Requests {
		r.Requests = append(r.Requests, RecordRequest{q.From, q.Note, q.Since})
	}
	for _, q := range was.Asked {
		r.Asked = append(r.Asked, RecordRequest{q.From, q.Note, q.Since})
	}
	return r
}

// user returns the user of a record. checkHash checks its password hash.
func (r *Record) user(checkHash func(string) error) (kv.User, error) {
	u := kv.User{ID: r.ID, Account: r.Account, PasswordHash: r.PasswordHash, Mail: r.Mail, MailUnverified: r.Unverified, Created: r.Created, Disabled: r.Disabled, External: r.External, Gateway: r.Gateway,
		Profile: kv.Profile{Name: r.Name, Picture: r.Picture, Sex: r.Sex, Birthday: r.Birthday, Sign: r.Sign}}
	if r.Version != 0 && r.Version != recordVersion {
		return u, failure(Invalid, "v is %d: this server supports version %d", r.Version, recordVersion)
	}
	if err := normalizeUser(&u); err != nil {
		return u, err
	}
	if !kv.ValidGateway(r.Gateway) {
		return u, failure(Invalid, "gateway is not the name of an attachment")
	}
	if checkHash(r.PasswordHash) != nil {
		return u, failure(Invalid, "password_hash is not an argon2id hash in the PHC format, or costs more than 64 MiB, 4 passes over 64 MiB, "+
			"4 lanes, or the settings passwords.memory and passwords.passes")
	}
	return u, nil
}

func checkRecords(r ImportUsers) error {
	if len(r.Users) > MaxRecords {
		return failure(Invalid, "at most %d users can be imported per request", MaxRecords)
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
		u, err := r.Users[i].user(s.o.Accounts.CheckHash)
		if err != nil {
			results[i] = s.notImported(err)
			continue
		}
		users, places = append(users, u), append(places, i)
	}
	for i, restored := range s.o.Accounts.Restore(ctx, users) {
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

func (s *Service) notImported(err error) Imported {
	return Imported{State: StateFailed, Error: s.explain(endpoint{noun: "user", verb: "import"}, err).Message}
}

func (s *Service) importFriends(ctx context.Context, r ImportUsers) (ImportResult, error) {
	if err := checkRecords(r); err != nil {
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
		m, missing, err := s.remembered(ctx, &r.Users[i], existing)
		if err != nil {
			results[i] = s.notImported(err)
			continue
		}
		results[i] = Imported{ID: m.ID, State: StateDone, Missing: missing}
		places[m.ID], all = i, append(all, m)
	}
	changes, err := s.o.Friends.Restore(ctx, all...)
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

// remembered returns the friendships and requests of a record with existing users, and the number of those with users
// that do not exist.
func (s *Service) remembered(ctx context.Context, r *Record, existing map[string]kv.User) (m kv.UserSnapshot, missing int, err error) {
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
		_, ok := existing[id]
		if !ok {
			missing++
		}
		return ok
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, f := range r.Friends {
		f.Since = orTime(f.Since, now)
		if err := normalize(wire.Field{Name: "alias", Kind: wire.Name, Max: wire.MaxAlias}, &f.Alias); err != nil {
			return m, 0, err
		}
		if known(f.ID) {
			m.Friends = append(m.Friends, kv.Friend{ID: f.ID, Alias: f.Alias, Since: f.Since})
		}
	}
	for _, list := range []struct {
		from []RecordRequest
		to   *[]kv.Request
	}{{r.Requests, &m.Requests}, {r.Asked, &m.Asked}} {
		for _, q := range list.from {
			if err := normalize(wire.Field{Name: "note", Kind: wire.Lines, Max: wire.MaxNote}, &q.Note); err != nil {
				return m, 0, err
			}
			if known(q.ID) {
				*list.to = append(*list.to, kv.Request{From: q.ID, Note: q.Note, Since: orTime(q.Since, now)})
			}
		}
	}
	for _, id := range r.Blocked {
		if known(id) {
			m.Blocked = append(m.Blocked, id)
		}
	}
	for _, id := range r.BefriendedBy {
		if _, ok := existing[id]; ok { // a service that was deleted needs no memory
			m.BefriendedBy = append(m.BefriendedBy, id)
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
