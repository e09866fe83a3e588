package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func acmeOptions(t *testing.T, a *acmeServer, book *logbook, domains ...string) Options {
	t.Helper()
	return Options{
		Mode: ModeACME, Listen: "0.0.0.0:443", Dir: filepath.Join(t.TempDir(), "tls"), Log: book.logger(),
		Domains: domains, Email: "operator@example.org", Directory: a.URL + "/directory", RootCAs: a.trust(),
	}
}

// TestACME covers the whole process: the handshake of the first client waits for a certificate, which the authority
// issues after connecting to the same listener.
func TestACME(t *testing.T) {
	t.Parallel()
	a := newACMEServer(t)
	o := acmeOptions(t, a, newLogbook(), "Chat.Example.org.", "chat.example.org")
	s := mustNew(t, o)
	addr := serve(t, s)
	a.lead(addr)
	if domains := s.provider.(*acmeCerts).domains; !slices.Equal(domains, []string{"chat.example.org"}) {
		t.Errorf("domains %q", domains)
	}

	// Clients of TLS 1.2 and clients of TLS 1.3 only get the same certificate.
	var first *x509.Certificate
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		client := &tls.Config{RootCAs: a.ca.roots(), ServerName: "chat.example.org", MinVersion: version, NextProtos: []string{"h2", "http/1.1"}}
		state, err := dial(t, addr, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.NegotiatedProtocol != "h2" || len(state.PeerCertificates) != 2 {
			t.Errorf("protocol %q, %d certificates", state.NegotiatedProtocol, len(state.PeerCertificates))
		}
		if first == nil {
			first = state.PeerCertificates[0]
		} else if !state.PeerCertificates[0].Equal(first) {
			t.Errorf("TLS version %x: got another certificate", version)
		}
	}
	if n := a.orderCount(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
	a.mu.Lock()
	for url, account := range a.accounts {
		if !slices.Equal(account.contact, []string{"mailto:operator@example.org"}) {
			t.Errorf("account %s has contact %q", url, account.contact)
		}
	}
	a.mu.Unlock()
	checkPrivate(t, o.Dir)

	// After a restart the certificate is served without the authority.
	a.Close()
	client := &tls.Config{RootCAs: a.ca.roots(), ServerName: "chat.example.org"}
	state, err := dial(t, serve(t, mustNew(t, o)), client)
	if err != nil {
		t.Fatal(err)
	}
	if !state.PeerCertificates[0].Equal(first) {
		t.Error("got another certificate after the restart")
	}
}

// checkPrivate checks the modes of all files below dir.
func checkPrivate(t *testing.T, dir string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if strings.HasSuffix(path, "+token") {
				return nil // removed after the challenge, perhaps just now
			}
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil || files < 2 {
		t.Errorf("%d files, %v; want an account key and a certificate", files, err)
	}
}

func TestACMEOtherNames(t *testing.T) {
	t.Parallel()
	a := newACMEServer(t)
	s := mustNew(t, acmeOptions(t, a, newLogbook(), "chat.example.org"))
	addr := serve(t, s)
	a.lead(addr)
	for _, name := range []string{"other.example.org", "example.org", "www.chat.example.org", "localhost", ""} {
		if _, err := dial(t, addr, &tls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
			t.Errorf("name %q: the handshake succeeded", name)
		}
	}
	// A challenge without an order must fail.
	if _, err := dial(t, addr, &tls.Config{ServerName: "chat.example.org", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}); err == nil {
		t.Error("answered a challenge without an order")
	}
	if n := a.orderCount(); n != 0 {
		t.Errorf("%d orders for foreign names, want none", n)
	}
}

// TestACMERunRequestsAll checks that Run gets the certificates of all domains before a client connects.
func TestACMERunRequestsAll(t *testing.T) {
	t.Parallel()
	a := newACMEServer(t)
	book := newLogbook()
	s := mustNew(t, acmeOptions(t, a, book, "chat.example.org", "Bücher.example.org"))
	addr := serve(t, s)
	a.lead(addr)
	run(t, s)
	domains := []string{"chat.example.org", "xn--bcher-kva.example.org"}
	for _, domain := range domains {
		book.wait(t, `msg="certificate ready" certificate.names=`+domain)
	}
	a.Close()
	for _, domain := range domains {
		if _, err := dial(t, addr, &tls.Config{RootCAs: a.ca.roots(), ServerName: domain}); err != nil {
			t.Errorf("%s: %v", domain, err)
		}
	}
	if n := a.orderCount(); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestACMERefused checks that there is no certificate if the domain leads to another server, and that the log has the
// reason.
func TestACMERefused(t *testing.T) {
	t.Parallel()
	a := newACMEServer(t)
	book := newLogbook()
	s := mustNew(t, acmeOptions(t, a, book, "chat.example.org"))
	addr := serve(t, s)
	a.lead(serve(t, mustNew(t, selfSignedOptions(t, newLogbook()))))
	run(t, s)
	book.wait(t, "no certificate from the ACME authority")
	if book.count("could not verify the domain") != 1 || book.count("connect to chat.example.org: remote error: tls: no application protocol") != 1 {
		t.Errorf("want the reason of the authority once in the log: %s", book)
	}
	if _, err := dial(t, addr, &tls.Config{ServerName: "chat.example.org", InsecureSkipVerify: true}); err == nil {
		t.Error("the handshake succeeded without a certificate")
	}
}

// TestACMEUntrusted checks that an authority with an untrusted certificate gets no request.
func TestACMEUntrusted(t *testing.T) {
	t.Parallel()
	a := newACMEServer(t)
	book := newLogbook()
	o := acmeOptions(t, a, book, "chat.example.org")
	o.RootCAs = x509.NewCertPool()
	s := mustNew(t, o)
	run(t, s)
	book.wait(t, "no certificate from the ACME authority")
	if book.count("certificate signed by unknown authority") == 0 || len(a.accounts) != 0 {
		t.Errorf("%d accounts, log: %s", len(a.accounts), book)
	}
}

// TestACMERunAborts checks that an authority that does not answer does not delay a shutdown, and that the request to
// it is aborted.
func TestACMERunAborts(t *testing.T) {
	t.Parallel()
	requested, aborted := make(chan struct{}), make(chan struct{})
	silent := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(requested)
		<-r.Context().Done()
		close(aborted)
	}))
	defer silent.Close()
	pool := x509.NewCertPool()
	pool.AddCert(silent.Certificate())
	s := mustNew(t, Options{Mode: ModeACME, Listen: ":443", Dir: t.TempDir(), Domains: []string{"chat.example.org"}, Directory: silent.URL, RootCAs: pool})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	for _, step := range []struct {
		want string
		do   func()
		wait chan struct{}
	}{
		{"request a certificate", func() {}, requested},
		{"return", cancel, done},
		{"abort the request", func() {}, aborted},
	} {
		step.do()
		select {
		case <-step.wait:
		case <-time.After(20 * time.Second):
			t.Fatalf("Run did not %s", step.want)
		}
	}
}

