package admin

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

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
	PasswordHash string    `json:"password_hash"`      // "": no login until a password is set
	Password     string    `json:"password,omitempty"` // of an import without PasswordHash; the server hashes it
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

// RecordFriend is a friendship in the roster of one of the two users. An import may name the other user by Account.
type RecordFriend struct {
	ID      string    `json:"id"`
	Account string    `json:"account,omitempty"`
	Alias   string    `json:"alias"`
	Since   time.Time `json:"since,omitzero"` // as Record.Created
}

// RecordRequest is a pending request. An import may name the other user by Account.
type RecordRequest struct {
	ID      string    `json:"id"`
	Account string    `json:"account,omitempty"`
	Note    string    `json:"note"`
	Since   time.Time `json:"since,omitzero"` // as Record.Created
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
	Users  []Record `json:"users"`
	DryRun bool     `json:"dry_run,omitempty"` // write nothing, and answer what an import would
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

	Unknown   []string `json:"unknown,omitempty"`   // ids and accounts of the users that do not exist
	Dialogues int      `json:"dialogues,omitempty"` // dialogues stored
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
			`{"users": up to 100 of ` + record + `, "dry_run": true to write nothing}; all except account are optional. ` +
				`"password" may take the place of "password_hash": the server hashes it`,
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
		r.Friends = append(r.Friends, RecordFriend{ID: f.ID, Alias: f.Alias, Since: f.Since})
	}
	for _, q := range was.Requests {
		r.Requests = append(r.Requests, RecordRequest{ID: q.From, Note: q.Note, Since: q.Since})
	}
	for _, q := range was.Asked {
		r.Asked = append(r.Asked, RecordRequest{ID: q.From, Note: q.Note, Since: q.Since})
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
	if err := checkHash(r.PasswordHash); err != nil {
		return u, failure(Invalid, "password_hash is %s", hashProblem(err))
	}
	return u, nil
}

func checkRecords(r ImportUsers) error {
	if len(r.Users) > MaxRecords {
		return failure(Invalid, "at most %d users can be imported per request", MaxRecords)
	}
	return nil
}

// orTime returns t, or fallback if t is zero.
func orTime(t, fallback time.Time) time.Time {
	if t.IsZero() {
		return fallback
	}
	return t
}
