package bridge

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
)

// TestPresenceInTheLog checks the entries about users with sessions on two nodes: one when the first session begins, one
// when the last one ends, and the right one last if sessions begin and end on both nodes at once. A lost node has an
// entry of its own.
func TestPresenceInTheLog(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	patient := func(o *Options) { o.Dialogues.Timeout = time.Minute } // an entry that is not stored in time is lost
	here, there := startNode(t, url, patient), startNode(t, url, patient)
	entries := consumer(t, url, "presence", "im.log.presence.>")
	for _, n := range []*node{here, there} {
		if err := n.events.Attach(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	next := func() string {
		t.Helper()
		m, err := entries.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err == nil {
			err = m.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(m.Subject(), "im.log.presence.")
	}
	want := func(entry string) {
		t.Helper()
		if got := next(); got != entry {
			t.Fatalf("the next entry is %s, want %s", got, entry)
		}
	}
	end := func(s *session) { // as a client whose connection breaks
		if err := s.ws.Close(); err != nil {
			t.Error(err)
		}
	}
	all := here.users(t, "u", 8)
	u := all[0]
	first, second, third := here.login(t, u), there.login(t, u), here.login(t, u)
	want("online." + u.ID)
	end(first)
	end(third)
	wait(t, "one node has the user", func() bool { return here.lanes.User(u.ID) == nil })
	end(second)
	want("offline." + u.ID)

	// All users begin, change nodes and end at once.
	var wg sync.WaitGroup
	for _, u := range all[1:] {
		for _, nodes := range [][]*node{{here, there}, {there, here}} {
			wg.Go(func() {
				for range 3 {
					old := nodes[0].login(t, u)
					young := nodes[1].login(t, u)
					end(old)
					end(young)
				}
			})
		}
	}
	wg.Wait()
	wait(t, "no user is online", func() bool { return here.lanes.Len()+there.lanes.Len() == 0 })
	stay := here.login(t, u)
	defer end(stay)
	last, count := make(map[string]string), 0
	ended := func() bool {
		return len(last) == len(all)-1 && !slices.Contains(slices.Collect(maps.Values(last)), "online")
	}
	for seen := false; !seen || !ended(); count++ {
		what, id, _ := strings.Cut(next(), ".")
		if id == u.ID { // after it only what two nodes had to look at again
			seen = true
			continue
		}
		last[id] = what
	}
	t.Logf("%d entries of %d users with 12 sessions each", count, len(last))

	if err := here.services.Cluster.Ended(t.Context(), there.node.ID); err != nil {
		t.Fatal(err)
	}
	for lost := false; !lost || !ended(); { // an entry that is stored too late is followed by another one
		what, id, _ := strings.Cut(next(), ".")
		lost = lost || what == "unknown" && id == there.node.ID
		if what != "unknown" && id != u.ID {
			last[id] = what
		}
	}
}
