package cmd

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
)

// TestHealth: the exit code of imctl health is that of /readyz, over HTTP, HTTPS and a Unix socket.
func TestHealth(t *testing.T) {
	t.Parallel()
	ready := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
			return
		}
		writeHealth(w, "ok, degraded", nil)
	})
	serve := func(handler http.HandlerFunc) string {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	secure := httptest.NewTLSServer(ready)
	t.Cleanup(secure.Close)
	_, securePort, err := net.SplitHostPort(secure.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	busy := serve(func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, "", net.ErrClosed) })
	closed := httptest.NewServer(ready)
	nothing := closed.Listener.Addr().String()
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections in the kernel, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for name, c := range map[string]struct {
		code int
		word string
		args []string
	}{
		"ready":       {exitDone, "ok, degraded\n", []string{"--ops.listen", serve(ready)}},
		"TLS":         {exitDone, "ok, degraded\n", []string{"--ops.listen", "0.0.0.0:" + securePort, "--tls.mode", "self-signed"}},
		"not ready":   {exitFailed, "not ready: use of closed network connection", []string{"--ops.listen", busy}},
		"no server":   {exitNoServer, "no answer from " + nothing, []string{"--ops.listen", nothing}},
		"silent":      {exitNoServer, "no answer from ", []string{"--ops.listen", silent.Addr().String(), "--timeout", "20ms"}},
		"another":     {exitFailed, "not the operations listener", []string{"--ops.listen", serve(http.NotFound)}},
		"no listener": {exitUse, "ops.listen is empty", []string{"--ops.listen", ""}},
		"bad timeout": {exitUse, "--timeout must be positive", []string{"--timeout", "0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command(t, t.TempDir(), "", append([]string{"health"}, c.args...)...).want(t, c.code, c.word)
		})
	}
	t.Run("unix", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS == "windows" {
			t.Skip("Windows has few Unix sockets")
		}
		path := filepath.Join(t.TempDir(), "ops.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: ready}}
		s.Start()
		t.Cleanup(s.Close)
		var out bytes.Buffer
		config := Defaults()
		config.Ops.Listen = "unix:" + path
		if err := askHealth(t.Context(), &Env{Out: &out}, config); err != nil || out.String() != "ok, degraded\n" {
			t.Errorf("answer is %q, error is %v", out.String(), err)
		}
	})
}
