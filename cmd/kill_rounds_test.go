package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/admin"
	"imctl/embedded"
	"imctl/kv"
)

// killRun is a server that is killed repeatedly, with the actors that change its data.
type killRun struct {
	data, backup string
	log          *logBuffer
	p            *process
	w            *world
	nc           *nats.Conn
	client       *admin.Client
	url          string // URL of NATS
	actors       []*killActor
	rand         *rand.Rand
	backedUp     []actorState // states of the actors at the time of the backup
	// revoked maps the name of an attachment to its revoked secrets, and to those of removed attachments with this
	// name.
	revoked map[string][]string
}

// TestKillRounds kills the server at random moments during all kinds of changes, and during restores. After each start
// it checks that every answered change is complete, and that no deleted record is back.
func TestKillRounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := &killRun{data: filepath.Join(dir, "data"), backup: filepath.Join(dir, "backup.tar"), log: new(logBuffer),
		rand: rand.New(rand.NewPCG(seed, 0)), revoked: make(map[string][]string)}
	logOnFailure(t, f.log)
	f.start(t)
	f.w = newWorld(t, f.p)
	for i := range 6 {
		f.actors = append(f.actors, &killActor{w: f.w, name: fmt.Sprintf("actor-%d", i), rand: rand.New(rand.NewPCG(seed, uint64(i+1)))})
	}
	for round := 1; round <= killRounds && !t.Failed(); round++ {
		switch {
		case round%4 == 2:
			command(t, dir, "", "backup", f.backup, "--force", "--data", f.data).want(t, exitDone)
			f.backedUp = f.states()
		case round%4 == 0:
			f.restore(t, round)
			continue
		}
		f.work(t)
		f.start(t)
		f.check(t, round)
	}
	if t.Failed() {
		for _, a := range f.actors {
			t.Logf("%s:\n%s", a.name, strings.Join(a.history[max(0, len(a.history)-20):], "\n"))
		}
	}
	f.nc.Close()
	f.w.newMember(t, 0) // close requires that the last process has logged something
	f.w.close(t)
	f.p.stop(t)
}

func (f *killRun) states() []actorState {
	var all []actorState
	for _, a := range f.actors {
		all = append(all, a.now)
	}
	return all
}

// start starts the server and connects as its administrator.
func (f *killRun) start(t *testing.T) {
	t.Helper()
	if f.nc != nil {
		f.nc.Close()
	}
	before := strings.Count(f.log.String(), "repaired after")
	f.p = startProcess(t, f.data, f.log, "IMCTL_TOKENS_TTL=5s")
	if lines := strings.Count(f.log.String(), "repaired after") - before; lines > 1 {
		t.Errorf("the start logged %d lines about repairs, want at most 1", lines)
	}
	if f.w != nil {
		f.w.deployment = f.p
	}
	credentials, err := embedded.ReadContext(f.data)
	if err != nil {
		t.Fatal(err)
	}
	f.url = credentials.URL
	if f.nc, err = nats.Connect(f.url, nats.UserInfo(credentials.User, credentials.Password), nats.NoReconnect()); err != nil {
		t.Fatal(err)
	}
	f.client = admin.NewClient(f.nc, "im")
}

// work lets the actors make changes, and kills the server at a random moment.
func (f *killRun) work(t *testing.T) {
	t.Helper()
	var working sync.WaitGroup
	for _, a := range f.actors {
		working.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
			defer cancel()
			for {
				switch err := a.step(ctx, f.client); {
				case errors.Is(err, errUnanswered):
					return
				case err != nil:
					t.Error(err)
					return
				}
				f.readIDs(t, ctx, a)
			}
		})
	}
	<-time.After(time.Duration(100+f.rand.IntN(1500)) * time.Millisecond)
	f.p.kill(t)
	f.nc.Close()
	working.Wait()
}

// readIDs reads the ids of new accounts.
func (f *killRun) readIDs(t *testing.T, ctx context.Context, a *killActor) {
	for i := range a.now.people {
		if p := &a.now.people[i]; p.exists && p.id == "" {
			if u, err := f.client.User(ctx, a.account(i)); err == nil {
				p.id = u.ID
			} else if adminAnswer(err) != errUnanswered {
				t.Errorf("%s was registered, but cannot be read: %v", a.account(i), err)
			}
		}
	}
}

// restore restores the backup into the running server, and kills the command, the server or neither of them. Afterwards
// the complete old state or the complete restored state must be in use.
func (f *killRun) restore(t *testing.T, round int) {
	t.Helper()
	command := exec.Command("imctl", "restore", f.backup, "--yes", "--data", f.data)
	var output logBuffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	killed := ""
	select {
	case err := <-ended:
		ended <- err
	case <-time.After(time.Duration(f.rand.IntN(1500)) * time.Millisecond):
		if f.rand.IntN(2) == 0 {
			killed = "the restore"
			_ = command.Process.Kill() // it may just have ended
		} else {
			killed = "the server"
			f.p.kill(t)
		}
	}
	err := <-ended
	if killed == "" && err != nil {
		t.Errorf("round %d: the restore failed: %v, %s", round, err, output.String())
	}
	f.nc.Close()
	f.p.kill(t)
	if complete := exec.Command("imctl", "restore", "--complete", "--data", f.data); !f.startable(t) {
		if out, err := complete.CombinedOutput(); err != nil {
			t.Fatalf("round %d: restore --complete after %s was killed: %v: %s", round, killed, err, out)
		}
	}
	f.start(t)
	before := f.states()
	old, restored := f.compare(t), []string(nil)
	for i, a := range f.actors {
		a.now, a.maybe = f.backedUp[i], nil
	}
	if restored = f.compare(t); len(restored) == 0 {
		f.revoked = make(map[string][]string) // secrets that were revoked after the backup are valid again
		return
	}
	if len(old) > 0 || killed == "" {
		t.Errorf("round %d: after %q was killed during a restore, the data differs from the old state (%q) and from the restored state (%q)", round, killed, old, restored)
	}
	for i, a := range f.actors {
		a.now = before[i]
	}
}

