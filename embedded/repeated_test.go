package embedded

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

func TestParseClientError(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]clientError{
		`192.0.2.7:50000 - cid:7 - "v1:go:a - \"x\"" - "IM/user:user:01" - Publish Violation - Subject "a - b"`: {"IM/user:user:01", "Publish Violation"},
		`192.0.2.7:50000 - cid:7 - "v1:go" - Subscription Violation - Subject "x", SID 1`:                       {"192.0.2.7", "Subscription Violation"},
		`192.0.2.7:50000 - cid:7 - authentication error - User "x"`:                                             {"192.0.2.7", "authentication error"},
		`192.0.2.7:6222 - rid:7 - TLS route handshake error: EOF`:                                               {"192.0.2.7", "TLS route handshake error"},
		`[2001:db8::1]:50000 - cid:7 - maximum payload exceeded: 3 vs 2`:                                        {"[2001:db8::1]", "maximum payload exceeded"},
	} {
		if got, ok := parseClientError(line); !ok || got != want {
			t.Errorf("%s:\n got %q, %t\nwant %q", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "JetStream failed", "stream x - cid:1 - y", "1.2.3.4:5 - gid:4 - Gateway"} {
		if got, ok := parseClientError(line); ok {
			t.Errorf("%q is about client %q", line, got)
		}
	}
}

// TestRepeatedErrors checks that errors of a client are logged once, and then counted in one line a minute.
func TestRepeatedErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		l := newServerLog(slog.New(slog.NewTextHandler(&out, nil)))
		violate := func(user string, n int) {
			for i := range n {
				l.Errorf("192.0.2.7:50000 - cid:7 - %q - %q - Publish Violation - Subject %q", "v1:go", "IM/user:user:"+user, fmt.Sprint("secret", i))
			}
		}
		violate("a", 100000)
		violate("b", 1)
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines at once, want one for each user", n)
		}
		time.Sleep(repeatedEvery + time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), "client=IM/user:user:a error=\"Publish Violation\" count=99999") || strings.Contains(out.String(), "client=IM/user:user:b") {
			t.Errorf("after a minute:\n%s", out.String())
		}
		violate("a", 10)
		violate("b", 1)
		if n := strings.Count(out.String(), "\n"); n != 4 {
			t.Errorf("%d lines in the second minute, want 4:\n%s", n, out.String())
		}
		for i := range 10 * repeatedKeys {
			l.Errorf("192.0.2.%d:50000 - cid:7 - authentication error - User %q", i, "x")
		}
		if n := strings.Count(out.String(), "\n"); n > 4+repeatedKeys {
			t.Errorf("%d lines for too many addresses", n)
		}
		l.clients.close()
		if !strings.Contains(out.String(), "other clients") {
			t.Error("the errors of further clients are not counted")
		}
	})
}

// syncBuffer is a buffer that a test reads while a server writes it.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestViolationsAreSummedUp has a real server write the lines.
func TestViolationsAreSummedUp(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&out, nil)), Sync: time.Minute})
	nc, err := nats.Connect(s.URL(), nats.UserInfo(s.admin.User, "wrong"))
	if err == nil {
		nc.Close()
		t.Fatal("a wrong password is accepted")
	}
	for range 20 {
		if nc, err := nats.Connect(s.URL(), nats.UserInfo(s.admin.User, "wrong")); err == nil {
			nc.Close()
		}
	}
	if n := strings.Count(out.String(), "authentication error"); n != 1 {
		t.Errorf("%d lines for 21 wrong passwords, want 1:\n%s", n, out.String())
	}
}

// TestMaxConnections checks that a server accepts no more connections than it may.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0", MaxConnections: 2, MaxPending: 16 << 20, Sync: time.Minute})
	for n := range 3 {
		nc, err := nats.Connect(s.URL(), nats.UserInfo(s.admin.User, s.admin.Password), nats.NoReconnect())
		if err == nil {
			defer nc.Close()
		}
		if (err == nil) != (n < 2) {
			t.Errorf("connection %d: %v", n+1, err)
		}
	}
}
