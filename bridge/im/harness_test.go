package im

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// fixture has the services of this package on a NATS server with the buckets of an installation.
type fixture struct {
	*recorder
	nc       *nats.Conn
	store    *kv.Store
	accounts *Accounts
	friends  *Friends
	resets   *Resets
	readOnly atomic.Bool // the store refuses writes
}

var cheap = kv.HasherOptions{MemoryKiB: 64, Passes: 1, Wait: time.Minute}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{recorder: &recorder{names: make(map[string]string), online: make(map[string]bool)}}
	f.nc = natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	f.store, err = kv.Open(ctx, f.nc, kv.Options{Talks: &kv.TalksOptions{}, MayWrite: func(bool) error {
		if f.readOnly.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.friends = NewFriends(f.deps(cheap))
	f.accounts = NewAccounts(f.deps(cheap), f.friends)
	t.Cleanup(f.accounts.Close)
	f.resets = NewResets(f.accounts)
	return f
}

func (f *fixture) deps(hashing kv.HasherOptions) Deps {
	return Deps{Store: f.store, Hasher: kv.NewHasher(hashing), Cluster: f.recorder, Log: f.recorder, Presence: f.recorder,
		Notices: f.recorder, Disconnector: f.recorder, Logger: slog.New(slog.DiscardHandler)}
}

const password = "correct horse"

// register creates an account with the given name, and mail address name@example.org.
func (f *fixture) register(t *testing.T, name string) kv.User {
	t.Helper()
	u, err := f.accounts.Register(t.Context(), kv.User{Account: name, Mail: name + "@example.org", Profile: kv.Profile{Name: name}}, password)
	if err != nil {
		t.Fatal(err)
	}
	f.know(u)
	f.take()
	return u
}

// current returns the record of a user.
func (f *fixture) current(t *testing.T, id string) kv.User {
	t.Helper()
	u, err := f.store.Users.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (f *fixture) befriend(t *testing.T, a, b kv.User) {
	t.Helper()
	if _, err := f.store.Rosters.Befriend(t.Context(), a.ID, b.ID); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) issue(t *testing.T, u kv.User) string {
	t.Helper()
	token, err := f.store.Tokens.Issue(t.Context(), u.ID, "session", kv.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// tokens returns the hashes of a user's tokens.
func (f *fixture) tokens(t *testing.T, u kv.User) (hashes []string) {
	t.Helper()
	all, err := f.store.Tokens.List(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range all {
		hashes = append(hashes, info.Hash)
	}
	return hashes
}

// code creates a code for the forgotten password of u.
func (f *fixture) code(t *testing.T, u kv.User) string {
	t.Helper()
	got, code, err := f.resets.NewCode(t.Context(), u.Account, f.current(t, u.ID).Mail, func(string) bool { return true })
	if err != nil || code == "" || got.ID != u.ID {
		t.Fatalf("got code %q for %s, %v", code, got, err)
	}
	return code
}

// step is one call of a scenario, with the calls that it makes in turn.
type step struct {
	what string
	call func(context.Context) error
	err  error
	want []string // sorted by user; in order for each user
}

// run takes the steps one after the other.
func (f *fixture) run(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		f.take()
		if err := s.call(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("%s: got error %v, want %v", s.what, err, s.err)
		}
		f.want(t, s.what, s.want...)
	}
}

// recorder is a Cluster, a Log, a Presence, Notices and a Disconnector. It records each call as the kind of the call,
// the name of the user, and the rest. In all of it, names stand for the ids of users.
type recorder struct {
	mu       sync.Mutex        // guards the fields below
	names    map[string]string // by id
	online   map[string]bool   // by id
	sessions []cluster.Session // what Sessions returns
	calls    []string
	hook     func(call string) error // its error is the call's, which is not recorded then

	hooking sync.Mutex // held during a call of hook
}

// know has a user recorded by its account instead of its id.
func (r *recorder) know(u kv.User) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[u.ID] = u.Account
}

// intercept has f called before each call is recorded, with the record, and never concurrently.
func (r *recorder) intercept(f func(call string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = f
}

// refuse has calls fail whose record begins with prefix, until it is called with "".
func (r *recorder) refuse(prefix string) {
	r.intercept(func(call string) error {
		if prefix != "" && strings.HasPrefix(call, prefix) {
			return errRefused
		}
		return nil
	})
}

var errRefused = errors.New("refused by the test")

func (r *recorder) record(format string, args ...any) error {
	r.mu.Lock()
	call, hook := fmt.Sprintf(format, args...), r.hook
	for id, name := range r.names {
		call = strings.ReplaceAll(call, id, name)
	}
	r.mu.Unlock()
	if hook != nil {
		r.hooking.Lock()
		err := hook(call)
		r.hooking.Unlock()
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	return nil
}

// take returns the recorded calls and forgets them.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// want compares the recorded calls, sorted by user, and forgets them. The calls for two users may be concurrent.
func (r *recorder) want(t *testing.T, what string, want ...string) {
	t.Helper()
	user := func(call string) string { return strings.Fields(call)[1] }
	got := r.take()
	slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(user(a), user(b)) })
	if !slices.Equal(got, want) {
		t.Errorf("%s: got the calls\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Broadcast implements Cluster.
func (r *recorder) Broadcast(_ context.Context, c cluster.Command) error {
	switch c := c.(type) {
	case cluster.RosterChanged:
		if c.Revision == 0 {
			return fmt.Errorf("a roster without a revision: %+v", c)
		}
		return r.record("roster %s %s %t", c.User, c.Other, c.Friend)
	case cluster.ProfileChanged:
		return r.record("profile %s", c.User)
	case cluster.CloseSessions:
		return r.record("close %s ids=%v token=%s keep=%s %d %s", c.User, c.IDs, c.Token, c.KeepToken, c.Code, c.Reason)
	case cluster.Befriended:
		for _, f := range c.Friends {
			if err := r.record("befriended %s %s %q", f.User, f.Other, f.Alias); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("unexpected command %T", c)
}

// Sessions implements Cluster.
func (r *recorder) Sessions(context.Context, cluster.ListSessions) ([]cluster.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions, nil
}

// User implements Log.
func (r *recorder) User(event eventlog.UserEvent, u kv.User) {
	if err := r.record("event %s %s", u.ID, event); err != nil {
		panic(err) // a hook refuses what cannot be refused
	}
}

// Report implements Log.
func (r *recorder) Report(report kv.Report) {
	if err := r.record("event %s reported %s %q", report.By, report.User, report.Text); err != nil {
		panic(err)
	}
}

// Friend implements Log.
func (r *recorder) Friend(c kv.Change) {
	if c.Kind == kv.Unchanged { // no event, as in eventlog.Log
		return
	}
	if err := r.record("event %s %s %s", c.A, c.Kind, c.B); err != nil {
		panic(err)
	}
}

// Online implements Presence.
func (r *recorder) Online(_ context.Context, ids ...string) ([]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	online := make([]bool, len(ids))
	for i, id := range ids {
		online[i] = r.online[id]
	}
	return online, nil
}

// Notify implements Notices.
func (r *recorder) Notify(user string, frame []byte) error {
	return r.record("notice %s %s", user, frame)
}

// DisconnectUser implements Disconnector.
func (r *recorder) DisconnectUser(_ context.Context, id string) error {
	return r.record("disconnect %s", id)
}

// expelled returns the calls that end all sessions of a user.
func expelled(user, reason string) []string {
	return []string{"close " + user + " ids=[] token= keep= 1008 " + reason, "disconnect " + user}
}

// removed returns the notice that shows a user the end of a friendship, or of a request.
func removed(user, other string) string {
	return "notice " + user + " " + string(wire.AppendRemoved(nil, other))
}
