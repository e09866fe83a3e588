package cmd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// shake sends a handshake with these headers and returns the answer.
func (w *world) shake(t *testing.T, pathAndQuery string, header ...string) reply {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(w.base(0), "http://"), waitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: im.example.org\r\n%s\r\n\r\n", pathAndQuery, strings.Join(header, "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("%q: no answer: %v", header, err)
		return reply{header: http.Header{}}
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusSwitchingProtocols {
		return reply{status: r.StatusCode, header: r.Header}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{r.StatusCode, r.Header, string(body)}
}

const goodKey = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

// TestHandshakes checks that every handshake is answered, and that the log has the reason for a refusal without
// secrets.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := newWorld(t, s)
	p := w.newMember(t, 0)
	upgrade := []string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket"}
	for _, row := range []struct {
		what   string
		header []string
		want   int
		log    string
	}{
		{"as it should be", append(upgrade, "Sec-WebSocket-Version: 13", goodKey), 101, ""},
		{"one of several versions", append(upgrade, "Sec-WebSocket-Version: 8, 13", goodKey), 101, ""},
		{"an old version", append(upgrade, "Sec-WebSocket-Version: 8", goodKey), 426, "Sec-WebSocket-Version"},
		{"a version like it", append(upgrade, "Sec-WebSocket-Version: 130", goodKey), 426, ""},
		{"no version", append(upgrade, goodKey), 426, ""},
		{"no key", append(upgrade, "Sec-WebSocket-Version: 13"), 400, ""},
		{"an empty key", append(upgrade, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "), 400, ""},
		{"a short key", append(upgrade, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c2hvcnQ="), 400, ""},
		{"no base64", append(upgrade, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: ************************"), 400, ""},
		{"two keys", append(upgrade, "Sec-WebSocket-Version: 13", goodKey, goodKey), 400, ""},
		{"neither version nor key", upgrade, 426, ""},
		{"a foreign page", append(upgrade, "Sec-WebSocket-Version: 13", goodKey, "Origin: https://evil.example.org"), 200, ""},
		{"no upgrade", []string{"Connection: close"}, 200, ""},
		{"bytes behind it", append(upgrade, "Sec-WebSocket-Version: 13", goodKey, "", "\x81\x80\x00\x00\x00\x00"), 400, ""},
	} {
		for _, path := range []string{"/im/login", "/im/login/im/login"} {
			got := w.shake(t, path+"?"+query("account", p.account, "password", p.password), row.header...)
			if row.want == http.StatusSwitchingProtocols {
				if got.status != row.want {
					t.Errorf("%s: %d %s", row.what, got.status, got.body)
				}
				continue
			}
			got.wantStatus(t, row.what, row.want, replyBody(403))
			if v := got.header.Get("Sec-WebSocket-Version"); (v == "13") != (row.want == 426) {
				t.Errorf("%s: Sec-WebSocket-Version is %q", row.what, v)
			}
		}
	}
	p.login(t)
}

// TestRefusedHandshakesAreLogged checks that the log has at most one refusal per second, with the number of the others.
func TestRefusedHandshakesAreLogged(t *testing.T) {
	t.Parallel()
	for what, row := range map[string]struct {
		header []string
		want   []string
	}{
		"origin":  {[]string{"Connection: Upgrade", "Upgrade: websocket", "Origin: https://evil.example.org/?secret-path"}, []string{"mismatch=Origin", "got=https://evil.example.org"}},
		"version": {[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", goodKey}, []string{"mismatch=Sec-WebSocket-Version", "got=8"}},
		"upgrade": {[]string{"Connection: close"}, []string{`mismatch="Connection or Upgrade"`}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			w := newWorld(t, s)
			p := w.newMember(t, 0)
			for range 20 {
				w.shake(t, "/im/login?"+query("account", p.account, "password", p.password), row.header...)
			}
			w.close(t)
			s.close(t)
			lines, more := 0, 0
			for line := range strings.Lines(s.log.String()) {
				var n int
				switch {
				case strings.Contains(line, "more handshakes refused"):
					if _, err := fmt.Sscanf(line[strings.Index(line, "count="):], "count=%d", &n); err != nil {
						t.Error(err)
					}
					more += n
				case strings.Contains(line, "handshake refused"):
					lines++
					for _, part := range append(row.want, "level=INFO", "address=127.0.0.1") {
						if !strings.Contains(line, part) {
							t.Errorf("no %s in %s", part, line)
						}
					}
				}
				if strings.Contains(line, "secret-path") {
					t.Errorf("a secret in the log: %s", line)
				}
			}
			if lines == 0 || lines > 10 || lines+more != 20 {
				t.Errorf("20 refused handshakes: got %d lines and %d suppressed", lines, more)
			}
		})
	}
}

// TestNotUTF8 checks that a text frame with invalid UTF-8 is answered, and ends the tunnel with close code 1007.
func TestNotUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a, b := w.newFriends(t)
	for frame, want := range map[string]string{
		"\xff": replyBody(403),
		"{\"id\":\"1\",\"toFriend\":\"" + b.id + "\",\"payload\":\"\xc3\"}":                     replyFrame(`"1"`, 403),
		"{\"id\":\"1\",\"toFriend\":\"" + b.id + "\",\"payload\":\"p\",\"x\":\"\xed\xa0\x80\"}": replyFrame(`"1"`, 403),
	} {
		c, _ := a.openTunnel(t)
		c.send(t, frame)
		got := c.next(t)
		if got != want && got != replyBody(403) {
			t.Errorf("%q: got answer %s", frame, got)
		}
		c.wantClose(t, websocket.CloseInvalidFramePayloadData)
	}
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue of the other tunnels: got code %d, want 200", code)
	}
}

// TestClosedIsOffline checks that a friend is offline once its close handshake is complete.
func TestClosedIsOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a, b := w.newFriends(t)
	for i := range 300 {
		b.tunnel.close(t)
		if code := a.talk(t, b, "1"); code != 508 {
			t.Fatalf("after %d close handshakes: got code %d, want 508", i+1, code)
		}
		b.login(t)
	}
}
