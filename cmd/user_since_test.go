package cmd

import (
	"strings"
	"testing"
	"time"

	"imctl/bridge/admin"
	"imctl/kv"
)

// withoutTimes are records without times: bob has asked carol, and alice and bob are friends.
const withoutTimes = `{"id":"000000000000000000000000000000a1","account":"alice","friends":[{"id":"000000000000000000000000000000b2","alias":"b"}],"requests":[{"id":"000000000000000000000000000000c3","note":"n"}]}
{"id":"000000000000000000000000000000b2","account":"bob","asked":[{"id":"000000000000000000000000000000c3","note":"n","since":null}]}
{"id":"000000000000000000000000000000c3","account":"carol","created":"0001-01-01T00:00:00Z"}
`

// outputs maps commands to their output about users.
func outputs(t *testing.T, dir, user string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, args := range [][]string{{"user", "list"}, {"user", "show", user}, {"friend", "list", user}, {"friend", "list", user, "--requests"}} {
		for _, format := range []string{"table", "json"} {
			all[strings.Join(args, " ")+" "+format] = command(t, dir, "", append(args, "-o", format)...).want(t, exitDone).out
		}
	}
	all["user export"] = command(t, dir, "", "user", "export").want(t, exitDone).out
	return all
}

// TestImportWithoutTimes checks that records without times get the time of the import.
func TestImportWithoutTimes(t *testing.T) {
	t.Parallel()
	_, dir := startWithNATSListener(t)
	began := time.Now().UTC().Truncate(time.Second)
	command(t, dir, withoutTimes, "user", "import").want(t, exitDone, "created      3\n", "friendships  1\n", "requests     2\n")
	for _, user := range []string{"alice", "bob", "carol"} {
		for what, out := range outputs(t, dir, user) {
			if strings.Contains(out, "0001-01-01") {
				t.Errorf("%s of %s: %s", what, user, out)
			}
		}
	}
	for _, args := range [][]string{{"alice"}, {"bob"}, {"alice", "--requests"}, {"carol", "--requests"}} {
		out := command(t, dir, "", append([]string{"friend", "list", "-o", "json"}, args...)...).want(t, exitDone).out
		for line := range strings.Lines(out) {
			if e := fromJSON[admin.Friend](t, line); e.Since.Before(began) || e.Since.After(time.Now()) {
				t.Errorf("%v: since %s, imported at %s", args, e.Since, began)
			}
		}
		if out == "" {
			t.Errorf("%v: no entries", args)
		}
	}
}

// TestUnknownTimes checks that an unknown time is omitted from JSON and a dash in tables.
func TestUnknownTimes(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	rosters, bucket := s.app.backend.store.Rosters, usersBucket(t, s)
	alice, bob := kv.NewID(), kv.NewID()
	for id, account := range map[string]string{alice: "alice", bob: "bob"} {
		if _, err := bucket.PutString(t.Context(), "user."+id, `{"id":"`+id+`","account":"`+account+`","name":"n"}`); err != nil {
			t.Fatal(err)
		}
	}
	_, err := rosters.Restore(t.Context(), kv.UserSnapshot{ID: alice, RosterSnapshot: kv.RosterSnapshot{Friends: []kv.Friend{{ID: bob}}}})
	if err != nil {
		t.Fatal(err)
	}
	for what, out := range outputs(t, dir, "id:"+alice) {
		dash := strings.Contains(what, "table") && !strings.Contains(what, "requests")
		if strings.Contains(out, "0001-01-01") || strings.Contains(out, `"since":`) || strings.Contains(out, `"created":`) || dash && !strings.Contains(out, "  -") {
			t.Errorf("%s: %s", what, out)
		}
	}
}
