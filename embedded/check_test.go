package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	oldMessages = 10
	oldSize     = 9000
	newMessages = 20
	// A small limit makes small blocks of 32,000 bytes, which have three big messages each.
	maxBytes = 125_000
)

// writeStore writes a bucket with several blocks, and a stream with a consumer that has acknowledged one message.
func writeStore(t *testing.T, s *Server) {
	t.Helper()
	js := jetStream(t, s)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "users", MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	for i := range oldMessages {
		put(t, kv, fmt.Sprintf("old.%d", i), value(i, oldSize))
	}
	for i := range newMessages {
		put(t, kv, fmt.Sprintf("new.%d", i), value(i, 100))
	}
	log, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"log.>"}, Retention: jetstream.InterestPolicy})
	if err != nil {
		t.Fatal(err)
	}
	c, err := log.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "archive"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range newMessages {
		if _, err := js.Publish(t.Context(), "log.x", value(i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantStore checks that the server has what writeStore wrote.
func wantStore(t *testing.T, s *Server) {
	t.Helper()
	kv, err := jetStream(t, s).KeyValue(t.Context(), "users")
	if err != nil {
		t.Fatal(err)
	}
	for i := range oldMessages {
		want(t, kv, fmt.Sprintf("old.%d", i), value(i, oldSize))
	}
	for i := range newMessages {
		want(t, kv, fmt.Sprintf("new.%d", i), value(i, 100))
	}
	c, err := jetStream(t, s).Consumer(t.Context(), "LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.CachedInfo().NumPending; got != newMessages-1 {
		t.Errorf("the consumer has %d pending messages, want %d", got, newMessages-1)
	}
}

// value returns random bytes, the same for the same arguments.
func value(seed, size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(seed), uint64(size)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// stores returns two data directories with the contents of writeStore: one of a server that was shut down, and one of
// a server that was killed.
func stores(t *testing.T) (stopped, killed string) {
	t.Helper()
	stopped, killed = t.TempDir(), t.TempDir()
	d, err := OpenDir(stopped)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Options{Dir: d, Sync: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	writeStore(t, s)
	awaitAcknowledged(t, stopped)
	copyRunning(t, killed, stopped)
	shutdown(t, s)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return stopped, killed
}

// awaitAcknowledged waits until the state of the consumer on the disk has the acknowledgement of writeStore.
// nats-server writes it with a delay.
func awaitAcknowledged(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the consumer's state", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, archiveDir, stateName))
		return err == nil && len(b) >= stateMinSize && b[2] == 1
	})
}

// copyRunning copies the directory of a running server. It skips temporary files that disappear meanwhile.
func copyRunning(t *testing.T, dst, src string) {
	t.Helper()
	err := filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(dst, strings.TrimPrefix(path, src))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

const (
	usersDir       = "jetstream/IM/streams/KV_users"
	firstBlock     = usersDir + "/msgs/1.blk"
	lastBlock      = usersDir + "/msgs/4.blk"
	archiveDir     = "jetstream/IM/streams/LOG/obs/archive"
	inFirstMessage = 5000 // an offset in the first message of a block
)

// TestDamagedStore: a start detects each kind of damage. The traces of a crash are not damage.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	stopped, killed := stores(t)
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir string)
		words  []string // of the error; nil: the server starts and has everything
	}{
		"no damage": {func(*testing.T, string) {}, nil},
		"a message in an old block": {
			overwrite(firstBlock, inFirstMessage, []byte("xx")), []string{"KV_users", "1.blk", "byte 0 "}},
		"a length in an old block": {
			overwrite(firstBlock, 0, []byte{0xff, 0xff, 0xff, 0x01}), []string{"KV_users", "1.blk"}},
		"a message in the last block, before others": {
			overwrite(lastBlock, inFirstMessage, []byte("xx")), []string{"KV_users", "4.blk"}},
		"a stretch of zeros in the last block": {
			overwrite(lastBlock, inFirstMessage, make([]byte, 1024)), []string{"KV_users", "4.blk"}},
		"an old block truncated": {
			truncate(firstBlock, inFirstMessage), []string{"KV_users", "1.blk"}},
		"an old block emptied": {
			truncate(firstBlock, 0), []string{"KV_users", "1.blk"}},
		"the description": {
			overwrite(usersDir+"/meta.inf", 10, []byte("xx")), []string{"KV_users", "meta.inf"}},
		"the description emptied": {
			truncate(usersDir+"/meta.inf", 0), []string{"KV_users", "meta.inf"}},
		"the description missing": {
			remove(usersDir + "/meta.inf"), []string{"KV_users", "meta.inf", "missing"}},
		"the description's checksum missing": {
			remove(usersDir + "/meta.sum"), []string{"KV_users", "meta.sum", "missing"}},
		"the index": {
			replace(usersDir+"/msgs/index.db", []byte("not an index, but as long as an index")), nil},
		"the index missing": {
			remove(usersDir + "/msgs/index.db"), nil},
		"a consumer's description": {
			overwrite(archiveDir+"/meta.inf", 0, []byte("xx")), []string{"LOG", "archive", "meta.inf"}},
		"a consumer's state": {
			overwrite(archiveDir+"/o.dat", 0, []byte("xx")), []string{"LOG", "archive", "o.dat"}},
		"a write cut off": {
			extend(lastBlock, []byte{0x40, 0, 0, 0, 1, 2, 3}), nil},
		"a write that left zeros": {
			extend(lastBlock, make([]byte, 600)), nil},
		"a stream whose creation was interrupted": {
			incompleteStream("jetstream/IM/streams/KV_new"), nil},
		"a stream whose deletion was interrupted": {
			incompleteStream("jetstream/IM/streams/.KV_deleted"), nil},
	} {
		for kind, dir := range map[string]string{"stopped": stopped, "killed": killed} {
			t.Run(kind+": "+name, func(t *testing.T) {
				t.Parallel()
				path := t.TempDir()
				if err := os.CopyFS(path, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				tt.damage(t, path)
				if tt.words == nil {
					wantStore(t, start(t, Options{Dir: openDir(t, path)}))
					return
				}
				wantRefused(t, path, tt.words)
			})
		}
	}
	for name, damage := range map[string]func(*testing.T, string){
		"the last block truncated": truncate(lastBlock, inFirstMessage),
		"the last block missing":   remove(lastBlock),
		"an old block missing":     remove(firstBlock),
	} {
		t.Run("stopped: "+name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			if err := os.CopyFS(path, os.DirFS(stopped)); err != nil {
				t.Fatal(err)
			}
			damage(t, path)
			wantRefused(t, path, []string{"KV_users", ".blk"})
		})
	}
}

// wantRefused checks that a start fails because of damage, with these words in the error, that the next start does
// too, and that nothing is changed.
func wantRefused(t *testing.T, path string, words []string) {
	t.Helper()
	d := openDir(t, path)
	before := tree(t, d.Path("jetstream"))
	for range 2 {
		s, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			shutdown(t, s)
			t.Fatal("the server started")
		}
		wantLine(t, err, ErrStoreDamaged, words...)
	}
	if after := tree(t, d.Path("jetstream")); !maps.Equal(before, after) {
		t.Errorf("the store has changed: had %v, has %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// TestPowerFailureWithoutSync: if writes do not wait for the disk, a power failure leaves zeros in the last writes.
// That is not damage, and the loss is logged.
func TestPowerFailureWithoutSync(t *testing.T) {
	t.Parallel()
	_, dir := stores(t)
	info, err := os.Stat(filepath.Join(dir, lastBlock))
	if err != nil {
		t.Fatal(err)
	}
	overwrite(lastBlock, int(info.Size())-1000, make([]byte, 700))(t, dir)
	d := openDir(t, dir)
	_, err = Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	wantLine(t, err, ErrStoreDamaged, "4.blk")
	var log logBuffer
	s := start(t, Options{Dir: d, Sync: time.Minute, Log: log.logger(slog.LevelWarn)})
	kv, err := jetStream(t, s).KeyValue(t.Context(), "users")
	if err != nil {
		t.Fatal(err)
	}
	want(t, kv, "old.0", value(0, oldSize))
	if !strings.Contains(log.String(), "cut off") {
		t.Errorf("the loss is not logged: %s", log.String())
	}
}

// TestStoreOfANewerVersion: a start fails if a newer version wrote the stream.
func TestStoreOfANewerVersion(t *testing.T) {
	t.Parallel()
	dir, _ := stores(t)
	meta := filepath.Join(dir, usersDir, "meta.inf")
	b, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`"_nats.req.level":"0"`), []byte(`"_nats.req.level":"99"`), 1)
	if err := os.WriteFile(meta, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, usersDir, "meta.sum"), []byte(metaSum("KV_users", b)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Options{Dir: openDir(t, dir), Log: slog.New(slog.DiscardHandler)})
	wantLine(t, err, nil, "KV_users", "newer version")
}

// overwrite returns a function that overwrites a part of a file.
func overwrite(file string, at int, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(data, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func extend(file string, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		overwrite(file, int(info.Size()), data)(t, dir)
	}
}

func truncate(file string, size int64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Truncate(filepath.Join(dir, file), size); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(file string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, file)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func replace(file string, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// incompleteStream creates the directory of a stream that has no checksum of its description and no message.
func incompleteStream(stream string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for file, data := range map[string]string{"meta.inf": `{"name":"KV_new"}`, "msgs/1.blk": ""} {
			path := filepath.Join(dir, stream, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