// TestACMECachePerAuthority checks that certificates of one authority are not served for another.
func TestACMECachePerAuthority(t *testing.T) {
	t.Parallel()
	first, second := newACMEServer(t), newACMEServer(t)
	o := acmeOptions(t, first, newLogbook(), "chat.example.org")
	for _, a := range []*acmeServer{first, second} {
		o.Directory, o.RootCAs = a.URL+"/directory", a.trust()
		addr := serve(t, mustNew(t, o))
		a.lead(addr)
		if _, err := dial(t, addr, &tls.Config{RootCAs: a.ca.roots(), ServerName: "chat.example.org"}); err != nil {
			t.Error(err)
		}
	}
	for _, directory := range []string{"https://ca.example.org/a", "https://ca.example.org/b", "https://[::1]:8443/", "https://../x", "https://a%2Fb/"} {
		name := cacheName(directory)
		if name != filepath.Base(name) || !filepath.IsLocal(name) {
			t.Errorf("cache of %s is %q, want a local base name", directory, name)
		}
	}
	if cacheName("https://ca.example.org/a") == cacheName("https://ca.example.org/b") {
		t.Error("two directories of one host share a cache")
	}
}

func TestLate(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		life, left time.Duration
		want       bool
	}{
		{90 * day, 60 * day, false},
		{90 * day, 25 * day, false},
		{90 * day, 20 * day, true},
		{90 * day, -day, true},
		{6 * day, 4 * day, false},
		{6 * day, 36 * time.Hour, false},
		{6 * day, day, true},
		{365 * day, 31 * day, false},
		{365 * day, 20 * day, true},
	} {
		end := now.Add(test.left)
		if got := late(&x509.Certificate{NotBefore: end.Add(-test.life), NotAfter: end}, now); got != test.want {
			t.Errorf("%v of %v left: late = %v", test.left, test.life, got)
		}
	}
}
