package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// diesAt is the environment's variable that names the step of a restore at which the command imctl-dies kills itself.
const diesAt = "DIES_AT"

// dies runs imctl and kills the process at that step.
func dies() {
	at := os.Getenv(diesAt)
	env := &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), step: func(name string) {
		if name != at {
			return
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {}
	}}
	ctx, stop := interruptible(context.Background())
	code := Run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// restoreAndDie runs a restore in a process of its own that is killed at a step.
func restoreAndDie(t *testing.T, dir, step string, args ...string) {
	t.Helper()
	c := exec.Command("imctl-dies", append([]string{"restore"}, args...)...)
	c.Dir, c.Env = dir, append(os.Environ(), diesAt+"="+step, "GORACE=atexit_sleep_ms=0")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() && exit.ExitCode() <= 5 && exit.ExitCode() >= 0 {
		t.Fatalf("the restore was not killed at %q: %v\n%s", step, err, out)
	}
}

// fails is want for a failing command that also writes to standard output.
func (a answer) fails(t *testing.T, line string) {
	t.Helper()
	if a.code != exitFailed || !strings.Contains(a.err, line) {
		t.Errorf("exit code %d: %s%s", a.code, a.out, a.err)
	}
}

// answered returns the body of a page, whatever its status.
func answered(url string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// backupOf makes a directory with a backup, all.tar, of n accounts.
func backupOf(t *testing.T, accounts int) (dir string) {
	t.Helper()
	dir = importDir(t)
	args := append([]string{"bench", "populate", "--accounts", fmt.Sprint(accounts), "--friends", "6", "--popular", "0"}, cheap...)
	command(t, dir, "password-of-all\n", args...).want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	return dir
}

// everyone lists all users with all their data.
func everyone(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	a := command(t, dir, "", append([]string{"user", "export"}, args...)...)
	if a.code != exitDone { // NATS may have something to say about how its server ended
		t.Errorf("exit code %d: %s", a.code, a.err)
	}
	return sortedLines(a.out)
}

func wantSame(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%d people are not the %d of the backup", len(got), len(want))
	}
}

// startSyncedNATS starts a NATS server that forces every write to the disk, and returns its address.
func startSyncedNATS(t *testing.T) string {
	t.Helper()
	ns, err := natsserver.NewServer(&natsserver.Options{ServerName: "n", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true,
		StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	return ns.ClientURL()
}

// TestRestoreMany restores thousands of users into a running server that forces every write to the disk.
func TestRestoreMany(t *testing.T) {
	t.Parallel()
	const accounts = 5000
	dir := backupOf(t, accounts)
	want := everyone(t, dir)
	address := startSyncedNATS(t)
	for name, change := range map[string]func(*Config){
		"embedded": func(c *Config) {
			c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "running"), "127.0.0.1:0", SyncAlways
		},
		"attached": func(c *Config) { c.NATS.URL = address },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, change)
			at := []string{"--data", "running"}
			if name == "attached" {
				at = []string{"--nats", address}
			}
			w := inhabit(t, s)
			late := w.stranger(t, 0)
			late.login(t)
			command(t, dir, "", append(at, "restore", "all.tar", "--yes")...).want(t, exitDone, "KV_im_users")
			command(t, dir, "", append(at, "status")...).want(t, exitDone, "health    ok\n", fmt.Sprintf("accounts  %d\n", accounts))
			wantSame(t, everyone(t, dir, at...), want)
			late.tunnel.wantClose(t, websocket.CloseServiceRestart)
			w.dial(t, 0, "/im/login?"+query("account", late.account, "password", late.password)).want(t, says(505))
			if err := s.app.ready(); err != nil {
				t.Error(err)
			}
			// And back again, into the buckets that were used first.
			command(t, dir, "", append(at, "backup", name+".tar")...).want(t, exitDone, "KV_im_users_b")
			command(t, dir, "", append(at, "restore", name+".tar", "--yes")...).want(t, exitDone)
			wantSame(t, everyone(t, dir, at...), want)
			command(t, dir, "", "restore", name+".tar", "--data", name).want(t, exitDone)
			wantSame(t, everyone(t, dir, "--data", name), want)
		})
	}
}

