package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// oldStore writes like the versions of format 0: it overwrites and purges keys, and its delete markers expire.
type oldStore struct {
	t  *testing.T
	js jetstream.JetStream
}

// put writes a key, with the value as JSON unless it is a string. header has names and values.
func (o oldStore) put(subject string, value any, header ...string) {
	o.t.Helper()
	msg := &nats.Msg{Subject: "$KV.im_" + subject, Header: nats.Header{}}
	if text, ok := value.(string); ok {
		msg.Data = []byte(text)
	} else if value != nil {
		var err error
		if msg.Data, err = json.Marshal(value); err != nil {
			o.t.Fatal(err)
		}
	}
	for i := 0; i < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	if _, err := o.js.PublishMsg(testContext(o.t), msg); err != nil {
		o.t.Fatal(err)
	}
}

// marker writes a delete marker.
func (o oldStore) marker(subject string, ttl time.Duration) {
	o.t.Helper()
	o.put(subject, nil, headerOperation, operationDelete, jetstream.MsgTTLHeader, ttl.String())
}

// purge removes the messages of a key.
func (o oldStore) purge(bucket, key string) {
	o.t.Helper()
	s, err := o.js.Stream(testContext(o.t), "KV_im_"+bucket)
	if err == nil {
		err = s.Purge(testContext(o.t), jetstream.WithPurgeSubject("$KV.im_"+bucket+"."+key))
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// create registers a user.
func (o oldStore) create(u User, friends ...Friend) {
	o.t.Helper()
	o.put("users."+accountKey(FoldAccount(u.Account)), u.ID)
	o.put("users."+nameKey(FoldAccount(u.Name), u.ID, 0), nil)
	o.put("users."+userKey(u.ID), u)
	o.put("friendships."+u.ID, Roster{Friends: friends})
}

// remove deletes a user.
func (o oldStore) remove(u User, ttl time.Duration) {
	o.t.Helper()
	u.Disabled = true
	o.put("users."+userKey(u.ID), u)
	o.marker("friendships."+u.ID, ttl)
	o.marker("users."+userKey(u.ID), ttl)
	o.marker("users."+accountKey(FoldAccount(u.Account)), ttl)
	o.marker("users."+nameKey(FoldAccount(u.Name), u.ID, 0), ttl)
	o.purge("users", userKey(u.ID))
}

func oldUser(name string) User {
	return User{ID: NewID(), Account: "Account " + name, PasswordHash: "$hash", Mail: name + "@example.org", Profile: Profile{Name: name}, Created: now()}
}

// An upgrade of buckets that were written without the rules of kinds removes deleted records for good, whether they
// came back before the upgrade or would come back after it. All other records are unchanged.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, rebuilt := range []bool{false, true} {
		t.Run(fmt.Sprint("rebuilt before: ", rebuilt), func(t *testing.T) {
			t.Parallel()
			testUpgrade(t, rebuilt)
		})
	}
}

