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
)

// oldStore writes as the versions of format 0 did: it overwrites, purges, and lets delete markers expire.
type oldStore struct {
	t  *testing.T
	js jetstream.JetStream
}

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

func (o oldStore) marker(subject string, ttl time.Duration) {
	o.t.Helper()
	o.put(subject, nil, headerOperation, operationDelete, jetstream.MsgTTLHeader, ttl.String())
}

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

// create and remove are a user's registration and deletion of old.
func (o oldStore) create(u User, friends ...Friend) {
	o.t.Helper()
	o.put("users."+accountKey(FoldAccount(u.Account)), u.ID)
	o.put("users."+nameKey(FoldAccount(u.Name), u.ID, 0), nil)
	o.put("users."+userKey(u.ID), u)
	o.put("friendships."+u.ID, Roster{Friends: friends})
}

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

// An upgrade of buckets that were written without rules: deleted records are gone and stay gone, whether they came back
// before the upgrade or would come back after it. All other records are unchanged.
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
	s := openStore(t, nc, Options{}) // for its streams
	ctx := testContext(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	old := oldStore{t, js}
	john, mary, renamed, gone, half := oldUser("John"), oldUser("Mary"), oldUser("Before"), oldUser("Gone"), oldUser("Half")
	since := now()
	old.create(john, Friend{ID: mary.ID, Alias: "M", Since: since}, Friend{ID: gone.ID, Since: since})
	old.create(mary, Friend{ID: john.ID, Since: since})
	old.create(renamed)
	old.put("users."+nameKey("before", renamed.ID, 0), nil)
	renamed.Name = "After"
	old.marker("users."+nameKey("before", renamed.ID, 0), time.Second)
	old.put("users."+nameKey("after", renamed.ID, 0), nil)
	old.put("users."+userKey(renamed.ID), renamed)
	// If the index is rebuilt before the upgrade, only incomplete records can be recognized as deleted.
	old.create(gone, Friend{ID: john.ID, Since: since})
	old.remove(gone, map[bool]time.Duration{false: time.Second, true: time.Hour}[rebuilt])
	old.create(half)
	old.remove(half, time.Second)
	old.marker("users."+accountKey(FoldAccount(half.Account)), time.Hour)
	if !rebuilt {
		old.marker("users."+accountKey(FoldAccount(half.Account)), time.Second)
	}
	old.put("friendships."+john.ID, Roster{Friends: []Friend{{ID: mary.ID, Alias: "M", Since: since}, {ID: half.ID, Since: since}}})
	attach := func(a Attachment, hash string) {
		old.put("users."+attachmentKey(a.Name), map[string]any{"name": a.Name, "role": a.Role, "created": since, "secret_hash": hash})
	}
	attach(Attachment{Name: "a1", Role: RoleAdmin}, hashSecret("a1"))
	attach(Attachment{Name: "a1", Role: RoleAdmin}, "")
	old.purge("users", attachmentKey("a1"))
	attach(Attachment{Name: "stays", Role: RoleConsumer}, hashSecret("stays"))
	attach(Attachment{Name: "gone", Role: RoleConsumer}, hashSecret("gone"))
	attach(Attachment{Name: "admin", Role: RoleAdmin}, hashSecret("admin"))
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: LogStream("im"), Subjects: []string{"im.log.>"}})
	if err == nil {
		_, err = js.CreateConsumer(ctx, LogStream("im"), jetstream.ConsumerConfig{Durable: "stays"})
	}
	if err != nil {
		t.Fatal(err)
	}
	old.put("users.node.n1", Node{ID: "n1", Host: "host", Started: since})
	old.put("users."+resetKey(john.ID), resetRecord{Hash: "h", Expires: since.Add(time.Hour), Tries: 1}, jetstream.MsgTTLHeader, "1h")
	token, err := s.Tokens.Issue(ctx, john.ID, "session")
	if err != nil {
		t.Fatal(err)
	}
	lost, err := s.Tokens.Issue(ctx, half.ID, "session")
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

	var said bytes.Buffer
	for round := range 3 {
		if round > 0 || rebuilt {
			stopServer(srv)
			removeIndexes(t, dir)
			srv = startServer(t, dir, false)
			nc = connect(t, srv)
		}
		s = openStore(t, nc, Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
		checkUpgraded(t, s, round, []User{john, mary, renamed}, []User{gone, half})
		if err := s.Tokens.Check(ctx, john.ID, token); err != nil {
			t.Errorf("round %d: token: %v", round, err)
		}
		if err := s.Tokens.Check(ctx, half.ID, lost); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("round %d: the token of a deleted user: %v", round, err)
		}
		if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
			t.Errorf("round %d: a sweep finds %+v, %v", round, f, err)
		}
	}
	text := said.String()
	if n := strings.Count(text, "converting the buckets"); n != 1 {
		t.Errorf("upgraded %d times:\n%s", n, text)
	}
	for _, part := range []string{"imctl attach add admin --role admin", "imctl attach add gone --role consumer"} {
		if n := strings.Count(text, part); n != 1 {
			t.Errorf("said %d times: %s\n%s", n, part, text)
		}
	}
	if strings.Contains(text, "attach add stays") || !rebuilt && strings.Contains(text, "attach add a1") {
		t.Errorf("said too much:\n%s", text)
	}
}

