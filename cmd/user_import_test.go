package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importDir returns a working directory with the data directory of a server that has no records yet.
func importDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	makeDataDir(t, filepath.Join(dir, "data"))
	config := "data: data\nnats: {sync: 1m}\npasswords: {memory: 1MiB, passes: 1}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeDataDir makes a directory as a server has it that was interrupted in its first start.
func makeDataDir(t *testing.T, path string) {
	t.Helper()
	err := errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "mode"), []byte("standalone\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func sortedLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

// TestExportImport exports users and imports them into another server, where they can log in.
func TestExportImport(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	alice.befriend(t, bob)
	carol := w.newMember(t, 0)
	carol.login(t)
	carol.call(t, "request", "to", alice.id, "note", "please").want(t, "request", replyBody(200))
	bob.call(t, "block", "to", alice.id).want(t, "block a friend", replyBody(200))
	bob.call(t, "block", "to", carol.id).want(t, "block a stranger", replyBody(200))
	command(t, dir, "", "user", "export", "--file", "all.jsonl").want(t, exitDone, "3 accounts exported to all.jsonl\n")
	file := filepath.Join(dir, "all.jsonl")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("exported file: got %v, %v", info, err)
	}
	command(t, dir, "", "user", "export", "--file", "all.jsonl").want(t, exitExists, "--force")
	exported := command(t, dir, "", "user", "export").want(t, exitDone).out
	if b, err := os.ReadFile(file); err != nil || string(b) != exported {
		t.Errorf("the file differs: %v", err)
	}
	one := command(t, dir, "", "user", "export", alice.account).want(t, exitDone, `"v":1,"id":"`+alice.id, `"password_hash":"$argon2id$`,
		`"friends":[{"id":"`+bob.id+`","alias":"alias of `+bob.account+`","since":"`, `"requests":[{"id":"`+carol.id+`","note":"please"`)
	if !slices.Contains(sortedLines(exported), strings.TrimSpace(one.out)) {
		t.Errorf("the export of one user differs: %s", one.out)
	}
	command(t, dir, "", "user", "export", "nobody").want(t, exitNotFound)

	other, otherDir := startWithNATSListener(t)
	ow := newWorld(t, other)
	command(t, otherDir, "", "user", "import", file).want(t, exitDone, "created      3\n", "there        0\n", "friendships  1\n", "requests     1\n", "wrong        0\n")
	again := fromJSON[importReport](t, command(t, otherDir, exported, "user", "import", "-o", "json").want(t, exitDone).out)
	if again != (importReport{There: 3}) {
		t.Errorf("second import: got %+v, want only existing accounts", again)
	}
	if got := command(t, otherDir, "", "user", "export").want(t, exitDone).out; !slices.Equal(sortedLines(got), sortedLines(exported)) {
		t.Errorf("got\n%s\nwant\n%s", got, exported)
	}
	for _, p := range []*member{alice, bob} {
		p.w = ow
		ow.secret(p.password)
		p.login(t)
		p.call(t, "found", "name", alice.account)
	}
	if code := alice.talk(t, bob, "1"); code != 508 {
		t.Errorf("dialogue to a friend who blocks on the other server: got code %d, want 508", code)
	}
	bob.call(t, "unblock", "to", alice.id).want(t, "unblock", replyBody(200))
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue between friends on the other server: got code %d, want 200", code)
	}
	alice.wantFriends(t, "imported", map[*member]string{bob: "alias of " + bob.account})
}

