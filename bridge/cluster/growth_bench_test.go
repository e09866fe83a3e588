//go:build unix

package cluster

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// BenchmarkNodes simulates the commands between N nodes on one NATS server, all in this process. "broadcast" is a change
// that one node tells all others, with the read of the list. "ask" is what a login asks them. "heartbeats" is one second of
// the whole cluster: each node pings each other one. cpu-ms/op counts all nodes, and the server.
func BenchmarkNodes(b *testing.B) {
	for _, n := range []int{3, 10, 20} {
		url := natstest.Start(b, b.TempDir(), -1).ClientURL()
		nodes := startNodes(b, url, n)
		b.Run(fmt.Sprint("broadcast/", n), func(b *testing.B) {
			measure(b, func() error {
				return nodes[0].Broadcast(b.Context(), RosterChanged{User: "u", Other: "v", Revision: 1})
			})
		})
		for _, c := range nodes { // ask uses the cached list as in a cluster
			c.clustered.Store(true)
		}
		b.Run(fmt.Sprint("ask/", n), func(b *testing.B) {
			measure(b, func() error { _, err := nodes[0].Sessions(b.Context(), ListSessions{User: "u"}); return err })
		})
		b.Run(fmt.Sprint("heartbeats/", n), func(b *testing.B) {
			measure(b, func() error {
				for _, c := range nodes {
					c.beat(b.Context())
				}
				return nil
			})
		})
	}
}

// startNodes starts n nodes that know each other.
func startNodes(b *testing.B, url string, n int) (all []*node) {
	b.Helper()
	store, err := kv.Open(b.Context(), natstest.Connect(b, url), kv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		nc := natstest.Connect(b, url)
		c := &node{Cluster: New(nc, store.Nodes, "im", slog.New(slog.DiscardHandler)), nc: nc}
		if err := c.Join(b.Context(), kv.Node{ID: fmt.Sprint("n", i), Started: time.Now().UTC()}, quiet{c}); err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if ids, protocol := c.View(); len(ids) != n || protocol != Protocol {
			b.Fatalf("%s knows %v, protocol %d", c.id(), slices.Sorted(slices.Values(ids)), protocol)
		}
	}
	return all
}

// quiet is a node that does not remember commands.
type quiet struct{ *node }

func (quiet) RosterChanged(RosterChanged)         {}
func (quiet) ListSessions(ListSessions) []Session { return nil }

// measure reports the time and the processor time of this process for each call.
func measure(b *testing.B, do func() error) {
	runtime.GC()
	began := processorTime(b)
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((processorTime(b)-began).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
