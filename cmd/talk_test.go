package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// texts returns dialogues of one user to another, with these payloads.
func texts(from string, payloads ...string) (all []kv.Dialogue) {
	for i, p := range payloads {
		id, payload := fmt.Appendf(nil, `"%d"`, i), []byte(`"`+p+`"`)
		all = append(all, kv.Dialogue{From: from, ID: id, Payload: payload, At: time.Now().UTC().Truncate(time.Millisecond), Kept: true})
	}
	return all
}

// keep stores dialogues as one record of a conversation.
func keep(t *testing.T, nc *nats.Conn, talks *kv.Talks, p kv.Pair, dialogues ...kv.Dialogue) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	head, err := talks.Last(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if head == nil {
		head = kv.EmptyRecord(p, 0)
	}
	_, err = js.Publish(t.Context(), talks.Subject(p), head.Next(7, dialogues).Append(nil), jetstream.WithExpectLastSequencePerSubject(head.Seq))
	if err != nil {
		t.Fatal(err)
	}
}

// seen returns the payloads of a conversation as a user sees them, "-" for a deleted one.
func seen(t *testing.T, talks *kv.Talks, p kv.Pair, user string) string {
	t.Helper()
	page, err := talks.Read(t.Context(), p, user, kv.Range{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range page.Dialogues {
		text := string(d.Payload)
		if d.Deleted {
			text = "-"
		}
		all = append(all, fmt.Sprint(d.N, ":", text))
	}
	return strings.Join(all, " ")
}

// TestTalkCommands counts, shows and erases conversations of a running server, and checks the audit trail.
func TestTalkCommands(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob, carl := w.newMember(t, 0), w.newMember(t, 0), w.newMember(t, 0)
	for _, p := range []*member{alice, bob, carl} {
		p.login(t)
	}
	nc, talks := s.app.backend.nc, s.app.backend.store.Talks
	ab, ac, bc := kv.PairOf(alice.id, bob.id), kv.PairOf(alice.id, carl.id), kv.PairOf(bob.id, carl.id)
	keep(t, nc, talks, ab, texts(alice.id, "private words", "two", "three")...)
	keep(t, nc, talks, ab, texts(bob.id, "four")...)
	keep(t, nc, talks, ac, texts(carl.id, "one")...)
	keep(t, nc, talks, bc, texts(carl.id, "one")...)

	a := command(t, dir, "", "talk", "stats").want(t, exitDone, "conversations  3\n", "dialogues      6\n", "records        4\n", ab.A+"  "+ab.B+"  4\n")
	if strings.Contains(a.out, "private") || strings.Contains(a.out, alice.account) {
		t.Errorf("the statistics show more than ids: %s", a.out)
	}
	var stats kv.TalkStats
	if a := command(t, dir, "", "talk", "stats", "-o", "json").want(t, exitDone); json.Unmarshal([]byte(a.out), &stats) != nil || len(stats.Largest) != 3 || stats.Largest[0].Dialogues != 4 {
		t.Errorf("statistics: %s", a.out)
	}
	command(t, dir, "", "status").want(t, exitDone, "talks     4 records, ", "% of ")

	show := []string{"talk", "show", "--user", alice.account, "--with", bob.account}
	if a := command(t, dir, "", show...).want(t, exitUse, "set admin.read_dialogues to true"); strings.Contains(a.err, "private") {
		t.Error("the refusal shows dialogues")
	}
	for _, wrong := range [][]string{{}, {"--user", "a", "--before", "1d"}, {"--with", "a"}, {"--with", "a", "--before", "1d"}, {"--before", "1x"}, {"--before", "0d"}} {
		command(t, dir, "", append([]string{"talk", "purge", "--yes"}, wrong...)...).want(t, exitUse)
	}
	command(t, dir, "", "talk", "purge", "--user", alice.account).want(t, exitUse, "use --yes to confirm")
	command(t, dir, "", "talk", "purge", "--user", "nobody", "--yes").want(t, exitNotFound)
	command(t, dir, "", "talk", "purge", "--user", alice.account, "--with", bob.account, "--yes").want(t, exitDone, "1 conversation erased\n")
	command(t, dir, "", "talk", "purge", "--user", alice.account, "--with", bob.account, "--yes").want(t, exitDone, "0 conversations erased\n")
	if got := seen(t, talks, ab, alice.id); got != "" {
		t.Errorf("the erased conversation has %s", got)
	}
	keep(t, nc, talks, ab, texts(alice.id, "again")...)
	if got := seen(t, talks, ab, alice.id); got != `5:"again"` {
		t.Errorf("the erased conversation goes on with %s, want number 5", got)
	}
	command(t, dir, "", "talk", "purge", "--user", "id:"+alice.id, "--yes").want(t, exitDone, "2 conversations erased\n")
	if got := seen(t, talks, bc, bob.id); got != `1:"one"` {
		t.Errorf("the conversation of others has %s", got)
	}
	command(t, dir, "", "talk", "purge", "--before", "1h", "--yes").want(t, exitDone, "0 records of dialogues erased\n")
	command(t, dir, "", "talk", "purge", "--before", "1ns", "--yes").want(t, exitDone, " of dialogues erased\n")
	command(t, dir, "", "talk", "stats").want(t, exitDone, "conversations  0\n")
	trail := command(t, dir, "", "audit", "--event", "admin.talk", "-o", "json").want(t, exitDone, `"admin.talk.purge"`, alice.id, "with "+bob.id, "before 20").out
	if strings.Contains(trail, "private") || strings.Contains(trail, "again") {
		t.Errorf("the audit trail has dialogues: %s", trail)
	}
}

// TestTalkShow reads conversations with the setting admin.read_dialogues.
func TestTalkShow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.Admin.ReadDialogues = filepath.Join(dir, "data"), "127.0.0.1:0", true
	})
	w := newWorld(t, s)
	alice, bob := w.newMember(t, 0), w.newMember(t, 0)
	alice.login(t)
	bob.login(t)
	p := kv.PairOf(alice.id, bob.id)
	keep(t, s.app.backend.nc, s.app.backend.store.Talks, p, texts(alice.id, `<first>\u001b[31m`, "second", "third")...)
	keep(t, s.app.backend.nc, s.app.backend.store.Talks, p, kv.Dialogue{From: alice.id, ID: []byte(`"d"`), Payload: []byte(`""`), At: time.Now(), Deletes: 2})
	show := []string{"talk", "show", "--user", alice.account, "--with", bob.account}
	a := command(t, dir, "", show...).want(t, exitDone, "<first>", "(deleted)", "third", "(deletes 2)")
	if strings.Contains(a.out, "second") || strings.Contains(a.out, "\x1b") {
		t.Errorf("shown: %q", a.out)
	}
	command(t, dir, "", append(show, "--before", "2", "-o", "json")...).want(t, exitDone, `"payload":"<first>`, `"first":1,"last":4`)
	command(t, dir, "", append(show, "--limit", "0")...).want(t, exitUse, "--limit")
	command(t, dir, "", "talk", "show", "--user", alice.account).want(t, exitUse, "missing --with")
	command(t, dir, "", "talk", "show", "--with", alice.account).want(t, exitUse, "missing --user")
	command(t, dir, "", "talk", "purge").want(t, exitUse, "missing --user or --before")
	command(t, dir, "", "talk", "purge", "--with", alice.account, "--before", "7d").want(t, exitUse, "--with requires --user")
	command(t, dir, "", "talk", "purge", "--user", alice.account, "--before", "7d").want(t, exitUse, "--user and --before exclude each other")
	command(t, dir, "", "talk", "show", "--user", alice.account, "--with", "nobody").want(t, exitNotFound)
	command(t, dir, "", "audit", "--event", "admin.talk.show", "-o", "json").want(t, exitDone, alice.id, "with "+bob.id)
}