// TestRestoreKilledInDir kills a restore of a data directory at every step. Afterwards the directory has the complete old
// data or the complete new data, or a start is refused with the command that completes the restore.
func TestRestoreKilledInDir(t *testing.T) {
	t.Parallel()
	from := backupOf(t, 30)
	want := everyone(t, from)
	for step, marked := range map[string]bool{"streams staged": false, "directory staged": false, "marked": true, "streams aside": true,
		"streams swapped": true, "files swapped": true, "marker removed": false} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir := importDir(t)
			file := filepath.Join(from, "all.tar")
			command(t, dir, `{"account":"old"}`, "user", "import").want(t, exitDone)
			old := everyone(t, dir)
			restoreAndDie(t, dir, step, file, "--yes")
			if !marked {
				if step == "marker removed" {
					old = want
				}
				wantSame(t, everyone(t, dir), old)
				command(t, dir, "", "restore", "--complete").want(t, exitDone, "no interrupted restore found")
				wantSame(t, everyone(t, dir), old)
			} else {
				line := "complete it with imctl restore --complete --data "
				for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"status"}, {"user", "list"}, {"restore", file, "--yes"}, {"backup", "-"}} {
					command(t, dir, "", args...).want(t, exitFailed, line)
				}
				command(t, dir, "", "restore", "--complete").want(t, exitDone, "restore completed")
				wantSame(t, everyone(t, dir), want)
			}
			if _, err := os.Stat(filepath.Join(dir, "data", stagingFolder)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
			command(t, dir, "", "restore", file, "--yes").want(t, exitDone)
			wantSame(t, everyone(t, dir), want)
		})
	}
}

// TestRestoreKilledInServer kills a restore into a server at every step, then the server too.
func TestRestoreKilledInServer(t *testing.T) {
	t.Parallel()
	from := backupOf(t, 30)
	want := everyone(t, from)
	for step, marked := range map[string]bool{"streams staged": false, "log staged": false, "records staged": false, "committed": true, "nodes told": true,
		"old streams removed": true, "log swapped": true, "log noted": true, "finished": false} {
		for _, serverToo := range []bool{false, true} {
			t.Run(fmt.Sprint(step, ", the server too: ", serverToo), func(t *testing.T) {
				t.Parallel()
				dir := importDir(t)
				file, data := filepath.Join(from, "all.tar"), filepath.Join(dir, "data")
				command(t, dir, `{"account":"old"}`, "user", "import").want(t, exitDone)
				old := everyone(t, dir)
				p := startProcess(t, data, new(logBuffer))
				restoreAndDie(t, dir, step, file, "--yes")
				if serverToo {
					p.kill(t)
				}
				line := "complete it with imctl restore --complete --data "
				switch {
				case step == "finished":
					old = want
					if !serverToo { // nobody has told it of the end
						eventually(t, "the server is ready", func() bool { body, _ := answered(p.ops + "/readyz"); return body == "ok\n" })
					}
					fallthrough
				case !marked:
					wantSame(t, everyone(t, dir), old)
					command(t, dir, "", "restore", "--complete").want(t, exitDone, "no interrupted restore found")
					wantSame(t, everyone(t, dir), old)
				default:
					command(t, dir, "", "status").fails(t, line)
					if serverToo {
						command(t, dir, "", "serve", "--listen", "127.0.0.1:0").want(t, exitFailed, line)
					} else {
						eventually(t, "the server says that a restore is not complete", func() bool {
							body, _ := answered(p.ops + "/readyz")
							return strings.Contains(body, "imctl restore --complete --data")
						})
					}
					command(t, dir, "", "backup", "-").want(t, exitFailed, line)
					command(t, dir, "", "restore", "--complete").want(t, exitDone, "restore completed")
					wantSame(t, everyone(t, dir), want)
				}
				if serverToo {
					p = startProcess(t, data, new(logBuffer))
				}
				eventually(t, "the server is ready", func() bool { body, _ := answered(p.ops + "/readyz"); return body == "ok\n" })
				command(t, dir, "", "restore", file, "--yes").want(t, exitDone)
				command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "accounts  30\n")
				p.stop(t)
			})
		}
	}
}

