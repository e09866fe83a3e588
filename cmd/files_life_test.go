package cmd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"imctl/kv"
)

// TestFileRefusals: which uploads are refused, and with what.
func TestFileRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.Files.MaxSize, c.Files.Quota = 300*KiB, MiB })
	w := newWorld(t, s)
	a, b := w.newFriends(t)
	c := w.newMember(t, 0)
	c.login(t)
	small := func() io.Reader { return strings.NewReader("x") }
	if got := w.do(t, 0, http.MethodGet, "/im/registration", ""); !strings.Contains(got.body, fmt.Sprintf(`"files":{"max":%d}`, 300*KiB)) {
		t.Errorf("the page is told %s", got.body)
	}
	for _, row := range []struct {
		what   string
		to     *member
		name   string
		body   io.Reader
		more   []string
		code   int
		status int
	}{
		{"a stranger", c, "n", small(), nil, 512, 200},
		{"oneself", a, "n", small(), nil, 512, 200},
		{"no friend", &member{}, "n", small(), nil, 519, 200},
		{"no name", b, "", small(), nil, 403, 200},
		{"a long name", b, strings.Repeat("n", 256), small(), nil, 403, 200},
		{"a name of two lines", b, "a\nb", small(), nil, 403, 200},
		{"no media type", b, "n", small(), []string{"type", "image"}, 403, 200},
		{"no width", b, "n", small(), []string{"width", "0"}, 403, 200},
		{"no time", b, "n", small(), []string{"seconds", "NaN"}, 403, 200},
		{"a large file", b, "n", bytes.NewReader(fileBytes(300<<10 + 1)), nil, 403, 413},
		{"a large file of unknown size", b, "n", io.MultiReader(bytes.NewReader(fileBytes(300<<10 + 1))), nil, 403, 413},
		{"the largest file", b, "n", bytes.NewReader(fileBytes(300 << 10)), nil, 200, 200},
		{"another one, of unknown size", b, "n", io.MultiReader(bytes.NewReader(fileBytes(300 << 10))), nil, 200, 200},
		{"a third one", b, "n", bytes.NewReader(fileBytes(300 << 10)), nil, 200, 200},
		{"one beyond the quota", b, "n", bytes.NewReader(fileBytes(200 << 10)), nil, 526, 200},
		{"one beyond the quota, of unknown size", b, "n", io.MultiReader(bytes.NewReader(fileBytes(200 << 10))), nil, 526, 200},
		{"a small one", b, "n", small(), nil, 200, 200},
		{"another small one, which counts 64 KiB", b, "n", small(), nil, 526, 200},
	} {
		if f, status := a.sendsFile(t, row.to, row.name, row.body, row.more...); f.Code != row.code || status != row.status {
			t.Errorf("%s: %d %d, want %d %d", row.what, status, f.Code, row.status, row.code)
		}
	}
	if stats, err := s.app.backend.store.Files.Stats(t.Context()); err != nil || stats.Files != 4 {
		t.Errorf("%d files are stored (%v), want 4", stats.Files, err)
	}
	f, _ := b.sendsFile(t, a, "n", small())
	for path, want := range map[string]int{
		"/im/files/" + f.id() + "?" + query("id", b.id, "token", b.token):                      200,
		"/im/files/" + f.id() + "?" + query("id", b.id):                                        401,
		"/im/files/" + f.id() + "?" + query("id", b.id, "token", strings.Repeat("0", 32)):      401,
		"/im/files/" + f.id() + "?" + query("token", b.token):                                  401,
		"/im/files/" + f.id() + "?" + query("id", b.id, "id", b.id, "token", b.token):          400,
		"/im/files/" + f.id() + "?" + query("id", c.id, "token", c.token):                      403,
		"/im/files/x?" + query("id", b.id, "token", b.token):                                   404,
		"/im/files/" + f.id() + "/more?" + query("id", b.id, "token", b.token):                 404,
		"/im/files?" + query("id", b.id, "token", b.token, "with", a.id, "name", "wrong call"): 200,
	} {
		if got := w.do(t, 0, http.MethodGet, path, ""); got.status != want {
			t.Errorf("GET %s: %d, want %d", path, got.status, want)
		}
	}
	w.do(t, 0, http.MethodPost, "/im/files?"+query("id", b.id, "with", a.id, "name", "n"), "x").want(t, "an upload without a token", replyBody(514))
}

