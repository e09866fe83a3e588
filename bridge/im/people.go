package im

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// AccountsShown says to whom the server shows the accounts of users.
type AccountsShown string

// The values of AccountsShown.
const (
	AccountsExact  AccountsShown = "exact"  // to a user that searches for exactly this account
	AccountsShow   AccountsShown = "shown"  // to all users
	AccountsHidden AccountsShown = "hidden" // to no user; a search finds names only
)

// shownAccounts is the setting. The zero value is AccountsExact.
type shownAccounts struct{ mode atomic.Value }

func (s *shownAccounts) get() AccountsShown {
	mode, _ := s.mode.Load().(AccountsShown)
	if mode == "" {
		return AccountsExact
	}
	return mode
}

// SetAccountsShown changes to whom accounts are shown, from the next call on. "" is AccountsExact.
func (f *Friends) SetAccountsShown(mode AccountsShown) { f.accounts.mode.Store(mode) }

// MaxPeople bounds a page of a search. Each person costs the read of a roster.
const MaxPeople = 50

// People returns a page of the users whose name is q or begins with it, without the caller. The user whose account is q
// comes first and in addition to the limit, unless accounts are hidden. after is the cursor of the page before, or "".
//
// Errors: wire.ProtocolError for an invalid cursor.
func (f *Friends) People(ctx context.Context, me kv.User, q, after string, limit int) (wire.People, error) {
	from, ok := kv.ParseFindCursor(after)
	if !ok {
		return wire.People{}, wire.ProtocolError
	}
	shown := f.accounts.get()
	except := []string{me.ID}
	var users []kv.User
	var exact string // id of the user with this account
	if shown != AccountsHidden {
		u, err := f.Store.Users.ByAccount(ctx, q)
		switch {
		case errors.Is(err, kv.ErrUserNotFound):
		case err != nil:
			return wire.People{}, err
		case !u.Disabled && u.ID != me.ID:
			exact, except = u.ID, append(except, u.ID)
			if after == "" {
				users = append(users, u)
			}
		}
	}
	found, next, err := f.Store.Users.FindPage(ctx, q, from, limit, except...)
	if err != nil {
		return wire.People{}, err
	}
	users = append(users, found...)
	common, err := f.common(ctx, me.ID, users)
	if err != nil {
		return wire.People{}, err
	}
	answer := wire.People{People: make([]wire.Person, len(users)), Next: next.String()}
	for i, u := range users {
		answer.People[i] = personOf(u, shown == AccountsShow || u.ID == exact, common[u.ID])
	}
	return answer, nil
}

// Person returns another user, and how me stands to it. The answer is the same if that user blocks me.
//
// Errors: kv.ErrUserNotFound, kv.ErrSelf.
func (f *Friends) Person(ctx context.Context, me kv.User, id string) (wire.OnePerson, error) {
	if id == me.ID {
		return wire.OnePerson{}, kv.ErrSelf
	}
	if !kv.ValidID(id) {
		return wire.OnePerson{}, kv.ErrUserNotFound
	}
	u, err := f.Store.Users.Get(ctx, id)
	if err == nil && u.Disabled {
		err = kv.ErrUserNotFound
	}
	if err != nil {
		return wire.OnePerson{}, err
	}
	r, _, err := f.Store.Rosters.Get(ctx, me.ID)
	if err != nil {
		return wire.OnePerson{}, err
	}
	common, err := f.Store.Rosters.Common(ctx, r, []string{id})
	if err != nil {
		return wire.OnePerson{}, err
	}
	p := wire.OnePerson{Person: personOf(u, f.accounts.get() == AccountsShow, common[id]), Asked: r.Asks(id)}
	_, p.Friend = r.Friend(id)
	_, p.Asks = r.Request(id)
	return p, nil
}

// Asked returns the users whom me has asked for friendship, the oldest request first. Of a deleted user it returns only
// the id, so that the request can be taken back.
func (f *Friends) Asked(ctx context.Context, me kv.User) (wire.Asked, error) {
	r, _, err := f.Store.Rosters.Get(ctx, me.ID)
	if err != nil {
		return nil, err
	}
	profiles, _, err := f.shownOf(ctx, r.Asked)
	if err != nil {
		return nil, err
	}
	asked := make(wire.Asked, len(r.Asked))
	for i, id := range r.Asked {
		p := profiles[id]
		asked[i] = wire.AskedPerson{ID: id, Name: p.Name, Picture: p.Picture}
		if at, known := r.AskedAt[id]; known {
			asked[i].At = time.Unix(at, 0)
		}
	}
	return asked, nil
}

// Cancel takes back a request of me. It changes neither a friendship nor a request of the other user.
//
// Errors: kv.ErrAlreadyFriends, kv.ErrNoRequest, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Cancel(ctx context.Context, me kv.User, to string) error {
	c, err := f.Store.Rosters.Cancel(ctx, me.ID, to)
	if errors.Is(err, kv.ErrAlreadyFriends) || errors.Is(err, kv.ErrNoRequest) {
		return f.settle(ctx, me.ID, to, err)
	}
	if err != nil {
		return err
	}
	if err := f.bringIntoForce(ctx, c); err != nil {
		return err
	}
	return f.showPending(ctx, me.ID, to)
}

// showPending shows me the request of another user again, if there is one: the notice that a request ended does not
// tell whose it was, and a client drops both.
func (f *Friends) showPending(ctx context.Context, me, other string) error {
	r, _, err := f.Store.Rosters.Get(ctx, me)
	if err != nil {
		return err
	}
	q, ok := r.Request(other)
	if !ok {
		return nil
	}
	profiles, _, err := f.shownOf(ctx, []string{other})
	if err != nil {
		return err
	}
	return f.notify(me, wire.AppendApply(nil, wire.Request{ID: other, Name: profiles[other].Name, To: me, Note: q.Note}))
}

// common returns how many friends me has in common with each of these users.
func (f *Friends) common(ctx context.Context, me string, users []kv.User) (map[string]int, error) {
	r, _, err := f.Store.Rosters.Get(ctx, me)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	return f.Store.Rosters.Common(ctx, r, ids)
}

// personOf returns a user as another one sees it, with the address of its picture.
func personOf(u kv.User, account bool, common int) wire.Person {
	u = withAddress(u)
	p := wire.Person{ID: u.ID, Name: u.Name, Picture: u.Picture, Sign: u.Sign, Since: u.Created, Common: common}
	if account {
		p.Account = u.Account
	}
	return p
}
