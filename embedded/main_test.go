package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// childEnv is the data directory of runServer, which the test binary then runs instead of the tests.
const childEnv = "IMCTL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(runServer(os.Getenv(childEnv)))
	}
	if dir := os.Getenv("IMCTL_TEST_DIAL"); dir != "" {
		os.Exit(dialOnce(dir))
	}
	os.Exit(m.Run())
}

// dialOnce connects to the socket of a data directory, and writes the first word that the server sends, or "end" if it
// closes the connection instead.
func dialOnce(dir string) int {
	c, err := DialAdmin(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		line = "end"
	}
	word, _, _ := strings.Cut(line, " ")
	fmt.Println(word)
	return 0
}

// openDir opens a data directory and closes it when the test ends.
func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// start starts a server and shuts it down when the test ends.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	return s
}

func shutdown(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// jetStream connects within the process, as the program does.
func jetStream(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func bucket(t *testing.T, s *Server, name string) jetstream.KeyValue {
	t.Helper()
	kv, err := jetStream(t, s).CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, kv jetstream.KeyValue, key string, value []byte) {
	t.Helper()
	var err error
	eventually(t, "the leader of the stream is known", func() bool { // a stream of a cluster that was just made may have none
		_, err = kv.Put(t.Context(), key, value)
		return !errors.Is(err, jetstream.ErrNoStreamResponse)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, kv jetstream.KeyValue, key string, value []byte) {
	t.Helper()
	e, err := kv.Get(t.Context(), key)
	for end := time.Now().Add(10 * time.Second); errors.Is(err, nats.ErrNoResponders) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // a node of a cluster has not heard yet where the replicas are
		e, err = kv.Get(t.Context(), key)
	}
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if !bytes.Equal(e.Value(), value) {
		t.Fatalf("get %s: got %d bytes that differ from the %d wanted", key, len(e.Value()), len(value))
	}
}

// connectAs opens a connection by TCP and closes it.
func connectAs(url, user, password string) error {
	nc, err := nats.Connect(url, nats.UserInfo(user, password))
	if err == nil {
		nc.Close()
	}
	return err
}

// tree returns a hash of each file below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		files[path] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// logBuffer is a log that a test reads while a server writes to it.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// eventually waits until cond is true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("timeout: %s", what)
		case <-tick.C:
		}
	}
}
