package cmd

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
)

// onAllAddresses lets the listeners for NATS clients and operators accept other machines. The page stays on loopback.
func onAllAddresses(c *Config) { c.NATS.Listen, c.Ops.Listen = "0.0.0.0:0", "0.0.0.0:0" }

// TestNATSOverTLS checks that the listener for NATS clients requires TLS off loopback: for users, for attachments with
// only their context file, and for commands.
func TestNATSOverTLS(t *testing.T) {
	t.Parallel()
	s := start(t, onAllAddresses)
	s.tls = trustSelfSigned(t, s.app.config.Data)
	w := newWorld(t, s)
	p := w.newMembers(t, 1)[0]
	url := s.natsURL()
	if !strings.HasPrefix(url, "tls://127.0.0.1:") {
		t.Fatalf("the URL is %s", url)
	}
	plain := "nats" + strings.TrimPrefix(url, "tls")
	login := []nats.Option{nats.UserInfo(p.account, p.password), nats.CustomInboxPrefix(subject.Inbox(p.id)), nats.NoReconnect()}
	// A client that comes over nats:// is told that it must use TLS, and verifies the certificate.
	for _, u := range []string{url, plain} {
		nc, err := nats.Connect(u, append(login, nats.RootCAs(filepath.Join(s.app.config.Data, "tls", "self-signed.crt")))...)
		if err != nil {
			t.Fatalf("%s: %v", u, err)
		}
		if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
			t.Errorf("%s: TLS %x, %v", u, state.Version, err)
		}
		nc.Close()
		if nc, err := nats.Connect(u, login...); err == nil {
			nc.Close()
			t.Errorf("%s: a client that does not trust the certificate is connected", u)
		}
	}
	if answer := speakPlain(t, strings.TrimPrefix(plain, "nats://"), p.account, p.password); strings.Contains(answer, "PONG") {
		t.Errorf("a client without TLS got %q", answer)
	}

	file := filepath.Join(t.TempDir(), "root.json")
	data := []string{"--data", s.app.config.Data}
	command(t, "", "", append([]string{"attach", "add", "root", "--role", "admin", "--context", file}, data...)...).want(t, 0)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c natsauth.Context
	if err := json.Unmarshal(text, &c); err != nil || !strings.HasPrefix(c.URL, "tls://") || !filepath.IsAbs(c.CA) {
		t.Fatalf("context: %+v, %v", c.URL, err)
	}
	w.secret(c.Password)
	for _, args := range [][]string{
		append([]string{"status"}, data...), append([]string{"nats", "info"}, data...),
		{"status", "--context", file}, {"nats", "info", "--context", file},
	} {
		command(t, "", "", args...).want(t, 0)
	}
}

// speakPlain logs in to NATS without TLS, and returns what the server sends.
func speakPlain(t *testing.T, address, user, password string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	info, err := r.ReadString('\n')
	if err != nil || !strings.Contains(info, `"tls_required":true`) {
		t.Fatalf("INFO: %q, %v", info, err)
	}
	login, err := json.Marshal(map[string]any{"user": user, "pass": password, "verbose": false})
	if err == nil {
		_, err = conn.Write(append(append([]byte("CONNECT "), login...), "\r\nPING\r\n"...))
	}
	if err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(r) // the server closes the connection
	return string(rest)
}

// TestOpsOverTLS checks that the listener for operators uses TLS off loopback.
func TestOpsOverTLS(t *testing.T) {
	t.Parallel()
	s := start(t, onAllAddresses)
	base := s.app.opsURL()
	if !strings.HasPrefix(base, "https://") {
		t.Fatalf("the URL is %s", base)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trustSelfSigned(t, s.app.config.Data), DisableKeepAlives: true}, Timeout: waitTimeout}
	r, err := client.Get(base + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("status %d", r.StatusCode)
	}
	if body, status, err := fetch("http" + strings.TrimPrefix(base, "https") + "/metrics"); err == nil && status == http.StatusOK {
		t.Errorf("without TLS: %s", body)
	}
}

// TestPlainByName checks that listeners off loopback are plain only if tls.mode is off, and that the server and check
// say so.
func TestPlainByName(t *testing.T) {
	t.Parallel()
	s := start(t, onAllAddresses, func(c *Config) { c.TLS.Mode = "off" })
	if !strings.HasPrefix(s.natsURL(), "nats://") || !strings.HasPrefix(s.app.opsURL(), "http://") {
		t.Errorf("URLs: %s, %s", s.natsURL(), s.app.opsURL())
	}
	for _, key := range []string{"nats.listen", "ops.listen"} {
		if !strings.Contains(s.log.String(), `without TLS, since tls.mode is off" setting=`+key) {
			t.Errorf("the log has no warning for %s", key)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("tls: {mode: off}\nnats: {listen: \"0.0.0.0:4222\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := command(t, dir, "", "check")
	if a.code != 0 || !strings.Contains(a.err, "config.yaml:2: nats.listen: 0.0.0.0:4222 serves other machines without TLS") || strings.Contains(a.err, "ops.listen") {
		t.Errorf("check: %+v", a)
	}
}
