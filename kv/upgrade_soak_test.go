//go:build soak

package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestUpgradeHuge measures a sweep and an upgrade of many accounts: 20,000 and 100,000, or the numbers in
// SOAK_ACCOUNTS, separated by commas. If SOAK_PROFILE is set to a directory, it writes a CPU profile of each
// measurement to it.
func TestUpgradeHuge(t *testing.T) {
	sizes := []int{20_000, 100_000}
	if list := os.Getenv("SOAK_ACCOUNTS"); list != "" {
		sizes = nil
		for _, text := range strings.Split(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 1_000_000 {
				t.Fatalf("SOAK_ACCOUNTS: %q must have numbers from 1 to 1000000", text)
			}
			sizes = append(sizes, n)
		}
	}
	for _, n := range sizes {
		for _, unknown := range []int{0, n} {
			t.Run(fmt.Sprintf("%d accounts/%d unknown", n, unknown), func(t *testing.T) { upgradeHuge(t, n, unknown) })
		}
	}
}

// upgradeHuge measures n accounts with 20 friends each. unknown is the number of friends that do not exist, each in
// one roster.
func upgradeHuge(t *testing.T, n, unknown int) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	o := Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s := openStore(t, nc, o)
	createHuge(ctx, t, nc, n, unknown)
	if _, err := s.States.Update(ctx, func(state *State) error { state.Format = 0; return nil }); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want Findings) {
		var got Findings
		measure(t, fmt.Sprint(n, " accounts, sweep ", when, " the upgrade"), func() (err error) {
			got, err = s.Sweep(ctx, true)
			return err
		})
		if got != want {
			t.Errorf("%s the upgrade: %+v, want %+v", when, got, want)
		}
	}
	check("before", Findings{Friends: unknown})
	measure(t, fmt.Sprint(n, " accounts, upgrade"), func() (err error) {
		s, err = Open(ctx, nc, o)
		return err
	})
	check("after", Findings{})
	for name, want := range map[string]uint64{"KV_im_users": uint64(3 * n), "KV_im_friendships": uint64(n)} {
		stream, err := s.Users.b.js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.Msgs; got != want {
			t.Errorf("%s has %d messages, want %d", name, got, want)
		}
	}
}

// createHuge creates the accounts. It writes every fourth record and roster twice, like a server over time.
func createHuge(ctx context.Context, t *testing.T, nc *nats.Conn, n, unknown int) {
	t.Helper()
	start := time.Now()
	bulk, err := NewBulk(ctx, nc, "im")
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = NewID()
	}
	user := func(i int) User {
		return User{ID: ids[i], Account: fmt.Sprint("Account ", i), PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + ids[i] + ids[i][:11],
			Mail: fmt.Sprint(i, "@example.org"), Profile: Profile{Name: fmt.Sprint("Name ", i)}, Created: start.UTC()}
	}
	roster := func(i int) (r Roster) {
		for j := range min(20, n-1) {
			r.Friends = append(r.Friends, Friend{ID: ids[(i+j+1)%n], Since: start.UTC()})
		}
		if i < unknown {
			r.Friends = append(r.Friends, Friend{ID: NewID(), Since: start.UTC()})
		}
		return r
	}
	err = bulk.Create(ctx, func(yield func(Member) bool) {
		for i := range n {
			if !yield(Member{user(i), roster(i)}) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rewrite := range []struct {
		b      *bucket
		record func(i int) (string, any)
	}{
		{bulk.users, func(i int) (string, any) { return userKey(ids[i]), user(i) }},
		{bulk.rosters, func(i int) (string, any) { return ids[i], roster(i) }},
	} {
		var writes []write
		for i := 0; i < n; i += 4 {
			key, record := rewrite.record(i)
			value, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			writes = append(writes, put(key, value))
		}
		for chunk := range slices.Chunk(writes, bulkBatch) {
			if _, err := rewrite.b.write(ctx, chunk...); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d accounts created in %s", n, time.Since(start).Round(time.Millisecond))
}

// measure logs the duration of a call.
func measure(t *testing.T, what string, call func() error) {
	t.Helper()
	if dir := os.Getenv("SOAK_PROFILE"); dir != "" {
		f, err := os.Create(dir + "/" + strings.NewReplacer(" ", "-", ",", "").Replace(what) + ".pprof")
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { pprof.StopCPUProfile(); f.Close() }()
	}
	start := time.Now()
	if err := call(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s: %s", what, time.Since(start).Round(time.Millisecond))
}
