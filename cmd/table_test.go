package cmd

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"imctl/bridge/admin"
)

// narrow is a terminal of some columns.
type narrow struct {
	bytes.Buffer
	width int
}

func (n *narrow) Columns() int { return n.width }

// TestTablesFit checks that the tables of lists fit terminals, and that a pipe gets every cell in full.
func TestTablesFit(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef"
	at := localTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	long := strings.Repeat("a longer text ", 9)
	for name, c := range map[string]struct {
		header, row []string
		kept        map[int][]string // columns of the header that a terminal of this width shows
	}{
		"users": {[]string{"account", "name", "mail", "created", "state", "id"}, []string{"ada-lovelace", "Ada Lovelace", "ada@example.org", at, "enabled", id},
			map[int][]string{60: {"ACCOUNT", "STATE"}, 80: {"ACCOUNT", "NAME", "STATE"}, 130: {"ID"}}},
		"sessions": {[]string{"account", "session", "node", "since", "address", "user"}, []string{"ada", id[:16], id[16:], at, "192.168.100.100", id},
			map[int][]string{60: {"ACCOUNT", "SESSION"}, 80: {"ACCOUNT", "SESSION", "NODE", "SINCE"}}},
		"tokens": {[]string{"hash", "session", "issued", "expires", "address", "agent"}, []string{id + id, id[:16], at, at, "192.168.100.100", long},
			map[int][]string{60: {"HASH", "SESSION", "EXPIRES"}}},
		"invites": {[]string{"id", "state", "used", "uses", "created", "expires", "note"}, []string{id[:16], "valid", "0", "1", at, at, long},
			map[int][]string{60: {"ID", "STATE", "NOTE"}, 100: {"CREATED"}}},
		"requests": {[]string{"account", "name", "kind", "note", "since", "id"}, []string{"ada", "Ada", "request", long, at, id},
			map[int][]string{60: {"ACCOUNT", "KIND", "NOTE"}}},
		"attachments": {attachHeader, []string{"archive", "consumer", "dialogue.>", at, "12", at, at, "detached since " + at + ", 12 entries lost"},
			map[int][]string{60: {"NAME", "ROLE", "BEHIND", "STATE"}}},
		"audit": {[]string{"time", "event", "actor", "address", "subject", "detail"}, []string{at, "admin.session.close", "administrator", "192.168.100.100", id, long},
			map[int][]string{60: {"TIME", "EVENT", "ACTOR", "DETAIL"}}},
		"reports": {[]string{"id", "time", "by", "account", "text"}, []string{id, at, "Ada", "ben", long}, map[int][]string{60: {"ID", "ACCOUNT", "TEXT"}, 80: {"TIME", "ACCOUNT", "TEXT"}}},
		"nodes": {[]string{"node", "host", "version", "since", "sessions", "online", "nats", "state"}, []string{id[:16], "im.example.org", "v1.2.3-0.20261129085527-b92e4196b92e", at, "123", "45", "nats://10.0.0.1:4222", "ok"},
			map[int][]string{60: {"NODE", "VERSION", "SESSIONS", "STATE"}}},
		"streams": {[]string{"stream", "state", "messages", "bytes", "consumers", "replicas"}, []string{"KV_im_friendships", "no leader", "1234567", "1234567890", "12", "3"},
			map[int][]string{60: {"STREAM", "STATE", "MESSAGES", "BYTES"}}},
		"settings": {[]string{"setting", "value", "from"}, []string{"nats.cluster.routes", long, "config.yaml:123"}, map[int][]string{60: {"SETTING", "VALUE", "FROM"}}},
		"fields":   {nil, []string{"health", long}, nil},
	} {
		for _, width := range []int{60, 80, 100, 130} {
			terminal := &narrow{width: width}
			if err := newTable(terminal, slices.Clone(c.header)...).write(c.row, c.row); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(terminal.String()) {
				if n := columns(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%s: a line of %d columns on a terminal of %d: %s", name, n, width, line)
				}
			}
			for _, column := range c.kept[width] {
				if first, _, _ := strings.Cut(terminal.String(), "\n"); !strings.Contains(first, column) {
					t.Errorf("%s: no %s on a terminal of %d columns: %s", name, column, width, first)
				}
			}
			// The text of the last column is wrapped, and not cut.
			all := strings.Join(strings.Fields(terminal.String()), " ")
			if c.row[len(c.row)-1] == long && name != "tokens" && !strings.Contains(all, strings.TrimSpace(long)) {
				t.Errorf("%s: the text is cut: %s", name, all)
			}
		}
		var pipe bytes.Buffer
		if err := newTable(&pipe, slices.Clone(c.header)...).write(c.row); err != nil {
			t.Fatal(err)
		}
		for _, cell := range append(c.row, c.header...) {
			if !strings.Contains(strings.ToLower(pipe.String()), strings.ToLower(strings.TrimSpace(cell))) {
				t.Errorf("%s: a pipe does not get %q: %s", name, cell, pipe.String())
			}
		}
		if n := strings.Count(pipe.String(), "\n"); n != min(len(c.header), 1)+1 {
			t.Errorf("%s: a pipe gets %d lines: %s", name, n, pipe.String())
		}
	}
}

