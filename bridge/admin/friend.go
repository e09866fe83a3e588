package admin

import (
	"context"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// ListFriends requests a page of a user's friends, or of its pending requests.
type ListFriends struct {
	User     string `json:"user"`
	Requests bool   `json:"requests,omitempty"`
	After    string `json:"after,omitempty"` // the Next of the previous page
	Limit    int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// The kinds of entries, from the perspective of the list's owner.
const (
	KindFriend  = "friend"
	KindRequest = "request" // the other user sent a request
	KindAsked   = "asked"   // the owner sent a request
)

// Friend is an entry of a list of friends.
type Friend struct {
	Kind    string    `json:"kind"`
	ID      string    `json:"id"`
	Account string    `json:"account"` // "" while the account is being deleted
	Name    string    `json:"name"`
	Alias   string    `json:"alias"`          // set by the list's owner
	Note    string    `json:"note"`           // of a request
	Since   time.Time `json:"since,omitzero"` // omitted if unknown
}

// Friends is a page of friends or requests, oldest first.
type Friends struct {
	Friends []Friend `json:"friends"`
	Next    string   `json:"next"` // cursor of the next page, "" on the last
}

// Pair names two users.
type Pair struct {
	User   string `json:"user"`
	Friend string `json:"friend"`
}

// Friendship has the accounts of two users whose friendship changed.
type Friendship struct {
	User   User `json:"user"`
	Friend User `json:"friend"`
}

func (s *Service) friendEndpoints() []endpoint {
	const (
		pair   = `{"user", "friend"}, each an account, an id or "id:" and id`
		answer = `{"user": the account, "friend": the account}`
	)
	return []endpoint{
		{"friend", "list", "List a page of a user's friends, or of its pending requests",
			`{"user", "requests": true for requests, "after": cursor, "limit": 1 to 500}; all except user are optional`,
			`{"friends": [{"kind": friend, request or asked, "id", "account", "name", "alias", "note", "since"}], "next": cursor, "" on the last page}`,
			"not_found, invalid, failed", handler(s.listFriends)},
		{"friend", "add", "Make two users friends, without a request",
			pair, answer, "not_found, already_exists, invalid, failed", handler(s.addFriend)},
		{"friend", "remove", "End a friendship on both sides, and withdraw requests between the two users",
			pair, answer, "not_found, invalid, failed", handler(s.removeFriend)},
		{"friend", "import", "Restore friendships and requests of users, on both sides. Existing ones are kept",
			`{"users": up to 100 records of user.export, "dry_run": true to write nothing}. Friends and requests may name the other user by "account"`,
			`{"results": [{"id", "state": done or failed, "friends", "requests", "missing", "unknown": [id or account], "error"}]}, in the order of the users`,
			"invalid, failed", handler(s.importFriends)},
	}
}

func (s *Service) listFriends(ctx context.Context, r ListFriends) (Friends, error) {
	after, err := parseCursor(r.After)
	if err != nil {
		return Friends{}, err
	}
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return Friends{}, err
	}
	was, err := s.o.Store.Rosters.Snapshot(ctx, u.ID)
	if err != nil {
		return Friends{}, err
	}
	var all []Friend
	if r.Requests {
		for _, q := range was.Requests {
			all = append(all, Friend{Kind: KindRequest, ID: q.From, Note: q.Note, Since: q.Since})
		}
		for _, q := range was.Asked {
			all = append(all, Friend{Kind: KindAsked, ID: q.From, Note: q.Note, Since: q.Since})
		}
	} else {
		for _, f := range was.Friends {
			all = append(all, Friend{Kind: KindFriend, ID: f.ID, Alias: f.Alias, Since: f.Since})
		}
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Friends, error) {
		page, next := pageAfter(all, after, limit, func(f Friend) cluster.Cursor { return cluster.Cursor{Since: f.Since, ID: f.ID + " " + f.Kind} })
		named, err := s.named(ctx, page)
		return Friends{named, next}, err
	})
}

// named returns the entries of page with accounts and names.
func (s *Service) named(ctx context.Context, page []Friend) ([]Friend, error) {
	ids := make([]string, len(page))
	for i, f := range page {
		ids[i] = f.ID
	}
	users, err := s.o.Store.Users.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	named := make([]Friend, len(page))
	for i, f := range page {
		f.Account, f.Name = users[f.ID].Account, users[f.ID].Name
		named[i] = f
	}
	return named, nil
}

func (s *Service) pair(ctx context.Context, r Pair) (a, b kv.User, err error) {
	if a, err = s.resolve(ctx, r.User); err == nil {
		b, err = s.resolve(ctx, r.Friend)
	}
	return a, b, err
}

func (s *Service) addFriend(ctx context.Context, r Pair) (Friendship, error) {
	a, b, err := s.pair(ctx, r)
	if err != nil {
		return Friendship{}, err
	}
	change, err := s.o.Friends.Befriend(ctx, a.ID, b.ID)
	if err == nil && change.Kind == kv.Unchanged {
		err = failure(AlreadyExists, "%s and %s are already friends", a.Account, b.Account)
	}
	return Friendship{userOf(a), userOf(b)}, err
}

func (s *Service) removeFriend(ctx context.Context, r Pair) (Friendship, error) {
	a, b, err := s.pair(ctx, r)
	if err != nil {
		return Friendship{}, err
	}
	return Friendship{userOf(a), userOf(b)}, s.o.Friends.Unfriend(ctx, a.ID, b.ID)
}
