package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importedUsers is how many users an import of a test has. Each is a friend of the next two, at a ring.
const importedUsers = 2000

// writeRing writes the input of an import. Users have no ids, so a second import has to find them by their accounts. Only
// one of two friends names the other one.
func writeRing(t *testing.T, file string) {
	t.Helper()
	var input strings.Builder
	for n := range importedUsers {
		fmt.Fprintf(&input, `{"account":"user %d","friends":["user %d",{"account":"user %d","alias":"second","since":"2020-01-01T00:00:00Z"}]}`+"\n",
			n, (n+1)%importedUsers, (n+2)%importedUsers)
	}
	if err := os.WriteFile(file, []byte(input.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// exportedUsers returns what an export says of each user, by account, and the friends of each as accounts with aliases.
func exportedUsers(t *testing.T, dir string, flags ...string) map[string][]string {
	t.Helper()
	accounts, friends := make(map[string]string), make(map[string][]string)
	type exported struct {
		ID, Account string
		Friends     []struct{ ID, Alias string }
	}
	var all []exported
	export := command(t, dir, "", append([]string{"user", "export"}, flags...)...)
	if export.code != exitDone { // NATS warns on standard error when it opens the files of a process that was killed
		t.Fatalf("export: exit code %d: %s", export.code, export.err)
	}
	for line := range strings.Lines(export.out) {
		var u exported
		if err := json.Unmarshal([]byte(line), &u); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, twice := friends[u.Account]; twice {
			t.Errorf("%s is in twice", u.Account)
		}
		accounts[u.ID], friends[u.Account] = u.Account, []string{}
		all = append(all, u)
	}
	for _, u := range all {
		for _, f := range u.Friends {
			friends[u.Account] = append(friends[u.Account], accounts[f.ID]+" "+f.Alias)
		}
		slices.Sort(friends[u.Account])
	}
	return friends
}

// wantRing checks that each user is in, with the four friends that it has in the ring. The aliases are those of the input.
func wantRing(t *testing.T, got map[string][]string) {
	t.Helper()
	if len(got) != importedUsers {
		t.Errorf("%d users, want %d", len(got), importedUsers)
	}
	wrong := 0
	for n := range importedUsers {
		at := func(d int) string { return fmt.Sprintf("user %d ", (n+d+importedUsers)%importedUsers) }
		want := []string{at(-2), at(-1), at(1), at(2) + "second"}
		slices.Sort(want)
		account := fmt.Sprintf("user %d", n)
		if !slices.Equal(got[account], want) {
			if wrong++; wrong <= 5 {
				t.Errorf("friends of %s: %q, want %q", account, got[account], want)
			}
		}
	}
	if wrong > 5 {
		t.Errorf("%d users have wrong friends", wrong)
	}
}

// TestImportKilled kills an import at a request, and repeats it. Without a server the import writes the data itself, so
// that the process that is killed is that of the records; with one, the server may be at work for a request when the
// command is gone.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		step   string
		server bool
		in     bool // whether all accounts are in at that step
	}{
		{"accounts", "accounts 7", false, false},
		{"friends", "friends 5", false, true},
		{"accounts on a server", "accounts 7", true, false},
		{"friends on a server", "friends 5", true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var dir string
			var flags []string
			if row.server {
				dir = t.TempDir()
				data := filepath.Join(dir, "data")
				startProcess(t, data, new(logBuffer))
				flags = []string{"--data", data}
			} else {
				dir = importDir(t)
			}
			writeRing(t, filepath.Join(dir, "ring.jsonl"))
			killCommand(t, dir, row.step, append([]string{"user", "import", "ring.jsonl"}, flags...)...)

			before := exportedUsers(t, dir, flags...)
			if n := len(before); n < 700 || (n == importedUsers) != row.in {
				t.Errorf("%d users are in when the import is killed", n)
			}
			half := importFriendships(before)
			if full := 2 * importedUsers; half >= full || row.in && half == 0 {
				t.Errorf("%d of %d friendships are in when the import is killed", half, full)
			}
			again := append([]string{"user", "import", "-o", "json", "ring.jsonl"}, flags...)
			got := fromJSON[importReport](t, command(t, dir, "", again...).want(t, exitDone).out)
			want := importReport{Created: importedUsers - len(before), There: len(before), Friendships: 2*importedUsers - half}
			if row.server { // it may have completed requests of the first import since the export
				if got.There >= want.There && got.Created <= want.Created && got.Friendships <= want.Friendships {
					want.Friendships, want.There = got.Friendships, got.There
					want.Created = importedUsers - got.There
				}
			}
			if got != want {
				t.Errorf("the second import: %+v, want %+v", got, want)
			}
			wantRing(t, exportedUsers(t, dir, flags...))
			got = fromJSON[importReport](t, command(t, dir, "", again...).want(t, exitDone).out)
			if got != (importReport{There: importedUsers}) {
				t.Errorf("the third import: %+v", got)
			}
		})
	}
}

// importFriendships returns how many friendships are complete at both ends.
func importFriendships(users map[string][]string) (n int) {
	for account, friends := range users {
		for _, f := range friends {
			other := f[:strings.LastIndex(f, " ")]
			if slices.ContainsFunc(users[other], func(g string) bool { return g[:strings.LastIndex(g, " ")] == account }) {
				n++
			}
		}
	}
	return n / 2
}
