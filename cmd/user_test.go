package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/embedded"
	"imctl/kv"
)

// commandAnswer is the output and the exit code of a command.
type commandAnswer struct {
	code     int
	out, err string
}

// command runs one command line in this process, with dir as its working directory.
func command(t testing.TB, dir, stdin string, args ...string) commandAnswer {
	t.Helper()
	var out, errs bytes.Buffer
	env := &Env{In: strings.NewReader(stdin), Out: &out, Err: &errs, Dir: dir}
	code := Run(t.Context(), env, args)
	return commandAnswer{code, out.String(), errs.String()}
}

// want checks the exit code and that the output contains words. A successful command must write nothing to standard
// error, and a failed command one line, and nothing to standard output.
func (a commandAnswer) want(t testing.TB, code int, words ...string) commandAnswer {
	t.Helper()
	said := a.out
	if code != exitDone {
		said = a.err
		if a.out != "" {
			t.Errorf("standard output of a failed command: %s", a.out)
		}
		if n := strings.Count(a.err, "\n"); n != 1 {
			t.Errorf("got %d lines on standard error, want 1: %s", n, a.err)
		}
	} else if a.err != "" {
		t.Errorf("standard error of a successful command: %s", a.err)
	}
	if a.code != code {
		t.Errorf("exit code %d, want %d: %s%s", a.code, code, a.out, a.err)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in: %s", w, said)
		}
	}
	return a
}

// startWithNATSListener starts a server with a NATS listener, and returns the directory that contains data.
func startWithNATSListener(t testing.TB) (*server, string) {
	t.Helper()
	dir := t.TempDir()
	return start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "data"), "127.0.0.1:0", Sync(time.Minute)
	}), dir
}

// TestUserOnServer administers a running server with the credentials in its data directory.
func TestUserOnServer(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice := w.newMember(t, 0)
	alice.login(t)
	second, _ := alice.openTunnel(t)

	command(t, dir, "", "user", "show", alice.account).want(t, exitDone, "tokens    2\n", "sessions  2\n")
	command(t, dir, "", "user", "disable", "id:"+alice.id).want(t, exitDone, alice.account+" ("+alice.id+") disabled\n")
	for _, c := range []*tunnel{alice.tunnel, second} {
		if frame, err := c.tryNext(); err == nil {
			t.Errorf("a session of a disabled account received %s", frame)
		}
	}
	alice.call(t, "found", "name", "x").want(t, "a disabled account's token", replyBody(515))
	w.dial(t, 0, "/im/login?"+query("account", alice.account, "password", alice.password)).want(t, replyBody(505))
	command(t, dir, "", "user", "show", alice.account).want(t, exitDone, "state     disabled\n", "tokens    0\n", "sessions  0\n")

	command(t, dir, "", "user", "enable", alice.id).want(t, exitDone)
	alice.login(t)
	command(t, dir, "another one\r\n", "user", "passwd", alice.account).want(t, exitDone)
	if frame, err := alice.tunnel.tryNext(); err == nil {
		t.Errorf("a session from before the new password received %s", frame)
	}
	w.dial(t, 0, "/im/login?"+query("account", alice.account, "password", alice.password)).want(t, replyBody(505))
	alice.password = "another one"
	alice.login(t)

	var bob struct{ ID string }
	made := command(t, dir, "pass", "user", "create", "bob", "-o", "json").want(t, exitDone)
	if err := json.Unmarshal([]byte(made.out), &bob); err != nil || !kv.ValidID(bob.ID) {
		t.Fatalf("%s: %v", made.out, err)
	}
	command(t, dir, "pass", "user", "create", "BOB").want(t, exitExists, `"BOB"`)
	w.dial(t, 0, "/im/login?"+query("account", "bob", "password", "pass")).next(t)
	command(t, dir, "", "user", "delete", "bob", "--yes").want(t, exitDone)
	w.dial(t, 0, "/im/login?"+query("account", "bob", "password", "pass")).want(t, replyBody(505))
	command(t, dir, "", "user", "show", bob.ID).want(t, exitNotFound, bob.ID)
}

