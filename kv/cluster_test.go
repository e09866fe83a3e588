package kv

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// startCluster runs a cluster of three servers in this process, on ports that the system selects.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var servers []*server.Server
	// A server derives the size of the cluster from the number of its routes, so each has two. A route to a server
	// that has no address yet points to port 1, where no server listens. The other server connects this route later.
	unused := &url.URL{Scheme: "nats-route", Host: "127.0.0.1:1"}
	routes := []*url.URL{unused, unused}
	for i := range 3 {
		s, err := server.NewServer(&server.Options{
			ServerName:         fmt.Sprint("n", i),
			Host:               "127.0.0.1",
			Port:               server.RANDOM_PORT,
			Cluster:            server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT},
			Routes:             routes[len(routes)-2:],
			JetStream:          true,
			StoreDir:           t.TempDir(),
			JetStreamMaxStore:  1 << 40,
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
			t.Fatal("a NATS server did not start")
		}
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: s.ClusterAddr().String()})
		servers = append(servers, s)
	}
	return servers
}

// With replicas a conflict has another code, batches are committed in another way, and the nearest replica may lag. The
// stores give the same guarantees.
func TestCluster(t *testing.T) {
	t.Parallel()
	var stores []*Store
	ctx := testContext(t)
	servers := startCluster(t)
	for _, s := range servers {
		// The cluster may have no leader yet: Open must wait for it.
		stores = append(stores, openStore(t, connect(t, s), Options{Replicas: 3, Talks: &TalksOptions{}}))
	}

	users := make([]User, 24)
	winner := -1
	for i, err := range atOnce(len(users), func(i int) (err error) {
		users[i], err = stores[i%3].Users.Create(ctx, User{Account: "wanted", Profile: Profile{Name: "x"}})
		return err
	}) {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Error("a second registration succeeded")
		case !errors.Is(err, ErrAccountExists):
			t.Errorf("registration %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("no registration succeeded")
	}
	for i, s := range stores {
		if got, err := s.Users.ByAccount(ctx, "WANTED"); err != nil || got != users[winner] {
			t.Errorf("node %d: ByAccount = %v, %v", i, got, err)
		}
		if n, err := s.Users.Count(ctx); n != 1 || err != nil {
			t.Errorf("node %d: Count = %d, %v", i, n, err)
		}
	}

	// When a call on one node has returned, the other nodes must see its change.
	for i := range 12 {
		here, there := stores[i%3], stores[(i+1)%3]
		u := mustCreate(t, here, fmt.Sprint("account", i), "y")
		if got, err := there.Users.ByAccount(ctx, u.Account); err != nil || got != u {
			t.Errorf("ByAccount on the other node = %v, %v; want %v", got, err, u)
		}
		token, err := here.Tokens.Issue(ctx, u.ID, "", Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if err := there.Tokens.Check(ctx, u.ID, token); err != nil {
			t.Errorf("Check on the other node: %v", err)
		}
	}
	testRequestsAcrossNodes(t, stores)
	testTalksAcrossNodes(t, stores)

	js, err := jetstream.New(connect(t, servers[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"KV_im_users", "KV_im_tokens", "KV_im_friendships", "IM_TALKS"} {
		if c := streamConfig(t, js, name); c.Replicas != 3 {
			t.Errorf("%s has %d replicas", name, c.Replicas)
		}
	}
}

func testRequestsAcrossNodes(t *testing.T, stores []*Store) {
	t.Helper()
	ctx := testContext(t)
	popular, ids := NewID(), make([]string, 12)
	for i := range ids {
		ids[i] = NewID()
	}
	for i, err := range atOnce(len(ids), func(i int) error {
		_, err := stores[i%3].Rosters.Request(ctx, ids[i], popular, "")
		return err
	}) {
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	for i, err := range atOnce(len(ids), func(i int) error {
		var err error
		if i%2 == 0 {
			_, err = stores[i%3].Rosters.Add(ctx, popular, ids[i], "X")
		} else if _, err = stores[i%3].Rosters.Remove(ctx, ids[i], popular); errors.Is(err, ErrNotFriends) {
			err = nil
		}
		return err
	}) {
		if err != nil {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	for i, id := range ids {
		want := named("X", unnamed)
		if i%2 == 1 {
			want = between{}
		}
		if got := relation(t, stores[(i+1)%3], popular, id); got != want {
			t.Errorf("request %d leads to %+v, want %+v", i, got, want)
		}
	}
}

// Records that one node has stored are read by the others at once, and cursors of several nodes merge.
func testTalksAcrossNodes(t *testing.T, stores []*Store) {
	t.Helper()
	ctx := testContext(t)
	head := EmptyRecord(testPair, 0)
	for i := range 30 {
		head = say(t, stores[i%3].Talks, head, dialogueAt(int64(i), testPair.A, `"x"`))
		there := stores[(i+1)%3]
		last, err := there.Talks.LastOf(ctx, []Pair{pairAt(1), testPair})
		if err != nil || len(last) != 1 || last[testPair].Seq != head.Seq {
			t.Fatalf("LastOf on the other node: %+v, %v, want sequence %d", last, err, head.Seq)
		}
		page, err := there.Talks.Read(ctx, testPair, testPair.B, Range{Limit: 50})
		if err != nil || len(page.Dialogues) != i+1 || page.First != 1 {
			t.Fatalf("Read on the other node: %+v, %v, want %d dialogues", page, err, i+1)
		}
		if err := stores[(i+2)%3].Cursors.Advance(ctx, testPair.B, []Cursor{{With: testPair.A, Got: uint64(i + 1)}}); err != nil {
			t.Fatal(err)
		}
		if cursors, err := there.Cursors.Get(ctx, testPair.B); err != nil || cursors[testPair.A].Got != uint64(i+1) {
			t.Errorf("cursors on the other node: %+v, %v", cursors, err)
		}
	}
	errs := atOnce(3, func(i int) error {
		return stores[i].Talks.publish(ctx, head.Next(uint64(i), []Dialogue{dialogueAt(2, testPair.B, `"y"`)}))
	})
	if n := len(slices.DeleteFunc(errs, func(err error) bool { return Conflicting(err) })); n != 1 {
		t.Errorf("%d of three concurrent writers succeed: %v", n, errs)
	}
	if err := stores[0].Talks.Erase(ctx, testPair); err != nil {
		t.Fatal(err)
	}
	for i, s := range stores {
		if page, err := s.Talks.Read(ctx, testPair, testPair.B, Range{Limit: 50}); err != nil || page.Last != 0 {
			t.Errorf("node %d: an erased conversation: %+v, %v", i, page, err)
		}
	}
	if err := stores[1].Talks.EraseUser(ctx, testPair.A); err != nil {
		t.Fatal(err)
	}
}
