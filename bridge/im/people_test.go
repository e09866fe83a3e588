package im

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// TestPeople searches by name and account, in each setting: what is shown of accounts, common friends, and pages.
func TestPeople(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	me, common := f.register(t, "me"), f.register(t, "common")
	disabled := f.register(t, "gone")
	if err := f.accounts.SetDisabled(t.Context(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	named := func(account, name string) kv.User {
		t.Helper()
		u, err := f.store.Users.Create(t.Context(), kv.User{Account: account, Profile: kv.Profile{Name: name, Sign: "sign of " + account}})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	tom := named("Tommy77", "Tom")
	for i := range 5 {
		named(fmt.Sprint("stranger", i), "Tommy77 the cat")
	}
	f.befriend(t, me, common)
	f.befriend(t, tom, common)
	search := func(q, after string, limit int) wire.People {
		t.Helper()
		p, err := f.friends.People(t.Context(), me, q, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for mode, want := range map[AccountsShown]struct{ first, account string }{
		"": {"Tom", "Tommy77"}, AccountsExact: {"Tom", "Tommy77"}, AccountsShow: {"Tom", "Tommy77"}, AccountsHidden: {"Tommy77 the cat", ""}} {
		f.friends.SetAccountsShown(mode)
		p := search("tommy77", "", 2)
		if first := p.People[0]; first.Name != want.first || first.Account != want.account {
			t.Errorf("%q: the first one is %+v, want %+v", mode, first, want)
		}
		n, seen := 0, make(map[string]bool)
		for page := p; ; page = search("tommy77", page.Next, 2) {
			for _, one := range page.People {
				if (one.Account != "") != (mode == AccountsShow || one.ID == tom.ID) || seen[one.ID] || one.Since.IsZero() {
					t.Errorf("%q: %+v", mode, one)
				}
				seen[one.ID] = true
			}
			if n++; page.Next == "" || n > 10 {
				break
			}
		}
		if all := 6; len(seen) != all && mode != AccountsHidden || mode == AccountsHidden && len(seen) != all-1 {
			t.Errorf("%q: found %d", mode, len(seen))
		}
		one, err := f.friends.Person(t.Context(), me, tom.ID)
		if err != nil || one.Common != 1 || one.Friend || one.Sign != "sign of Tommy77" || (one.Account != "") != (mode == AccountsShow) {
			t.Errorf("%q: Person = %+v, %v", mode, one, err)
		}
	}
	f.friends.SetAccountsShown(AccountsExact)
	if p := search("tom", "", 50).People; len(p) != 6 || p[0].Account != "" || p[0].Common != 1 || p[1].Common != 0 {
		t.Errorf("by the name: %+v", p)
	}
	for _, q := range []string{"gone", "me", "nobody"} {
		if p := search(q, "", 50); len(p.People) > 0 {
			t.Errorf("%s: found %+v", q, p)
		}
	}
	if _, err := f.friends.People(t.Context(), me, "tom", "nonsense", 5); !errors.Is(err, wire.ProtocolError) {
		t.Errorf("an invalid cursor: %v", err)
	}
	for id, want := range map[string]error{me.ID: kv.ErrSelf, disabled.ID: kv.ErrUserNotFound, kv.NewID(): kv.ErrUserNotFound, "*": kv.ErrUserNotFound} {
		if _, err := f.friends.Person(t.Context(), me, id); !errors.Is(err, want) {
			t.Errorf("Person(%s): %v, want %v", id, err, want)
		}
	}
}

// TestAsked lists one's own requests and takes them back: clients of both users drop the request, and a request of the
// other user is shown again.
func TestAsked(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob, eve := f.register(t, "ann"), f.register(t, "bob"), f.register(t, "eve")
	ask := func(from kv.User, to string) func(context.Context) error {
		return func(ctx context.Context) error { return f.friends.Request(ctx, from, to, "hi") }
	}
	cancel := func(me kv.User, to string) func(context.Context) error {
		return func(ctx context.Context) error { return f.friends.Cancel(ctx, me, to) }
	}
	apply := func(to, from string) string {
		return "notice " + to + " " + string(wire.AppendApply(nil, wire.Request{ID: from, Name: from, To: to, Note: "hi"}))
	}
	if err := f.friends.Block(t.Context(), eve, ann.ID); err != nil {
		t.Fatal(err)
	}
	settled := []string{"roster ann bob false", "roster bob ann false"}
	f.run(t, []step{
		{what: "no request", call: cancel(ann, bob.ID), err: kv.ErrNoRequest, want: settled[:0]},
		{what: "ask", call: ask(ann, bob.ID), want: []string{"event ann requested bob", apply("bob", "ann")}},
		{what: "ask back", call: ask(bob, ann.ID), want: []string{apply("ann", "bob"), "event bob requested ann"}},
		{what: "ask eve, who blocks ann", call: ask(ann, eve.ID)},
	})
	asked, err := f.friends.Asked(t.Context(), ann)
	if err != nil || len(asked) != 2 || asked[0].ID != bob.ID || asked[0].Name != "bob" || asked[0].At.IsZero() || asked[1].ID != eve.ID || asked[1].At.IsZero() {
		t.Fatalf("asked = %+v, %v", asked, err)
	}
	if one, err := f.friends.Person(t.Context(), ann, bob.ID); err != nil || !one.Asked || !one.Asks {
		t.Errorf("Person = %+v, %v", one, err)
	}
	f.run(t, []step{
		{what: "cancel", call: cancel(ann, bob.ID), want: []string{"event ann withdrawn bob", removed("ann", "bob"), apply("ann", "bob"), removed("bob", "ann")}},
		{what: "cancel again", call: cancel(ann, bob.ID), err: kv.ErrNoRequest, want: settled},
		{what: "cancel what eve never saw", call: cancel(ann, eve.ID), want: []string{removed("ann", "eve")}},
	})
	if asked, err = f.friends.Asked(t.Context(), ann); err != nil || len(asked) != 0 {
		t.Errorf("asked = %+v, %v", asked, err)
	}

	// A deleted user leaves a request that can be taken back.
	f.run(t, []step{{what: "ask eve", call: ask(ann, eve.ID)}})
	if err := f.accounts.Delete(t.Context(), eve.ID); err != nil {
		t.Fatal(err)
	}
	if asked, err = f.friends.Asked(t.Context(), ann); err != nil || len(asked) != 1 || asked[0].ID != eve.ID {
		t.Errorf("asked = %+v, %v", asked, err)
	}
	if err := f.friends.Cancel(t.Context(), ann, eve.ID); err != nil {
		t.Errorf("cancel a request to a deleted user: %v", err)
	}
}
