package cmd

import (
	"crypto/tls"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestIdleSockets: an attacker that opens more sockets than the process may have displaces its own. Other people
// register, log in and talk, NATS stores what they do, and the log says what happened.
func TestIdleSockets(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	serve := exec.Command("sh", "-c", "ulimit -n 512 && exec imctl serve --log.level debug")
	p := startCommand(t, serve, filepath.Join(t.TempDir(), "data"), log)
	w := newWorld(t, p)
	attack := func(address string) {
		t.Helper()
		d := from(t, address)
		for range 600 {
			c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
	}
	attack(attackerAddress)
	attack("127.0.0.67")
	w.http.CloseIdleConnections()
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue: %d", code)
	}
	if n, err := p.metric("imctl_connections"); err != nil || n > 384 {
		t.Errorf("%v connections, %v; want at most 384", n, err)
	}
	for _, text := range []string{"limit reached", "source=" + attackerAddress} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not say %q", text)
		}
	}
	if strings.Contains(log.String(), "too many open files") {
		t.Error("the process ran out of descriptors")
	}
	p.sound(t)
	w.close(t)
	p.stop(t)
}

// tlsProcess is a process whose listener has a self-signed certificate.
type tlsProcess struct {
	*process
	tls *tls.Config
}

func (p tlsProcess) trust() *tls.Config { return p.tls }

// TestHalfOpenTLS: 300 connections that begin a TLS handshake and do not end it, with few descriptors, keep no other
// client from its handshake.
func TestHalfOpenTLS(t *testing.T) {
	t.Parallel()
	log, data := new(logBuffer), filepath.Join(t.TempDir(), "data")
	serve := exec.Command("sh", "-c", "ulimit -n 288 && exec imctl serve --log.level debug")
	p := startCommand(t, serve, data, log, "IMCTL_TLS_MODE=self-signed")
	w := newWorld(t, tlsProcess{p, trustSelfSigned(t, data)})
	d := from(t, attackerAddress)
	for range 300 {
		c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		// An error means that the server has closed it. These are the first bytes of a ClientHello.
		_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00"))
	}
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue: %d", code)
	}
	if strings.Contains(log.String(), "too many open files") {
		t.Error("the process ran out of descriptors")
	}
	w.close(t)
	p.stop(t)
	p.sound(t)
}
