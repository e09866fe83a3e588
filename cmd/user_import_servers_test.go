package cmd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wantLogins checks which passwords of a user are right.
func (w *world) wantLogins(t *testing.T, account string, passwords map[string]bool) {
	t.Helper()
	for password, right := range passwords {
		want := 505
		if right {
			want = 200
			w.secret(password)
		}
		if got := w.post(t, 0, "/im/session", map[string]string{"account": account, "password": password}).code(); got != want {
			t.Errorf("%s logs in with %q: got code %d, want %d", account, password, got, want)
		}
	}
}

// importCounts returns the counts of a report in JSON.
func importCounts(t *testing.T, out string) importReport {
	t.Helper()
	return fromJSON[importOutput](t, out).importReport
}

// wantReplaced waits until the password of a user has a hash of imctl's own.
func wantReplaced(t *testing.T, dir, account string) {
	t.Helper()
	eventually(t, account+" has an argon2id hash", func() bool {
		return strings.Contains(command(t, dir, "", "user", "export", account).want(t, exitDone).out, `"password_hash":"$argon2id$`)
	})
}

// TestImportFromServers imports the exports that ejabberd 23.01 and Prosody 0.12.3 wrote (testdata/import/README.md), and
// the hashes of other programs. The users log in with their passwords, and imctl replaces the hashes.
func TestImportFromServers(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	testdata, err := filepath.Abs("testdata/import")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range exportsOfServers {
		t.Run(name, func(t *testing.T) { // one after the other: all have the same accounts
			requests := 0
			if strings.HasPrefix(name, "prosody") {
				requests = 1
			}
			path := filepath.Join(testdata, name)
			for round := range 2 {
				got := importCounts(t, command(t, dir, "", "user", "import", path, "-o", "json").want(t, exitDone).out)
				want := importReport{Created: 4, Friendships: 2, Requests: requests, Skipped: 2 - requests}
				if round == 1 {
					want = importReport{There: 4, Skipped: 2 - requests}
				}
				if got != want {
					t.Errorf("round %d: got %+v, want %+v", round, got, want)
				}
			}
			plain := strings.HasSuffix(name, "plain")
			exported := command(t, dir, "", "user", "export").want(t, exitDone).out
			if got := strings.Count(exported, `"password_hash":"SCRAM-SHA-`); got != 4 && !plain || plain && got != 0 {
				t.Errorf("%d hashes of SCRAM", got)
			}
			w.wantLogins(t, "ann", map[string]bool{"correct horse": true, "correct horsf": false, "": false})
			w.wantLogins(t, "bob", map[string]bool{"bob=pass,word": true, "correct horse": false})
			// Both servers prepare passwords by SASLprep for SCRAM. Prosody also stores plain passwords prepared.
			neil, zoe := "naïve Ⅸ", "zoe ü"
			switch name {
			case "ejabberd-plain":
				zoe = "zoe\u00a0u\u0308"
			case "prosody-plain":
				neil = "naïve IX"
			}
			w.wantLogins(t, "o'neil", map[string]bool{neil: true, "naïve XI": false})
			w.wantLogins(t, "zoe", map[string]bool{zoe: true})
			for _, account := range []string{"ann", "bob"} {
				wantReplaced(t, dir, account)
			}
			w.wantLogins(t, "ann", map[string]bool{"correct horse": true, "correct horsf": false})
			command(t, dir, "", "friend", "list", "ann").want(t, exitDone, "bob ", "Bobby", "o'neil ", "Neil")
			command(t, dir, "", "friend", "list", "bob").want(t, exitDone, "ann ", "Annie")
			for _, account := range []string{"ann", "bob", "o'neil", "zoe"} {
				command(t, dir, "", "user", "delete", account, "--yes").want(t, exitDone)
			}
		})
	}
	t.Run("hashes", func(t *testing.T) { importHashes(t, w, dir) })
	t.Run("dry run", func(t *testing.T) { importDry(t, dir) })
	t.Run("Mattermost", func(t *testing.T) {
		input := `{"type":"version","version":1}
{"type":"user","user":{"username":"mia","nickname":"Mia","password":"a password"}}
{"type":"user","user":{"username":"max"}}
{"type":"direct_channel","direct_channel":{"members":["mia","max"]}}
{"type":"direct_channel","direct_channel":{"members":["mia","moe"]}}
{"type":"direct_channel","direct_channel":{"members":["moe","mia"]}}
{"type":"post","post":{}}
`
		want := importReport{Created: 2, Friendships: 1, Missing: 2, Skipped: 1}
		for _, flags := range [][]string{{"--dry-run"}, nil} {
			if got := importCounts(t, command(t, dir, input, append([]string{"user", "import", "-o", "json"}, flags...)...).want(t, exitDone).out); got != want {
				t.Errorf("%v: got %+v, want %+v", flags, got, want)
			}
		}
		w.wantLogins(t, "mia", map[string]bool{"a password": true})
		w.wantLogins(t, "max", map[string]bool{"": false, "a password": false})
	})
}

