package admin_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"imctl/bridge/admin"
	"imctl/kv"
)

func (f *fixture) user(t *testing.T, account string) kv.User {
	t.Helper()
	u, err := f.store.Users.Create(t.Context(), kv.User{Account: account, Profile: kv.Profile{Name: strings.ToUpper(account)}})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func friends(t *testing.T, client *admin.Client, r admin.ListFriends) (all []admin.Friend) {
	t.Helper()
	for page, err := range client.Friends(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
	}
	return all
}

func TestFriends(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	alice, bob, carol := f.user(t, "alice"), f.user(t, "bob"), f.user(t, "carol")
	if p, err := client.AddFriend(ctx, "alice", "id:"+bob.ID); err != nil || p.User.ID != alice.ID || p.Friend.ID != bob.ID {
		t.Errorf("%+v, %v", p, err)
	}
	_, err := client.AddFriend(ctx, "bob", "alice")
	wantCode(t, err, admin.AlreadyExists)
	_, err = client.AddFriend(ctx, "bob", "BOB")
	wantCode(t, err, admin.Invalid)
	_, err = client.AddFriend(ctx, "bob", "nobody")
	wantCode(t, err, admin.NotFound)
	if _, err := f.store.Rosters.Request(ctx, carol.ID, alice.ID, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Rosters.Request(ctx, alice.ID, carol.ID, "hi"); err != nil {
		t.Fatal(err)
	}
	if got := friends(t, client, admin.ListFriends{User: "alice"}); len(got) != 1 || got[0].Account != "bob" || got[0].Name != "BOB" || got[0].Kind != admin.KindFriend {
		t.Errorf("friends: %+v", got)
	}
	got := friends(t, client, admin.ListFriends{User: "alice", Requests: true, Limit: 1})
	if len(got) != 2 || got[0].Kind == got[1].Kind || got[0].ID != carol.ID || got[1].ID != carol.ID || got[0].Note+got[1].Note == "hellohello" {
		t.Errorf("requests: %+v", got)
	}
	if _, err := client.RemoveFriend(ctx, "bob", "alice"); err != nil {
		t.Error(err)
	}
	_, err = client.RemoveFriend(ctx, "bob", "alice")
	wantCode(t, err, admin.NotFound)
	many := f.user(t, "many")
	for i := range 11 {
		if _, err := f.store.Rosters.Befriend(ctx, many.ID, f.user(t, fmt.Sprint("friend ", i)).ID); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, friend := range friends(t, client, admin.ListFriends{User: "many", Limit: 3}) {
		seen[friend.ID] = true
	}
	if len(seen) != 11 {
		t.Errorf("got %d friends, want 11", len(seen))
	}
	if users, err := client.LookUp(ctx, []string{bob.ID, kv.NewID(), "x", alice.ID}); err != nil || len(users.Users) != 2 || users.Users[1].Account != "alice" {
		t.Errorf("looked up %+v, %v", users, err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	alice := f.user(t, "alice")
	var issued []string
	for i := range 7 {
		token, err := f.store.Tokens.Issue(ctx, alice.ID, fmt.Sprint("s", i), kv.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		issued = append(issued, token)
	}
	list := func() (all []string) {
		for page, err := range client.Tokens(ctx, admin.ListTokens{User: "alice", Limit: 3}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range page {
				all = append(all, token.Hash)
			}
		}
		return all
	}
	if got := list(); len(got) != 7 || !slices.Contains(got, kv.TokenHash(issued[3])) {
		t.Errorf("listed %v", got)
	}
	if r, err := client.RevokeTokens(ctx, "alice", kv.TokenHash(issued[3])[:20], kv.TokenHash(issued[4])); err != nil || len(r.Tokens) != 2 {
		t.Errorf("revoked %+v, %v", r, err)
	}
	if got := list(); len(got) != 5 || slices.Contains(got, kv.TokenHash(issued[3])) {
		t.Errorf("listed %v", got)
	}
	_, err := client.RevokeTokens(ctx, "alice", kv.TokenHash(issued[3]))
	wantCode(t, err, admin.NotFound)
	_, err = client.RevokeTokens(ctx, "alice", "")
	wantCode(t, err, admin.NotFound)
	if r, err := client.RevokeTokens(ctx, "alice"); err != nil || len(r.Tokens) != 5 || len(list()) != 0 {
		t.Errorf("revoked %+v, %v", r, err)
	}
	var prefixes []string
	for len(prefixes) < 17 { // of 17 hashes, two have the same first digit
		token, err := f.store.Tokens.Issue(ctx, alice.ID, "", kv.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		prefix := kv.TokenHash(token)[:1]
		if slices.Contains(prefixes, prefix) {
			_, err = client.RevokeTokens(ctx, "alice", prefix)
			wantCode(t, err, admin.Invalid)
			return
		}
		prefixes = append(prefixes, prefix)
	}
	t.Error("no two of 17 hashes have the same first digit")
}

func TestAttachments(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	if a, err := client.Attachments(ctx); err != nil || a.Attachments == nil || len(a.Attachments) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	made, err := client.AddAttachment(ctx, admin.AddAttachment{Name: "tool", Role: kv.RoleAdmin})
	if err != nil || made.Context.User != "tool" || made.Context.Password == "" || made.Role != kv.RoleAdmin {
		t.Fatalf("%+v, %v", made.Attachment, err)
	}
	_, err = client.AddAttachment(ctx, admin.AddAttachment{Name: "tool", Role: kv.RoleAdmin})
	wantCode(t, err, admin.AlreadyExists)
	for _, r := range []admin.AddAttachment{{Name: "x", Role: "root"}, {Name: "a.b", Role: kv.RoleAdmin}, {Name: "x", Role: kv.RoleBridge, Filter: ">"}} {
		_, err = client.AddAttachment(ctx, r)
		wantCode(t, err, admin.Invalid)
		if strings.Contains(err.Error(), "kv:") {
			t.Errorf("error %q has an internal prefix", err)
		}
	}
	other, err := client.RotateAttachment(ctx, "tool")
	if err != nil || other.Context.Password == made.Context.Password {
		t.Errorf("rotated: %v", err)
	}
	if a, err := client.RemoveAttachment(ctx, "tool"); err != nil || a.Name != "tool" {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = client.RemoveAttachment(ctx, "tool")
	wantCode(t, err, admin.NotFound)
	_, err = client.RotateAttachment(ctx, "tool")
	wantCode(t, err, admin.NotFound)
}

// TestExportImport copies all users to another server, twice.
func TestExportImport(t *testing.T) {
	t.Parallel()
	from, to := setUp(t), setUp(t)
	source, target := from.serve(t), to.serve(t)
	ctx := t.Context()
	hash, err := kv.NewHasher(kv.HasherOptions{MemoryKiB: 64, Passes: 1}).Hash(ctx, "secret")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 5 {
		u, err := from.store.Users.Create(ctx, kv.User{Account: fmt.Sprint("User ", i), PasswordHash: hash, Mail: "m", Disabled: i == 2,
			Created: time.Date(2020, 1, 1, 0, 0, i, 0, time.UTC), Profile: kv.Profile{Name: "n", Picture: strings.Repeat("p", 300_000), Sex: "s", Birthday: "b", Sign: "a\nb"}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	for _, err := range []error{
		second(from.store.Rosters.Request(ctx, ids[0], ids[1], "note")), second(from.store.Rosters.Add(ctx, ids[1], ids[0], "zero")),
		second(from.store.Rosters.Add(ctx, ids[0], ids[1], "one")), second(from.store.Rosters.Request(ctx, ids[3], ids[4], "please")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	export := func(client *admin.Client, user string) (all []admin.Record) {
		for page, err := range client.Export(ctx, user) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page...)
		}
		slices.SortFunc(all, func(x, y admin.Record) int { return strings.Compare(x.Account, y.Account) })
		return all
	}
	want := export(source, "")
	if len(want) != 5 || want[0].PasswordHash != hash || want[0].Friends[0].Alias != "one" || want[3].Asked[0].Note != "please" || want[4].Requests[0].ID != ids[3] {
		t.Fatalf("%d records: %+v", len(want), want)
	}
	if one := export(source, "user 1"); len(one) != 1 || !reflect.DeepEqual(one[0], want[1]) {
		t.Errorf("export of one user: got %+v, want %+v", one, want[1])
	}
	for round := range 2 {
		for _, records := range [][]admin.Record{want[:2], want[2:4], want[4:]} {
			result, err := target.ImportUsers(ctx, records)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range result.Results {
				if state := [...]string{admin.StateCreated, admin.StateThere}[round]; r.State != state || r.Error != "" {
					t.Errorf("round %d: %+v", round, r)
				}
			}
		}
		created := 0
		for i := range want {
			result, err := target.ImportFriends(ctx, want[i:i+1])
			if err != nil || result.Results[0].State != admin.StateDone {
				t.Fatalf("%+v, %v", result, err)
			}
			created += result.Results[0].Friends + result.Results[0].Requests
		}
		if created != 2*(1-round) {
			t.Errorf("round %d: created %d friendships and requests, want %d", round, created, 2*(1-round))
		}
		if got := export(target, ""); !reflect.DeepEqual(got, want) {
			t.Errorf("round %d: got %+v", round, got)
		}
	}
}

func second(_ kv.Change, err error) error { return err }

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	existing := f.user(t, "there")
	records := []admin.Record{
		{Account: "new"}, {Account: "there"}, {}, {Account: "a", PasswordHash: "secret"}, {Account: "b", Version: 2},
		{Account: "there", ID: kv.NewID()}, {Account: "c", ID: "x"}, {Account: "c", Sign: "\x1b"}, {Account: "d", ID: existing.ID},
		{Account: "thеre"}, {Account: "th\u00adere"}, {Account: "e", Name: "\u202ee"}, {Account: "e", Mail: "a\u2028b"},
		{Account: "e", PasswordHash: "$argon2id$v=19$m=1048576,t=1,p=16$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
	}
	result, err := client.ImportUsers(ctx, records)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range result.Results {
		want := ""
		if i < 2 {
			want = []string{admin.StateCreated, admin.StateThere}[i]
		}
		if want != "" && (r.State != want || r.Error != "") || want == "" && (r.State != admin.StateFailed || r.Error == "" || strings.Contains(r.Error, "secret")) {
			t.Errorf("%+v: %+v", records[i], r)
		}
	}
	unknown := admin.RecordFriend{ID: kv.NewID()}
	result, err = client.ImportFriends(ctx, []admin.Record{
		{Account: "new", Friends: []admin.RecordFriend{{ID: existing.ID}, unknown}}, {Account: "nobody"}, {Account: "there", Friends: []admin.RecordFriend{{ID: existing.ID, Alias: "\x1b"}}},
	})
	if err != nil || result.Results[0].Friends != 1 || result.Results[0].Missing != 1 || result.Results[1].State != admin.StateFailed || result.Results[2].State != admin.StateFailed {
		t.Errorf("%+v, %v", result, err)
	}
	_, err = client.ImportUsers(ctx, make([]admin.Record, admin.MaxRecords+1))
	wantCode(t, err, admin.Invalid)
}
