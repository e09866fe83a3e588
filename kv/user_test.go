package kv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestUserLife(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)

	john := mustCreate(t, s, "  John ", "Funny John")
	if !ValidID(john.ID) || john.Created.IsZero() {
		t.Fatalf("id %q, created %v", john.ID, john.Created)
	}
	if got, err := s.Users.Get(ctx, john.ID); err != nil || got != john {
		t.Errorf("Get = %+v, %v; want %+v", got, err, john)
	}
	if got, err := s.Users.ByAccount(ctx, "JOHN"); err != nil || got != john {
		t.Errorf("ByAccount = %+v, %v; want %+v", got, err, john)
	}

	want := john
	want.Sign, want.Disabled = "I want to go to Mars", true
	got, err := s.Users.Update(ctx, john.ID, func(u *User) error {
		u.Sign, u.Disabled = want.Sign, true
		u.ID, u.Account = NewID(), "another" // Update must ignore this
		return nil
	})
	if err != nil || got != want {
		t.Errorf("Update = %+v, %v; want %+v", got, err, want)
	}
	if got, err := s.Users.Get(ctx, john.ID); err != nil || got != want {
		t.Errorf("after Update: Get = %+v, %v; want %+v", got, err, want)
	}

	if err := s.Users.Delete(ctx, john.ID); err != nil {
		t.Fatal(err)
	}
	for call, err := range map[string]error{
		"Get":       second(s.Users.Get(ctx, john.ID)),
		"ByAccount": second(s.Users.ByAccount(ctx, "john")),
		"Update":    second(s.Users.Update(ctx, john.ID, func(*User) error { return nil })),
		"Delete":    s.Users.Delete(ctx, john.ID),
	} {
		if !errors.Is(err, ErrUserNotFound) {
			t.Errorf("%s of a deleted user: %v, want %v", call, err, ErrUserNotFound)
		}
	}
	registered := mustCreate(t, s, "john", "Funny John")
	if registered.ID == john.ID {
		t.Error("the id of a deleted account was used again")
	}
	if got, err := s.Users.ByAccount(ctx, "John"); err != nil || got != registered {
		t.Errorf("ByAccount after another registration = %+v, %v; want %+v", got, err, registered)
	}
}

// second returns the error of a call.
func second[T any](_ T, err error) error { return err }

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	mustCreate(t, s, "Straße", "one")
	for account, want := range map[string]error{
		"STRASSE": ErrAccountExists,
		" straße": ErrAccountExists,
		"":        ErrAccountEmpty,
		" \t ":    ErrAccountEmpty,
	} {
		if _, err := s.Users.Create(ctx, User{Account: account}); !errors.Is(err, want) {
			t.Errorf("Create(%q): %v, want %v", account, err, want)
		}
	}
	if n, err := s.Users.Count(ctx); n != 1 || err != nil {
		t.Errorf("Count = %d, %v; want 1: a refused account leaves no records", n, err)
	}
}

func TestIDsFromOutsideReachNoSubject(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	mustCreate(t, s, "a", "a")
	for _, id := range []string{"", "*", ">", "user.*", strings.Repeat("*", 32), strings.Repeat("A", 32), strings.Repeat("a", 31) + ".", "a b"} {
		if _, err := s.Users.Get(ctx, id); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("Get(%q): %v", id, err)
		}
		if err := s.Users.Delete(ctx, id); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("Delete(%q): %v", id, err)
		}
		if _, _, err := s.Rosters.Get(ctx, id); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("Rosters.Get(%q): %v", id, err)
		}
		if err := s.Tokens.Check(ctx, id, id); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("Check(%q): %v", id, err)
		}
	}
}

func TestRegistrationsOfOneAccountAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	users := make([]User, 24)
	errs := atOnce(24, func(i int) (err error) {
		users[i], err = s.Users.Create(ctx, User{Account: "wanted", Profile: Profile{Name: fmt.Sprint("n", i)}})
		return err
	})
	var winner User
	succeeded := 0
	for i, err := range errs {
		switch {
		case err == nil:
			succeeded++
			winner = users[i]
		case !errors.Is(err, ErrAccountExists):
			t.Errorf("registration %d: %v", i, err)
		}
	}
	if succeeded != 1 {
		t.Fatalf("%d registrations succeeded, want 1", succeeded)
	}
	if got, err := s.Users.ByAccount(ctx, "wanted"); err != nil || got != winner {
		t.Errorf("ByAccount = %+v, %v; want the winner %+v", got, err, winner)
	}
	if n, err := s.Users.Count(ctx); n != 1 || err != nil {
		t.Errorf("Count = %d, %v; want 1", n, err)
	}
	if found, err := s.Users.Find(ctx, "n", 50, ""); err != nil || len(found) != 1 {
		t.Errorf("Find = %d users, %v; want only the winner's name", len(found), err)
	}
}

// There are more concurrent registrations than the server accepts batches. The store must bound its batches.
func TestManyRegistrationsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const n = 60
	for i, err := range atOnce(n, func(i int) error {
		_, err := s.Users.Create(ctx, User{Account: fmt.Sprint("account", i)})
		return err
	}) {
		if err != nil {
			t.Errorf("registration %d: %v", i, err)
		}
	}
	if got, err := s.Users.Count(ctx); got != n || err != nil {
		t.Errorf("Count = %d, %v; want %d", got, err, n)
	}
}

func TestUpdatesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "a")
	const n = 8
	errs := atOnce(n, func(int) error {
		_, err := s.Users.Update(ctx, u.ID, func(u *User) error {
			u.Sign += "x"
			return nil
		})
		return err
	})
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	}
	got, err := s.Users.Get(ctx, u.ID)
	if err != nil || len(got.Sign) != done || done == 0 {
		t.Errorf("%d updates succeeded, %d are stored (%v)", done, len(got.Sign), err)
	}
}

func TestUpdateStopsAtTheCallersError(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "a")
	refused := errors.New("refused")
	if _, err := s.Users.Update(ctx, u.ID, func(u *User) error { u.Sign = "x"; return refused }); !errors.Is(err, refused) {
		t.Errorf("Update: %v, want %v", err, refused)
	}
	if got, _ := s.Users.Get(ctx, u.ID); got != u {
		t.Errorf("the user is %+v, want %+v", got, u)
	}
}

func TestGetMany(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	want := map[string]User{}
	for i := range 100 {
		u := User{ID: NewID(), Account: fmt.Sprint("a", i), Created: now()}
		seedUser(t, s, u)
		want[u.ID] = u
	}
	ids := append(slices.Collect(maps.Keys(want)), NewID(), "invalid id")
	got, err := s.Users.GetMany(testContext(t), ids)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("GetMany returned %d users, %v; want %d", len(got), err, len(want))
	}
}

func TestUserShowsNoSecret(t *testing.T) {
	t.Parallel()
	u := User{ID: NewID(), PasswordHash: "hunter2", Mail: "hunter2@example.org"}
	for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, u); strings.Contains(s, "hunter2") {
			t.Errorf("%s writes a secret: %s", verb, s)
		}
	}
	if s := u.LogValue().String(); strings.Contains(s, "hunter2") {
		t.Errorf("a log entry would have a secret: %s", s)
	}
}

// The nats tool and all key-value clients must be able to read the buckets.
func TestBucketsAreKeyValueBuckets(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	s := openStore(t, nc, Options{Prefix: "chat"})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "a")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.KeyValue(ctx, "chat_users")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := bucket.Get(ctx, "user."+u.ID); err != nil || !strings.Contains(string(e.Value()), u.ID) {
		t.Errorf("Get by a key-value client = %v, %v", e, err)
	}
	if err := s.Users.Delete(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Get(ctx, "user."+u.ID); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("Get of a deleted user by a key-value client: %v, want %v", err, jetstream.ErrKeyNotFound)
	}
}
