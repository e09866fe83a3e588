package admin_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"imctl/bridge/admin"
	"imctl/kv"
)

func TestList(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	const users = admin.MaxPage + 7
	want := map[string]bool{}
	for i := range users {
		u := kv.User{Account: fmt.Sprintf("user-%04d", i), Profile: kv.Profile{Name: "n", Picture: "a picture"}, Disabled: i%100 == 0}
		created, err := f.store.Users.Create(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		want[created.ID] = true
	}
	seen, pages := map[string]bool{}, 0
	for page, err := range client.AllUsers(ctx, admin.ListUsers{}) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		if len(page) > admin.MaxPage {
			t.Errorf("a page has %d users, want at most %d", len(page), admin.MaxPage)
		}
		for _, u := range page {
			if seen[u.ID] {
				t.Errorf("%s is listed twice", u.Account)
			}
			seen[u.ID] = true
			if !want[u.ID] {
				t.Errorf("the list has an unknown user %+v", u)
			}
		}
	}
	if len(seen) != users || pages < 2 {
		t.Errorf("got %d users on %d pages, want %d on at least 2", len(seen), pages, users)
	}
	first, err := client.ListUsers(ctx, admin.ListUsers{Limit: 3})
	if err != nil || len(first.Users) != 3 || first.Next == "" {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	second, err := client.ListUsers(ctx, admin.ListUsers{Limit: 3, After: first.Next})
	if err != nil || len(second.Users) != 3 || second.Users[0].Account != "user-0003" {
		t.Errorf("second page: %+v, %v", second, err)
	}
	yes, no := true, false
	for _, test := range []struct {
		r    admin.ListUsers
		want int
	}{
		{admin.ListUsers{Begins: "USER-000"}, 10}, {admin.ListUsers{Begins: "nobody"}, 0},
		{admin.ListUsers{Disabled: &yes}, 6}, {admin.ListUsers{Disabled: &no}, users - 6}, {admin.ListUsers{Begins: "user-01", Disabled: &yes}, 1},
	} {
		got := 0
		for page, err := range client.AllUsers(ctx, test.r) {
			if err != nil {
				t.Fatal(err)
			}
			got += len(page)
		}
		if got != test.want {
			t.Errorf("%+v: got %d users, want %d", test.r, got, test.want)
		}
	}
	msg, err := f.nc.Request(prefix+".admin.user.list", nil, 10*time.Second)
	if err != nil || bytes.Contains(msg.Data, []byte("picture")) || bytes.Contains(msg.Data, []byte("password")) {
		t.Errorf("the list has pictures or passwords, %v: %.300s", err, msg.Data)
	}
}
