package kv

import (
	"fmt"
	"slices"
	"testing"
)

// benchStore returns a store with n users and their ids. The first user is a friend of all others.
func benchStore(b *testing.B, n int) (*Store, []string) {
	b.Helper()
	s := newBenchStore(b)
	bulk, err := NewBulk(testContext(b), s.Users.b.nc, "im")
	if err != nil {
		b.Fatal(err)
	}
	members, ids := make([]Member, n), make([]string, n)
	for i := range members {
		ids[i] = NewID()
		members[i].User = User{ID: ids[i], Account: fmt.Sprint("account ", i), Profile: Profile{Name: fmt.Sprint("Name ", i)}}
	}
	for i := 1; i < n; i++ {
		members[0].Friends = append(members[0].Friends, Friend{ID: ids[i], Since: now()})
		members[i].Friends = []Friend{{ID: ids[0], Since: now()}}
	}
	if err := bulk.Create(b.Context(), slices.Values(members)); err != nil {
		b.Fatal(err)
	}
	return s, ids
}

// BenchmarkLogin measures what a login of a user with 200 friends reads and writes.
func BenchmarkLogin(b *testing.B) {
	s, ids := benchStore(b, 201)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		u, err := s.Users.ByAccount(ctx, "Account 0")
		if err != nil {
			b.Fatal(err)
		}
		r, _, err := s.Rosters.Get(ctx, u.ID)
		if err != nil || len(r.Friends) != 200 {
			b.Fatal(len(r.Friends), err)
		}
		friends, err := s.Users.GetMany(ctx, ids[1:])
		if err != nil || len(friends) != 200 {
			b.Fatal(len(friends), err)
		}
		if _, err := s.Tokens.Issue(ctx, u.ID, "session", Origin{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFriendship measures a request, its acceptance and the removal of the friend, without fsyncs.
func BenchmarkFriendship(b *testing.B) {
	s, ids := benchStore(b, 3)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Rosters.Request(ctx, ids[1], ids[2], "note"); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Rosters.Add(ctx, ids[2], ids[1], "alias"); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Rosters.Remove(ctx, ids[1], ids[2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTokenCheck measures the check that each call begins with.
func BenchmarkTokenCheck(b *testing.B) {
	s, ids := benchStore(b, 2)
	ctx := b.Context()
	token, err := s.Tokens.Issue(ctx, ids[0], "session", Origin{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Tokens.Check(ctx, ids[0], token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAccount measures a registration, a change of a record and a change of a name, without fsyncs.
func BenchmarkAccount(b *testing.B) {
	s := newBenchStore(b)
	ctx := b.Context()
	users := make([]User, 0, 1000)
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u, err := s.Users.Create(ctx, User{Account: NewID(), Profile: Profile{Name: "Name"}})
			if err != nil {
				b.Fatal(err)
			}
			users = append(users, u)
		}
	})
	update := func(b *testing.B, change func(*User, int)) {
		n := 0
		b.ReportAllocs()
		for b.Loop() {
			n++
			if _, err := s.Users.Update(ctx, users[n%len(users)].ID, func(u *User) error { change(u, n); return nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("update", func(b *testing.B) { update(b, func(u *User, n int) { u.Sign = fmt.Sprint("sign ", n) }) })
	b.Run("rename", func(b *testing.B) { update(b, func(u *User, n int) { u.Name = fmt.Sprint("Name ", n) }) })
}
