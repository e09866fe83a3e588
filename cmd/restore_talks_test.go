package cmd

import (
	"path/filepath"
	"testing"

	"imctl/kv"
)

// TestRestoreTalks backs up conversations and restores them into running servers and into a data directory: all dialogues
// of the backup are back with their numbers, those after it are gone, erased and deleted ones do not come back, and the
// conversations go on.
func TestRestoreTalks(t *testing.T) {
	t.Parallel()
	for _, attached := range []bool{false, true} {
		t.Run(map[bool]string{false: "embedded", true: "attached"}[attached], func(t *testing.T) {
			t.Parallel()
			dir := importDir(t)
			at := []string{"--data", "data"}
			change := func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0" }
			if attached {
				address := startNATSWithSync(t)
				at = []string{"--nats", address}
				change = func(c *Config) { c.NATS.URL = address }
			}
			s := start(t, change)
			run := func(args ...string) { t.Helper(); command(t, dir, "", append(at, args...)...).want(t, exitDone) }
			w := newWorld(t, s)
			alice, bob := w.newFriends(t)
			carl := w.newMember(t, 0)
			carl.login(t)
			nc, store := s.app.backend.nc, s.app.backend.store
			ab, ac := kv.PairOf(alice.id, bob.id), kv.PairOf(alice.id, carl.id)
			for range 20 {
				keep(t, nc, store.Talks, ab, texts(alice.id, "a", "b")...)
				keep(t, nc, store.Talks, ac, texts(carl.id, "erased")...)
			}
			run("backup", "early.tar")
			deletion := texts(alice.id, "")
			deletion[0].Deletes = 1
			keep(t, nc, store.Talks, ab, deletion...)
			if err := store.Talks.Erase(t.Context(), ac); err != nil {
				t.Fatal(err)
			}
			if err := store.Cursors.Advance(t.Context(), bob.id, []kv.Cursor{{With: alice.id, Last: 41, Got: 41, Read: 7}}); err != nil {
				t.Fatal(err)
			}
			want := seen(t, store.Talks, ab, bob.id)
			run("backup", "late.tar")
			keep(t, nc, store.Talks, ab, texts(bob.id, "too late")...)
			run("restore", "late.tar", "--yes")
			run("check", "--data", "--dry-run")
			check := func(talks *kv.Talks) {
				t.Helper()
				if got := seen(t, talks, ab, bob.id); got != want {
					t.Errorf("after the restore: %s\nwant %s", got, want)
				}
				if got := seen(t, talks, ac, carl.id); got != "" {
					t.Errorf("the erased conversation has %s", got)
				}
			}
			check(store.Talks)
			eventually(t, "the server is ready", func() bool { return s.app.ready() == nil })
			if cursors, err := store.Cursors.Get(t.Context(), bob.id); err != nil || cursors[alice.id].Read != 7 {
				t.Errorf("cursors after the restore: %v, %v", cursors, err)
			}
			keep(t, nc, store.Talks, ab, texts(bob.id, "goes on")...)
			if got := seen(t, store.Talks, ab, bob.id); got != want+` 42:"goes on"` {
				t.Errorf("the conversation goes on with %s", got)
			}
			keep(t, nc, store.Talks, ac, texts(carl.id, "new")...)
			if got := seen(t, store.Talks, ac, carl.id); got != `21:"new"` {
				t.Errorf("the erased conversation goes on with %s", got)
			}
			// The early backup brings the erased conversation back, as a whole.
			run("restore", "early.tar", "--yes")
			if page, err := store.Talks.Read(t.Context(), ac, carl.id, kv.Range{Limit: 100}); err != nil || len(page.Dialogues) != 20 {
				t.Errorf("the early backup has %d dialogues, %v", len(page.Dialogues), err)
			}
			command(t, dir, "", "restore", "late.tar", "--data", "new").want(t, exitDone, "IM_TALKS")
			command(t, dir, "", "talk", "stats", "--data", "new").want(t, exitDone, "conversations  1\n", "dialogues      41\n")
			command(t, dir, "", "user", "export", alice.account, "--data", "new").want(t, exitDone, `"n":41`, `"deleted":true`)
		})
	}
}

// TestRestoreWithoutTalks restores a backup of a server that keeps no conversations: those of the server are gone.
func TestRestoreWithoutTalks(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.Dialogues.Keep = filepath.Join(dir, "none"), "127.0.0.1:0", 0
	})
	command(t, dir, `{"account":"alice"}`, "user", "import", "--data", "none").want(t, exitDone)
	command(t, dir, "", "backup", "none.tar", "--data", "none").want(t, exitDone)
	s := start(t, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0" })
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	keep(t, s.app.backend.nc, s.app.backend.store.Talks, kv.PairOf(alice.id, bob.id), texts(alice.id, "a")...)
	command(t, dir, "", "restore", "none.tar", "--yes").want(t, exitDone)
	command(t, dir, "", "talk", "stats").want(t, exitDone, "conversations  0\n")
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n")
}