// TestFileOfBlocked: a blocked user does not learn of it when it sends a file, and the friend sees nothing of it. The one
// who blocks may send none. Both read the earlier files, also when they are friends no more.
func TestFileOfBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a, b, ca, cb := newKeepers(t, w)
	earlier, _ := a.sendsFile(t, b, "n", strings.NewReader("earlier"))
	b.call(t, "block", "to", a.id).want(t, "block", replyBody(200))
	later, _ := a.sendsFile(t, b, "n", strings.NewReader("later"))
	ca.send(t, fileDialogue(`"1"`, b.id, `"p"`, later.id()))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	cb.wantQuiet(t)
	b.history(t, a, 1, 1, []string{keptEntry(`""`, a, `""`, a, 1, `,"deleted":true`)})
	if f, _ := b.sendsFile(t, a, "n", strings.NewReader("x")); f.Code != 512 {
		t.Errorf("the user who blocks sends a file: %d", f.Code)
	}
	b.call(t, "remove", "to", a.id).want(t, "remove", replyBody(200))
	if f, _ := a.sendsFile(t, b, "n", strings.NewReader("x")); f.Code != 512 {
		t.Errorf("a former friend sends a file: %d", f.Code)
	}
	for _, p := range []*member{a, b} {
		if answer, got := p.readsFile(t, earlier.id()); answer.StatusCode != 200 || string(got) != "earlier" {
			t.Errorf("a former friend is answered %d", answer.StatusCode)
		}
	}
}

// TestFileBrokenOff: an upload whose client goes away leaves nothing.
func TestFileBrokenOff(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := newWorld(t, s)
	a, b := w.newFriends(t)
	files := s.app.backend.store.Files
	body, sent := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base(0)+"/im/files?"+query("id", a.id, "token", a.token, "with", b.id, "name", "n"), body)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		answer, err := w.http.Do(r)
		if err == nil {
			err = fmt.Errorf("status %d", answer.StatusCode)
			answer.Body.Close()
		}
		done <- err
	}()
	if _, err := sent.Write(fileBytes(6 * kv.FileChunk)); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		n, err := files.Bytes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "a part of the upload", func() bool { return size() > 4*kv.FileChunk })
	sent.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; err == nil {
		t.Error("the upload is answered")
	}
	eventually(t, "the end of the upload", func() bool { return size() == 0 })
}