// TestUserListStreams lists more users than fit on a page.
func TestUserListStreams(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	const users = 530
	var wg sync.WaitGroup
	accounts := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range accounts {
				if _, err := s.app.backend.store.Users.Create(t.Context(), kv.User{Account: fmt.Sprintf("user-%04d", i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range users {
		accounts <- i
	}
	close(accounts)
	wg.Wait()
	for _, test := range []struct {
		args []string
		want int
	}{
		{nil, users}, {[]string{"--limit", "510"}, 510}, {[]string{"--begins", "USER-00"}, 100},
		{[]string{"--disabled"}, 0}, {[]string{"--enabled", "--limit", "501"}, 501},
	} {
		args := append([]string{"user", "list"}, test.args...)
		lines := strings.Count(command(t, dir, "", append(args, "-o", "json")...).want(t, exitDone).out, "\n")
		rows := strings.Count(command(t, dir, "", args...).want(t, exitDone, "ACCOUNT").out, "\n") - 1
		if lines != test.want || rows != test.want {
			t.Errorf("%v: %d lines, %d rows, want %d", test.args, lines, rows, test.want)
		}
	}
}

// TestUserByAddress selects servers by URL and by context, and checks the errors.
func TestUserByAddress(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	url := s.app.backend.server.URL()
	command(t, t.TempDir(), "", "user", "list", "--context", filepath.Join(dir, "data", "admin.json")).want(t, exitDone, "ACCOUNT")

	context := func(name string, c embedded.AdminContext) string {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wrong := context("wrong.json", embedded.AdminContext{URL: url, User: "admin", Password: "hunter2"})
	if a := command(t, dir, "", "user", "list", "--context", wrong).want(t, exitFailed, "refuses these credentials"); strings.Contains(a.err, "hunter2") {
		t.Errorf("the password in the error: %s", a.err)
	}
	command(t, dir, "", "user", "list", "--nats", url).want(t, exitFailed, url+" refuses these credentials")

	other := startNATS(t)
	command(t, dir, "", "user", "list", "--context", context("anybody.json", embedded.AdminContext{URL: other, User: "anybody", Password: "p"})).
		want(t, exitFailed, "do not have administrator permissions")
	command(t, dir, "", "user", "list", "--context", context("root.json", embedded.AdminContext{URL: other, User: "root", Password: "p"})).
		want(t, exitNoServer, "no imctl server answers on that NATS")
}

// startNATS starts a NATS server without imctl. Its user root has all permissions, its user anybody very
// few.
func startNATS(t testing.TB) string {
	t.Helper()
	return runNATS(t, natsOptions(t, `authorization { users: [
			{user: root, password: p}
			{user: anybody, password: p, permissions: {publish: "own.>", subscribe: "_INBOX.>"}}
		] }`)).ClientURL()
}

// TestUserWithoutListener administers a running server that does not accept NATS clients, by its socket. Without the
// socket, the error says what is missing.
func TestUserWithoutListener(t *testing.T) {
	t.Parallel()
	s := start(t)
	at := []string{"--data", s.app.config.Data, "--passwords.memory", "1MiB"}
	command(t, "", "password", append([]string{"user", "create", "ada"}, at...)...).want(t, exitDone, "ada")
	command(t, "", "", append([]string{"status"}, at...)...).want(t, exitDone, "health    ok\n", "accounts  1\n")
	command(t, "", "", append([]string{"session", "list"}, at...)...).want(t, exitDone, "ACCOUNT")

	if err := os.Remove(filepath.Join(s.app.config.Data, "admin.sock")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d := dialer{env: &Env{Err: new(bytes.Buffer)}, config: s.app.config, cancel: cancel, timeout: 10 * time.Millisecond}
	_, _, err := d.openDataDir(ctx)
	if exitCode(err) != exitNoServer || !errors.Is(err, errNoListener) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want errNoListener with the process ID", err)
	}
}

// TestUserCommandsWait runs concurrent commands without a server, which wait for each other.
func TestUserCommandsWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := "data: data\npasswords: {memory: 1MiB, passes: 1}\n"
	makeDataDir(t, filepath.Join(dir, "data"))
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { command(t, dir, "pass", "user", "create", "user "+strconv.Itoa(i)).want(t, exitDone) })
	}
	wg.Wait()
	if got := strings.Count(command(t, dir, "", "user", "list", "-o", "json").want(t, exitDone).out, "\n"); got != 4 {
		t.Errorf("%d users, want 4", got)
	}
}

// TestInterrupted interrupts a command that waits for input.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	reading := make(chan struct{})
	var errs bytes.Buffer
	env := &Env{In: blockedReader{reading, t.Context()}, Out: new(bytes.Buffer), Err: &errs, Dir: t.TempDir()}
	code := make(chan int, 1)
	go func() { code <- Run(ctx, env, []string{"user", "create", "alice"}) }()
	<-reading
	cancel(errInterrupted)
	if got := <-code; got != exitFailed || errs.String() != "imctl: interrupted\n" {
		t.Errorf("exit code %d, %s", got, &errs)
	}
}

// blockedReader signals that it is read, and blocks until the test ends.
type blockedReader struct {
	reading chan struct{}
	end     context.Context
}

func (r blockedReader) Read([]byte) (int, error) {
	close(r.reading)
	<-r.end.Done()
	return 0, r.end.Err()
}

// typist is a Terminal with prepared answers.
type typist struct {
	answers []string
	asked   []string
}

func (p *typist) Line(_ context.Context, prompt string) (string, error) {
	p.asked = append(p.asked, prompt)
	answer := p.answers[0]
	p.answers = p.answers[1:]
	return answer, nil
}

func (p *typist) Password(ctx context.Context, prompt string) (string, error) {
	return p.Line(ctx, prompt)
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]bool{"yes": true, "y": false, "": false, "no": false, "YES": false} {
		p := &typist{answers: []string{typed}}
		if err := confirm(t.Context(), &Env{Terminal: p}, false, "Really?"); (err == nil) != want {
			t.Errorf("%q: %v", typed, err)
		}
		if p.asked[0] != "Really? Type yes to confirm: " {
			t.Errorf("asked %q", p.asked)
		}
	}
	if err := confirm(t.Context(), &Env{}, false, "Really?"); exitCode(err) != exitUse {
		t.Errorf("without a terminal: got error %v", err)
	}
	if err := confirm(t.Context(), &Env{}, true, "Really?"); err != nil {
		t.Errorf("--yes: %v", err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	table := newTable(&out, "name", "state")
	for _, rows := range [][][]string{{{"é\u0301x", "on"}, {"日本", "on"}}, {{"a\x1b[2Jlonger\n\u202e", "off"}}, {{"b", ""}}} {
		if err := table.write(rows...); err != nil {
			t.Fatal(err)
		}
	}
	want := "NAME  STATE\né\u0301x    on\n日本  on\na\uFFFD[2Jlonger\uFFFD\uFFFD  off\nb\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// TestLocalServerIsQuiet checks that the server inside a command logs nothing.
func TestLocalServerIsQuiet(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.Data, c.Log.Level = t.TempDir(), "info"
	c.Passwords.Memory = MiB
	var errs bytes.Buffer
	local, err := openLocal(t.Context(), &Env{Err: &errs}, c)
	if err != nil {
		t.Fatal(err)
	}
	if local.log.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the server logs at level info")
	}
	if err := local.close(); err != nil {
		t.Error(err)
	}
	if errs.Len() > 0 {
		t.Errorf("logged: %s", &errs)
	}
	if !local.nc.IsClosed() || local.nc.Status() != nats.CLOSED {
		t.Error("the connection is still open")
	}
}
