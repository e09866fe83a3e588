package im

import (
	"context"
	"errors"
	"strings"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// friendNotice returns the notice that shows a user a new friend, under the name that the user sees.
func friendNotice(user, friend, name string, online bool) string {
	f := wire.Friend{Profile: wire.Profile{ID: friend, ProfileFields: wire.ProfileFields{Name: name}}, Online: online}
	return "notice " + user + " " + string(wire.AppendAdded(nil, f))
}

// TestFriends walks through friendships. A change is broadcast before its users are shown it. An answer that tells
// whether two users are friends is broadcast too.
func TestFriends(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob, disabled := f.register(t, "ann"), f.register(t, "bob"), f.register(t, "disabled")
	f.online[bob.ID] = true
	if err := f.accounts.SetDisabled(t.Context(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	request := func(from kv.User, to, note string) func(context.Context) error {
		return func(ctx context.Context) error { return f.friends.Request(ctx, from, to, note) }
	}
	add := func(me kv.User, from, alias string) func(context.Context) error {
		return func(ctx context.Context) error { return f.friends.Add(ctx, me, from, alias) }
	}
	remove := func(me kv.User, other string) func(context.Context) error {
		return func(ctx context.Context) error { return f.friends.Remove(ctx, me, other) }
	}
	apply := func(note string) string {
		return "notice bob " + string(wire.AppendApply(nil, wire.Request{ID: "ann", Name: "ann", To: "bob", Note: note}))
	}
	settled := map[bool][]string{
		true:  {"roster ann bob true", "roster bob ann true"},
		false: {"roster ann bob false", "roster bob ann false"},
	}
	f.run(t, []step{
		{what: "request to an unknown user", call: request(ann, kv.NewID(), ""), err: kv.ErrUserNotFound},
		{what: "request to an invalid id", call: request(ann, "*", ""), err: kv.ErrUserNotFound},
		{what: "request to a disabled user", call: request(ann, disabled.ID, ""), err: kv.ErrUserNotFound},
		{what: "request to itself", call: request(ann, ann.ID, ""), err: kv.ErrSelf},
		{what: "add without rosters", call: add(bob, ann.ID, "x"), err: kv.ErrNoRequest},
		{what: "remove without rosters", call: remove(bob, ann.ID), err: kv.ErrNotFriends},
		{what: "remove itself", call: remove(bob, bob.ID), err: kv.ErrNotFriends},
		{what: "remove an invalid id", call: remove(bob, "*"), err: kv.ErrNotFriends},

		{what: "request", call: request(ann, bob.ID, "hi"), want: []string{"event ann requested bob", apply("hi")}},
		{what: "request with the same note", call: request(ann, bob.ID, "hi")},
		{what: "request with another note", call: request(ann, bob.ID, "ho"), want: []string{"event ann requested bob", apply("ho")}},
		{what: "add by the user who asked", call: add(ann, bob.ID, "x"), err: kv.ErrNoRequest, want: settled[false]},
		{what: "withdraw", call: remove(ann, bob.ID), err: kv.ErrNotFriends,
			want: []string{"event ann withdrawn bob", removed("ann", "bob"), settled[false][0], removed("bob", "ann"), settled[false][1]}},
		{what: "add after the withdrawal", call: add(bob, ann.ID, "x"), err: kv.ErrNoRequest, want: settled[false]},

		{what: "request again", call: request(ann, bob.ID, "hi"), want: []string{"event ann requested bob", apply("hi")}},
		{what: "add", call: add(bob, ann.ID, "Annie"), want: []string{settled[true][0], friendNotice("ann", "bob", "bob", true),
			"event bob befriended ann", settled[true][1], friendNotice("bob", "ann", "Annie", false)}},
		{what: "request to a friend", call: request(ann, bob.ID, "hi"), err: kv.ErrAlreadyFriends, want: settled[true]},
		{what: "an alias", call: add(ann, bob.ID, "Bobby"), want: []string{"event ann named bob", settled[true][0], settled[true][1]}},
		{what: "another alias", call: add(ann, bob.ID, "Rob"), err: kv.ErrAlreadyFriends, want: settled[true]},

		{what: "remove", call: remove(ann, bob.ID), want: []string{"event ann removed bob", settled[false][0], removed("ann", "bob"),
			settled[false][1], removed("bob", "ann")}},
		{what: "remove again", call: remove(bob, ann.ID), err: kv.ErrNotFriends, want: settled[false]},
	})
}

// TestFriendsRefused: a call whose change or answer cannot be broadcast fails, and shows nothing to the user concerned.
func TestFriendsRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	befriend := func(ctx context.Context) error { _, err := f.friends.Befriend(ctx, ann.ID, bob.ID); return err }
	request := func(ctx context.Context) error { return f.friends.Request(ctx, ann, bob.ID, "") }
	unfriend := func(ctx context.Context) error { return f.friends.Unfriend(ctx, ann.ID, bob.ID) }
	quiet := func(what string, call func(context.Context) error, prefix string) {
		t.Helper()
		f.refuse(prefix)
		if err := call(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("%s: got %v, want %v", what, err, errRefused)
		}
		for _, call := range f.take() {
			if strings.HasPrefix(call, "notice bob") {
				t.Errorf("%s: got the call %s", what, call)
			}
		}
		f.refuse("")
	}
	quiet("befriend", befriend, "roster bob")
	quiet("an answer that they are friends", request, "roster")
	quiet("unfriend", unfriend, "roster bob")
	quiet("an answer that they are not friends", unfriend, "roster")
	f.run(t, []step{
		{what: "befriend", call: befriend, want: []string{"event ann befriended bob", "roster ann bob true", friendNotice("ann", "bob", "bob", false),
			"roster bob ann true", friendNotice("bob", "ann", "ann", false)}},
		{what: "befriend friends", call: befriend, want: []string{"roster ann bob true", "roster bob ann true"}},
	})
}

// TestLists: a login shows friends under their aliases with their presence, and requests.
func TestLists(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob, eve := f.register(t, "ann"), f.register(t, "bob"), f.register(t, "eve")
	f.online[bob.ID] = true
	changes, err := f.friends.Restore(t.Context(), kv.UserSnapshot{ID: ann.ID, RosterSnapshot: kv.RosterSnapshot{
		Friends: []kv.Friend{{ID: bob.ID, Alias: "Bobby"}}, Requests: []kv.Request{{From: eve.ID, Note: "hi"}}}})
	if err != nil || len(changes) != 2 {
		t.Fatalf("%+v, %v", changes, err)
	}
	f.want(t, "restore", "event ann befriended bob", `befriended ann bob "Bobby"`, `befriended bob ann ""`, "event eve requested ann")
	roster, _, err := f.store.Rosters.Get(t.Context(), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	bobby := wire.Friend{Profile: ProfileOf(bob), Online: true}
	bobby.Name = "Bobby"
	want := wire.NewLogin(ProfileOf(ann), []wire.Friend{bobby}, []wire.Request{{ID: eve.ID, Name: "eve", To: ann.ID, Note: "hi"}}, "token").Append(nil)
	if got := f.answer(t, ann, roster, false, 1<<20); string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	want = wire.NewLogin(ProfileOf(eve), nil, nil, "token").Append(nil)
	if got := f.answer(t, eve, kv.Roster{}, false, 1<<20); string(got) != string(want) {
		t.Errorf("without a roster: got %s, want %s", got, want)
	}
	found, err := f.friends.Find(t.Context(), ann, "b")
	if err != nil || len(found) != 1 || found[0] != ProfileOf(bob) {
		t.Errorf("found: %+v, %v", found, err)
	}
	if found, err = f.friends.Find(t.Context(), ann, "ann"); err != nil || len(found) != 0 {
		t.Errorf("the caller found itself: %+v, %v", found, err)
	}
}