func testUpgrade(t *testing.T, rebuilt bool) {
	dir := t.TempDir()
	srv := startServer(t, dir, false)
	nc := connect(t, srv)
	s := openStore(t, nc, Options{}) // creates the streams
	ctx := testContext(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	old := oldStore{t, js}
	john, mary, renamed, deleted, partial := oldUser("John"), oldUser("Mary"), oldUser("Before"), oldUser("Deleted"), oldUser("Partial")
	since := now()
	old.create(john, Friend{ID: mary.ID, Alias: "M", Since: since}, Friend{ID: deleted.ID, Since: since})
	old.create(mary, Friend{ID: john.ID, Since: since})
	old.create(renamed)
	old.put("users."+nameKey("before", renamed.ID, 0), nil)
	renamed.Name = "After"
	old.marker("users."+nameKey("before", renamed.ID, 0), time.Second)
	old.put("users."+nameKey("after", renamed.ID, 0), nil)
	old.put("users."+userKey(renamed.ID), renamed)
	// If the index is rebuilt before the upgrade, only incomplete records are recognized as deleted.
	old.create(deleted, Friend{ID: john.ID, Since: since})
	old.remove(deleted, map[bool]time.Duration{false: time.Second, true: time.Hour}[rebuilt])
	old.create(partial)
	old.remove(partial, time.Second)
	old.marker("users."+accountKey(FoldAccount(partial.Account)), time.Hour)
	if !rebuilt {
		old.marker("users."+accountKey(FoldAccount(partial.Account)), time.Second)
	}
	old.put("friendships."+john.ID, Roster{Friends: []Friend{{ID: mary.ID, Alias: "M", Since: since}, {ID: partial.ID, Since: since}}})
	attach := func(a Attachment, hash string) {
		old.put("users."+attachmentKey(a.Name), map[string]any{"name": a.Name, "role": a.Role, "created": since, "secret_hash": hash})
	}
	attach(Attachment{Name: "a1", Role: RoleAdmin}, hashSecret("a1"))
	attach(Attachment{Name: "a1", Role: RoleAdmin}, "")
	old.purge("users", attachmentKey("a1"))
	attach(Attachment{Name: "kept", Role: RoleConsumer}, hashSecret("kept"))
	attach(Attachment{Name: "lost", Role: RoleConsumer}, hashSecret("lost"))
	attach(Attachment{Name: "admin", Role: RoleAdmin}, hashSecret("admin"))
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: subject.Prefix("im").LogStream(), Subjects: []string{"im.log.>"}})
	if err == nil {
		_, err = js.CreateConsumer(ctx, subject.Prefix("im").LogStream(), jetstream.ConsumerConfig{Durable: "kept"})
	}
	if err != nil {
		t.Fatal(err)
	}
	old.put("users.node.n1", Node{ID: "n1", Host: "host", Started: since})
	old.put("users."+resetKey(john.ID), resetRecord{Hash: "h", Expires: since.Add(time.Hour), Tries: 1}, jetstream.MsgTTLHeader, "1h")
	token, err := s.Tokens.Issue(ctx, john.ID, "session", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	partialToken, err := s.Tokens.Issue(ctx, partial.ID, "session", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*bucket{s.Users.b, s.Rosters.b} {
		eventually(t, "the markers expire", func() bool {
			ttl := false
			p, err := b.nextKeys(ctx, 0, 1000)
			for _, e := range p.entries {
				ttl = ttl || e.ttl > 0 && e.ttl < time.Minute
			}
			return err == nil && !ttl
		})
	}
	if _, err := s.States.Update(ctx, func(state *State) error { state.Format = 0; return nil }); err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	for round := range 3 {
		if round > 0 || rebuilt {
			stopServer(srv)
			removeIndexes(t, dir)
			srv = startServer(t, dir, false)
			nc = connect(t, srv)
		}
		s = openStore(t, nc, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		checkUpgraded(t, s, round, []User{john, mary, renamed}, []User{deleted, partial})
		if err := s.Tokens.Check(ctx, john.ID, token); err != nil {
			t.Errorf("round %d: Check: %v", round, err)
		}
		if err := s.Tokens.Check(ctx, partial.ID, partialToken); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("round %d: Check of a token of a deleted user: %v, want %v", round, err, ErrTokenInvalid)
		}
		if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
			t.Errorf("round %d: Sweep = %+v, %v; want no findings", round, f, err)
		}
	}
	text := log.String()
	if n := strings.Count(text, "converting the buckets"); n != 1 {
		t.Errorf("%d upgrades, want 1; the log is\n%s", n, text)
	}
	for _, part := range []string{"imctl attach add admin --role admin", "imctl attach add lost --role consumer"} {
		if n := strings.Count(text, part); n != 1 {
			t.Errorf("the log has %q %d times, want 1:\n%s", part, n, text)
		}
	}
	if strings.Contains(text, "attach add kept") || !rebuilt && strings.Contains(text, "attach add a1") {
		t.Errorf("the log has a warning too many:\n%s", text)
	}
}