// TestNoTalks checks the commands of a server that keeps no conversations.
func TestNoTalks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("dialogues: {keep: 0}\npasswords: {memory: 1MiB, passes: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.Dialogues.Keep = filepath.Join(dir, "data"), "127.0.0.1:0", 0
	})
	w := newWorld(t, s)
	alice := w.newMember(t, 0)
	command(t, dir, "", "talk", "stats").want(t, exitNotFound, "no conversations are kept")
	command(t, dir, "", "talk", "purge", "--user", alice.account, "--yes").want(t, exitNotFound, "no conversations are kept")
	if a := command(t, dir, "", "status").want(t, exitDone, "health    ok\n"); strings.Contains(a.out, "TALKS") {
		t.Errorf("status: %s", a.out)
	}
	command(t, dir, "", "user", "export", alice.account).want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n")
}

// TestExportTalks exports conversations and imports them in another data directory, twice.
func TestExportTalks(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	carl := w.newMember(t, 0)
	carl.login(t)
	store, nc := s.app.backend.store, s.app.backend.nc
	ab, ac := kv.PairOf(alice.id, bob.id), kv.PairOf(alice.id, carl.id)
	for range 30 { // several pages
		keep(t, nc, store.Talks, ab, texts(alice.id, "a", "b", "c", "d", "e", "f", "g", "h", "i", "<&>")...)
	}
	keep(t, nc, store.Talks, ab, kv.Dialogue{From: alice.id, ID: []byte(`"x"`), Payload: []byte(`"new"`), At: time.Now(), Edits: 3},
		kv.Dialogue{From: alice.id, ID: []byte(`"y"`), Payload: []byte(`""`), At: time.Now(), Deletes: 4, Re: 2})
	keep(t, nc, store.Talks, ac, texts(carl.id, "from no friend", "large "+strings.Repeat("<", 200<<10), "large "+strings.Repeat(">", 200<<10))...)
	if err := store.Cursors.Advance(t.Context(), alice.id, []kv.Cursor{{With: bob.id, Last: 302, Got: 300, Read: 200, PeerGot: 301, Marks: kv.NewMarks(true, false, true)}, {With: carl.id, Last: 3, Forgot: 1, PeerGot: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Cursors.Advance(t.Context(), bob.id, []kv.Cursor{{With: alice.id, Last: 302, Got: 301, PeerGot: 300, PeerRead: 200}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Cursors.Advance(t.Context(), carl.id, []kv.Cursor{{With: alice.id, Last: 3, Got: 3}}); err != nil {
		t.Fatal(err)
	}
	one := command(t, dir, "", "user", "export", alice.account).want(t, exitDone, `"talk":{"user":"`+alice.id, `"n":302`, `"edited":true`, `"deleted":true`, `<&>`).out
	if strings.Contains(one, "from no friend") || !strings.Contains(one, "large >") {
		t.Error("the export of a user has what the user has forgotten, or lacks what it has not")
	}
	all := command(t, dir, "", "user", "export").want(t, exitDone).out
	to := importDir(t)
	command(t, to, all, "user", "import").want(t, exitDone, "dialogues    305\n", "missing      0\n")
	command(t, to, all, "user", "import").want(t, exitDone, "dialogues    0\n")
	again := command(t, to, "", "user", "export").want(t, exitDone).out
	if got, want := talkLines(t, again), talkLines(t, all); got != want {
		t.Errorf("the import has other conversations:\n%.2000s\nwant\n%.2000s", got, want)
	}
	// A conversation that exists does not change.
	command(t, dir, all, "user", "import").want(t, exitDone, "dialogues    0\n")
	for _, wrong := range []string{
		`{"v":1,"talk":{"user":"x","with":"y"}}`, `{"talk":{}}`,
		fmt.Sprintf(`{"v":1,"talk":{"user":%q,"with":%q,"dialogues":[{"n":1,"from":%q,"id":"1","payload":2,"at":"2026-01-02T15:04:05Z"}]}}`, alice.id, bob.id, bob.id),
		fmt.Sprintf(`{"v":1,"talk":{"user":%q,"with":%q,"dialogues":[{"n":1,"from":%q,"id":"1","payload":"2","at":"2026-01-02T15:04:05Z","edits":1}]}}`, alice.id, bob.id, bob.id),
	} {
		if a := command(t, to, wrong, "user", "import"); a.code != exitFailed || !strings.Contains(a.err, "line 1: ") {
			t.Errorf("%s: exit code %d, %s", wrong, a.code, a.err)
		}
	}
}

// talkLines returns the conversations of an export by user, with one dialogue a line.
func talkLines(t *testing.T, export string) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(export) {
		var l recordLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Talk == nil {
			continue
		}
		parts := l.Talk.Dialogues
		l.Talk.Dialogues = nil
		head, err := json.Marshal(l.Talk)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(head))
		for _, d := range parts {
			body, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l.Talk.User+" "+string(body))
		}
	}
	return strings.Join(slices.Compact(sortedLines(strings.Join(all, "\n"))), "\n") // the parts may differ
}
