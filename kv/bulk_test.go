package kv

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// neighbors returns n accounts in a ring, in which every account is a friend of the two next to it.
func neighbors(n int) []Member {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := make([]Member, n)
	for i := range all {
		all[i].User = User{ID: NewID(), Account: fmt.Sprintf("Account-%d", i), PasswordHash: "hash", Profile: Profile{Name: fmt.Sprintf("Name %d", i)}}
	}
	for i := range all {
		for _, j := range []int{(i + 1) % n, (i + n - 1) % n} {
			all[i].Friends = append(all[i].Friends, Friend{ID: all[j].ID, Since: since})
		}
	}
	return all
}

func TestBulk(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	bulk, err := NewBulk(testContext(t), s.Users.b.nc, "im")
	if err != nil {
		t.Fatal(err)
	}
	other := mustCreate(t, s, "stays", "Name of a user who stays")
	members := neighbors(1500) // more than one batch of any bucket has
	if err := bulk.Create(ctx, slices.Values(members)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Users.Count(ctx); err != nil || n != len(members)+1 {
		t.Errorf("Count = %d, %v; want %d", n, err, len(members)+1)
	}
	for _, i := range []int{0, 1, 999, 1499} {
		got, err := s.Users.ByAccount(ctx, fmt.Sprintf("ACCOUNT-%d", i))
		want := members[i].User
		want.Created = got.Created
		if err != nil || got != want || got.Created.IsZero() {
			t.Errorf("account %d is %+v, %v", i, got, err)
		}
		r, _, err := s.Rosters.Get(ctx, members[i].ID)
		if err != nil || !slices.Equal(r.Friends, members[i].Friends) {
			t.Errorf("roster %d is %+v, %v", i, r, err)
		}
	}
	if found, err := s.Users.Find(ctx, "name 1499", 10, ""); err != nil || len(found) != 1 || found[0].ID != members[1499].ID {
		t.Errorf("Find = %v, %v", found, err)
	}
	// The rules apply to accounts of a Bulk.
	if c, err := s.Rosters.Remove(ctx, members[0].ID, members[1].ID); err != nil || c.Kind != Removed {
		t.Errorf("remove a friend: %+v, %v", c, err)
	}
	token, err := s.Tokens.Issue(ctx, members[3].ID, "session", Origin{})
	if err != nil {
		t.Fatal(err)
	}

	for range 2 { // a missing account is no error
		if err := bulk.Remove(ctx, slices.Values(members)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Users.ByAccount(ctx, "account-7"); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("a removed account: %v", err)
	}
	if _, err := s.Users.Get(ctx, members[7].ID); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("a removed user: %v", err)
	}
	if err := s.Tokens.Check(ctx, members[3].ID, token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("a removed user's token: %v", err)
	}
	if r, _, err := s.Rosters.Get(ctx, members[7].ID); err != nil || len(r.Friends) != 0 {
		t.Errorf("a removed roster: %+v, %v", r, err)
	}
	if found, err := s.Users.Find(ctx, "name", 10, ""); err != nil || names(found) != other.Name {
		t.Errorf("Find = %s, %v", names(found), err)
	}
	// The account is free.
	mustCreate(t, s, "account-7", "Name")
}

func TestBulkRefuses(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	bulk, err := NewBulk(testContext(t), s.Users.b.nc, "im")
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, s, "taken", "Name")
	id := NewID()
	for name, c := range map[string]struct {
		member Member
		want   error
	}{
		"an account that exists": {Member{User: User{ID: id, Account: "TAKEN"}}, ErrAccountExists},
		"no account":             {Member{User: User{ID: id, Account: " "}}, ErrAccountEmpty},
		"no id":                  {Member{User: User{ID: "*", Account: "new"}}, ErrUserNotFound},
	} {
		other := Member{User: User{ID: NewID(), Account: "other than " + name}}
		if err := bulk.Create(ctx, slices.Values([]Member{other, c.member})); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := s.Users.Get(ctx, other.ID); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("%s: another account of the batch was created: %v", name, err)
		}
	}
	if _, err := NewBulk(testContext(t), s.Users.b.nc, "a.b"); err == nil {
		t.Error("NewBulk accepted a prefix with a dot")
	}
}

// BenchmarkBulk measures the creation of accounts with 20 friends each.
func BenchmarkBulk(b *testing.B) {
	s := newBenchStore(b)
	bulk, err := NewBulk(testContext(b), s.Users.b.nc, "im")
	if err != nil {
		b.Fatal(err)
	}
	friends := make([]Friend, 20)
	for i := range friends {
		friends[i] = Friend{ID: NewID(), Since: now()}
	}
	n := 0
	for b.Loop() {
		n++
		err := bulk.Create(b.Context(), func(yield func(Member) bool) {
			for i := range 1000 {
				if !yield(Member{User{ID: NewID(), Account: fmt.Sprint(n, " ", i), Profile: Profile{Name: fmt.Sprint("Name ", n, " ", i)}}, Roster{Friends: friends}}) {
					return
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(1000*n)/b.Elapsed().Seconds(), "accounts/s")
}