// TestTablesFitLater checks that a later, wider row changes no earlier decision.
func TestTablesFitLater(t *testing.T) {
	t.Parallel()
	terminal := &narrow{width: 40}
	table := newTable(terminal, "account", "name", "state", "id")
	for _, row := range [][]string{{"ada", "Ada", "enabled", "1"}, {"ben", strings.Repeat("Ben ", 20), "enabled", "2"}} {
		if err := table.write(row); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(terminal.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ACCOUNT") || columns(lines[2]) > 40 || !strings.Contains(lines[2], "…") || !strings.HasSuffix(lines[2], " 2") {
		t.Errorf("%q", lines)
	}
	if n := terminalWidth(os.Stdin); n < 0 { // whatever the tests run on
		t.Error(n)
	}
	for _, c := range []struct {
		text string
		most int
		want []string
	}{
		{"one two three", 7, []string{"one two", "three"}}, {"one", 7, []string{"one"}}, {"", 7, []string{""}}, {"abcdefgh", 3, []string{"abc", "def", "gh"}},
		{"日本語です", 4, []string{"日本", "語で", "す"}}, {"a bcdefg", 3, []string{"a", "bcd", "efg"}}, {"日", 1, []string{"日"}},
	} {
		if got := wrap(c.text, c.most); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.most, got, c.want)
		}
	}
}

// TestHelpFits checks that the help of every command fits a terminal of 80 columns, and that a pipe gets its text as it
// is. Examples may be wider.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	for _, c := range leaves(newRoot(&Env{})) {
		words := append(strings.Fields(c.CommandPath())[1:], "--help")
		terminal := &narrow{width: 80}
		if code := Run(t.Context(), &Env{Out: terminal, Err: terminal, Dir: t.TempDir()}, words); code != exitDone {
			t.Fatalf("%q: exit code %d", words, code)
		}
		text, _, ok := strings.Cut(terminal.String(), "\nUsage:\n")
		_, flags, found := strings.Cut(terminal.String(), "\nFlags:\n")
		if !ok || !found || len(strings.Fields(text)) != len(strings.Fields(c.Long)) {
			t.Errorf("%q: %s", words, terminal.String())
		}
		for line := range strings.Lines(text) {
			if n := columns(strings.TrimRight(line, "\n")); n > 80 && !strings.HasPrefix(line, "  ") {
				t.Errorf("%q: a line of %d columns: %s", words, n, line)
			}
		}
		for line := range strings.Lines(flags) { // pflag lets a last word stick out
			if n := columns(strings.TrimRight(line, "\n")); n > 90 {
				t.Errorf("%q: the help of a flag has %d columns: %s", words, n, line)
			}
		}
	}
}

