package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// killStepVariable is the environment variable that names the step of a restore at which imctl-killed kills itself.
const killStepVariable = "KILL_STEP"

// killedMain runs imctl and kills the process at that step.
func killedMain() {
	at := os.Getenv(killStepVariable)
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

// killRestore runs a restore in a process that kills itself at a step.
func killRestore(t *testing.T, dir, step string, args ...string) {
	t.Helper()
	killCommand(t, dir, step, append([]string{"restore"}, args...)...)
}

// killCommand runs a command in a process that kills itself at a step.
func killCommand(t *testing.T, dir, step string, args ...string) {
	t.Helper()
	c := exec.Command("imctl-killed", args...)
	c.Dir, c.Env = dir, append(os.Environ(), killStepVariable+"="+step, "GORACE=atexit_sleep_ms=0")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() && exit.ExitCode() <= 5 && exit.ExitCode() >= 0 {
		t.Fatalf("the command was not killed at %q: %v\n%s", step, err, out)
	}
}

// wantFailure is want for a failing command that also writes to standard output.
func (a commandAnswer) wantFailure(t *testing.T, line string) {
	t.Helper()
	if a.code != exitFailed || !strings.Contains(a.err, line) {
		t.Errorf("got exit code %d: %s%s, want %d with %q", a.code, a.out, a.err, exitFailed, line)
	}
}

// wantReady waits until a server is ready.
func (p *process) wantReady(t *testing.T) {
	t.Helper()
	eventually(t, "the server is ready", func() bool { body, _, _ := fetch(p.ops + "/readyz"); return body == "ok\n" })
}

// TestRestoreKilledInDir kills a restore into a data directory at every step. Afterwards the directory has all old
// data or all new data, or commands fail with the command line that completes the restore.
func TestRestoreKilledInDir(t *testing.T) {
	t.Parallel()
	from := createBackup(t, 30)
	want := exportedLines(t, from)
	for step, marked := range map[string]bool{"streams staged": false, "directory staged": false, "marked": true, "streams aside": true,
		"streams swapped": true, "files swapped": true, "marker removed": false} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir := importDir(t)
			file := filepath.Join(from, "all.tar")
			command(t, dir, `{"account":"old"}`, "user", "import").want(t, exitDone)
			old := exportedLines(t, dir)
			killRestore(t, dir, step, file, "--yes")
			if !marked {
				if step == "marker removed" {
					old = want
				}
				wantUsers(t, exportedLines(t, dir), old)
				command(t, dir, "", "restore", "--complete").want(t, exitDone, "no interrupted restore found")
				wantUsers(t, exportedLines(t, dir), old)
			} else {
				line := "complete it with imctl restore --complete --data "
				for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"status"}, {"user", "list"}, {"restore", file, "--yes"}, {"backup", "-"}} {
					command(t, dir, "", args...).want(t, exitFailed, line)
				}
				command(t, dir, "", "restore", "--complete").want(t, exitDone, "restore completed")
				wantUsers(t, exportedLines(t, dir), want)
			}
			if _, err := os.Stat(filepath.Join(dir, "data", stagingFolder)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the staging folder still exists: %v", err)
			}
			command(t, dir, "", "restore", file, "--yes").want(t, exitDone)
			wantUsers(t, exportedLines(t, dir), want)
		})
	}
}

// TestRestoreKilledInServer kills a restore into a running server at every step, with and without the server.
func TestRestoreKilledInServer(t *testing.T) {
	t.Parallel()
	from := createBackup(t, 30)
	want := exportedLines(t, from)
	for step, marked := range map[string]bool{"streams staged": false, "log staged": false, "conversations staged": false, "records staged": false, "committed": true, "nodes told": true,
		"old streams removed": true, "log swapped": true, "log noted": true, "conversations swapped": true, "conversations noted": true, "finished": false} {
		for _, serverToo := range []bool{false, true} {
			t.Run(fmt.Sprint(step, ", server killed: ", serverToo), func(t *testing.T) {
				t.Parallel()
				dir := importDir(t)
				file, data := filepath.Join(from, "all.tar"), filepath.Join(dir, "data")
				command(t, dir, `{"account":"old"}`, "user", "import").want(t, exitDone)
				old := exportedLines(t, dir)
				p := startProcess(t, data, new(logBuffer))
				killRestore(t, dir, step, file, "--yes")
				if serverToo {
					p.kill(t)
				}
				line := "complete it with imctl restore --complete --data "
				switch {
				case step == "finished":
					old = want
					if !serverToo { // it has not been notified of the end of the restore
						p.wantReady(t)
					}
					fallthrough
				case !marked:
					wantUsers(t, exportedLines(t, dir), old)
					command(t, dir, "", "restore", "--complete").want(t, exitDone, "no interrupted restore found")
					wantUsers(t, exportedLines(t, dir), old)
				default:
					command(t, dir, "", "status").wantFailure(t, line)
					if serverToo {
						command(t, dir, "", "serve", "--listen", "127.0.0.1:0").want(t, exitFailed, line)
					} else {
						eventually(t, "/readyz reports the interrupted restore", func() bool {
							body, _, _ := fetch(p.ops + "/readyz")
							return strings.Contains(body, "imctl restore --complete --data")
						})
					}
					command(t, dir, "", "backup", "-").want(t, exitFailed, line)
					command(t, dir, "", "restore", "--complete").want(t, exitDone, "restore completed")
					wantUsers(t, exportedLines(t, dir), want)
				}
				if serverToo {
					p = startProcess(t, data, new(logBuffer))
				}
				p.wantReady(t)
				command(t, dir, "", "restore", file, "--yes").want(t, exitDone)
				command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "accounts  30\n")
				p.stop(t)
			})
		}
	}
}

// TestRestoreWhileRegistering restores while clients register. The restore replaces accounts from before the swap. An
// account whose registration is answered 200 after the swap must exist.
func TestRestoreWhileRegistering(t *testing.T) {
	t.Parallel()
	from := createBackup(t, 500)
	s, dir := startWithNATSListener(t)
	s.mayLog = []string{"call failed"} // calls in progress when the buckets are replaced
	w := newWorld(t, s)
	var refusing atomic.Bool
	var after sync.Map // accounts whose registration was requested after the swap and answered 200
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
				var answer struct{ Code int }
				err = errors.Join(json.NewDecoder(r.Body).Decode(&answer), r.Body.Close())
				if err != nil {
					t.Error(err)
					return
				}
				if answer.Code == 200 {
					made.Add(1)
					if refused {
						after.Store(account, true)
					}
				}
			}
		})
	}
	eventually(t, "registrations before the restore", func() bool { return made.Load() > 20 })
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
	eventually(t, "registrations after the restore", func() bool { return made.Load() > before+20 })
	close(stop)
	wg.Wait()
	there := make(map[string]bool)
	for _, line := range exportedLines(t, dir) {
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
			t.Errorf("%s was registered after the swap, but does not exist", account)
		}
		return true
	})
	if n == 0 || !there["bench-person-0"] || len(there) > 500+int(made.Load()-before)+n {
		t.Errorf("got %d accounts, %d of them registered after the swap, want the 500 restored and the new accounts", len(there), n)
	}
}
