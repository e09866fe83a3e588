package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// deletingDir is the environment variable that makes this binary the process that TestDeletedStaysDeletedAfterKill
// kills.
const deletingDir = "KV_TEST_DELETING_DIR"

// ofKind returns the bucket that has the keys of a kind.
func (s *Store) ofKind(k kind) *bucket {
	return map[string]*bucket{usersBucket: s.Users.b, tokensBucket: s.Tokens.b, friendshipsBucket: s.Rosters.b, statesBucket: s.States.b}[k.bucket]
}

// testKey returns a key of the kind.
func (k kind) testKey(name string) string { return k.prefix + "test-" + name }

// live is the name of a key of each kind that stays. It is written before the keys that are deleted.
const live = "live"

// exercise writes keys of the kind as often as its rule allows, and deletes them by its rule. One key is written
// again after its deletion, and deleted again. One expiring key expires.
func exercise(ctx context.Context, b *bucket, k kind) error {
	write := func(name, value string, ttl time.Duration) error {
		key := k.testKey(name)
		e, err := b.get(ctx, key, true)
		if err != nil && !errors.Is(err, errKeyNotFound) {
			return err
		}
		w := putAt(key, []byte(value), e.revision)
		if k.rule == expiring {
			w = putFor(key, []byte(value), e, ttl)
		}
		if k.rule == once && err == nil {
			return nil // it must not be written again
		}
		_, err = b.write(ctx, w)
		return err
	}
	remove := func(name string) error {
		e, err := b.get(ctx, k.testKey(name), true)
		if err != nil {
			return err
		}
		switch k.rule {
		case once:
			return b.purge(ctx, e.key, 0)
		case expiring:
			_, err = b.write(ctx, putFor(e.key, nil, e, 0).asMarker())
		default:
			_, err = b.write(ctx, putAt(e.key, nil, e.revision).asMarker())
		}
		return err
	}
	steps := []error{
		write(live, "is there", time.Hour),
		write("twice", "first", time.Second), write("twice", "second", time.Second), remove("twice"),
		write("rewritten", "first", time.Second), remove("rewritten"), write("rewritten", "second", 0), write("rewritten", "third", 0), remove("rewritten"),
	}
	if k.rule == expiring {
		steps = append(steps, write("expired", "long", 2*time.Second), write("expired", "short", 0))
	}
	return errors.Join(steps...)
}

// checkDeleted fails if a deleted or expired key is back, or if the live key is lost.
func checkDeleted(t *testing.T, when string, b *bucket, k kind) {
	t.Helper()
	if k.rule == expiring {
		awaitExpiry(t, b)
	}
	for _, name := range []string{"twice", "rewritten", "expired"} {
		if e, err := b.get(testContext(t), k.testKey(name), true); err == nil && !e.deleted {
			t.Errorf("%s: key %s of kind %s is back: %q", when, e.key, k.name, e.value)
		} else if err != nil && !errors.Is(err, errKeyNotFound) {
			t.Error(err)
		}
	}
	if e, err := b.get(testContext(t), k.testKey(live), true); err != nil || string(e.value) != "is there" {
		t.Errorf("%s: a key of kind %s is %q, %v", when, k.name, e.value, err)
	}
}

// awaitExpiry waits until the server has removed all values with a time to live from the bucket, except live.
func awaitExpiry(t *testing.T, b *bucket) {
	t.Helper()
	eventually(t, "values expire", func() bool {
		ttl := false
		for after := uint64(0); ; {
			p, err := b.nextKeys(testContext(t), after, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.entries {
				ttl = ttl || e.ttl > 0 && !e.deleted && !strings.HasSuffix(e.key, live)
			}
			if p.pending == 0 {
				return !ttl
			}
			after = p.last()
		}
	})
}

// For every kind: a deleted or expired key does not come back when the server rebuilds its indexes.
func TestDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startServer(t, dir, false)
	s := openStore(t, connect(t, srv), Options{})
	for _, k := range kinds {
		if err := exercise(testContext(t), s.ofKind(k), k); err != nil {
			t.Fatalf("kind %s: %v", k.name, err)
		}
	}
	for _, when := range []string{"after a first rebuild", "after a second rebuild"} {
		stopServer(srv)
		removeIndexes(t, dir)
		srv = startServer(t, dir, false)
		s = openBuckets(t, connect(t, srv))
		for _, k := range kinds {
			checkDeleted(t, when, s.ofKind(k), k)
		}
	}
}

// openBuckets opens the buckets without Open, since a test may have written records that Open cannot decode.
func openBuckets(t *testing.T, nc *nats.Conn) *Store {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	n := subject.Prefix("im").Buckets("")
	return &Store{Users: &Users{b: newBucket(js, n.Users, 1)}, Tokens: &Tokens{b: newBucket(js, n.Tokens, 1)},
		Rosters: &Rosters{b: newBucket(js, n.Friendships, 1)}, States: &States{b: newBucket(js, subject.Prefix("im").StateBucket(), 1)}}
}

// runDeleting exercises all kinds, prints a line, and waits until the process is killed.
func runDeleting(dir string) error {
	ctx := context.Background()
	s, err := openChildStore(ctx, dir)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if err := exercise(ctx, s.ofKind(k), k); err != nil {
			return err
		}
	}
	fmt.Println("deleted")
	select {}
}

