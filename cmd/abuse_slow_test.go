package cmd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStalledSessions: sessions that do not read use up the memory for waiting dialogues, and no more of the process.
// The dialogues of two other users arrive meanwhile.
func TestStalledSessions(t *testing.T) {
	t.Parallel()
	const sessions, size, each, limit = 20, 40 << 10, 150, "8MiB"
	// NATS holds what it has written to disk for 10 s, which would hide the rest.
	p := startProcess(t, filepath.Join(t.TempDir(), "data"), new(logBuffer), "IMCTL_DIALOGUES_KEEP=0", "GOGC=25", "IMCTL_NATS_SYNC=1m", "IMCTL_SESSIONS_WRITE_TIMEOUT=4m",
		"IMCTL_DIALOGUES_TIMEOUT=2s", "IMCTL_LIMITS_WAITING="+limit)
	w := newWorld(t, p)
	ann, bob := w.newFriends(t)
	senders, friends := make([]*member, sessions), make([]*member, sessions)
	for i := range senders {
		senders[i], friends[i] = w.newFriends(t)
		friends[i].tunnel.close(t)
		friends[i].tunnel = friends[i].reluctant(t)
	}
	heap, waiting := p.watch(t, "go_memstats_heap_inuse_bytes"), p.watch(t, "imctl_waiting_bytes")
	var wg sync.WaitGroup
	for i, from := range senders {
		wg.Go(func() {
			if n := count(from.pour(t, friends[i], each, `"`+strings.Repeat("x", size)+`"`)); n[507] == 0 {
				t.Errorf("answers %v", n)
			}
		})
	}
	for i, arrived := 0, 0; arrived < 20 && i < 1000; i++ {
		if code := ann.talk(t, bob, fmt.Sprint(i)); code == 200 {
			arrived++
		} else if code != 507 || i == 999 { // a busy machine needs more than the timeout
			t.Errorf("dialogue of other users: %d", code)
		}
		bob.tunnel.want(t, dialogueFrame(fmt.Sprintf(`"%d"`, i), ann.id, `"hello"`))
	}
	wg.Wait()
	// Without a limit, 64 frames of each session would wait: 52 MB.
	grown, waited := heap(), waiting()
	t.Logf("the heap grew by %.0f MB, and %.0f MB waited", grown/1e6, waited/1e6)
	if most := float64(8<<20 + sessions*(64<<10+size)); waited > most {
		t.Errorf("%.0f bytes waited, want at most %.0f", waited, most)
	}
	if grown > 60e6 {
		t.Errorf("the heap grew by %.0f MB", grown/1e6)
	}
	w.close(t)
	p.stop(t)
	p.sound(t)
}

// TestSlowBodies: 200 bodies that never end use up an address's part of the memory for bodies. Its other bodies are
// refused, and registrations from another address are not delayed.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	const bodies, sent = 200, 150 << 10
	w := newWorld(t, start(t, withDefaultLimits))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	head := fmt.Sprintf("POST /im/register HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 160<<10)
	d, refused := from(t, attackerAddress), make(chan bool, bodies)
	for range bodies {
		c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(w.base(0), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		context.AfterFunc(ctx, func() { c.Close() })
		wg.Go(func() {
			_, _ = c.Write([]byte(head + strings.Repeat(" ", sent))) // the server may refuse it before its end
			for ctx.Err() == nil {
				if _, err := c.Write([]byte{' '}); err != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
		wg.Go(func() {
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return // the test has ended
			}
			defer r.Body.Close()
			if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
			}
			refused <- true
		})
	}
	// A quarter of 64 MiB holds about 109 of the bodies.
	for range bodies - 110 {
		select {
		case <-refused:
		case <-time.After(waitTimeout):
			t.Fatal("too few of the bodies are refused")
		}
	}
	for range 5 {
		began := time.Now()
		body := fields("account", fresh("other"), "password", "secret", "mail", "m", "picture", pngPicture)
		w.register(t, 0, body).want(t, "registration from another address", replyBody(200))
		if took := time.Since(began); took > waitTimeout/3 {
			t.Errorf("a registration took %s", took)
		}
	}
	w.secret("secret")
}

// TestOversizedHeaders: the server refuses a header of a megabyte without reading it to its end.
func TestOversizedHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, withDefaultLimits))
	large := strings.Repeat("x", 1<<20)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			sent := "GET /im/registration HTTP/1.1\r\nHost: x\r\nX: " + large + "\r\n\r\n"
			if i%2 == 0 {
				sent = "GET /im/login?account=" + large + " HTTP/1.1\r\nHost: x\r\n\r\n"
			}
			all, _, err := w.raw([]byte(sent))
			// The answer may be lost, since the server closes the connection before it has read everything.
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() || len(all) > 0 && all[0].StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("answers %v, %v", all, err)
			}
		})
	}
	p := w.newMember(t, 0)
	p.login(t)
	wg.Wait()
}
