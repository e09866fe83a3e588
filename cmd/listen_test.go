package cmd

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unixClient returns a client of a Unix socket.
func unixClient(path string) *http.Client {
	return &http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
}

// TestListenOnWindows: an address of a Unix socket is refused there.
func TestListenOnWindows(t *testing.T) {
	t.Parallel()
	if err := listenAddressOn("windows", "unix:/run/imctl/http.sock"); err == nil || !strings.Contains(err.Error(), "does not listen on Unix sockets on Windows") {
		t.Errorf("got %v", err)
	}
	for system, address := range map[string]string{"windows": "127.0.0.1:8080", "linux": "unix:/run/imctl/http.sock"} {
		if err := listenAddressOn(system, address); err != nil {
			t.Errorf("%s on %s: %v", address, system, err)
		}
	}
}

// TestUnixSocket: a server on Unix sockets replaces the ones that a killed process has left, takes none that a server
// uses and no other file, and removes its own at the end.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	front, ops := filepath.Join(dir, "http.sock"), filepath.Join(dir, "ops.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: front, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false) // as after kill -9
	stale.Close()
	onSockets := func(c *Config) { c.Listen, c.Ops.Listen = unixPrefix+front, unixPrefix+ops }
	s := start(t, onSockets)
	command(t, dir, "", "health", "--ops.listen", unixPrefix+ops).want(t, exitDone, "ok")
	for _, path := range []string{front, ops} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != socketMode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	for path, url := range map[string]string{front: "http://im.example.org/im/registration", ops: "http://any.example.org/readyz"} {
		r, err := unixClient(path).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("%s is answered %d", url, r.StatusCode)
		}
	}
	if got := s.app.URL(); got != unixPrefix+front {
		t.Errorf("URL %s", got)
	}
	if _, err := tryStart(t, testConfig(t, onSockets)); err == nil || !strings.Contains(err.Error(), "listen: unix:"+front+": address already in use") {
		t.Errorf("a second server on the sockets: %v", err)
	}
	s.close(t)
	for _, path := range []string{front, ops} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	writeFile(t, front, "mine")
	if _, err := tryStart(t, testConfig(t, onSockets)); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a server in place of a file: %v", err)
	}
	if text, err := os.ReadFile(front); string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// TestUnixSocketClients: the proxy on a Unix socket names the clients, each of which has its own limits.
func TestUnixSocketClients(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "http.sock")
	start(t, func(c *Config) { c.Listen, c.Limits.HTTP = unixPrefix+path, Rate{2, 3600e9} })
	get := func(key, value string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://im.example.org/im/registration", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(key, value)
		answer, err := unixClient(path).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	for i, want := range []int{200, 200, 429} {
		if got := get("X-Forwarded-For", "192.0.2.1"); got != want {
			t.Errorf("request %d is answered %d", i, got)
		}
	}
	if got := get("Forwarded", `for="192.0.2.1:4711"`); got != 429 {
		t.Errorf("the same client by Forwarded: %d", got)
	}
	if got := get("X-Forwarded-For", "192.0.2.2"); got != 200 {
		t.Errorf("another client: %d", got)
	}
}
