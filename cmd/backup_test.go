package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/embedded"
	"imctl/kv"
)

// TestBackupRestore restores a backup in another directory: users, tokens, friendships, attachments with their unread
// entries, and the administrator's credentials.
func TestBackupRestore(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	archive := s.attachment(t, "archive", kv.RoleConsumer, "dialogue.>")
	if code := alice.talk(t, bob, "unread"); code != 200 {
		t.Fatalf("answered %d", code)
	}
	command(t, dir, "", "backup", "all.tar").want(t, exitDone, "STREAM", "KV_im_users", "KV_im_tokens", "KV_im_friendships", "IM_LOG", "IM_TALKS")
	if info, err := os.Stat(filepath.Join(dir, "all.tar")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup file: got %v, %v", info, err)
	}
	command(t, dir, "", "backup", "all.tar").want(t, exitExists, "--force")
	w.close(t)
	s.close(t) // which writes the cursors of conversations
	people := sortedLines(command(t, dir, "", "user", "export").want(t, exitDone).out)
	command(t, dir, "", "backup", "all.tar", "--force", "-o", "json").want(t, exitDone, `"name":"KV_im_users"`, `"files":`)

	command(t, dir, "", "restore", "all.tar", "--data", "new").want(t, exitDone, "KV_im_users")
	before, after := readContext(t, filepath.Join(dir, "data")), readContext(t, filepath.Join(dir, "new"))
	if before.User != after.User || before.Password != after.Password {
		t.Error("the administrator's credentials differ")
	}
	again := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "new"), "127.0.0.1:0", Sync(time.Minute)
	})
	w = newWorld(t, again)
	if got := sortedLines(command(t, dir, "", "user", "export", "--data", "new").want(t, exitDone).out); !slices.Equal(got, people) {
		t.Errorf("users: got %s, want %s", got, people)
	}
	alice.w, bob.w = w, w
	if got := alice.call(t, "found", "name", bob.account); got.code() != 200 {
		t.Errorf("call with a restored token: got %s", got.body)
	}
	archive.URL = again.natsURL()
	nc := again.asAttachment(t, archive)
	js, err := jetstream.New(nc.Conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(waitTimeout))
	if err != nil || !strings.Contains(string(m.Data()), `"id":"unread"`) {
		t.Errorf("unread entry: got error %v", err)
	}
	alice.login(t)
	bob.login(t)
	if code := alice.talk(t, bob, "2"); code != 200 {
		t.Errorf("dialogue after the restore: got code %d, want 200", code)
	}
}

