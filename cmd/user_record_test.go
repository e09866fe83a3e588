package cmd

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// usersBucket opens the bucket of accounts as an ordinary NATS client.
func usersBucket(t *testing.T, s *server) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(s.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.KeyValue(t.Context(), "im_users")
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// unclaim removes the claim on an account, as a restore or a repair by hand may leave its record.
func unclaim(t *testing.T, bucket jetstream.KeyValue, id string) {
	t.Helper()
	keys, err := bucket.ListKeysFiltered(t.Context(), "account.*", "look.*")
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for key := range keys.Keys() {
		e, err := bucket.Get(t.Context(), key)
		if err == nil && string(e.Value()) == id {
			err = bucket.Purge(t.Context(), key)
			removed++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if removed < 2 {
		t.Fatalf("removed %d claims of %s, want that of the account and those of its looks", removed, id)
	}
}

// TestDeleteIncompleteRecord deletes accounts with incomplete records that user list shows, by account and by id.
func TestDeleteIncompleteRecord(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	users, bucket := s.app.backend.store.Users, usersBucket(t, s)
	create := func(account string) kv.User {
		t.Helper()
		u, err := users.Create(t.Context(), kv.User{Account: account, Profile: kv.Profile{Name: "n"}})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	lists := func(id string) bool {
		t.Helper()
		return strings.Contains(command(t, dir, "", "user", "list", "-o", "json").want(t, exitDone).out, id)
	}

	// Without its claim, a lookup of the account finds no user.
	alice, bob := create("Alice"), create("bob")
	if _, err := s.app.backend.store.Rosters.Befriend(t.Context(), alice.ID, bob.ID); err != nil {
		t.Fatal(err)
	}
	unclaim(t, bucket, alice.ID)
	command(t, dir, "", "user", "show", "alice").want(t, exitNotFound)
	command(t, dir, "", "user", "delete", " ALICE", "--yes").want(t, exitDone, "Alice ("+alice.ID+") deleted\n")
	if lists(alice.ID) {
		t.Error("a deleted user is listed")
	}
	if r, _, err := s.app.backend.store.Rosters.Get(t.Context(), bob.ID); err != nil || len(r.Friends) > 0 {
		t.Errorf("friends of a deleted user: %+v, %v", r, err)
	}
	command(t, dir, "", "user", "delete", "alice", "--yes").want(t, exitNotFound, `"alice"`)

	// Another user has registered the account, and keeps it.
	first := create("carol")
	unclaim(t, bucket, first.ID)
	second := create("carol")
	command(t, dir, "", "user", "delete", "id:"+first.ID, "--yes").want(t, exitDone)
	if u, err := users.ByAccount(t.Context(), "carol"); err != nil || u.ID != second.ID || lists(first.ID) {
		t.Errorf("carol is %v, %v; the other is listed: %t", u, err, lists(first.ID))
	}

	// If several records have the account, none of them is deleted.
	third := create("dave")
	unclaim(t, bucket, third.ID)
	fourth := create("dave")
	unclaim(t, bucket, fourth.ID)
	command(t, dir, "", "user", "delete", "dave", "--yes").want(t, exitUse, "id:"+third.ID, "id:"+fourth.ID)
	command(t, dir, "", "user", "delete", "id:"+third.ID, "--yes").want(t, exitDone)
	command(t, dir, "", "user", "delete", "dave", "--yes").want(t, exitDone)
	if lists(third.ID) || lists(fourth.ID) {
		t.Error("deleted users are listed")
	}

	// Records without an account, or without any fields.
	for _, record := range []string{`{"id":"ID","account":""}`, `{}`, `{"id":"somebody else's","account":"x"}`} {
		id := kv.NewID()
		if _, err := bucket.PutString(t.Context(), "user."+id, strings.Replace(record, "ID", id, 1)); err != nil {
			t.Fatal(err)
		}
		if !lists(id) {
			t.Errorf("%s is not listed by its id", record)
		}
		command(t, dir, "", "user", "delete", "id:"+id, "--yes").want(t, exitDone, id)
		if lists(id) {
			t.Errorf("%s is listed after its deletion", record)
		}
	}
	if u, err := users.ByAccount(t.Context(), "bob"); err != nil || u.ID != bob.ID {
		t.Errorf("bob is %v, %v", u, err)
	}
}
