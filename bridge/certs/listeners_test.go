package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
)

// TestOtherListeners checks which listeners use TLS, with each mode.
func TestOtherListeners(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	certPEM, keyPEM := a.pair(t, "im.example.org")
	cert, key := writePair(t, certPEM, keyPEM)
	for name, x := range map[string]struct {
		o             Options
		front, others string // the common name of the certificate, "" without TLS
	}{
		"all on loopback":           {Options{Listen: "127.0.0.1:0", Others: []string{"localhost:0", "[::1]:0"}}, "", ""},
		"front on loopback":         {Options{Listen: "127.0.0.1:0", Others: []string{"127.0.0.1:0", "0.0.0.0:0"}}, "", "imctl"},
		"front on loopback, files":  {Options{Listen: "127.0.0.1:0", Cert: cert, Key: key, Others: []string{"0.0.0.0:0"}}, "", "im.example.org"},
		"front on loopback, ACME":   {Options{Listen: "127.0.0.1:0", Domains: []string{"im.example.org"}, Others: []string{"0.0.0.0:0"}}, "", "imctl"},
		"self-signed":               {Options{Listen: "0.0.0.0:0", Others: []string{"0.0.0.0:0"}}, "imctl", "imctl"},
		"files":                     {Options{Listen: "0.0.0.0:0", Cert: cert, Key: key, Others: []string{":0"}}, "im.example.org", "im.example.org"},
		"others on loopback":        {Options{Listen: "0.0.0.0:0", Others: []string{"127.0.0.1:0"}}, "imctl", ""},
		"others on loopback, named": {Options{Mode: ModeSelfSigned, Listen: "127.0.0.1:0", Others: []string{"127.0.0.1:0"}}, "imctl", ""},
		"off":                       {Options{Mode: ModeOff, Listen: "0.0.0.0:0", Others: []string{"0.0.0.0:0"}}, "", ""},
	} {
		x.o.Dir = t.TempDir()
		s, err := New(x.o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := commonName(t, s.TLSConfig(), "im.example.org"); got != x.front {
			t.Errorf("%s: front %q, want %q", name, got, x.front)
		}
		last := x.o.Others[len(x.o.Others)-1]
		if got := commonName(t, s.ListenerConfig(x.o.Mode, last), "im.example.org"); got != x.others {
			t.Errorf("%s: other listener %q, want %q", name, got, x.others)
		}
		if _, ok := s.Expiry(x.o.Mode, x.o.Listen, true); ok != (x.front != "") {
			t.Errorf("%s: the front's certificate expires: %v", name, ok)
		}
		if _, ok := s.Expiry(x.o.Mode, last, false); ok != (x.others != "") {
			t.Errorf("%s: the certificate of the other listener expires: %v", name, ok)
		}
		if _, err := os.Stat(s.CAFile()); (err == nil) != (x.others != "") {
			t.Errorf("%s: CA file: %v", name, err)
		}
		if last == "0.0.0.0:0" && s.ListenerConfig(x.o.Mode, "127.0.0.1:0") != nil {
			t.Errorf("%s: a loopback address uses TLS", name)
		}
		if Plain(x.o.Mode, last) != (x.o.Mode == ModeOff) {
			t.Errorf("%s: Plain(%q) is wrong", name, last)
		}
	}
}

// commonName returns the name in the certificate for a client of server, "" without TLS.
func commonName(t *testing.T, c *tls.Config, server string) string {
	t.Helper()
	if c == nil {
		return ""
	}
	pair, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: server})
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.Subject.CommonName
}

// TestLocalClients checks that a client on this machine can verify the listener by its address, with any certificate,
// and that a reload reaches the listener.
func TestLocalClients(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	first, key := a.pair(t, "im.example.org")
	certFile, keyFile := writePair(t, first, key)
	s, err := New(Options{Listen: "0.0.0.0:0", Cert: certFile, Key: keyFile, Others: []string{"0.0.0.0:0"}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.ListenerConfig(ModeAuto, "0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); conn.Close() }()
		}
	}()
	own, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(own)
	dial := func(c *tls.Config) *x509.Certificate {
		t.Helper()
		var d tls.Dialer
		d.Config = c
		conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	}
	host, _, _ := net.SplitHostPort(l.Addr().String())
	dial(&tls.Config{RootCAs: roots, ServerName: host})
	dial(&tls.Config{RootCAs: roots, ServerName: "localhost"})
	before := dial(&tls.Config{RootCAs: a.roots(), ServerName: "im.example.org"})
	second, key := a.pair(t, "im.example.org")
	write(t, certFile, second)
	write(t, keyFile, key)
	if err := s.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := dial(&tls.Config{RootCAs: a.roots(), ServerName: "im.example.org"}); after.Equal(before) {
		t.Error("the listener still has the old certificate")
	}
}