func readContext(t *testing.T, data string) embedded.AdminContext {
	t.Helper()
	c, err := embedded.ReadContext(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRestoreAsks checks that a restore replaces existing data only after confirmation.
func TestRestoreAsks(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, `{"account":"bob"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar").want(t, exitUse, "--yes")
	command(t, dir, "", "user", "show", "bob").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	command(t, dir, "", "user", "show", "alice").want(t, exitDone)
	command(t, dir, "", "user", "show", "bob").want(t, exitNotFound)
	command(t, dir, "", "restore", "all.tar", "--yes", "--nats.prefix", "other").want(t, exitUse, "nats.prefix im")
	command(t, dir, "", "restore", "nowhere.tar").want(t, exitUse, "nowhere.tar")
	if left, err := filepath.Glob(filepath.Join(dir, "data", "*before-restore*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files remain: %v, %v", left, err)
	}
}

// TestRestoreFails checks that a failed restore leaves the data unchanged.
func TestRestoreFails(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	whole, err := os.ReadFile(filepath.Join(dir, "all.tar"))
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.tar")
	spoil := func(b []byte) {
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries := bytes.Index(whole, []byte("stream.json"))
	for name, b := range map[string][]byte{
		"empty": {}, "no tar": []byte("nonsense"), "half": whole[:len(whole)/2], "without its end": whole[:bytes.LastIndex(whole, []byte("sha256"))],
		"another content": spoiled(whole, 512+20), "another piece": spoiled(whole, len(whole)-6000), "another name": spoiled(whole, entries),
	} {
		spoil(b)
		if a := command(t, dir, "", "restore", "bad.tar", "--data", "fresh").want(t, exitFailed, "bad.tar: not a backup"); !strings.Contains(a.err, errBackup.Error()) {
			t.Errorf("%s: %s", name, a.err)
		}
		if _, err := os.Stat(filepath.Join(dir, "fresh")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the data directory was created", name)
		}
	}
	// A file with a valid checksum and an invalid stream fails during the restore.
	f, err := os.Create(bad)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackupWriter(f, time.Now())
	err = errors.Join(b.addJSON(manifestEntry, manifest{Format: backupFormat, Prefix: "im"}),
		b.add("streams/KV_im_users/stream.json", []byte(`{"config":{"name":"KV_im_users"},"state":{}}`)), b.add("streams/KV_im_users/00000001", []byte("x")), b.close(), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	if a := command(t, dir, "", "restore", "bad.tar", "--yes"); a.code != exitFailed {
		t.Errorf("%+v", a)
	}
	command(t, dir, "", "user", "show", "alice").want(t, exitDone)
}

func spoiled(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// TestRestoreRunning restores into a running server, which ends its sessions.
func TestRestoreRunning(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "friend", "remove", alice.account, bob.account).want(t, exitDone)
	late := w.newMember(t, 0)
	late.login(t)
	command(t, dir, "", "restore", "all.tar").want(t, exitUse, "--yes")
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	for _, p := range []*member{alice, bob, late} {
		if frame, err := p.tunnel.tryNext(); err == nil {
			t.Errorf("a session from before the restore received %s", frame)
		}
	}
	w.dial(t, 0, "/im/login?"+query("account", late.account, "password", late.password)).want(t, replyBody(505))
	alice.login(t)
	bob.login(t)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue to a restored friend: got code %d, want 200", code)
	}
	eventually(t, "the old sessions are gone", func() bool {
		return strings.Contains(command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "accounts  2\n").out, "sessions  2\n")
	})
	command(t, dir, "", "friend", "remove", alice.account, bob.account).want(t, exitDone)
	if code := alice.talk(t, bob, "2"); code != 512 {
		t.Errorf("dialogue after the end of the friendship: got code %d, want 512", code)
	}
}

// TestSendPiece sends a piece before the receiver has subscribed.
func TestSendPiece(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(startNATS(t), nats.UserInfo("root", "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("pieces", nil, waitTimeout); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatal(err)
	}
	said := make(chan error, 1)
	go func() {
		b, err := sendPiece(t.Context(), nc, "pieces", []byte("x"), waitTimeout)
		if err == nil && string(b) != "got x" {
			err = fmt.Errorf("answer %q", b)
		}
		said <- err
	}()
	// The first message is the server's reply that there is no subscriber.
	in := func() uint64 { return nc.Stats().InMsgs }
	first := in()
	eventually(t, "the first attempt to send the piece", func() bool { return in() > first })
	if _, err := nc.Subscribe("pieces", func(m *nats.Msg) { _ = m.Respond(append([]byte("got "), m.Data...)) }); err != nil {
		t.Fatal(err)
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sendPiece(ctx, nc, "nowhere", nil, waitTimeout); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestRestoreAcross restores a backup of a single server in a cluster, and the other way round.
func TestRestoreAcross(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "attach", "add", "archive", "--role", "consumer").want(t, exitDone)
	command(t, dir, "", "backup", "single.tar").want(t, exitDone)
	address := startNATSCluster(t)
	cluster := start(t, func(c *Config) { c.NATS.URL, c.NATS.Replicas = address, 3 })
	at := []string{"--nats", address, "--nats.replicas", "3"}
	command(t, dir, "", append(at, "restore", "single.tar", "--yes")...).want(t, exitDone)
	command(t, dir, "", append(at, "user", "show", "alice")...).want(t, exitDone)
	command(t, dir, "", append(at, "attach", "list")...).want(t, exitDone, "archive")
	js, err := cluster.app.backend.nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range allStreams("im", "b") {
		if stream == "IM_WEBHOOKS" {
			continue // there is no webhook
		}
		info, err := js.StreamInfo(stream)
		if err != nil || info.Config.Replicas != 3 {
			t.Errorf("%s: %+v, %v", stream, info, err)
		}
	}
	if _, err := js.ConsumerInfo("IM_LOG", "archive"); err != nil {
		t.Error(err)
	}
	command(t, dir, `{"account":"bob"}`, append(at, "user", "import")...).want(t, exitDone)
	command(t, dir, "", append(at, "backup", "cluster.tar")...).want(t, exitDone)
	command(t, dir, "", "restore", "cluster.tar", "--data", "back").want(t, exitDone)
	command(t, dir, "", "user", "show", "bob", "--data", "back").want(t, exitDone)
	again := start(t, func(c *Config) { c.Data = filepath.Join(dir, "back") })
	if err := again.app.ready(); err != nil {
		t.Error(err)
	}
	command(t, dir, "", append(at, "status")...).want(t, exitDone, "health    ok\n")
}

// startNATSCluster starts a cluster of three NATS servers, and returns the URL of one.
func startNATSCluster(t *testing.T) string {
	t.Helper()
	// A server derives the size of the cluster from the number of its routes, so each server has two. A route without a
	// valid address is created from the other side.
	unused := &url.URL{Scheme: "nats-route", Host: "127.0.0.1:1"}
	routes := []*url.URL{unused, unused}
	var address string
	for i := range 3 {
		ns := runNATS(t, &natsserver.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
			Cluster: natsserver.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT}, Routes: routes[len(routes)-2:],
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30,
		})
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: ns.ClusterAddr().String()})
		address = ns.ClientURL()
	}
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster has a leader", func() bool {
		_, err := js.AccountInfo(t.Context())
		return err == nil
	})
	return address
}
