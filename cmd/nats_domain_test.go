package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsauth"
)

// startDomains starts a NATS server with the JetStream domain hub, configured by imctl nats config for the domain edge,
// and a leaf node with the domain edge. The users of IM on the leaf node are the same.
func startDomains(t *testing.T) (hubURL, leafURL string) {
	t.Helper()
	said := command(t, t.TempDir(), "", "nats", "config", "--nats", "nats://127.0.0.1:4222", "--nats.domain", "edge")
	if said.code != exitDone {
		t.Fatalf("nats config: %s", said.err)
	}
	hub := natsOptions(t, fmt.Sprintf("server_name: hub\njetstream {store_dir: %q, max_file: 1TB, domain: hub}\nleafnodes {host: 127.0.0.1, port: -1}\n%s", t.TempDir(), said.out))
	url := firstGroup(said.err, `url: (\S+)`)
	user := firstGroup(url, `nats://(\S+)@`)
	h := runNATS(t, hub)
	name, secret, _ := strings.Cut(user, ":")
	leaf := natsOptions(t, fmt.Sprintf(`server_name: leaf
		jetstream {store_dir: %q, max_file: 1TB, domain: edge}
		accounts { IM { jetstream: enabled, users: [{user: %s, password: %q}] } }
		leafnodes { remotes: [{url: "nats://%s@127.0.0.1:%d", account: IM}] }`, t.TempDir(), name, secret, user, hub.LeafNode.Port))
	l := runNATS(t, leaf)
	eventually(t, "the leaf node is connected", func() bool { return h.NumLeafNodes() == 1 && l.NumLeafNodes() == 1 })
	at := func(s *natsserver.Server) string {
		return "nats://" + user + "@" + strings.TrimPrefix(s.ClientURL(), "nats://")
	}
	return at(h), at(l)
}

// streamsIn returns the streams of a JetStream domain.
func streamsIn(t *testing.T, url, domain string) (names []string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, domain)
	if err != nil {
		t.Fatal(err)
	}
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDomain attaches a server to a hub, with all streams in the domain of its leaf node. People, kept dialogues,
// consumers, commands, backup and restore work, and the hub's own domain stays empty.
func TestDomain(t *testing.T) {
	t.Parallel()
	url, leafURL := startDomains(t)
	s := start(t, func(c *Config) { c.NATS.URL, c.NATS.Domain = url, "edge" })
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue: got code %d, want 200", code)
	}
	dir := t.TempDir()
	at := []string{"--nats", url, "--nats.domain", "edge"}
	run := func(args ...string) commandAnswer {
		t.Helper()
		return command(t, dir, "", append(at, args...)...).want(t, exitDone)
	}
	run("attach", "add", "archive", "--role", "consumer", "--filter", "dialogue.>", "--context", "archive.json")
	if code := alice.talk(t, bob, "3"); code != 200 {
		t.Errorf("dialogue with a consumer: got code %d, want 200", code)
	}
	readEntry(t, filepath.Join(dir, "archive.json"), `"id":"3"`)
	for _, args := range [][]string{{"status"}, {"nats", "info"}, {"user", "list"}, {"check", "--data"}, {"audit"}, {"talk", "stats"}} {
		run(args...)
	}
	info := fromJSON[natsInfo](t, run("nats", "info", "-o", "json").out)
	i := slices.IndexFunc(info.Streams, func(s streamInfo) bool { return s.Name == "IM_TALKS" })
	if info.Domain != "edge" || i < 0 || info.Streams[i].Messages == 0 {
		t.Errorf("the conversations are not in the domain: %+v", info)
	}
	run("backup", "all.tar")
	run("user", "delete", bob.account, "--yes")
	run("restore", "all.tar", "--yes")
	run("user", "show", bob.account)
	if got := streamsIn(t, url, "hub"); len(got) > 0 {
		t.Errorf("the domain of the hub has the streams %s", got)
	}
	if got := streamsIn(t, leafURL, "edge"); !slices.Contains(got, "KV_im_state") || !slices.Contains(got, "IM_TALKS") {
		t.Errorf("the domain of the leaf node has the streams %s", got)
	}
	// A context names the domain too.
	file := filepath.Join(dir, "root.json")
	run("attach", "add", "root", "--role", "admin", "--context", file)
	command(t, dir, "", "nats", "info", "--context", file).want(t, exitDone, "IM_TALKS")
}

// readEntry reads the next entry of the log with the context of a consumer.
func readEntry(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c natsauth.Context
	if err := json.Unmarshal(text, &c); err != nil || c.Domain != "edge" {
		t.Fatalf("context: domain %q, %v", c.Domain, err)
	}
	nc, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, c.Domain)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", c.User)
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(waitTimeout))
	if err != nil || !strings.Contains(string(m.Data()), want) {
		t.Fatalf("entry: %v", err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Errorf("acknowledgement: %v", err)
	}
}

// TestDomainFromLeaf attaches a server to the leaf node, with all streams in the domain of the hub.
func TestDomainFromLeaf(t *testing.T) {
	t.Parallel()
	url, leafURL := startDomains(t)
	s := start(t, func(c *Config) { c.NATS.URL, c.NATS.Domain = leafURL, "hub" })
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue: got code %d, want 200", code)
	}
	if got := streamsIn(t, leafURL, "edge"); len(got) > 0 {
		t.Errorf("the domain of the leaf node has the streams %s", got)
	}
	if got := streamsIn(t, url, "hub"); !slices.Contains(got, "KV_im_state") {
		t.Errorf("the domain of the hub has the streams %s", got)
	}
}
