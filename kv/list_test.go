package kv

import (
	"fmt"
	"testing"
)

func TestListAndCount(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const n = 300
	for i := range n {
		u := User{ID: NewID(), Account: fmt.Sprintf("acc%03d", i), Disabled: i%10 == 0}
		if i < 5 {
			u.Name = fmt.Sprintf("Élan %d", i)
		}
		seedUser(t, s, u)
	}
	all := func(o ListOptions) (users []User, calls int) {
		t.Helper()
		for {
			part, next, err := s.Users.List(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			if o.Limit > 0 && len(part) > o.Limit {
				t.Fatalf("List returned %d users, more than the limit of %d", len(part), o.Limit)
			}
			users = append(users, part...)
			calls++
			if next == 0 {
				return users, calls
			}
			if next <= o.After {
				t.Fatalf("the cursor after %d is %d, want a higher one", o.After, next)
			}
			o.After = next
		}
	}
	yes, no := true, false
	for _, tc := range []struct {
		o     ListOptions
		want  int
		calls int
	}{
		{ListOptions{}, n, 2},
		{ListOptions{Limit: 7}, n, 43},
		{ListOptions{Limit: n}, n, 1},
		{ListOptions{Limit: 100}, n, 3}, // the third part is full, and no empty part follows
		{ListOptions{Limit: 1000, Disabled: &yes}, n / 10, 1},
		{ListOptions{Limit: 1000, Disabled: &no}, n - n/10, 1},
		{ListOptions{Limit: 1000, Prefix: "ACC00"}, 10, 1},
		{ListOptions{Limit: 1000, Prefix: "e\u0301lan"}, 5, 1},
		{ListOptions{Limit: 1000, Prefix: "nobody"}, 0, 1},
	} {
		users, calls := all(tc.o)
		seen := map[string]bool{}
		for _, u := range users {
			seen[u.ID] = true
		}
		if len(users) != tc.want || len(seen) != tc.want || calls != tc.calls {
			t.Errorf("List(%+v): %d users, %d different, in %d calls; want %d in %d", tc.o, len(users), len(seen), calls, tc.want, tc.calls)
		}
	}
	if got, err := s.Users.Count(ctx); got != n || err != nil {
		t.Errorf("Count = %d, %v; want %d", got, err, n)
	}
}

// A call that reads as many pages as it may, and finds no match, returns a cursor.
func TestListWithoutMatches(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	for i := range minListKeys*maxListPages + 1 {
		seedUser(t, s, User{ID: NewID(), Account: fmt.Sprint(i)})
	}
	yes := true
	users, next, err := s.Users.List(ctx, ListOptions{Limit: 1, Disabled: &yes})
	if err != nil || len(users) != 0 || next == 0 {
		t.Errorf("List = %d users, cursor %d, %v; want no users and a cursor", len(users), next, err)
	}
}

func TestDeletedUsersAreNeitherListedNorCounted(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	deleted, kept := mustCreate(t, s, "a", "a"), mustCreate(t, s, "b", "b")
	if err := s.Users.Delete(ctx, deleted.ID); err != nil {
		t.Fatal(err)
	}
	users, next, err := s.Users.List(ctx, ListOptions{})
	if err != nil || next != 0 || len(users) != 1 || users[0] != kept {
		t.Errorf("List = %v, %d, %v; want %v", users, next, err, kept)
	}
	if n, err := s.Users.Count(ctx); n != 1 || err != nil {
		t.Errorf("Count = %d, %v; want 1", n, err)
	}
}

func TestCountOfNoUsers(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	if n, err := s.Users.Count(testContext(t)); n != 0 || err != nil {
		t.Errorf("Count = %d, %v; want 0", n, err)
	}
	if users, next, err := s.Users.List(testContext(t), ListOptions{}); len(users) != 0 || next != 0 || err != nil {
		t.Errorf("List = %v, %d, %v", users, next, err)
	}
}

func BenchmarkListAndCount(b *testing.B) {
	s := newBenchStore(b)
	for i := range 20000 {
		seedUser(b, s, User{ID: NewID(), Account: fmt.Sprint(i), Profile: Profile{Name: fmt.Sprint("name", i)}})
	}
	b.Run("list", func(b *testing.B) {
		after := uint64(0)
		for b.Loop() {
			_, next, err := s.Users.List(b.Context(), ListOptions{After: after})
			if err != nil {
				b.Fatal(err)
			}
			after = next
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if n, err := s.Users.Count(b.Context()); err != nil || n != 20000 {
				b.Fatal(n, err)
			}
		}
	})
}