// TestTimesHaveZones checks the times of tables and of JSON.
func TestTimesHaveZones(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, func(c *Config) { c.Data, c.NATS.Listen = dir+"/data", "127.0.0.1:0" })
	command(t, dir, "password", append([]string{"user", "create", "ada"}, cheap...)...).want(t, exitDone)
	for _, args := range [][]string{{"user", "list"}, {"user", "list", "-o", "json"}, {"user", "show", "ada"}, {"audit"}, {"status"}} {
		found := false
		for _, word := range strings.FieldsFunc(command(t, dir, "", args...).want(t, exitDone).out, func(r rune) bool { return strings.ContainsRune(" \n\",", r) }) {
			if !strings.HasPrefix(word, "20") || strings.Count(word, "-") < 2 {
				continue
			}
			found = true
			if _, err := time.Parse(time.RFC3339, word); err != nil {
				t.Errorf("imctl %s: %q is no time with a zone", strings.Join(args, " "), word)
			}
		}
		if !found {
			t.Errorf("imctl %s shows no time", strings.Join(args, " "))
		}
	}
}

// TestCompletionsOfNames checks the completions that come from the running server.
func TestCompletionsOfNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *Config) { c.Data, c.NATS.Listen = dir+"/data", "127.0.0.1:0" })
	w := newWorld(t, s)
	w.register(t, 0, `{"account":"ada","password":"pass+word","mail":"ada@example.org"}`).want(t, "registration", replyBody(200))
	ada := &member{w: w, account: "ada", password: "pass+word"}
	ada.login(t)
	for _, account := range []string{"adam", "ben", "two words", "a$(touch x)", "a;b", "a`b`", "a'b"} {
		command(t, dir, "password", append([]string{"user", "create", account}, cheap...)...).want(t, exitDone)
	}
	command(t, dir, "", "attach", "add", "archive", "--role", "consumer", "--context", "archive.json").want(t, exitDone)
	command(t, dir, "", "invite", "create", "--note", "for Cleo").want(t, exitDone)
	client := admin.NewClient(s.app.backend.nc, s.app.config.NATS.Prefix)
	names := func(words ...string) string {
		t.Helper()
		a := command(t, dir, "", append([]string{"__complete"}, words...)...)
		if strings.Contains(a.out+a.err, ada.token) {
			t.Error("a completion has a token")
		}
		return a.out
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"user", "show", "a"}, "adam\tadam\nada\tada\n:4\n"},
		{[]string{"friend", "add", "ada", "B"}, "ben\tben\n:4\n"},
		{[]string{"user", "create", ""}, ":4\n"},
		{[]string{"attach", "rotate", ""}, "archive\tconsumer\n:4\n"},
		{[]string{"attach", "add", ""}, ":4\n"},
		{[]string{"session", "list", "--user", "be"}, "ben\tben\n:4\n"},
		{[]string{"user", "show", "ada", ""}, ":4\n"},
	} {
		if got := names(c.words...); !slices.Equal(sortedLines(got), sortedLines(c.want)) {
			t.Errorf("%q completes %q, want %q", c.words, got, c.want)
		}
	}
	for page, err := range client.Sessions(t.Context(), admin.ListSessions{User: "ada"}) {
		if err != nil || !strings.HasPrefix(names("session", "close", "ada", ""), page[0].ID+"\t") {
			t.Errorf("no completion of the session %v: %v", page, err)
		}
	}
	if got := names("token", "revoke", "ada", ""); !strings.Contains(got, "\tissued 20") {
		t.Errorf("the tokens of ada: %s", got)
	}
	if got := names("invite", "revoke", ""); !strings.Contains(got, "\tfor Cleo\n") {
		t.Errorf("invites: %s", got)
	}
	if got := names("session", "list", "--node", ""); !strings.Contains(got, "\t") {
		t.Errorf("nodes: %s", got)
	}
	// Without a running server there are no completions, no errors, and no new files.
	empty := t.TempDir()
	if err := os.Mkdir(empty+"/data", 0o700); err != nil {
		t.Fatal(err)
	}
	a := command(t, empty, "", "__complete", "user", "show", "")
	if files, err := os.ReadDir(empty + "/data"); a.code != exitDone || a.out != ":4\n" || err != nil || len(files) > 0 {
		t.Errorf("without a server: %+v, %v, %v", a, files, err)
	}
	if a := command(t, empty, "", "__complete", "user", "show", "--nats", "nats://127.0.0.1:1", ""); a.code != exitDone || a.out != ":4\n" {
		t.Errorf("an address without a server: %+v", a)
	}
}
