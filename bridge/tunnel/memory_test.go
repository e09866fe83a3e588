package tunnel_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"imctl/bridge/bridgetest"
	"imctl/bridge/tunnel"
)

// TestIdleSessionMemory: an idle session holds one goroutine and few bytes. The bytes are live objects and stacks, which
// no load of the machine changes. A socket of the test's side is among them.
func TestIdleSessionMemory(t *testing.T) {
	if tunnel.Raced {
		t.Skip("the race detector takes memory for each object and goroutine")
	}
	const (
		warm, sessions = 20, 200
		most           = 12 << 10
	)
	s := bridgetest.Start(t, bridgetest.Options{})
	users := make([]bridgetest.User, warm+sessions)
	for i := range users {
		users[i] = s.Register(t)
	}
	for _, u := range users[:warm] {
		openIdle(t, s, u)
	}
	bytes, goroutines := settled(runtime.NumGoroutine())
	for _, u := range users[warm:] {
		openIdle(t, s, u)
	}
	after, more := settled(goroutines + sessions)
	each := (after - bytes) / sessions
	t.Logf("%d bytes for each session", each)
	if each > most {
		t.Errorf("an idle session holds %d bytes, want %d at most", each, most)
	}
	if extra := more - goroutines - sessions; extra > sessions/10 {
		t.Errorf("%d idle sessions run %d goroutines", sessions, more-goroutines)
	}
}

// settled returns the bytes of live objects and stacks, and the number of goroutines, once there are not more than that
// number or they do not decrease any more.
func settled(goroutines int) (bytes, running int) {
	for range 50 {
		runtime.GC()
		if running = runtime.NumGoroutine(); running <= goroutines {
			break
		}
		time.Sleep(20 * time.Millisecond) // what ends a goroutine gives no signal
	}
	for range 6 { // each halves a stack that has grown, and the first one empties pools only halfway
		runtime.GC()
	}
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return int(samples[0].Value.Uint64() + samples[1].Value.Uint64()), running
}

// openIdle opens a session whose client runs no goroutine.
func openIdle(t *testing.T, s *bridgetest.Server, u bridgetest.User) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(bridgetest.WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	query := url.Values{"id": {u.ID}, "token": {u.Token}}
	fmt.Fprintf(c, "GET /im/login?%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		query.Encode(), base64.StdEncoding.EncodeToString(make([]byte, 16)))
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", response, err)
	}
	answer := make([]byte, 2+len(`{"code":200`)) // of a short frame; longer ones have two more bytes of length
	if _, err := io.ReadFull(r, answer); err != nil || !strings.Contains(string(answer), `{"code":`) {
		t.Fatalf("login: %q, %v", answer, err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}
