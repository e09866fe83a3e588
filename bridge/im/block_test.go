package im

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// TestRequestLoop: a user that asks and withdraws in a loop shows the other user one request and one withdrawal.
func TestRequestLoop(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.store.Rosters.SetLimits(10, 10, time.Hour)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	for i := range 20 {
		if err := f.friends.Request(t.Context(), ann, bob.ID, fmt.Sprint("note ", i)); err != nil {
			t.Fatal(err)
		}
		_ = f.friends.Remove(t.Context(), ann, bob.ID) // it is answered 512
	}
	shown := 0
	for _, call := range f.take() {
		if strings.HasPrefix(call, "notice bob") {
			shown++
		}
	}
	if shown != 2 {
		t.Errorf("the other user was shown %d frames, want 2", shown)
	}
}

func TestBlockStranger(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.store.Rosters.SetLimits(10, 10, time.Hour)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	do := func(call func(context.Context, kv.User, string) error, me, other kv.User) func(context.Context) error {
		return func(ctx context.Context) error { return call(ctx, me, other.ID) }
	}
	ask := func(ctx context.Context, me kv.User, to string) error { return f.friends.Request(ctx, me, to, "hi") }
	apply := "notice ann " + string(wire.AppendApply(nil, wire.Request{ID: "bob", Name: "bob", To: "ann", Note: "hi"}))
	f.run(t, []step{
		{what: "block itself", call: do(f.friends.Block, ann, ann), err: kv.ErrSelf},
		{what: "block nobody", call: do(f.friends.Block, ann, kv.User{ID: kv.NewID()}), err: kv.ErrUserNotFound},
		{what: "request", call: do(ask, bob, ann), want: []string{apply, "event bob requested ann"}},
		{what: "block", call: do(f.friends.Block, ann, bob),
			want: []string{"event ann blocked bob", "roster ann bob false", removed("ann", "bob"), "roster bob ann false"}},
		{what: "block again", call: do(f.friends.Block, ann, bob), want: []string{"roster ann bob false", "roster bob ann false"}},
		{what: "request of the blocked user", call: do(ask, bob, ann)},
		{what: "withdrawal of the blocked user", call: do(f.friends.Remove, bob, ann), err: kv.ErrNotFriends,
			want: []string{"roster ann bob false", removed("bob", "ann"), "roster bob ann false"}},
		{what: "request to the blocked user", call: do(ask, ann, bob), err: kv.ErrBlocked},
		{what: "unblock", call: do(f.friends.Unblock, ann, bob),
			want: []string{"event ann unblocked bob", "roster ann bob false", "roster bob ann false"}},
		{what: "request after the block", call: do(ask, bob, ann), want: []string{apply, "event bob requested ann"}},
	})
}

// TestBlockFriend: the two are shown each other as offline, and their profiles are not shown.
func TestBlockFriend(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	f.befriend(t, ann, bob)
	f.online[ann.ID], f.online[bob.ID] = true, true
	presence := func(user, friend string, online bool) string {
		return "notice " + user + " " + string(wire.AppendPresence(nil, friend, online))
	}
	rename := func(u kv.User, name string) func(context.Context) error {
		return func(ctx context.Context) error {
			return f.accounts.UpdateProfile(ctx, u, ProfileUpdate{SetProfile: func(p *wire.ProfileFields) { p.Sign = name }})
		}
	}
	f.run(t, []step{
		{what: "block", call: func(ctx context.Context) error { return f.friends.Block(ctx, ann, bob.ID) },
			want: []string{"event ann blocked bob", "roster ann bob true", presence("ann", "bob", false),
				"roster bob ann true", presence("bob", "ann", false)}},
		{what: "profile of the user who blocks", call: rename(ann, "x"), want: []string{"event ann updated", "profile ann"}},
		{what: "profile of the blocked user", call: rename(bob, "x"), want: []string{"event bob updated", "profile bob"}},
		{what: "unblock", call: func(ctx context.Context) error { return f.friends.Unblock(ctx, ann, bob.ID) },
			want: []string{"event ann unblocked bob", "roster ann bob true", presence("ann", "bob", true),
				"roster bob ann true", presence("bob", "ann", true)}},
	})
	// A deleted user can be unblocked.
	if err := f.friends.Block(t.Context(), ann, bob.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.accounts.Delete(t.Context(), bob.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := f.friends.Blocked(t.Context(), ann); err != nil || len(got) != 1 || got[0].ID != bob.ID || got[0].Name != "" {
		t.Errorf("blocked: %+v, %v; want only the id of the deleted user", got, err)
	}
	if err := f.friends.Unblock(t.Context(), ann, bob.ID); err != nil {
		t.Errorf("unblock a deleted user: %v", err)
	}
	if got, err := f.friends.Blocked(t.Context(), ann); err != nil || len(got) != 0 {
		t.Errorf("blocked: %+v, %v; want none", got, err)
	}
	if found, err := f.store.Sweep(t.Context(), true); err != nil || found != (kv.Findings{}) {
		t.Errorf("Sweep = %+v, %v; want no findings", found, err)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	f.run(t, []step{
		{what: "report itself", call: func(ctx context.Context) error { return f.friends.Report(ctx, ann, ann.ID, "", "") }, err: kv.ErrSelf},
		{what: "report nobody", call: func(ctx context.Context) error { return f.friends.Report(ctx, ann, "*", "", "") }, err: kv.ErrUserNotFound},
		{what: "report", call: func(ctx context.Context) error { return f.friends.Report(ctx, ann, bob.ID, "spam", "buy") },
			want: []string{`event ann reported bob "spam"`}},
		{what: "delete", call: func(ctx context.Context) error { return f.accounts.Delete(ctx, bob.ID) },
			want: append([]string{"event bob disabled"}, append(expelled("bob", "account disabled"), "event bob deleted")...)},
	})
	if all, _, err := f.store.Reports.List(t.Context(), 0, 10); err != nil || len(all) != 0 {
		t.Errorf("the reports after the deletion are %+v, %v", all, err)
	}
}