// importHashes imports one hash of each format, and logs in.
func importHashes(t *testing.T, w *world, dir string) {
	f, err := os.Open("../kv/testdata/hashes/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var input strings.Builder
	passwords := make(map[string]string) // by account
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v struct{ Password, Hash string }
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.Password == "correct horse" {
			account := fmt.Sprint("hash ", len(passwords))
			passwords[account] = v.Password
			fmt.Fprintf(&input, "{\"account\":%q,\"password_hash\":%q}\n", account, v.Hash)
		}
	}
	got := importCounts(t, command(t, dir, input.String(), "user", "import", "-o", "json").want(t, exitDone).out)
	if got != (importReport{Created: len(passwords)}) || len(passwords) < 15 {
		t.Errorf("%+v", got)
	}
	for account, password := range passwords {
		w.wantLogins(t, account, map[string]bool{password: true})
	}
	eventually(t, "all hashes are replaced", func() bool {
		exported := command(t, dir, "", "user", "export").want(t, exitDone).out
		return strings.Count(exported, `"password_hash":"$argon2id$v=19$m=1024,t=1,p=1$`) == len(passwords)
	})
}

// importDry compares a dry run with the import: both report the same, and the dry run writes nothing.
func importDry(t *testing.T, dir string) {
	command(t, dir, `{"account":"there"}`, "user", "import").want(t, exitDone)
	input := `account,password_hash,name,friends
dora,$2b$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG,Dora,there;dick;nobody
there,,,dora
dick,,,dora
Dick,,,
dісk,,,
dave,$2b$31$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG,,dora
erna,hunter2,,
fred,,` + strings.Repeat("n", 1000) + `,
greta,,,dave
`
	list := func() []string { return sortedLines(command(t, dir, "", "user", "list").want(t, exitDone).out) }
	before := list()
	if err := os.WriteFile(filepath.Join(dir, "in.csv"), []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	dry := command(t, dir, "", "user", "import", "--dry-run", "-o", "json", "--report", "dry.jsonl", "in.csv")
	if !slices.Equal(before, list()) {
		t.Error("the dry run wrote something")
	}
	done := command(t, dir, "", "user", "import", "--keep-going", "-o", "json", "--report", "done.jsonl", "in.csv")
	want := importReport{Created: 3, There: 2, Friendships: 2, Missing: 2, Wrong: 4}
	if got := importCounts(t, done.out); got != want || done.code != exitFailed {
		t.Errorf("import: exit code %d, got %+v, want %+v: %s", done.code, got, want, done.err)
	}
	if got := importCounts(t, dry.out); got != want || dry.code != exitFailed {
		t.Errorf("dry run: exit code %d, got %+v, want %+v: %s", dry.code, got, want, dry.err)
	}
	var details [2][]string
	for n, name := range []string{"dry.jsonl", "done.jsonl"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		details[n] = sortedLines(string(b))
		if strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "dXJ3") {
			t.Errorf("%s has a hash: %s", name, b)
		}
	}
	if !slices.Equal(details[0], details[1]) {
		t.Errorf("the dry run reports\n%s\nthe import\n%s", strings.Join(details[0], "\n"), strings.Join(details[1], "\n"))
	}
	report := strings.Join(details[1], "\n")
	for _, line := range []string{
		`{"file":"in.csv","line":2,"account":"dora","field":"friends","reason":"no user nobody","result":"missing"}`,
		`{"file":"in.csv","line":6,"account":"dісk","field":"account","reason":"account looks like that of another user","result":"refused"}`,
		`{"file":"in.csv","line":7,"account":"dave","field":"password_hash","reason":"password_hash is not a usable password hash: bcrypt with cost 31, the maximum is 14`,
		`{"file":"in.csv","line":8,"account":"erna","field":"password_hash","reason":"password_hash is not a usable password hash: unknown format`,
		`{"file":"in.csv","line":9,"account":"fred","field":"name","reason":"name has 1000 characters`,
	} {
		if !strings.Contains(report, line) {
			t.Errorf("the report lacks %s:\n%s", line, report)
		}
	}
	if !strings.Contains(done.err, "imctl: in.csv:7: password_hash is not a usable password hash: bcrypt with cost 31") {
		t.Errorf("standard error: %s", done.err)
	}
	command(t, dir, "", "user", "import", "--report", "done.jsonl", "in.csv").want(t, exitExists, "--force")
	command(t, dir, "", "user", "import", "--format", "xml", "in.csv").want(t, exitUse, "xep0227")
}