// startable reports whether a server can start, which fails if a restore must be completed first.
func (f *killRun) startable(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("imctl", "user", "list", "--data", f.data).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "restore --complete") {
		t.Fatalf("user list: %v: %s", err, out)
	}
	return err == nil
}

// check compares the data of the server with the states of the actors, and resolves unanswered changes.
func (f *killRun) check(t *testing.T, round int) {
	t.Helper()
	for _, difference := range f.compare(t) {
		t.Errorf("round %d: %s", round, difference)
	}
}

// compare lists the differences between the data of the server and the states of the actors. After an unanswered change
// either state is valid, and compare sets the actor to the state that it finds.
func (f *killRun) compare(t *testing.T) (differences []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	users := make(map[string]admin.Record)
	for page, err := range f.client.Export(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			users[r.Account] = r
		}
	}
	listed, err := f.client.Attachments(ctx)
	if err != nil {
		t.Fatal(err)
	}
	roles := make(map[string]kv.Role)
	for _, at := range listed.Attachments {
		roles[at.Name] = at.Role
	}
	for _, a := range f.actors {
		was := a.now
		problem := f.difference(ctx, a, a.now, users, roles)
		if problem != "" && a.maybe != nil {
			if other := f.difference(ctx, a, *a.maybe, users, roles); other == "" {
				a.now, problem = *a.maybe, ""
			} else {
				problem += "; after the unanswered change: " + other
			}
		}
		if problem != "" {
			differences = append(differences, a.name+": "+problem)
		}
		for i := range a.now.people {
			a.now.people[i].id = users[a.account(i)].ID
			delete(users, a.account(i))
		}
		a.maybe = nil
		if was.secret != a.now.secret && was.secret != "" && was.secret != unknownSecret {
			f.revoked[a.name] = append(f.revoked[a.name], was.secret)
		}
		for _, secret := range f.revoked[a.name] {
			if natsAccepts(f.url, a.name, secret) {
				differences = append(differences, a.name+": a revoked secret is accepted again")
			}
		}
		delete(roles, a.name)
	}
	for _, account := range slices.Sorted(maps.Keys(users)) {
		differences = append(differences, "unexpected account "+account)
	}
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		differences = append(differences, "unexpected attachment "+name)
	}
	return differences
}

// difference describes how the data of the server differs from a state. It returns "" if they are equal.
func (f *killRun) difference(ctx context.Context, a *killActor, s actorState, users map[string]admin.Record, roles map[string]kv.Role) string {
	for i, p := range s.people {
		r, exists := users[a.account(i)]
		switch {
		case exists != p.exists:
			return fmt.Sprintf("account %d exists: %t, want %t", i, exists, p.exists)
		case !exists:
			continue
		case p.id != "" && r.ID != p.id:
			return fmt.Sprintf("account %d has id %s, want %s", i, r.ID, p.id)
		case r.Disabled != p.disabled || r.Name != p.name || r.Sign != p.sign:
			return fmt.Sprintf("account %d has disabled %t, name %q, sign %q, want %+v", i, r.Disabled, r.Name, r.Sign, p)
		}
		want := 200
		if p.disabled || p.pass == "" {
			want = 505
		}
		if code, _, err := tryLogin(ctx, a.w, a.account(i), p.pass); p.pass != "" && code != want {
			return fmt.Sprintf("login to account %d: %d %v, want %d", i, code, err, want)
		}
	}
	friends := func(i int) (n int) { return len(users[a.account(i)].Friends) }
	if want := btoi(s.people[0].exists && s.friends); friends(0) != want || friends(1) != want {
		return fmt.Sprintf("the users have %d and %d friends, want %d", friends(0), friends(1), want)
	}
	asked, asking := len(users[a.account(0)].Asked), len(users[a.account(1)].Requests)
	if asked != btoi(s.asked) || asking != btoi(s.asked) {
		return fmt.Sprintf("requests from the first user: %d, to the second: %d, want %d", asked, asking, btoi(s.asked))
	}
	switch role, exists := roles[a.name]; {
	case exists != (s.secret != "") || role != s.role:
		return fmt.Sprintf("the attachment has role %q, want %q", role, s.role)
	case exists && s.secret != unknownSecret && !natsAccepts(f.url, a.name, s.secret):
		return "the secret of the attachment is refused"
	}
	return ""
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