// TestFileGone: files go with the conversation that both users forget, and with the account of either user.
func TestFileGone(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := newWorld(t, s)
	a, b, ca, _ := newKeepers(t, w)
	send := func(id string, n int) string {
		f, _ := a.sendsFile(t, b, "n", strings.NewReader("x"))
		ca.send(t, fileDialogue(id, b.id, `"p"`, f.id()))
		ca.wantKept(t, keptAnswer(id, n))
		return f.id()
	}
	has := func(what, id string, status int) {
		t.Helper()
		if answer, _ := a.readsFile(t, id); answer.StatusCode != status {
			t.Errorf("%s the file is answered %d, want %d", what, answer.StatusCode, status)
		}
	}
	file := send(`"1"`, 1)
	forget := func(p, with *member) {
		t.Helper()
		w.do(t, 0, http.MethodPost, "/im/dialogues/remove", fields("id", p.id, "token", p.token, "with", with.id)).want(t, "forget", replyBody(200))
	}
	forget(a, b)
	has("forgotten by one", file, 200)
	forget(b, a)
	has("forgotten by both", file, 404)

	file = send(`"2"`, 2)
	if err := s.services().Accounts.Delete(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	has("after the deletion of the friend", file, 404)
	if n, err := s.app.backend.store.Files.Bytes(t.Context()); err != nil || n != 0 {
		t.Errorf("%d bytes of files are left, %v", n, err)
	}
}

// TestFileKilled kills the server: files stay, removed ones stay removed, and a named file can be deleted afterwards.
func TestFileKilled(t *testing.T) {
	t.Parallel()
	data, log := filepath.Join(t.TempDir(), "data"), new(logBuffer)
	p := startProcess(t, data, log, noRates()...)
	w := newWorld(t, p)
	a, b, ca, _ := newKeepers(t, w)
	content := fileBytes(3*kv.FileChunk + 1)
	var ids []string
	for i := range 6 {
		f, _ := a.sendsFile(t, b, "n", bytes.NewReader(content))
		id := fmt.Sprintf(`"%d"`, i)
		ca.send(t, fileDialogue(id, b.id, `"p"`, f.id()))
		ca.wantKept(t, keptAnswer(id, i+1))
		ids = append(ids, f.id())
	}
	for i := range 3 {
		ca.send(t, fmt.Sprintf(`{"id":"d%d","toFriend":"%s","deletes":%d}`, i, b.id, 2*i+1))
		ca.wantKept(t, keptAnswer(fmt.Sprintf(`"d%d"`, i), 7+i))
	}
	for range 2 {
		p.kill(t)
		p = startProcess(t, data, log, noRates()...)
		w.deployment = p
		for i, id := range ids {
			answer, got := b.readsFile(t, id)
			if removed := i%2 == 0; removed && answer.StatusCode != 404 || !removed && (answer.StatusCode != 200 || !bytes.Equal(got, content)) {
				t.Errorf("file %d is answered %d, with %d bytes", i, answer.StatusCode, len(got))
			}
		}
	}
	w.close(t)
}

// TestRestoreFiles restores a backup with files, into a running server and into a new directory.
func TestRestoreFiles(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	s := start(t, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0" })
	w := newWorld(t, s)
	a, b, ca, _ := newKeepers(t, w)
	content := fileBytes(3*kv.FileChunk + 1)
	f, _ := a.sendsFile(t, b, "n", bytes.NewReader(content))
	ca.send(t, fileDialogue(`"1"`, b.id, `"p"`, f.id()))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "files     1 file, ")
	command(t, dir, "", "user", "export", a.account).want(t, exitDone, `"file":{"id":"`+f.id())
	command(t, dir, "", "backup", "b.tar").want(t, exitDone, "IM_FILES")
	ca.send(t, `{"id":"2","toFriend":"`+b.id+`","deletes":1}`)
	ca.wantKept(t, keptAnswer(`"2"`, 2))
	later, _ := a.sendsFile(t, b, "later", strings.NewReader("x"))
	check := func(files *kv.Files) {
		t.Helper()
		file, err := files.Find(t.Context(), f.id())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(files.Open(t.Context(), file)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the restored file has %d bytes, %v", len(got), err)
		}
		if _, err := files.Find(t.Context(), later.id()); err == nil {
			t.Error("a later file is there after the restore")
		}
	}
	command(t, dir, "", "restore", "b.tar", "--yes").want(t, exitDone)
	check(s.app.backend.store.Files)
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n")
	command(t, dir, "", "restore", "b.tar", "--data", "new").want(t, exitDone, "IM_FILES")
	check(start(t, func(c *Config) { c.Data = filepath.Join(dir, "new") }).app.backend.store.Files)
	command(t, dir, "", "talk", "purge", "--user", a.account, "--yes").want(t, exitDone)
	if _, err := s.app.backend.store.Files.Find(t.Context(), f.id()); err == nil {
		t.Error("the file is there after imctl talk purge")
	}
}

// TestNoFiles: a server whose largest file has no bytes takes none.
func TestNoFiles(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*Config){"files": func(c *Config) { c.Files.MaxSize = 0 }, "conversations": func(c *Config) { c.Dialogues.Keep = 0 }} {
		w := newWorld(t, start(t, change))
		if got := w.do(t, 0, http.MethodPost, "/im/files", ""); got.status != http.StatusNotFound {
			t.Errorf("without %s an upload is answered %d", what, got.status)
		}
		if got := w.do(t, 0, http.MethodGet, "/im/registration", ""); strings.Contains(got.body, "files") {
			t.Errorf("without %s the page is told %s", what, got.body)
		}
	}
}

// TestFileOfBot: a NATS client names a file that it has uploaded over HTTP, and gets the files of dialogues.
func TestFileOfBot(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	a, bot, ca, _ := newKeepers(t, w)
	nc := s.asUser(t, bot)
	f, _ := bot.sendsFile(t, a, "n", strings.NewReader("x"), "type", "text/plain")
	if got := nc.Ask(t, "im.send."+bot.id, fileDialogue(`"1"`, a.id, `"p"`, f.id())); !strings.Contains(got, `"code":202`) {
		t.Fatalf("the bot is answered %s", got)
	}
	ca.wantKept(t, keptEntry(`"1"`, bot, `"p"`, bot, 1, `,"file":`+string(f.File)))
	if got := nc.Ask(t, "im.call."+bot.id+".dialogues", `{"with":"`+a.id+`"}`); !strings.Contains(got, `"file":`+string(f.File)) {
		t.Errorf("the bot reads %s", got)
	}
	if answer, _ := a.readsFile(t, f.id()); answer.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a text is served as %s", answer.Header.Get("Content-Type"))
	}
}