// TestRestoreWhileRegistering restores during registrations. The restore drops accounts that were registered before the
// swap. No registration during the swap is answered 200 and then lost.
func TestRestoreWhileRegistering(t *testing.T) {
	t.Parallel()
	from := backupOf(t, 500)
	s, dir := startWithDoor(t)
	s.mayLog = []string{"call failed"} // that were under way when the buckets went
	w := inhabit(t, s)
	var refusing atomic.Bool
	var after sync.Map // accounts that were made, and answered so, after the server began to refuse
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var made atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				account := fmt.Sprintf("new-%d-%d", i, n)
				body, err := json.Marshal(map[string]string{"account": account, "password": "pass word", "mail": "m@example.org"})
				if err != nil {
					t.Error(err)
					return
				}
				refused := refusing.Load()
				r, err := w.http.Post(w.base(0)+"/im/register", "application/json", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				var said struct{ Code int }
				err = errors.Join(json.NewDecoder(r.Body).Decode(&said), r.Body.Close())
				if err != nil {
					t.Error(err)
					return
				}
				if said.Code == 200 {
					made.Add(1)
					if refused {
						after.Store(account, true)
					}
				}
			}
		})
	}
	eventually(t, "people register", func() bool { return made.Load() > 20 })
	var out, errs bytes.Buffer
	env := &Env{In: strings.NewReader(""), Out: &out, Err: &errs, Dir: dir, step: func(name string) {
		if name == "nodes told" {
			refusing.Store(true)
		}
	}}
	if code := Run(t.Context(), env, []string{"restore", filepath.Join(from, "all.tar"), "--yes"}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	before := made.Load()
	eventually(t, "people register again", func() bool { return made.Load() > before+20 })
	close(stop)
	wg.Wait()
	there := make(map[string]bool)
	for _, line := range everyone(t, dir) {
		var u struct{ Account string }
		if err := json.Unmarshal([]byte(line), &u); err != nil {
			t.Fatal(err)
		}
		there[u.Account] = true
	}
	n := 0
	after.Range(func(account, _ any) bool {
		n++
		if !there[account.(string)] {
			t.Errorf("%s was registered after the swap, and is not there", account)
		}
		return true
	})
	if n == 0 || !there["bench-person-0"] || len(there) > 500+int(made.Load()-before)+n {
		t.Errorf("%d accounts, %d of them new", len(there), n)
	}
}

// TestRestoreServers restores into two servers on one NATS server. Both are told.
func TestRestoreServers(t *testing.T) {
	t.Parallel()
	address := startSyncedNATS(t)
	attached := func(c *Config) { c.NATS.URL = address }
	one, two := start(t, attached), start(t, attached)
	dir := importDir(t)
	w := inhabit(t, servers{one, two})
	alice, bob := w.pair(t)
	at := []string{"--nats", address}
	command(t, dir, "", append(at, "backup", "all.tar")...).want(t, exitDone)
	command(t, dir, "", append(at, "friend", "remove", alice.account, bob.account)...).want(t, exitDone)
	for range 2 { // into the other buckets, and back
		command(t, dir, "", append(at, "restore", "all.tar", "--yes")...).want(t, exitDone)
		for _, p := range []*member{alice, bob} {
			p.tunnel.wantClose(t, websocket.CloseServiceRestart)
		}
		alice.login(t)
		bob.login(t)
		if code := alice.talk(t, bob, "1"); code != 200 {
			t.Errorf("friends again, from one server to the other: %d", code)
		}
		bob.tunnel.next(t)
		command(t, dir, "", append(at, "status")...).want(t, exitDone, "health    ok\n", "sessions  2\n")
	}
}

// servers is two servers. Every second user connects to the second server.
type servers struct {
	*server
	second *server
}

