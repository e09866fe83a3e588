package kv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func streamConfig(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

func TestOpenCreatesTheBuckets(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	openStore(t, nc, Options{Prefix: "x", TokenTTL: time.Hour})
	for name, records := range map[string]bool{"KV_x_users": true, "KV_x_friendships": true, "KV_x_tokens": false} {
		c := streamConfig(t, js, name)
		if c.AllowAtomicPublish != records || c.AllowMsgTTL != records {
			t.Errorf("%s: AllowAtomicPublish %t, AllowMsgTTL %t", name, c.AllowAtomicPublish, c.AllowMsgTTL)
		}
		if (c.PersistMode == jetstream.AsyncPersistMode) == records || (c.MaxAge == time.Hour) == records {
			t.Errorf("%s: PersistMode %v, MaxAge %v", name, c.PersistMode, c.MaxAge)
		}
		if !c.AllowDirect || !c.DenyDelete || !c.AllowRollup || c.MaxMsgsPerSubject != 1 ||
			c.Discard != jetstream.DiscardNew || c.Compression != jetstream.NoCompression || c.Storage != jetstream.FileStorage {
			t.Errorf("%s is %+v", name, c)
		}
	}
}

// Opening again keeps the operator's settings, and applies another time to live of tokens.
func TestOpenAgain(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, nc, Options{})
	u := mustCreate(t, s, "a", "a")
	added := streamConfig(t, js, "KV_im_users")
	added.Description, added.MaxBytes = "operator", 1<<30
	if _, err := js.UpdateStream(testContext(t), added); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, nc, Options{TokenTTL: time.Minute})
	if got, err := s.Users.Get(testContext(t), u.ID); err != nil || got != u {
		t.Errorf("Get after opening again = %v, %v; want %v", got, err, u)
	}
	if c := streamConfig(t, js, "KV_im_users"); c.Description != "operator" || c.MaxBytes != 1<<30 {
		t.Errorf("the operator's settings are now %q and %d", c.Description, c.MaxBytes)
	}
	if c := streamConfig(t, js, "KV_im_tokens"); c.MaxAge != time.Minute || c.Duplicates > time.Minute {
		t.Errorf("MaxAge of tokens is %v", c.MaxAge)
	}
	openStore(t, nc, Options{})
	if c := streamConfig(t, js, "KV_im_tokens"); c.MaxAge != 24*time.Hour {
		t.Errorf("MaxAge of tokens is %v", c.MaxAge)
	}
}

func TestOpenUpdatesAStream(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// The client's key-value API creates buckets without batches, and here with compression.
	for _, bucket := range []string{"im_users", "im_tokens", "im_friendships"} {
		_, err := js.CreateKeyValue(testContext(t), jetstream.KeyValueConfig{Bucket: bucket, Compression: true, History: 5})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, nc, Options{})
	c := streamConfig(t, js, "KV_im_users")
	if !c.AllowAtomicPublish || !c.AllowMsgTTL || c.MaxMsgsPerSubject != 1 || c.Compression != jetstream.NoCompression {
		t.Errorf("the stream is %+v", c)
	}
	if c := streamConfig(t, js, "KV_im_tokens"); c.MaxAge != 24*time.Hour {
		t.Errorf("MaxAge of tokens is %v", c.MaxAge)
	}
	u := mustCreate(t, s, "a", "a")
	if err := s.Users.Delete(testContext(t), u.ID); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesAMismatch(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func(*jetstream.StreamConfig){
		"subjects":     func(c *jetstream.StreamConfig) { c.Subjects = []string{"other.>"} },
		"Memory":       func(c *jetstream.StreamConfig) { c.Storage, c.PersistMode = jetstream.MemoryStorage, 0 },
		"retention":    func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"acknowledge":  func(c *jetstream.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false },
		"sealed":       func(c *jetstream.StreamConfig) { c.Sealed = true },
		"purges":       func(c *jetstream.StreamConfig) { c.DenyPurge, c.AllowRollup = true, false },
		"copies":       func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "S"}} },
		"asynchronous": func(c *jetstream.StreamConfig) { c.AllowAtomicPublish, c.PersistMode = false, 1 },
	} {
		prefix := "p_" + why
		cfg := recordsConfig(prefix+"_users", Options{}.withDefaults())
		change(&cfg)
		sealed := cfg.Sealed
		cfg.Sealed = false
		made, err := js.CreateStream(testContext(t), cfg)
		if err == nil && sealed { // only an update can seal a stream
			cfg = made.CachedInfo().Config
			cfg.Sealed = true
			_, err = js.UpdateStream(testContext(t), cfg)
		}
		if err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		before := streamConfig(t, js, cfg.Name)
		_, err = Open(testContext(t), nc, Options{Prefix: prefix})
		if !errors.Is(err, ErrStreamMismatch) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), cfg.Name) {
			t.Errorf("%s: %v, want %v", why, err, ErrStreamMismatch)
		}
		if after := streamConfig(t, js, cfg.Name); after.Retention != before.Retention || after.AllowRollup != before.AllowRollup {
			t.Errorf("%s: the stream was changed", why)
		}
	}
}

func TestOpenRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	for _, o := range []Options{{Prefix: "a.b"}, {Prefix: "a*"}, {Prefix: "a b"}, {TokenTTL: time.Millisecond}, {TokenTTL: -1}} {
		if _, err := Open(testContext(t), nc, o); err == nil {
			t.Errorf("Open accepted %+v", o)
		}
	}
}

func TestOpenWithoutJetStream(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	_, err = Open(testContext(t), connect(t, s), Options{})
	if !errors.Is(err, ErrNoJetStream) {
		t.Errorf("Open: %v, want %v", err, ErrNoJetStream)
	}
}

func TestOpenOfManyNodesAtOnce(t *testing.T) {
	t.Parallel()
	srv := startServer(t, t.TempDir(), false)
	ctx := testContext(t)
	for i, err := range atOnce(4, func(int) error {
		_, err := Open(ctx, connect(t, srv), Options{})
		return err
	}) {
		if err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, nc, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}

// All acknowledged changes are stored after a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startServer(t, dir, true)
	s := openStore(t, connect(t, srv), Options{})
	ctx := testContext(t)
	a, b := mustCreate(t, s, "a", "Al"), mustCreate(t, s, "b", "Bo")
	if _, err := s.Rosters.Befriend(ctx, a.ID, b.ID); err != nil {
		t.Fatal(err)
	}
	token, err := s.Tokens.Issue(ctx, a.ID, "", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	srv.WaitForShutdown()

	s = openStore(t, connect(t, startServer(t, dir, true)), Options{})
	if got, err := s.Users.ByAccount(ctx, "a"); err != nil || got != a {
		t.Errorf("ByAccount = %v, %v", got, err)
	}
	if found, err := s.Users.Find(ctx, "b", 50, ""); err != nil || len(found) != 1 || found[0] != b {
		t.Errorf("Find = %v, %v", found, err)
	}
	if got := relation(t, s, a.ID, b.ID); got != named(unnamed, unnamed) {
		t.Errorf("the state of the friends is %+v", got)
	}
	if err := s.Tokens.Check(ctx, a.ID, token); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// A server without atomic batches is recognized by its API level.
func TestOpenOnAnOldServer(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	nc := connect(t, s)
	if _, err := nc.Subscribe("$JS.API.INFO", func(m *nats.Msg) {
		if err := m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.account_info_response","api":{"level":1}}`)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testContext(t), nc, Options{}); !errors.Is(err, ErrServerTooOld) || !strings.Contains(err.Error(), "2.12") {
		t.Errorf("Open: %v, want %v", err, ErrServerTooOld)
	}
}
