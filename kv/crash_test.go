package kv

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// childDir is the environment variable that makes this binary the process that TestKilled kills.
const childDir = "KV_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, "the child process failed:", child(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(deletingDir); dir != "" {
		fmt.Fprintln(os.Stderr, "the child process failed:", runDeleting(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// openChildStore opens a store on a server of its own, in a child process that ends by being killed.
func openChildStore(ctx context.Context, dir string) (*Store, error) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, JetStreamMaxStore: 1 << 40, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	return Open(ctx, nc, Options{})
}

// startChild runs this binary as a child process, with an environment variable set to dir, and returns its output.
func startChild(t *testing.T, variable, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), exe)
	cmd.Env = append(os.Environ(), variable+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// child registers accounts and makes friends until it is killed, and prints each change once it is acknowledged.
func child(dir string) error {
	ctx := context.Background()
	s, err := openChildStore(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(atOnce(8, func(worker int) error {
		last := ""
		for i := 0; ; i++ {
			u, err := s.Users.Create(ctx, User{Account: fmt.Sprintf("w%di%d", worker, i), Profile: Profile{Name: fmt.Sprint("n", i)}})
			if err != nil {
				return err
			}
			fmt.Printf("user %s %s\n", u.Account, u.ID)
			if last != "" {
				if _, err := s.Rosters.Request(ctx, u.ID, last, "hi"); err != nil {
					return err
				}
				if _, err := s.Rosters.Add(ctx, last, u.ID, "X"); err != nil {
					return err
				}
				fmt.Printf("friends %s %s\n", last, u.ID)
			}
			last = u.ID
		}
	})...)
}

// A process is killed during registrations and adds. All acknowledged changes are stored, and no change is incomplete.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := runAndKill(t, dir, 60)
	s := openStore(t, connect(t, startServer(t, dir, true)), Options{})
	ctx := testContext(t)
	for _, line := range acknowledged {
		f := strings.Fields(line)
		switch f[0] {
		case "user":
			if u, err := s.Users.ByAccount(ctx, f[1]); err != nil || u.ID != f[2] {
				t.Errorf("acknowledged %q: %v, %v", line, u, err)
			}
		case "friends":
			if got := relation(t, s, f[1], f[2]); got != named("X", unnamed) {
				t.Errorf("acknowledged %q: %+v", line, got)
			}
		}
	}
	checkUsers(t, s)
	checkRosters(t, s)
}

// runAndKill runs a child, kills it after n lines, and returns the lines that it has printed.
func runAndKill(t *testing.T, dir string, n int) (lines []string) {
	t.Helper()
	cmd, out := startChild(t, childDir, dir)
	for in := bufio.NewScanner(out); in.Scan(); {
		lines = append(lines, in.Text())
		if len(lines) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // always fails: the process is killed
	if len(lines) < n {
		t.Fatalf("the child ended after %d lines", len(lines))
	}
	// The last line may be incomplete.
	if last := lines[len(lines)-1]; len(strings.Fields(last)) != 3 || !ValidID(strings.Fields(last)[2]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// readBucket returns the values of all keys of a bucket.
func readBucket(t *testing.T, b *bucket) map[string]string {
	t.Helper()
	all := map[string]string{}
	for after := uint64(0); ; {
		p, err := b.nextKeys(testContext(t), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.entries {
			all[e.key] = string(e.value)
		}
		if p.pending == 0 {
			return all
		}
		after = p.last()
	}
}

// checkUsers fails unless every record has its claim and name, and every claim and name has its record.
func checkUsers(t *testing.T, s *Store) {
	t.Helper()
	all := readBucket(t, s.Users.b)
	users, keys := 0, 0
	for key, value := range all {
		switch kind, _, _ := strings.Cut(key, "."); kind {
		case "account", "name":
			keys++
			continue
		case "user":
			users++
			keys++
		default:
			continue
		}
		var u User
		if err := json.Unmarshal([]byte(value), &u); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if claim := all[accountKey(FoldAccount(u.Account))]; claim != u.ID {
			t.Errorf("%v: the claim of its account is of user %q", u, claim)
		}
		for _, key := range lookKeys(u.Account) {
			if claim := all[key]; claim != u.ID {
				t.Errorf("%v: the claim of its look is of user %q", u, claim)
			}
		}
		if _, ok := all[nameKey(FoldAccount(u.Name), u.ID, 0)]; !ok {
			t.Errorf("%v: the key of its name is missing", u)
		}
	}
	if users == 0 || keys != 3*users {
		t.Errorf("%d users have %d keys, want three each", users, keys)
	}
}

// checkRosters fails unless every two users are in a consistent state.
func checkRosters(t *testing.T, s *Store) {
	t.Helper()
	rosters := map[string]Roster{}
	for id, value := range readBucket(t, s.Rosters.b) {
		if value == "" || strings.HasPrefix(id, cursorsPrefix) { // a delete marker, or no roster
			continue
		}
		var r Roster
		if err := json.Unmarshal([]byte(value), &r); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		rosters[id] = r
	}
	for id, r := range rosters {
		for _, other := range r.named() {
			a, b := &party{id: id, Roster: r}, &party{id: other, Roster: rosters[other]}
			if got := (between{readEnd(a, other), readEnd(b, id)}); !consistent(got) {
				t.Errorf("two users are in the inconsistent state %+v", got)
			}
		}
	}
}

// readEnd returns what the roster of p has of another user.
func readEnd(p *party, other string) (e end) {
	if f, ok := p.Friend(other); ok {
		e.friend = f.Alias
		if e.friend == "" {
			e.friend = unnamed
		}
	}
	if q, ok := p.Roster.Request(other); ok {
		e.request = q.Note
		if e.request == "" {
			e.request = "old"
		}
	}
	for _, id := range p.Asked {
		e.asked = e.asked || id == other
	}
	return e
}
