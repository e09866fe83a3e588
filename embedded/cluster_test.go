package embedded

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// freeAddresses returns n free addresses.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses[i] = l.Addr().String()
	}
	return addresses
}

// node returns the options of the i-th node of a cluster with its data in a folder of base.
func node(t *testing.T, base string, routes []string, i int) Options {
	t.Helper()
	name := "n" + string(rune('1'+i))
	return Options{Dir: openDir(t, filepath.Join(base, name)), Sync: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Cluster: &Cluster{Name: "c", Node: name, Listen: routes[i], Routes: routes, Secret: strings.Repeat("secret", 6)}}
}

// startNodes starts nodes at once, since each waits for the others, and stops them at the end of the test.
func startNodes(t *testing.T, all ...Options) []*Server {
	t.Helper()
	servers, failed := make([]*Server, len(all)), make(chan error, len(all))
	for i, o := range all {
		go func() {
			var err error
			servers[i], err = Start(t.Context(), o)
			failed <- err
		}()
	}
	for range all {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range servers {
		t.Cleanup(func() { shutdown(t, s) })
	}
	return servers
}

// replicated returns a bucket with three replicas.
func replicated(t *testing.T, s *Server) jetstream.KeyValue {
	t.Helper()
	kv, err := jetStream(t, s).CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// TestClusterReplaced checks that what one node stores is on all, that a node stops without a pause, and that a node with
// an empty directory under its old name gets all data.
func TestClusterReplaced(t *testing.T) {
	t.Parallel()
	routes, base := freeAddresses(t, 3), t.TempDir()
	nodes := startNodes(t, node(t, base, routes, 0), node(t, base, routes, 1), node(t, base, routes, 2))
	put(t, replicated(t, nodes[0]), "key", []byte("one"))
	for _, s := range nodes {
		want(t, replicated(t, s), "key", []byte("one"))
		if err := s.Healthy(); err != nil {
			t.Errorf("%s: %v", s.config.name, err)
		}
	}
	if bytes.Equal(publicKey(t, nodes[0]), nil) || !bytes.Equal(publicKey(t, nodes[0]), publicKey(t, nodes[1])) {
		t.Error("two nodes have different keys for the callout")
	}

	kv := replicated(t, nodes[0])
	shutdown(t, nodes[2])
	put(t, kv, "key", []byte("two"))
	if err := nodes[2].dir.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(nodes[2].dir.Path()); err != nil {
		t.Fatal(err)
	}
	again := startNodes(t, node(t, base, routes, 2))[0]
	want(t, replicated(t, again), "key", []byte("two"))
	stream, err := jetStream(t, again).Stream(t.Context(), "KV_b")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "three current replicas", func() bool {
		i, err := stream.Info(t.Context())
		return err == nil && i.Cluster.Leader != "" && len(i.Cluster.Replicas) == 2 &&
			!slices.ContainsFunc(i.Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
	})
}

func publicKey(t *testing.T, s *Server) []byte {
	t.Helper()
	key, err := s.Issuer().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(key)
}

// TestClusterLosesQuorum checks that a node without the others is unhealthy, and that its start waits for them until it
// is canceled, and logs which nodes it cannot reach.
func TestClusterLosesQuorum(t *testing.T) {
	t.Parallel()
	routes, base := freeAddresses(t, 3), t.TempDir()
	nodes := startNodes(t, node(t, base, routes, 0), node(t, base, routes, 1), node(t, base, routes, 2))
	shutdown(t, nodes[1])
	shutdown(t, nodes[2])
	eventually(t, "an unhealthy node", func() bool { return nodes[0].Healthy() != nil })
	if err := nodes[0].Healthy(); !strings.Contains(err.Error(), "connected to 0 of 2 others") {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	log := &waitingLog{cancel: cancel}
	other := freeAddresses(t, 3)
	o := node(t, t.TempDir(), other, 0)
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	if _, err := Start(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("start of a node alone: got %v, want %v", err, context.Canceled)
	}
	for _, missing := range other[1:] {
		if !strings.Contains(log.String(), missing) {
			t.Errorf("the log does not name %s:\n%s", missing, log)
		}
	}
}

// waitingLog is a log that cancels a start when it says what it waits for.
type waitingLog struct {
	cancel context.CancelFunc
	mu     sync.Mutex // guards b
	b      bytes.Buffer
}

func (l *waitingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("waiting for the cluster")) {
		l.cancel()
	}
	return l.b.Write(p)
}

func (l *waitingLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestClusterDir checks that a directory keeps its mode and the name of its node.
func TestClusterDir(t *testing.T) {
	t.Parallel()
	routes, base := freeAddresses(t, 3), t.TempDir()
	alone := openDir(t, t.TempDir())
	shutdown(t, start(t, Options{Dir: alone}))
	o := node(t, base, routes, 0)
	o.Dir = alone
	if _, err := Start(t.Context(), o); !errors.Is(err, ErrDirMode) || !strings.Contains(err.Error(), "imctl restore") {
		t.Errorf("a node on the data of a single server: %v", err)
	}

	d := openDir(t, t.TempDir())
	if err := d.claimMode(modeCluster); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Options{Dir: d}); !errors.Is(err, ErrDirMode) || !strings.Contains(err.Error(), "nats.cluster.name") {
		t.Errorf("a single server on the data of a node: %v", err)
	}
	first, err := d.claimNode("")
	if err != nil || first == "" {
		t.Fatalf("name of a new node: %q, %v", first, err)
	}
	if second, err := d.claimNode(""); err != nil || second != first {
		t.Errorf("name at the second start: %q, %v, want %q", second, err, first)
	}
	if _, err := d.claimNode("other"); err == nil || !strings.Contains(err.Error(), first) {
		t.Errorf("another name: got %v, want an error with %q", err, first)
	}
	if name, err := NodeName(d.Path()); err != nil || name != first {
		t.Errorf("NodeName: %q, %v, want %q", name, err, first)
	}
}

// TestRouteTLS checks which peers a node accepts: only those with the secret, on both sides.
func TestRouteTLS(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("a", MinSecret)
	config := func(secret string) *tls.Config {
		c, err := secretTLS(secret)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := handshake(t, config(secret), config(secret)); err != nil {
		t.Errorf("the same secret: %v", err)
	}
	if err := handshake(t, config(secret), config(secret+"b")); !errors.Is(err, errOtherSecret) {
		t.Errorf("another secret: got %v, want %v", err, errOtherSecret)
	}
	for name, client := range map[string]*tls.Config{
		"no certificate":     {InsecureSkipVerify: true},
		"a foreign one":      func() *tls.Config { c := config("x"); c.VerifyConnection = nil; return c }(),
		"an old TLS version": func() *tls.Config { c := config(secret); c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12; return c }(),
	} {
		if err := handshake(t, config(secret), client); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if derive(secret, "route password") == derive(secret, "other") || derive(secret, "x") == derive(secret+"b", "x") {
		t.Error("two purposes or two secrets have the same key")
	}
}

// handshake connects a server and a client, and returns the errors of both.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(30 * time.Second)
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	accepted := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // a client of TLS 1.3 learns after its handshake that it is refused
		}
		accepted <- err
		a.Close()
	}()
	c := tls.Client(b, client)
	_, err := io.ReadFull(c, make([]byte, 1))
	b.Close()
	return errors.Join(err, <-accepted)
}

// TestRaftTiming fails when an upgrade of nats-server takes away what raft.go uses.
func TestRaftTiming(t *testing.T) {
	t.Parallel()
	if !raftTimed {
		t.Errorf("nats-server %s is linked: check the variables and the method in raft.go, then set raftVersion", linkedVersion)
	}
	if natsHeartbeat != raftHeartbeat || natsMinElection != minElection || natsMaxElection != maxElection {
		t.Error("the raft timing is not set")
	}
}

// TestRouteErrors checks that an outage of a node is logged once, and that further attempts do not fill the log.
func TestRouteErrors(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := newRouteErrors(slog.New(slog.NewTextHandler(&b, nil)))
	for _, attempt := range []string{"1", "1", "2", "3"} {
		if !r.add("Error trying to connect to route (attempt " + attempt + "): dial tcp 10.0.0.2:6222: connect: connection refused") {
			t.Fatal("a failed attempt is not recognized")
		}
	}
	if n := strings.Count(b.String(), "connection refused"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	if got := r.recent(); len(got) != 1 || !strings.Contains(got[0], "10.0.0.2:6222") {
		t.Errorf("recent: %q", got)
	}
	if r.add("Error in some other place") {
		t.Error("another line is taken for a failed attempt")
	}
}