// checkUpgraded fails unless the remaining users are complete and the deleted users have left nothing.
func checkUpgraded(t *testing.T, s *Store, round int, stay, gone []User) {
	t.Helper()
	ctx := testContext(t)
	for _, want := range stay {
		if u, err := s.Users.ByAccount(ctx, want.Account); err != nil || u != want {
			t.Errorf("round %d: %+v, %v", round, u, err)
		}
		if found, err := s.Users.Find(ctx, want.Name, 9, ""); err != nil || len(found) != 1 || found[0] != want {
			t.Errorf("round %d: found %s, %v", round, names(found), err)
		}
	}
	if n, err := s.Users.Count(ctx); err != nil || n != len(stay) {
		t.Errorf("round %d: %d users, %v", round, n, err)
	}
	for _, u := range gone {
		for call, err := range map[string]error{"Get": second(s.Users.Get(ctx, u.ID)), "ByAccount": second(s.Users.ByAccount(ctx, u.Account))} {
			if !errors.Is(err, ErrUserNotFound) {
				t.Errorf("round %d: %s of %s: %v", round, call, u.Name, err)
			}
		}
		if found, err := s.Users.Find(ctx, u.Name, 9, ""); err != nil || len(found) != 0 {
			t.Errorf("round %d: found %s, %v", round, names(found), err)
		}
	}
	if r := mustGet(t, s, stay[0].ID); len(r.Friends) != 1 || r.Friends[0].ID != stay[1].ID || r.Friends[0].Alias != "M" {
		t.Errorf("round %d: the roster is %+v", round, r)
	}
	if found, err := s.Users.Find(ctx, "before", 9, ""); err != nil || len(found) != 0 {
		t.Errorf("round %d: an old name finds %s, %v", round, names(found), err)
	}
	checkUsers(t, s)
	checkRosters(t, s)
	all, err := s.Attachments.List(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "stays" {
		t.Errorf("round %d: the attachments are %+v, %v", round, all, err)
	}
	if _, err := s.Attachments.Check(ctx, "stays", "stays"); err != nil {
		t.Errorf("round %d: the attachment that stays: %v", round, err)
	}
	if _, err := s.Attachments.Check(ctx, "a1", "a1"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("round %d: an attachment that was removed: %v", round, err)
	}
	if ids, err := s.Nodes.IDs(ctx); err != nil || len(ids) != 1 || ids[0] != "n1" {
		t.Errorf("round %d: the nodes are %q, %v", round, ids, err)
	}
}

// An upgrade that is cut off begins anew.
func TestUpgradeCutOff(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "A")
	cut := errors.New("cut off")
	parts := 0
	err := s.Users.b.rewrite(ctx, func(context.Context, uint64) error { return nil }, func(_ context.Context, entries []entry) ([]write, error) {
		parts++
		return nil, cut
	})
	if !errors.Is(err, cut) || parts != 1 {
		t.Fatalf("%d parts, %v", parts, err)
	}
	for range 2 {
		if _, err := s.States.Update(ctx, func(state *State) error { state.Format = 0; return nil }); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, s.Users.b.nc, Options{})
		if got, err := s.Users.ByAccount(ctx, "a"); err != nil || got != u {
			t.Errorf("%+v, %v", got, err)
		}
		if all := everything(t, s.Users.b); len(all) != 3 {
			t.Errorf("the keys are %q", all)
		}
	}
	if state, err := s.States.Get(ctx); err != nil || state.Format != currentFormat {
		t.Errorf("%+v, %v", state, err)
	}
}
