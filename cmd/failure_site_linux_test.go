package cmd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imctl/bridge"
)

// siteNodes is the number of nodes of a failureSite.
const siteNodes = 3

// failureSite is a deployment of three nodes, each a process that a test kills, stops or cuts off. The servers are
// attached to a NATS cluster, or are an embedded one. Its addresses are loopback addresses of its own, so a process
// that starts again has the address that it had.
type failureSite struct {
	dir    string
	server string                 // the path of nats-server
	nats   [siteNodes]*siteServer // nil if the servers are an embedded cluster
	hosts  [siteNodes]string      // addresses of the servers for clients
	peers  [siteNodes]string      // addresses that the nodes reach each other by
	inside [siteNodes]string      // addresses of the NATS servers for clients on the node
	netns  [siteNodes]string      // network namespaces of the nodes, empty in a site that cannot be cut
	middle string                 // the namespace of the switch between them
	env    []string
	url    string // of NATS, with the secret; empty if the servers are an embedded cluster

	mu    sync.Mutex // guards nodes
	nodes [siteNodes]*process
	logs  [siteNodes]*logBuffer

	http *http.Client
}

var failureSites atomic.Int64

// newFailureSite returns a site without processes. Only root makes one that can be cut.
func newFailureSite(t *testing.T, cuttable bool) *failureSite {
	t.Helper()
	s := &failureSite{dir: t.TempDir()}
	place := int64(os.Getpid())*16 + failureSites.Add(1)
	for i := range siteNodes {
		s.hosts[i] = fmt.Sprintf("127.%d.%d.%d", 64+place>>16&63, place>>8&255, place&255)
		if cuttable {
			s.hosts[i] = fmt.Sprintf("127.73.0.%d", i+1)
		}
		s.peers[i], s.inside[i], s.logs[i] = s.hosts[i], s.hosts[i], new(logBuffer)
		place += 7919
	}
	if cuttable {
		s.makeNetwork(t)
	}
	s.http = &http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dial}}
	return s
}

// makeNetwork makes a network namespace for each node, with a switch between them.
func (s *failureSite) makeNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the command ip is missing: install iproute2")
		}
		t.Skip("the command ip is missing")
	}
	name := func(role string) string {
		ns := fmt.Sprintf("imctl-%d-%d-%s", os.Getpid(), paths.Add(1), role)
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
		return ns
	}
	s.middle = name("m")
	ip(t, "-n", s.middle, "link", "add", "switch", "type", "bridge")
	ip(t, "-n", s.middle, "link", "set", "switch", "up")
	for i := range siteNodes {
		ns, port := name(fmt.Sprint("n", i)), fmt.Sprint("p", i)
		s.netns[i], s.peers[i] = ns, fmt.Sprintf("10.73.1.%d", i+1)
		ip(t, "link", "add", "eth0", "netns", ns, "type", "veth", "peer", "name", port, "netns", s.middle)
		ip(t, "-n", s.middle, "link", "set", port, "master", "switch", "up")
		ip(t, "-n", ns, "addr", "add", s.peers[i]+"/24", "dev", "eth0")
		ip(t, "-n", ns, "link", "set", "eth0", "up")
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
}

// cut loses all packets between a node and the others, without an error at either end.
func (s *failureSite) cut(t *testing.T, i int) {
	t.Helper()
	ip(t, "-n", s.middle, "link", "set", fmt.Sprint("p", i), "nomaster")
}

// heal ends the loss.
func (s *failureSite) heal(t *testing.T, i int) {
	t.Helper()
	ip(t, "-n", s.middle, "link", "set", fmt.Sprint("p", i), "master", "switch")
}

// dial connects to an address of the site, from the same node if the nodes have namespaces.
func (s *failureSite) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	d := new(net.Dialer)
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	i := max(slices.Index(s.hosts[:], host), slices.Index(s.peers[:], host))
	if i < 0 || s.netns[i] == "" {
		return d.DialContext(ctx, network, addr)
	}
	err = inNamespace(s.netns[i], func() (err error) { c, err = d.DialContext(ctx, network, addr); return err })
	return c, err
}

// command returns a command that runs on a node.
func (s *failureSite) command(i int, name string, args ...string) *exec.Cmd {
	if s.netns[i] != "" {
		name, args = "ip", append([]string{"netns", "exec", s.netns[i], name}, args...)
	}
	return exec.Command(name, args...)
}

// startAttachedSite starts three NATS servers as a cluster, and three servers that are attached to it.
func startAttachedSite(t *testing.T, cuttable bool) *failureSite {
	t.Helper()
	s := newFailureSite(t, cuttable)
	s.server = natsServerCommand(t)
	said := command(t, s.dir, "", "nats", "config")
	if said.code != exitDone {
		t.Fatalf("nats config: %s", said.err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "imctl.conf"), []byte(said.out), 0o600); err != nil {
		t.Fatal(err)
	}
	var routes, urls []string
	user := firstGroup(said.err, `url: (\S+)@`)
	for _, peer := range s.peers {
		routes, urls = append(routes, "nats://"+peer+":6222"), append(urls, user+"@"+peer+":4222")
	}
	s.url = strings.Join(urls, ",")
	for i, peer := range s.peers {
		n := &siteServer{site: s, node: i, log: new(logBuffer), file: filepath.Join(s.dir, fmt.Sprintf("n%d.conf", i))}
		text := fmt.Sprintf(`include "imctl.conf"
server_name: n%d
listen: "%[2]s:4222"
http: "%[2]s:8222"
jetstream {store_dir: "%[3]s/n%[1]d", max_file_store: 1TB}
cluster {name: site, listen: "%[2]s:6222", routes: ["%[4]s"]}
ping_interval: 10s, ping_max: 2
lame_duck_duration: 30s, lame_duck_grace_period: 2s
`, i, peer, s.dir, strings.Join(routes, `", "`))
		if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.nats[i], s.inside[i] = n, peer
		n.start(t)
	}
	patiently(t, s.natsSick)
	s.env = []string{"IMCTL_NATS_REPLICAS=3", "IMCTL_LIMITS_COOLDOWN=0"}
	for i := range siteNodes {
		s.startNode(t, i)
	}
	return s
}

