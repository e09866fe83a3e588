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
		JetStreamMaxStore:  1 << 40, // a limit that depends on the machine's free disk would be no test
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

// newStore opens a store on a server of its own.
func newBenchStore(b *testing.B) *Store {
	return newStore(b, Options{Log: slog.New(slog.DiscardHandler)})
}

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

// testContext ends before the test binary's own limit would, so that a test which hangs says where.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

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

// seedUser writes a user's record, claim and name without a batch: where a test needs many, batches
// take too long.
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

// atOnce runs n calls that all begin when the last of them is ready, and returns their errors.
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

// eventually waits for a condition that the server brings about by itself.
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
			t.Fatalf("never happened: %s", what)
		}
	}
}

func names(users []User) string {
	var all []string
	for _, u := range users {
		all = append(all, u.Name)
	}
	return strings.Join(all, ",")
}