// TestImportOne imports a deleted user, and checks that an online friend can send dialogues to it again.
func TestImportOne(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	exported := command(t, dir, "", "user", "export", alice.account).want(t, exitDone).out
	command(t, dir, "", "user", "delete", alice.account, "--yes").want(t, exitDone)
	if code := bob.talk(t, alice, "1"); code != 512 {
		t.Errorf("dialogue to a deleted user: got code %d", code)
	}
	command(t, dir, exported, "user", "import").want(t, exitDone, "created      1\n", "friendships  1\n")
	if code := bob.talk(t, alice, "2"); code != 508 {
		t.Errorf("dialogue to the imported, offline user: got code %d, want 508", code)
	}
	alice.login(t)
	if code := bob.talk(t, alice, "3"); code != 200 {
		t.Errorf("dialogue to the imported user: got code %d, want 200", code)
	}
	lonely := w.newMember(t, 0)
	exported = command(t, dir, "", "user", "export", lonely.account).want(t, exitDone).out
	command(t, dir, "", "user", "delete", lonely.account, "--yes").want(t, exitDone)
	command(t, dir, exported, "user", "import").want(t, exitDone, "created      1\n")
	command(t, dir, "", "friend", "add", lonely.account, bob.account).want(t, exitDone)
}

// TestImportWrongLines checks that an import reports invalid lines, and stops or continues after them.
func TestImportWrongLines(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	lines := []string{
		`{"account":"one"}`, ``, `{"acount":"two"}`, `{"account":"three","created":"yesterday"}`, `{"account":"four"} x`, `{"account":5}`, `nonsense`,
		`{"account":"seven","password_hash":"hunter2"}`, "{\"account\":\"ei\xffght\"}", `{"account":"` + strings.Repeat("n", 900_000) + `"}`,
		`{"account":"ten","friends":[{"id":"00000000000000000000000000000000","alias":"","since":"2020-01-01T00:00:00Z"}]}`, `{"account":"ONE","v":3}`, `{"account":"last"}`,
	}
	input := strings.Join(lines, "\r\n")
	stopped := command(t, dir, input, "user", "import")
	if stopped.code != exitFailed || !strings.Contains(stopped.err, "imctl: line 3: unknown field \"acount\"\n") || !strings.Contains(stopped.err, "1 invalid line; the lines after it were not imported") {
		t.Errorf("stopped: %+v", stopped)
	}
	if !strings.Contains(stopped.out, "created      1\n") || strings.Contains(stopped.err, "line 4") || strings.Contains(command(t, dir, "", "user", "list").out, "last") {
		t.Errorf("the import continued after the invalid line: %+v", stopped)
	}
	all := command(t, dir, input, "user", "import", "--keep-going", "-o", "json")
	for n, why := range map[int]string{3: "acount", 4: "2026-01-02T15:04:05Z", 5: "unexpected text after the object", 6: "account must be of type string", 7: "invalid character",
		8: "password_hash", 9: "UTF-8", 10: "longer", 12: "version"} {
		if !strings.Contains(all.err, fmt.Sprintf("imctl: line %d: ", n)) || !strings.Contains(all.err, why) {
			t.Errorf("line %d, %s: %s", n, why, all.err)
		}
	}
	if strings.Contains(all.err, "hunter2") {
		t.Error("a password hash in the error")
	}
	if got := fromJSON[importReport](t, all.out); all.code != exitFailed || got.Wrong != 9 || got.Missing != 1 || got.Created+got.There != 3 {
		t.Errorf("exit code %d, %+v", all.code, got)
	}
	if n := strings.Count(all.err, "\n"); n != 10 {
		t.Errorf("%d lines: %s", n, all.err)
	}
	command(t, dir, "", "user", "import", "nowhere.jsonl").want(t, exitUse, "nowhere.jsonl")
	command(t, dir, "", "user", "import").want(t, exitDone, "created      0\n")
}

// TestImportMany imports more users than fit into one request.
func TestImportMany(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	var input strings.Builder
	const people = 450
	for i := range people {
		fmt.Fprintf(&input, `{"id":"%032x","account":"user %d","sign":%q,"friends":[{"id":"%032x","alias":"next","since":"2020-01-01T00:00:00Z"}]}`+"\n",
			i, i, strings.Repeat("s", 500), (i+1)%people)
	}
	got := fromJSON[importReport](t, command(t, dir, input.String(), "user", "import", "-o", "json").want(t, exitDone).out)
	if got != (importReport{Created: people, Friendships: people}) {
		t.Errorf("%+v", got)
	}
	command(t, dir, "", "friend", "list", "user 0").want(t, exitDone, "user 1 ", "next", "user 449")
}