// startNode starts the server of a node.
func (s *failureSite) startNode(t *testing.T, i int) {
	t.Helper()
	env := append(slices.Clone(s.env), "IMCTL_LISTEN="+s.hosts[i]+":8080", "IMCTL_OPS_LISTEN="+s.hosts[i]+":8081")
	if s.nats[i] != nil {
		all := strings.Split(s.url, ",")
		env = append(env, "IMCTL_NATS_URL="+strings.Join(append(all[i:], all[:i]...), ",")) // the node's own NATS first
	}
	p := startCommand(t, s.command(i, "imctl", "serve", "--log.level", "debug"), s.data(i), s.logs[i], env...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i] = p
}

// data returns the data directory of a node.
func (s *failureSite) data(i int) string { return filepath.Join(s.dir, fmt.Sprint("imctl", i)) }

func (s *failureSite) node(i int) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[i%siteNodes]
}

func (s *failureSite) base(n int) string          { return "http://" + s.hosts[n%siteNodes] + ":8080" }
func (s *failureSite) trust() *tls.Config         { return nil }
func (s *failureSite) services() *bridge.Services { return nil } // the servers are other processes

func (s *failureSite) output(t testing.TB) (all string) {
	t.Helper()
	for i := range siteNodes {
		_, body, err := s.get("http://" + s.hosts[i] + ":8081/metrics")
		if err != nil {
			t.Fatal(err)
		}
		all += s.logs[i].String() + body
	}
	return all
}

// get returns the status and the body of a page of the site.
func (s *failureSite) get(url string) (int, string, error) {
	r, err := s.http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// natsSick says which NATS servers have replicas that are not current, and why. It returns nothing if none has.
func (s *failureSite) natsSick() (all string) {
	for i := range siteNodes {
		if status, body, err := s.get(s.monitor(i) + "/healthz"); err != nil || status != http.StatusOK {
			all += fmt.Sprintf("NATS %d: %d %s %v; ", i, status, body, err)
		}
	}
	return all
}

// sick says which nodes are not ready, and why. It returns nothing if all are.
func (s *failureSite) sick() string {
	all := s.natsSick()
	for i := range siteNodes {
		if status, body, err := s.get("http://" + s.hosts[i] + ":8081/readyz"); err != nil || status != http.StatusOK {
			all += fmt.Sprintf("node %d: %d %s %v; ", i, status, body, err)
		}
	}
	return all
}

// monitor returns the URL of the monitoring of a NATS server.
func (s *failureSite) monitor(i int) string { return "http://" + s.inside[i] + ":8222" }

// leads returns the names of the streams whose leader is a NATS server.
func (s *failureSite) leads(t *testing.T, i int) (streams []string) {
	t.Helper()
	_, body, err := s.get(s.monitor(i) + "/jsz?accounts=true&streams=true")
	var all struct {
		Accounts []struct {
			Streams []struct {
				Name    string
				Cluster struct{ Leader string }
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := errors.Join(err, json.Unmarshal([]byte(body), &all)); err != nil {
		t.Fatal(err)
	}
	for _, a := range all.Accounts {
		for _, stream := range a.Streams {
			if stream.Cluster.Leader == fmt.Sprint("n", i) {
				streams = append(streams, stream.Name)
			}
		}
	}
	slices.Sort(streams)
	return streams
}

// leader returns the NATS server that leads a stream.
func (s *failureSite) leader(t *testing.T, stream string) (node int) {
	t.Helper()
	eventually(t, "a leader of "+stream, func() bool {
		for node = range siteNodes {
			if slices.Contains(s.leads(t, node), stream) {
				return true
			}
		}
		return false
	})
	return node
}

// siteServer is a NATS server in a separate process.
type siteServer struct {
	site *failureSite
	node int
	file string
	log  *logBuffer
	cmd  *exec.Cmd
	over chan struct{} // closed at the end of the process
}

// start starts the server. A restart uses the same data and addresses.
func (n *siteServer) start(t *testing.T) {
	t.Helper()
	n.cmd, n.over = n.site.command(n.node, n.site.server, "-c", n.file), make(chan struct{})
	n.cmd.Stderr = n.log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, over := n.cmd, n.over
	go func() { defer close(over); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-over })
}

// signal sends a signal.
func (n *siteServer) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("NATS server n%d: %v: %s", n.node, err, tail(n.log.String(), 20))
	}
}

// wait waits for the end of the process.
func (n *siteServer) wait(t *testing.T) {
	t.Helper()
	select {
	case <-n.over:
	case <-time.After(2 * waitTimeout): // a lame duck takes half a minute
		t.Fatalf("NATS server n%d does not end", n.node)
	}
}