func (s servers) base(n int) string {
	if n%2 == 1 {
		return s.second.base(n)
	}
	return s.server.base(n)
}

// TestRestoreUntold: a server that is not told finds out by itself that its buckets were replaced.
func TestRestoreUntold(t *testing.T) {
	t.Parallel()
	address := startSyncedNATS(t)
	s := start(t, func(c *Config) { c.NATS.URL = address })
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "--nats", address, "user", "import").want(t, exitDone)
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	staging, err := kv.Stage(t.Context(), nc, nc, kv.Options{Prefix: "im"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := staging.Fill(t.Context(), func(int) {}); err != nil {
		t.Fatal(err)
	}
	command(t, dir, `{"account":"late"}`, "--nats", address, "user", "import").want(t, exitDone)
	if err := staging.Commit(t.Context(), time.Now(), ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server refuses", func() bool { return s.app.ready() != nil })
	states := s.app.backend.store.States
	state, err := states.Get(t.Context())
	if err == nil {
		err = states.RemoveReplaced(t.Context(), *state.Restore)
	}
	if err == nil {
		_, err = states.Finish(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is ready", func() bool { return s.app.ready() == nil })
	command(t, dir, "", "--nats", address, "user", "show", "alice").want(t, exitDone)
	command(t, dir, "", "--nats", address, "user", "show", "late").want(t, exitNotFound)
}

// TestRestoreLog restores the log of a running server, with the acknowledgements of its consumer.
func TestRestoreLog(t *testing.T) {
	t.Parallel()
	s, dir := startWithDoor(t)
	w := inhabit(t, s)
	alice, bob := w.pair(t)
	archive := s.attachment(t, "archive", kv.RoleConsumer, "dialogue.>")
	say := func(id string) {
		t.Helper()
		if code := alice.talk(t, bob, id); code != 200 {
			t.Fatalf("answered %d", code)
		}
	}
	read := func() (ids []string, last jetstream.Msg) {
		t.Helper()
		nc := s.asAttachment(t, archive)
		defer nc.Close()
		js, err := jetstream.New(nc.Conn)
		if err != nil {
			t.Fatal(err)
		}
		consumer, err := js.Consumer(t.Context(), "IM_LOG", "archive")
		if err != nil {
			t.Fatal(err)
		}
		batch, err := consumer.FetchNoWait(100)
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			var e struct{ ID string }
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			ids, last = append(ids, e.ID), m
		}
		return ids, last
	}
	say("1")
	if ids, _ := read(); !slices.Equal(ids, []string{"1"}) {
		t.Fatalf("read %q", ids)
	}
	say("2")
	say("3")
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	if ids, _ := read(); !slices.Equal(ids, []string{"2", "3"}) {
		t.Fatalf("read %q", ids)
	}
	say("4")
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	if ids, _ := read(); !slices.Equal(ids, []string{"2", "3"}) {
		t.Errorf("read %q after the restore", ids)
	}
	alice.login(t)
	bob.login(t)
	say("5")
	if ids, _ := read(); !slices.Equal(ids, []string{"5"}) {
		t.Errorf("read %q at last", ids)
	}
}

// TestBackupPipe pipes a backup from one process to a restore in another.
func TestBackupPipe(t *testing.T) {
	t.Parallel()
	dir := backupOf(t, 30)
	backup, restore := exec.Command("imctl", "backup", "-"), exec.Command("imctl", "restore", "-", "--data", "new")
	var errs logBuffer
	var out bytes.Buffer
	temp := t.TempDir()
	for _, c := range []*exec.Cmd{backup, restore} {
		c.Dir, c.Stderr, c.Env = dir, &errs, append(os.Environ(), "TMPDIR="+temp, "TMP="+temp, "GORACE=atexit_sleep_ms=0")
	}
	var err error
	if restore.Stdin, err = backup.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	restore.Stdout = &out
	if err := errors.Join(backup.Start(), restore.Start()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(restore.Wait(), backup.Wait()); err != nil || errs.String() != "" || !strings.Contains(out.String(), "KV_im_users") {
		t.Fatalf("%v\n%s%s", err, errs.String(), out.String())
	}
	wantSame(t, everyone(t, dir, "--data", "new"), everyone(t, dir))
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	said := command(t, dir, "", "backup", "-").want(t, exitDone)
	if _, err := checkBackup(strings.NewReader(said.out)); err != nil {
		t.Errorf("not only the backup is on standard output: %v", err)
	}
	command(t, dir, said.out[:len(said.out)/2], "restore", "-", "--data", "half").want(t, exitFailed, errBackup.Error())
}

// TestRestoreOld restores a backup of a version that kept neither a state nor, before its first consumer, a log.
func TestRestoreOld(t *testing.T) {
	t.Parallel()
	address := startSyncedNATS(t)
	dir := importDir(t)
	s := start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, `{"account":"alice"}`, "--nats", address, "user", "import").want(t, exitDone)
	want := everyone(t, dir, "--nats", address)
	s.close(t)
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := errors.Join(deleteStream(t.Context(), nc, kv.StateStream("im")), deleteStream(t.Context(), nc, logStream("im"))); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "--nats", address, "backup", "old.tar").want(t, exitDone, "KV_im_users")
	command(t, dir, "", "restore", "old.tar", "--yes").want(t, exitDone)
	wantSame(t, everyone(t, dir), want)

	s = start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, `{"account":"late"}`, "--nats", address, "user", "import").want(t, exitDone)
	command(t, dir, "", "--nats", address, "restore", "old.tar", "--yes").want(t, exitDone)
	wantSame(t, everyone(t, dir, "--nats", address), want)
	command(t, dir, "", "--nats", address, "status").want(t, exitDone, "health    ok\n")

	// A backup without one of the buckets is refused.
	if err := deleteStream(t.Context(), nc, "KV_im_friendships_b"); err != nil {
		t.Fatal(err)
	}
	s.mayLog = []string{"KV_im_friendships"}
	command(t, dir, "", "--nats", address, "backup", "part.tar").want(t, exitDone)
	command(t, dir, "", "restore", "part.tar", "--yes").want(t, exitFailed, errBackup.Error())
	wantSame(t, everyone(t, dir), want)
}

// TestRestoreMends: a restore makes the missing consumer of an attachment, and removes a consumer without an attachment,
// since a backup takes the two streams one after the other.
func TestRestoreMends(t *testing.T) {
	t.Parallel()
	s, dir := startWithDoor(t)
	js, err := jetstream.New(s.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	s.attachment(t, "whole", kv.RoleConsumer, ">")
	s.attachment(t, "without", kv.RoleConsumer, ">")
	s.attachment(t, "orphan", kv.RoleConsumer, ">")
	if err := errors.Join(js.DeleteConsumer(t.Context(), "IM_LOG", "without"), s.app.backend.store.Attachments.Remove(t.Context(), "orphan")); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	var names []string
	list, err := js.Stream(t.Context(), "IM_LOG")
	if err != nil {
		t.Fatal(err)
	}
	for name := range list.ConsumerNames(t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"whole", "without"}) {
		t.Errorf("consumers: %q", names)
	}
}

// TestRestoreLargeLog restores a log with thousands of entries into a server that forces every write to the disk.
func TestRestoreLargeLog(t *testing.T) {
	t.Parallel()
	const entries = 20_000
	address := startSyncedNATS(t)
	dir := importDir(t)
	from := start(t, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "from"), "127.0.0.1:0" })
	from.attachment(t, "archive", kv.RoleConsumer, ">")
	js, err := jetstream.New(from.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if _, err := js.PublishAsync("im.log.test.entry", fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("the log was not written")
	}
	command(t, dir, "", "backup", "all.tar", "--data", "from").want(t, exitDone)
	start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, "", "--nats", address, "restore", "all.tar", "--yes").want(t, exitDone)
	command(t, dir, "", "--nats", address, "status").want(t, exitDone, "health    ok\n")
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil || consumer.CachedInfo().NumPending != entries {
		t.Errorf("%v: %+v", err, consumer)
	}
}