// checkUpgraded fails unless the kept users are complete and no record of the deleted users exists.
func checkUpgraded(t *testing.T, s *Store, round int, kept, deleted []User) {
	t.Helper()
	ctx := testContext(t)
	for _, want := range kept {
		if u, err := s.Users.ByAccount(ctx, want.Account); err != nil || u != want {
			t.Errorf("round %d: ByAccount = %+v, %v; want %+v", round, u, err, want)
		}
		if found, err := s.Users.Find(ctx, want.Name, 9, ""); err != nil || len(found) != 1 || found[0] != want {
			t.Errorf("round %d: Find = %s, %v", round, names(found), err)
		}
	}
	if n, err := s.Users.Count(ctx); err != nil || n != len(kept) {
		t.Errorf("round %d: Count = %d, %v; want %d", round, n, err, len(kept))
	}
	for _, u := range deleted {
		for call, err := range map[string]error{"Get": second(s.Users.Get(ctx, u.ID)), "ByAccount": second(s.Users.ByAccount(ctx, u.Account))} {
			if !errors.Is(err, ErrUserNotFound) {
				t.Errorf("round %d: %s of %s: %v", round, call, u.Name, err)
			}
		}
		if found, err := s.Users.Find(ctx, u.Name, 9, ""); err != nil || len(found) != 0 {
			t.Errorf("round %d: Find = %s, %v", round, names(found), err)
		}
	}
	if r := mustGet(t, s, kept[0].ID); len(r.Friends) != 1 || r.Friends[0].ID != kept[1].ID || r.Friends[0].Alias != "M" {
		t.Errorf("round %d: the roster is %+v", round, r)
	}
	if found, err := s.Users.Find(ctx, "before", 9, ""); err != nil || len(found) != 0 {
		t.Errorf("round %d: Find of an old name = %s, %v; want none", round, names(found), err)
	}
	checkUsers(t, s)
	checkRosters(t, s)
	all, err := s.Attachments.List(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "kept" {
		t.Errorf("round %d: the attachments are %+v, %v", round, all, err)
	}
	if _, err := s.Attachments.Check(ctx, "kept", "kept"); err != nil {
		t.Errorf("round %d: Check of the kept attachment: %v", round, err)
	}
	if _, err := s.Attachments.Check(ctx, "a1", "a1"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("round %d: Check of a removed attachment: %v, want %v", round, err, ErrAttachmentNotFound)
	}
	if ids, err := s.Nodes.IDs(ctx); err != nil || len(ids) != 1 || ids[0] != "n1" {
		t.Errorf("round %d: the nodes are %q, %v", round, ids, err)
	}
}

// After an interrupted upgrade, the next start upgrades from the beginning.
func TestInterruptedUpgrade(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "A")
	interrupted := errors.New("interrupted")
	pages := 0
	err := s.Users.b.rewrite(ctx, func(context.Context, uint64) error { return nil }, func(_ context.Context, entries []entry) ([]write, error) {
		pages++
		return nil, interrupted
	})
	if !errors.Is(err, interrupted) || pages != 1 {
		t.Fatalf("%d pages, %v; want 1 and %v", pages, err, interrupted)
	}
	for range 2 {
		if _, err := s.States.Update(ctx, func(state *State) error { state.Format = 0; return nil }); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, s.Users.b.nc, Options{})
		if got, err := s.Users.ByAccount(ctx, "a"); err != nil || got != u {
			t.Errorf("ByAccount = %+v, %v; want %+v", got, err, u)
		}
		if all := readBucket(t, s.Users.b); len(all) != 4 {
			t.Errorf("the keys are %q", all)
		}
	}
	if state, err := s.States.Get(ctx); err != nil || state.Format != currentFormat {
		t.Errorf("the state is %+v, %v; want format %d", state, err, currentFormat)
	}
}

// An upgrade ends when its context does. Options.Wait does not bound it.
func TestUpgradeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	u := mustCreate(t, s, "a", "A")
	setOldFormat := func() {
		t.Helper()
		if _, err := s.States.Update(testContext(t), func(state *State) error { state.Format = 0; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	setOldFormat()
	const wait = 5 * time.Second
	atUpgrade := func(do func()) *slog.Logger { return slog.New(onMessage{"converting the buckets", do}) }
	ctx, cancel := context.WithCancel(testContext(t))
	if _, err := Open(ctx, s.Users.b.nc, Options{Wait: wait, Log: atUpgrade(cancel)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open canceled at the beginning of the upgrade: %v, want %v", err, context.Canceled)
	}
	if state, err := s.States.Get(testContext(t)); err != nil || state.Format != 0 {
		t.Errorf("the state after the canceled upgrade is %+v, %v; want format 0", state, err)
	}
	slow := atUpgrade(func() { <-time.After(wait + time.Second) }) // like an upgrade that takes longer than Wait
	s, err := Open(testContext(t), s.Users.b.nc, Options{Wait: wait, Log: slow})
	if err != nil {
		t.Fatal("Open with an upgrade that takes longer than Options.Wait: ", err)
	}
	if got, err := s.Users.ByAccount(testContext(t), "a"); err != nil || got != u {
		t.Errorf("ByAccount = %+v, %v; want %+v", got, err, u)
	}
}

// onMessage is a log handler that calls do at a message with this beginning.
type onMessage struct {
	begin string
	do    func()
}

func (h onMessage) Enabled(context.Context, slog.Level) bool { return true }
func (h onMessage) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h onMessage) WithGroup(string) slog.Handler            { return h }
func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.begin) {
		h.do()
	}
	return nil
}

// Progress is logged once per interval, with counts.
func TestProgress(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := newProgress(slog.New(slog.NewTextHandler(&log, nil)))
	p.begin("moving users", 30)
	p.add(make([]entry, 10))
	if log.Len() > 0 {
		t.Errorf("progress was logged before the interval: %s", log.String())
	}
	p.logged = p.logged.Add(-progressInterval)
	p.add(make([]entry, 10))
	p.add(make([]entry, 10))
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `step="moving users" keys=20 of=30`) {
		t.Errorf("the log is %s", got)
	}
}
