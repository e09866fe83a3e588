package cmd

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/governor"
)

// TestProgramsAtWork: with the default limits, programs that have a lot to do are as fast as docs/consumers.md and
// docs/gateway.md say. A program that is refused waits as long as it is told.
func TestProgramsAtWork(t *testing.T) {
	t.Parallel()
	const users, page, id = 100_000, 100, 35
	synctest.Test(t, func(t *testing.T) {
		g := governor.New(limitsOf(Defaults()), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		defer g.Close()
		// within makes calls that count as cost each, and checks how long that takes.
		within := func(what string, most time.Duration, n, cost int, allow func(cost int) error) {
			t.Helper()
			began := time.Now()
			for range n {
				var limited *governor.LimitedError
				for errors.As(allow(cost), &limited) {
					time.Sleep(limited.RetryAfter)
				}
			}
			if took := time.Since(began); took > most {
				t.Errorf("%s: %v, want %v at most", what, took, most)
			}
		}
		program := func(name string) func(int) error {
			return func(cost int) error { return g.AllowProgramCall(name, cost) }
		}
		within("all users", 0, users/page, 10, program("reader"))
		within("then who is online", 0, users/page, governor.CostOfIDs(page*id+8), program("reader"))
		within("then the friends of each", 4*time.Minute, users, 1, program("reader"))

		// A gateway of 1,000 users starts, and then has each of them look for what it missed and acknowledge it.
		const spokenFor = 1000
		gateway := func(cost int) error { return g.AllowGatewayCall("matrix", cost) }
		within("open", 0, 1, 100, gateway)
		within("list the users", 0, 1, 100, gateway)
		within("register them anew", 0, spokenFor, 1, gateway)
		within("bring them online", 0, 1, governor.CostOfIDs(spokenFor*id+10), gateway)
		within("catch up", 0, 3*spokenFor, 1, gateway)
		// Each user then calls twenty times a minute, and the lease is renewed, for an hour.
		for range 60 {
			within("a minute", 0, 20*spokenFor, 1, gateway)
			within("the lease of a minute", 0, 12, governor.CostOfIDs(2), gateway)
			time.Sleep(time.Minute)
		}
	})
}
