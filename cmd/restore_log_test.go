package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// TestRestoreLog restores the log of a running server with the acknowledgments of its consumer.
func TestRestoreLog(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	archive := s.attachment(t, "archive", kv.RoleConsumer, "dialogue.>")
	say := func(id string) {
		t.Helper()
		if code := alice.talk(t, bob, id); code != 200 {
			t.Fatalf("dialogue %s: got code %d, want 200", id, code)
		}
	}
	// read waits for n entries: NATS signals a consumer after it has stored an entry.
	read := func(n int) (ids []string) {
		t.Helper()
		nc := s.asAttachment(t, archive)
		defer nc.Close()
		js, err := jetstream.New(nc.Conn)
		if err != nil {
			t.Fatal(err)
		}
		consumer, err := js.Consumer(t.Context(), "IM_LOG", "archive")
		if err != nil {
			t.Fatal(err)
		}
		batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(waitTimeout))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			var e struct{ ID string }
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	say("1")
	if ids := read(1); !slices.Equal(ids, []string{"1"}) {
		t.Fatalf("read %q", ids)
	}
	say("2")
	say("3")
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	if ids := read(2); !slices.Equal(ids, []string{"2", "3"}) {
		t.Fatalf("read %q", ids)
	}
	say("4")
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	if ids := read(2); !slices.Equal(ids, []string{"2", "3"}) {
		t.Errorf("read %q after the restore, want the entries that were unacknowledged in the backup", ids)
	}
	alice.login(t)
	bob.login(t)
	say("5")
	if ids := read(1); !slices.Equal(ids, []string{"5"}) {
		t.Errorf(`read %q, want the new entry "5"`, ids)
	}
}

// TestRestoreReconcilesConsumers checks that a restore creates the missing consumer of an attachment, and removes a
// consumer without an attachment. Both can be in a backup, since it captures the two streams one after the other.
func TestRestoreReconcilesConsumers(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	js, err := jetstream.New(s.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	s.attachment(t, "whole", kv.RoleConsumer, ">")
	s.attachment(t, "without", kv.RoleConsumer, ">")
	s.attachment(t, "orphan", kv.RoleConsumer, ">")
	if err := errors.Join(js.DeleteConsumer(t.Context(), "IM_LOG", "without"), s.app.backend.store.Attachments.Remove(t.Context(), "orphan")); err != nil {
		t.Fatal(err)
	}
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar", "--yes").want(t, exitDone)
	var names []string
	list, err := js.Stream(t.Context(), "IM_LOG")
	if err != nil {
		t.Fatal(err)
	}
	for name := range list.ConsumerNames(t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"whole", "without"}) {
		t.Errorf("got consumers %q, want whole and without", names)
	}
}

// TestRestoreLargeLog restores a log with thousands of entries into a server that syncs every write to disk.
func TestRestoreLargeLog(t *testing.T) {
	t.Parallel()
	const entries = 5_000
	address := startNATSWithSync(t)
	dir := importDir(t)
	from := start(t, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "from"), "127.0.0.1:0" })
	from.attachment(t, "archive", kv.RoleConsumer, ">")
	js, err := jetstream.New(from.app.backend.nc, jetstream.WithPublishAsyncMaxPending(entries))
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if _, err := js.PublishAsync("im.log.test.entry", fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(waitTimeout):
		t.Fatal("timeout writing the log")
	}
	command(t, dir, `{"account":"alice"}`, "user", "import", "--data", "from").want(t, exitDone)
	source, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	const pending = entries + 1 // that of the account is written after the command has ended
	eventually(t, "the log has the account", func() bool {
		info, err := source.Info(t.Context())
		return err == nil && info.NumPending == pending
	})
	command(t, dir, "", "backup", "all.tar", "--data", "from").want(t, exitDone)
	start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, "", "--nats", address, "restore", "all.tar", "--yes").want(t, exitDone)
	command(t, dir, "", "--nats", address, "status").want(t, exitDone, "health    ok\n")
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil || consumer.CachedInfo().NumPending != pending {
		t.Errorf("%v: %d entries are pending, want %d", err, consumer.CachedInfo().NumPending, pending)
	}
}

// TestSlowPieces checks that pieces get smaller if the server writes them slowly, and that nothing is lost.
func TestSlowPieces(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	var compressed, sent bytes.Buffer
	w := s2.NewWriter(&compressed)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := newRecompressor(&compressed)
	for _, size := range []int{16 << 10, 8 << 10, 4 << 10, 2 << 10, 1 << 10, 1 << 10} {
		if len(p.buf) != size {
			t.Errorf("a piece has %d bytes, want %d", len(p.buf), size)
		}
		piece, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		sent.Write(piece)
		p.at = time.Time{} // the test tells how long a piece took
		p.taken(slowPiece)
		if len(p.buf) != size {
			t.Errorf("a piece in time changes the size to %d bytes", len(p.buf))
		}
		p.taken(slowPiece + 1)
	}
	for {
		piece, err := p.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent.Write(piece)
	}
	if got, err := io.ReadAll(s2.NewReader(&sent)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, want %d: %v", len(got), len(want), err)
	}
}
