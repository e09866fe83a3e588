package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// noise generates invalid input. The same seed generates the same input, so that a failure can be reproduced.
type noise struct{ *rand.Rand }

func newNoise(seed uint64) noise { return noise{rand.New(rand.NewPCG(seed, 2))} }

// bytes returns up to n random bytes.
func (r noise) bytes(n int) []byte {
	b := make([]byte, r.IntN(n+1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// spoil changes valid input at a few places: it changes, removes, repeats or replaces bytes.
func (r noise) spoil(good string) string {
	trouble := []string{"\x00", "\xff", `"`, `\`, "{", "}", "[", ",", ":", "%", "&", ";", "=", "+", "\r\n", "null", "1e999", `\ud800`, "é", "%00", "../", "*", ">"}
	b := []byte(good)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			break
		}
		switch i := r.IntN(len(b)); r.IntN(4) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b = slices.Delete(b, i, min(len(b), i+1+r.IntN(8)))
		case 2:
			b = slices.Insert(b, i, b[i:min(len(b), i+1+r.IntN(8))]...)
		case 3:
			b = slices.Insert(b, i, []byte(trouble[r.IntN(len(trouble))])...)
		}
	}
	return string(b)
}

// documented lists the codes with which each call may answer invalid input. 500 is not among them: it is for faults
// of the server.
var documented = map[string][]int{
	"/im/register":        {200, 403, 501, 502, 503, 504},
	"/im/friends/found":   {200, 403, 514, 515, 516, 517},
	"/im/friends/request": {200, 403, 514, 515, 517, 519, 522, 523},
	"/im/friends/add":     {200, 403, 514, 515, 517, 519, 521, 522, 523},
	"/im/friends/remove":  {200, 403, 512, 514, 515, 517, 519},
	"/im/login":           {403},
}

// raw sends bytes over a new connection and returns all answers until the server closes it.
func (w *world) raw(b []byte) ([]*http.Response, [][]byte, error) {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(w.base(0), "http://"), waitTimeout)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		return nil, nil, err
	}
	// The server may answer and close the connection before it has read everything.
	_, _ = c.Write(b)
	_ = c.(*net.TCPConn).CloseWrite()
	said, err := io.ReadAll(c)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return nil, nil, fmt.Errorf("the connection stays open: %w", err)
	}
	var all []*http.Response
	var bodies [][]byte
	for in := bufio.NewReader(bytes.NewReader(said)); ; {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return all, bodies, nil
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		all, bodies = append(all, r), append(bodies, body)
		if r.StatusCode == http.StatusSwitchingProtocols {
			return all, bodies, nil
		}
	}
}

// plausible lists the statuses of net/http, the mux and the page for requests that are not calls.
var plausible = []int{200, 301, 302, 307, 308, 400, 404, 405, 408, 413, 414, 417, 421, 426, 429, 431, 501, 505}

// answers checks the answers to bytes that were sent to path. path is "" if it is not known which call they reach.
func (w *world) answers(t *testing.T, path string, sent []byte) {
	all, bodies, err := w.raw(sent)
	if err != nil {
		t.Errorf("%q: %v", sent, err)
	}
	for i, r := range all {
		if r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			if !slices.Contains(plausible, r.StatusCode) && r.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("%q: status %s", sent, r.Status)
			}
			continue
		}
		a := reply{body: string(bodies[i])}
		code := a.code()
		exact := a.body == replyBody(code) || code == 200 && strings.HasPrefix(a.body, `{"code":200,"found":`) && json.Valid(bodies[i])
		known := path == "" && messages[code] != "" && code != 500 || slices.Contains(documented[path], code)
		if !exact || !known {
			t.Errorf("%q: %s %s", sent, r.Status, a.body)
		}
	}
}

// TestRandom sends random bytes to every endpoint and through the tunnel. All answers must be documented, other users
// must not be affected, and no goroutine, connection or session may remain.
func TestRandom(t *testing.T) {
	t.Parallel()
	p := startProcess(t, filepath.Join(t.TempDir(), "data"), new(logBuffer), "IMCTL_NATS_SYNC=1m")
	w := newWorld(t, p)
	a, b := w.newFriends(t)
	two := w.newMembers(t, 2) // whose ids and tokens are abused
	for _, m := range two {
		m.tunnel.close(t)
	}
	left := func(name string) float64 {
		t.Helper()
		n, err := p.metric(name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.http.CloseIdleConnections()
	eventually(t, "two sessions", func() bool { return left(`imctl_sessions{kind="contract"}`) == 2 })
	goroutines, files := left("go_goroutines"), left("process_open_fds")

	var work sync.WaitGroup
	for i, storm := range []func(*testing.T, *world, noise, []*member){stormHTTP, stormBodies, stormQueries, stormHandshakes, stormFrames, stormFrames} {
		work.Go(func() { storm(t, w, newNoise(uint64(i)), two) })
	}
	for i := range 20 {
		if code := a.talk(t, b, fmt.Sprint(i)); code != 200 {
			t.Errorf("dialogue of other users: got code %d, want 200", code)
		}
		b.tunnel.want(t, dialogueFrame(fmt.Sprintf(`"%d"`, i), a.id, `"hello"`))
	}
	work.Wait()

	w.http.CloseIdleConnections()
	eventually(t, "all other sessions to end", func() bool { return left(`imctl_sessions{kind="contract"}`) == 2 })
	// The connection for metrics, and goroutines of the runtime and of NATS, come and go.
	const some = 4
	eventually(t, "all connections to end", func() bool { return left("process_open_fds") <= files+some })
	eventually(t, "all goroutines to end", func() bool { return left("go_goroutines") <= goroutines+some })
	if code := b.talk(t, a, "after it"); code != 200 {
		t.Errorf("dialogue after the test: got code %d, want 200", code)
	}
	w.close(t)
	p.stop(t)
	p.sound(t)
}

// stormHTTP sends invalid HTTP requests.
func stormHTTP(t *testing.T, w *world, r noise, two []*member) {
	good := "POST /im/register HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
	for i := range 150 {
		sent := r.bytes(300)
		if i%2 == 0 {
			sent = []byte(r.spoil(good))
		}
		w.answers(t, "", sent)
	}
}

// stormBodies sends registrations with invalid bodies.
func stormBodies(t *testing.T, w *world, r noise, two []*member) {
	w.secret("random-pw")
	for i := range 150 {
		body := string(r.bytes(200))
		if i%3 > 0 {
			body = r.spoil(fmt.Sprintf(`{"account":"random %d","password":"random-pw","mail":"m","name":null,"sign":"\u00e9"}`, i))
		}
		w.answers(t, "/im/register", fmt.Appendf(nil, "POST /im/register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
}

// unbroken removes bytes that would end the request line.
func unbroken(b []byte) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f {
			return '%'
		}
		return c
	}, string(b))
}

// stormQueries sends calls with invalid queries.
func stormQueries(t *testing.T, w *world, r noise, two []*member) {
	for i := range 200 {
		paths := []string{"/im/friends/found", "/im/friends/request", "/im/friends/add", "/im/friends/remove", "/im/login"}
		path := paths[i%len(paths)]
		q := unbroken(r.bytes(80))
		if r.IntN(3) > 0 {
			q = unbroken([]byte(r.spoil(query("id", two[0].id, "token", two[0].token, "to", two[1].id, "from", two[1].id, "name", "x", "note", "y"))))
		}
		q = strings.ReplaceAll(q, "#", "%23") // what follows it would not be sent by any client
		w.answers(t, path, []byte("GET "+path+"?"+q+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	}
}

// stormHandshakes sends invalid handshakes, and valid ones that are followed by random bytes.
func stormHandshakes(t *testing.T, w *world, r noise, two []*member) {
	for range 120 {
		q := query("account", two[0].account, "password", two[0].password)
		good := "GET /im/login?" + q + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		w.answers(t, "", append([]byte(r.spoil(good)), r.bytes(60)...))
	}
}

// stormFrames sends invalid dialogues and invalid frames.
func stormFrames(t *testing.T, w *world, r noise, two []*member) {
	for i := range 25 {
		c, err := w.tryDial(t.Context(), w.dialer(), 0, "/im/login?"+query("account", two[1].account, "password", two[1].password), nil)
		if err != nil {
			t.Errorf("login: %v", err)
			return
		}
		login, err := c.tryNext()
		if err != nil {
			t.Errorf("login: %v", err)
		}
		w.secret(firstGroup(login, `"token":"([^"]*)"`))
		n := r.IntN(25)
		for range n {
			frame := string(r.bytes(100))
			if r.IntN(3) > 0 {
				frame = r.spoil(dialogue(`"\u00e97"`, two[0].id, `"hello"`))
			}
			frame = strings.ToValidUTF8(frame, "\ufffd") // what is not UTF-8 ends the tunnel
			if err := c.trySend(frame); err != nil {
				t.Errorf("send: %v", err)
			}
		}
		for range n {
			answer, err := c.tryNext()
			code := reply{body: answer}.code()
			if err != nil || messages[code] == "" || !slices.Contains([]int{403, 506, 510, 511, 512}, code) || !strings.HasPrefix(answer, strings.TrimSuffix(replyBody(code), "}")) || !json.Valid([]byte(answer)) {
				t.Errorf("answer %s, %v", answer, err)
			}
		}
		switch i % 4 {
		case 0: // close without a close frame
		case 1:
			_ = c.ws.WriteMessage(websocket.BinaryMessage, r.bytes(50))
		case 2:
			_, _ = c.ws.NetConn().Write(r.bytes(200))
		case 3:
			_ = c.ws.WriteControl(websocket.CloseMessage, r.bytes(20), time.Now().Add(waitTimeout))
		}
		c.ws.Close()
	}
}
