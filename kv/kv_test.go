package kv

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startServer runs a NATS server in this process, without a listener, on dir.
func startServer(t testing.TB, dir string, syncAlways bool) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName:         "test",
		DontListen:         true,
		JetStream:          true,
		StoreDir:           dir,
		SyncAlways:         syncAlways,
		JetStreamMaxStore:  1 << 40, // independent of the free space of the disk
		JetStreamMaxMemory: 1 << 30,
		NoSigs:             true,
		NoLog:              true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

func connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// newBenchStore opens a store on a server of its own, without a log.
func newBenchStore(b *testing.B) *Store {
	return newStore(b, Options{Log: slog.New(slog.DiscardHandler)})
}

// newStore opens a store on a server of its own.
func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	return openStore(t, connect(t, startServer(t, t.TempDir(), false)), o)
}

func openStore(t testing.TB, nc *nats.Conn, o Options) *Store {
	t.Helper()
	if o.Log == nil {
		o.Log = testLog(t)
	}
	s, err := Open(testContext(t), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testContext returns a context that ends before the timeout of the test binary, so that a test that hangs reports
// where.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// mustCreate registers an account.
func mustCreate(t *testing.T, s *Store, account, name string) User {
	t.Helper()
	u, err := s.Users.Create(testContext(t), User{
		Account:      account,
		PasswordHash: "$argon2id$secret",
		Mail:         account + "@example.org",
		Profile:      Profile{Name: name},
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// seedUser writes a user's record, claim and name without a batch, which takes too long for many users.
func seedUser(t testing.TB, s *Store, u User) {
	t.Helper()
	record, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	if u.Name != "" {
		if _, err := s.Users.b.write(testContext(t), putAt(nameKey(FoldAccount(u.Name), u.ID, 0), nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Users.b.write(testContext(t), putAt(accountKey(FoldAccount(u.Account)), []byte(u.ID), 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.b.write(testContext(t), put(userKey(u.ID), record)); err != nil {
		t.Fatal(err)
	}
}

// atOnce runs n calls concurrently and returns their errors. All begin when the last one is ready.
func atOnce(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = call(i)
		})
	}
	done.Wait()
	return errs
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := testContext(t); ; {
		if holds() {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("timeout: %s", what)
		}
	}
}

// names returns the names of users, separated by commas.
func names(users []User) string {
	var all []string
	for _, u := range users {
		all = append(all, u.Name)
	}
	return strings.Join(all, ",")
}