// The same holds if the process is killed.
func TestDeletedStaysDeletedAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, out := startChild(t, deletingDir, dir)
	printed := make([]byte, len("deleted"))
	_, readErr := out.Read(printed)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // always fails: the process is killed
	if readErr != nil || string(printed) != "deleted" {
		t.Fatalf("the process printed %q, %v", printed, readErr)
	}
	s := openBuckets(t, connect(t, startServer(t, dir, true)))
	for _, k := range kinds {
		if k.bucket == tokensBucket && !has(t, s.Tokens.b, k.testKey(live)) {
			continue // tokens are written asynchronously
		}
		checkDeleted(t, "after kill -9", s.ofKind(k), k)
	}
}

func has(t *testing.T, b *bucket, key string) bool {
	t.Helper()
	_, err := b.get(testContext(t), key, true)
	return err == nil
}

// A write or a purge that breaks the rule of its kind is refused, and so is a key of an undeclared kind.
func TestRulesOfKinds(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, errRule) {
			t.Errorf("%s: %v, want %v", what, err, errRule)
		}
	}
	withTTL := func(w write) write { w.ttl = time.Minute; return w }
	for _, k := range kinds {
		b, key := s.ofKind(k), k.testKey("x")
		tries := map[string]write{}
		switch k.rule {
		case permanent:
			tries["that expires"] = withTTL(put(key, nil))
			tries["of a marker that expires"] = withTTL(put(key, nil).asMarker())
		case once:
			if !k.unique {
				tries["that may overwrite a message"] = put(key, nil)
			}
			tries["that overwrites a message"] = putAt(key, nil, 1)
			tries["of a marker"] = putAt(key, nil, 0).asMarker()
			tries["that expires"] = withTTL(putAt(key, nil, 0))
		case expiring:
			tries["that does not expire"] = putAt(key, nil, 0)
			tries["without a revision"] = withTTL(put(key, nil))
			short := putFor(key, nil, entry{ttl: time.Hour}, time.Second)
			short.ttl = time.Minute
			tries["that expires before the message that it replaces"] = short
		default:
			t.Errorf("kind %s has no rule", k.name)
		}
		for what, w := range tries {
			refused("a write "+what+" of kind "+k.name, second(b.write(ctx, w)))
		}
		if k.rule != once {
			refused("a purge of kind "+k.name, b.purge(ctx, key, 0))
		}
	}
	refused("a key of no kind", second(s.Users.b.write(ctx, put("other.x", nil))))
	refused("a purge of all keys", s.Users.b.purge(ctx, ">", 0))
}

// Every key that the stores write is of a declared kind, and the stores write keys of every declared kind.
func TestEveryKeyHasItsKind(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	john, mary := mustCreate(t, s, "john", "John"), mustCreate(t, s, "mary", "Mary")
	hook, _, err := s.Webhooks.Prepare(ctx, Webhook{Name: "w", URL: "https://example.org/"})
	if err != nil {
		t.Fatal(err)
	}
	attachment, _, err := s.Attachments.Prepare(ctx, Attachment{Name: "a", Role: RoleConsumer})
	if err != nil {
		t.Fatal(err)
	}
	_, _, invited := s.Invites.Create(ctx, Invite{Uses: 1})
	_, bond := s.Rosters.Request(ctx, john.ID, mary.ID, "")
	_, friends := s.Rosters.Add(ctx, mary.ID, john.ID, "J")
	_, renamed := s.Users.Update(ctx, john.ID, func(u *User) error { u.Name = "Johnny"; return nil })
	_, token := s.Tokens.Issue(ctx, john.ID, "session", Origin{})
	_, _, reported := s.Reports.Add(ctx, Report{By: john.ID, User: mary.ID})
	_, _, begun := s.Users.BeginDelete(ctx, mary.ID)
	padding, err := s.Users.b.pad(ctx)
	_, other := s.Rosters.b.pad(ctx)
	_, vapid := s.Push.Keys(ctx)
	_, seal := s.Seals.Key(ctx)
	_, owned := s.Users.Create(ctx, User{Account: "matrix_ada", Gateway: "matrix"}, s.Users.Room("matrix", 1))
	if err := errors.Join(vapid, seal, owned, s.Seals.Spend(ctx, "state", time.Minute), s.States.BackupDone(ctx, "n", Backup{}), s.Push.Add(ctx, john.ID, PushSubscription{Endpoint: "https://example.org"}), invited, bond, friends, renamed, token, reported, begun, err, other,
		s.Cursors.Advance(ctx, john.ID, []Cursor{{With: mary.ID, Last: 1}}), s.Attachments.Confirm(ctx, attachment.Name), s.Webhooks.Confirm(ctx, hook.Name),
		s.Nodes.Register(ctx, Node{ID: "n"}), s.Resets.Put(ctx, john.ID, "hash", time.Minute, 1)); err != nil {
		t.Fatal(err)
	}
	if padding == 0 {
		t.Error("no padding was written")
	}
	seen := map[kind]bool{}
	for _, b := range []*bucket{s.Users.b, s.Tokens.b, s.Rosters.b, s.States.b} {
		for key := range readBucket(t, b) {
			k, ok := kindOf(b.kinds(), key)
			if !ok {
				t.Errorf("key %s of %s is of no declared kind", key, b.stream())
			}
			seen[k] = true
		}
	}
	for _, k := range kinds {
		if !seen[k] {
			t.Errorf("no key of kind %s was written", k.name)
		}
	}
}

func TestKindsOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"im_users": 18, "im_users_b": 18, "a_users_tokens": 1, "x_b_friendships_b": 3, "im_state": 2, "im_other": 0, "users": 18} {
		if got := kindsOf(name); len(got) != want {
			t.Errorf("%s has %d kinds, want %d", name, len(got), want)
		}
	}
}
