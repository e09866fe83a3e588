package im

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// TestDelete: the account is disabled and its tokens are revoked before its sessions end, and friends are told before the
// account is free.
func TestDelete(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, friend, asked := f.register(t, "ann"), f.register(t, "friend"), f.register(t, "requested")
	f.befriend(t, ann, friend)
	if _, err := f.store.Rosters.Request(t.Context(), ann.ID, asked.ID, "hi"); err != nil {
		t.Fatal(err)
	}
	f.issue(t, ann)
	code := f.code(t, ann)
	var order []string
	f.intercept(func(call string) error {
		order = append(order, strings.Join(strings.Fields(call)[:2], " "))
		if call == "event ann deleted" || call == "event ann disabled" {
			return nil
		}
		u, err := f.store.Users.Get(t.Context(), ann.ID)
		if err != nil || !u.Disabled || len(f.tokens(t, ann)) > 0 {
			t.Errorf("%s: %v, disabled %t, %d tokens", call, err, u.Disabled, len(f.tokens(t, ann)))
		}
		return nil
	})
	if err := f.accounts.Delete(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	begin := []string{"event ann", "close ann", "disconnect ann"}
	if !slices.Equal(order[:3], begin) || order[len(order)-1] != "event ann" {
		t.Errorf("order: %q", order)
	}
	var got []string
	for _, call := range f.take() {
		if strings.Fields(call)[1] != "ann" {
			got = append(got, call)
		}
	}
	slices.Sort(got)
	want := []string{removed("friend", "ann"), removed("requested", "ann"), "roster friend ann false"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	f.intercept(nil)
	f.run(t, []step{
		{what: "again", call: func(ctx context.Context) error { return f.accounts.Delete(ctx, ann.ID) }, err: kv.ErrUserNotFound},
		{what: "password", call: func(ctx context.Context) error { _, err := f.accounts.Authenticate(ctx, "ann", password); return err }, err: wire.WrongCredentials},
		{what: "code", call: func(ctx context.Context) error { return f.resets.ResetPassword(ctx, "ann", code, "x") }, err: wire.WrongCredentials},
	})
	f.clean(t, friend, asked)
	f.register(t, "ann")
}

// TestDeleteCutOff cuts deletions off at each call to the other nodes. The account stays disabled, and Repair completes
// the deletion.
func TestDeleteCutOff(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	friend := f.register(t, "friend")
	for _, at := range []string{"close ann", "disconnect ann", "roster ann", "roster friend", "notice friend"} {
		ann := f.register(t, "ann")
		f.befriend(t, ann, friend)
		f.issue(t, ann)
		f.converse(t, ann, friend)
		f.refuse(at)
		if err := f.accounts.Delete(t.Context(), ann.ID); !errors.Is(err, errRefused) {
			t.Errorf("cut off at %q: got %v, want %v", at, err, errRefused)
		}
		f.refuse("")
		if u := f.current(t, ann.ID); !u.Disabled || len(f.tokens(t, ann)) > 0 {
			t.Errorf("cut off at %q: disabled %t, %d tokens", at, u.Disabled, len(f.tokens(t, ann)))
		}
		f.take()
		if done, err := f.accounts.Repair(t.Context()); err != nil || done != (kv.Completed{Users: 1}) {
			t.Errorf("cut off at %q: repair returned %+v, %v", at, done, err)
		}
		if calls := f.take(); !slices.Equal(calls[:2], expelled("ann", "account disabled")) || calls[len(calls)-1] != "event ann deleted" {
			t.Errorf("cut off at %q: the repair made the calls %q", at, calls)
		}
		if _, err := f.store.Users.ByAccount(t.Context(), "ann"); !errors.Is(err, kv.ErrUserNotFound) {
			t.Errorf("cut off at %q: %v", at, err)
		}
		f.clean(t, friend)
		if done, err := f.accounts.Repair(t.Context()); err != nil || done != (kv.Completed{}) {
			t.Errorf("cut off at %q: a second repair returned %+v, %v", at, done, err)
		}
	}
}

// converse stores a dialogue of two users.
func (f *fixture) converse(t *testing.T, a, b kv.User) {
	t.Helper()
	n, err := f.store.Talks.Import(t.Context(), kv.PairOf(a.ID, b.ID), []kv.Dialogue{{N: 1, From: a.ID, ID: []byte(`"1"`), Payload: []byte(`"hi"`), At: time.Now()}})
	if err != nil || n != 1 {
		t.Fatalf("%d dialogues stored, %v", n, err)
	}
}

// TestDeleteErasesConversations: the conversations of a deleted user are gone for both users, also while conversations
// are off, and those of others stay.
func TestDeleteErasesConversations(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob, carl := f.register(t, "ann"), f.register(t, "bob"), f.register(t, "carl")
	f.befriend(t, ann, bob)
	f.converse(t, ann, bob)
	f.converse(t, carl, ann)
	f.converse(t, bob, carl)
	talks := f.store.Talks
	f.store.Talks = nil
	if err := f.accounts.Delete(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	for _, u := range []kv.User{ann, bob, carl} {
		want := map[bool]int{true: 0, false: 1}[u.ID == ann.ID]
		if pairs, err := talks.PairsOf(t.Context(), u.ID); err != nil || len(pairs) != want {
			t.Errorf("%s has the conversations %v, %v", u.Account, pairs, err)
		}
	}
	f.clean(t, bob)
}

// clean checks that these users have empty rosters, and that there are no orphaned records.
func (f *fixture) clean(t *testing.T, users ...kv.User) {
	t.Helper()
	for _, u := range users {
		if r, _, err := f.store.Rosters.Get(t.Context(), u.ID); err != nil || len(r.Friends)+len(r.Requests)+len(r.Asked) > 0 {
			t.Errorf("the roster of %s: %+v, %v", u.Account, r, err)
		}
	}
	if found, err := f.store.Sweep(t.Context(), true); err != nil || found != (kv.Findings{}) {
		t.Errorf("orphaned records: %+v, %v", found, err)
	}
}

func TestRestoreAccounts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	if err := f.accounts.Delete(t.Context(), bob.ID); err != nil {
		t.Fatal(err)
	}
	back := f.current(t, ann.ID)
	back.ID, back.Account = kv.NewID(), "back"
	f.know(back)
	f.take()
	for i, r := range f.accounts.Restore(t.Context(), []kv.User{ann, back}) {
		if r.Err != nil || r.Created != (i == 1) {
			t.Errorf("%s: created %t, %v", r.User, r.Created, r.Err)
		}
	}
	f.want(t, "restore", "event back created")
	f.befriend(t, ann, back)
}

// TestDeleteOwn: the account is disabled when DeleteOwn returns, its sessions go on until the deletion is completed, and
// without a proof nothing changes.
func TestDeleteOwn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann := f.register(t, "ann")
	token := f.issue(t, ann)
	wrong, right := "x", password
	for what, p := range map[string]Proof{"nothing": {}, "a wrong password": {Password: &wrong}, "a renewed token": {Token: kv.TokenInfo{Login: ann.Created, Renewed: true}}} {
		if _, err := f.accounts.DeleteOwn(t.Context(), ann, p); !errors.Is(err, wire.WrongCredentials) {
			t.Errorf("%s: got %v, want %v", what, err, wire.WrongCredentials)
		}
	}
	f.want(t, "without a proof")
	complete, err := f.accounts.DeleteOwn(t.Context(), ann, Proof{Password: &right})
	if err != nil {
		t.Fatal(err)
	}
	f.want(t, "before the answer", "event ann disabled")
	if _, _, err := f.accounts.Authorize(t.Context(), ann.ID, token); !errors.Is(err, wire.AuthIllegal) {
		t.Errorf("a call after the answer: %v", err)
	}
	f.run(t, []step{
		{what: "complete", call: complete, want: append(expelled("ann", "account disabled"), "event ann deleted")},
		{what: "complete again, as after the start of another node", call: complete},
	})
}
