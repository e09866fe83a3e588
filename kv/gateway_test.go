package kv

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestOwned creates, lists, restores and deletes users of a gateway.
func TestOwned(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	var ids []string
	for i := range 5 {
		u, err := s.Users.Create(ctx, User{Account: fmt.Sprint("matrix_", i), Gateway: "matrix"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	mustCreate(t, s, "john", "John")
	if all := s.Users.Restore(ctx, []User{{ID: NewID(), Account: "matrix_5", Gateway: "matrix"}, {ID: ids[0], Account: "matrix_0", Gateway: "xmpp"}}); all[0].Err != nil || !all[0].Created || all[1].Created {
		t.Fatalf("restored: %+v", all)
	} else {
		ids = append(ids, all[0].User.ID)
	}
	list := func(gateway string) (all []string) {
		t.Helper()
		for after := uint64(0); ; {
			page, next, err := s.Users.Owned(ctx, gateway, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, page...); next == 0 {
				return all
			}
			after = next
		}
	}
	if got := list("matrix"); !slices.Equal(got, ids) {
		t.Errorf("users of matrix: %v, want %v", got, ids)
	}
	if got, other := list("xmpp"), list("*"); got != nil || other != nil {
		t.Errorf("users of others: %v, %v", got, other)
	}
	if _, err := s.Users.Update(ctx, ids[0], func(u *User) error { u.Gateway, u.Disabled = "xmpp", true; return nil }); err != nil {
		t.Fatal(err)
	}
	if gateway, disabled, err := s.Users.Owner(ctx, ids[0]); gateway != "matrix" || !disabled || err != nil {
		t.Errorf("owner: %q, %t, %v", gateway, disabled, err)
	}
	if err := s.Users.Delete(ctx, ids[1]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Users.Owner(ctx, ids[1]); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("owner of a deleted user: %v", err)
	}
	if n, err := s.Users.CountOwned(ctx, "matrix"); n != 5 || err != nil {
		t.Errorf("%d users, %v", n, err)
	}
	// An entry of a user that does not exist is found and removed.
	if _, err := s.Users.b.write(ctx, putAt(ownedPrefix+"matrix."+NewID(), nil, 0)); err != nil {
		t.Fatal(err)
	}
	found, err := s.Sweep(ctx, false)
	if err != nil || found.Owned != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
	if n, err := s.Users.CountOwned(ctx, "matrix"); n != 5 || err != nil {
		t.Errorf("after the sweep: %d users, %v", n, err)
	}
}

func TestMayRegister(t *testing.T) {
	t.Parallel()
	a := Attachment{Role: RoleGateway, Accounts: "Matrix_*"}
	for account, want := range map[string]bool{"matrix_a": true, "MATRIX_Ada": true, "matrix_": false, "matrix": false, "xmatrix_a": false, "": false} {
		if got := a.MayRegister(account); got != want {
			t.Errorf("%q: %t", account, got)
		}
	}
	if (Attachment{Role: RoleConsumer, Accounts: "a*"}).MayRegister("ab") || (Attachment{Role: RoleGateway}).MayRegister("ab") {
		t.Error("an attachment without accounts may register one")
	}
	// An account that begins like those of the gateway to the eye would pass for one of its users.
	for account, want := range map[string]bool{"matrix_a": true, "MATRIX_a": true, "rnatrix_a": true, "mаtrix_a": true, "МATRIX_a": true, "ｍatrix_a": true, "matrix\u200b_a": true, "Matr1x_a": false,
		"matrix": false, "mattress_a": false, "ann": false, "": false} {
		if got := a.Reserves(account); got != want {
			t.Errorf("%q is reserved: %t", account, got)
		}
	}
	if (Attachment{Role: RoleConsumer, Accounts: "a*"}).Reserves("ab") {
		t.Error("an attachment that is no gateway reserves accounts")
	}
	for accounts, want := range map[string]bool{"matrix_*": true, "rnatrix_*": true, "ma*": true, "matrix_x*": true, "matriy*": false, "xmpp_*": false} {
		if got := a.Overlaps(Attachment{Role: RoleGateway, Accounts: accounts}); got != want {
			t.Errorf("%s overlaps: %t", accounts, got)
		}
	}
}

// TestOpenSession checks that a later session of a gateway has a higher revision, and that only gateways have sessions.
func TestOpenSession(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	for name, role := range map[string]Role{"matrix": RoleGateway, "archive": RoleConsumer} {
		if _, _, err := s.Attachments.Add(ctx, Attachment{Name: name, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := s.Attachments.OpenSession(ctx, "matrix", "n1")
	second, again := s.Attachments.OpenSession(ctx, "matrix", "n1")
	if err := errors.Join(err, again); err != nil || second <= first {
		t.Errorf("revisions %d and %d, %v", first, second, err)
	}
	if _, err := s.Attachments.Revoke(ctx, "matrix"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"matrix", "archive", "none"} {
		if _, err := s.Attachments.OpenSession(ctx, name, "n1"); !errors.Is(err, ErrAttachmentNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGatewaysAtOnce: two nodes that add gateways with overlapping accounts, or users of one gateway, at the same time.
func TestGatewaysAtOnce(t *testing.T) {
	t.Parallel()
	server := startServer(t, t.TempDir(), false)
	one, two := openStore(t, connect(t, server), Options{}), openStore(t, connect(t, server), Options{})
	ctx := testContext(t)
	stores := []*Store{one, two}
	atOnce := func(n int, do func(s *Store, i int) error) (done int, errs []error) {
		results := make(chan error)
		for i := range n {
			go func() { results <- do(stores[i%2], i) }()
		}
		for range n {
			if err := <-results; err != nil {
				errs = append(errs, err)
			} else {
				done++
			}
		}
		return done, errs
	}
	for round := range 5 {
		added, errs := atOnce(4, func(s *Store, i int) error {
			_, _, err := s.Attachments.Add(ctx, Attachment{Name: fmt.Sprint("g", round, "-", i), Role: RoleGateway, Accounts: fmt.Sprint("net", round, "_", "xxxx"[:i], "*")})
			return err
		})
		for _, err := range errs {
			if !errors.Is(err, ErrAttachmentInvalid) {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if added != 1 {
			t.Errorf("round %d: %d gateways with accounts in common were added", round, added)
		}
	}
	for _, accounts := range []string{"irc_*", "xmpp_*"} {
		if _, _, err := two.Attachments.Add(ctx, Attachment{Name: accounts[:3], Role: RoleGateway, Accounts: accounts}); err != nil {
			t.Errorf("a gateway with accounts of its own: %v", err)
		}
	}
	if err := one.Attachments.Remove(ctx, "irc"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.Attachments.Add(ctx, Attachment{Name: "again", Role: RoleGateway, Accounts: "irc_*"}); err != nil {
		t.Errorf("the accounts of a removed gateway: %v", err)
	}

	const limit = 5
	registered, errs := atOnce(8, func(s *Store, i int) error {
		_, err := s.Users.Create(ctx, User{Account: fmt.Sprint("irc_", i), Gateway: "again"}, s.Users.Room("again", limit))
		return err
	})
	for _, err := range errs {
		if !errors.Is(err, ErrGatewayFull) {
			t.Errorf("register: %v", err)
		}
	}
	if n, err := one.Users.CountOwned(ctx, "again"); registered != limit || n != limit || err != nil {
		t.Errorf("%d users were registered, and %d are there, %v", registered, n, err)
	}
}
