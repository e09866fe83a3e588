package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func selfSignedOptions(t *testing.T, book *logbook) Options {
	t.Helper()
	return Options{Mode: ModeSelfSigned, Listen: "0.0.0.0:8443", Dir: filepath.Join(t.TempDir(), "data", "tls"), Log: book.logger()}
}

func mustNew(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSelfSignedCertificate(t *testing.T) {
	t.Parallel()
	book := newLogbook()
	o := selfSignedOptions(t, book)
	o.Listen = "Chat.Example.org:8443"
	o.Domains = []string{"bücher.example.org", "192.0.2.7", "my_host"}
	s := mustNew(t, o)
	cert := leaf(t, s)

	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T, want ECDSA P-256", cert.PublicKey)
	}
	if life := cert.NotAfter.Sub(cert.NotBefore) + time.Second; life > 398*24*time.Hour || life < 365*24*time.Hour {
		t.Errorf("lifetime %v, want 365 to 398 days", life)
	}
	if now := time.Now(); now.Add(-30*time.Minute).Before(cert.NotBefore) || now.After(cert.NotAfter) {
		t.Errorf("valid from %v until %v", cert.NotBefore, cert.NotAfter)
	}
	if cert.IsCA || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("CA %v, usage %v", cert.IsCA, cert.ExtKeyUsage)
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(machine, ".")
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "chat.example.org", "xn--bcher-kva.example.org", "192.0.2.7", "my_host", machine, short} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if err := cert.VerifyHostname("other.example.org"); err == nil {
		t.Error("valid for a foreign name")
	}
	if book.count(Fingerprint(cert)) != 1 || book.count("\n") != 1 {
		t.Errorf("want one log line with the fingerprint: %s", book)
	}
	if f := Fingerprint(cert); len(f) != 95 || strings.Trim(f, "0123456789ABCDEF:") != "" {
		t.Errorf("fingerprint %q", f)
	}
}

// TestSelfSignedServes checks that a client that trusts the certificate can connect.
func TestSelfSignedServes(t *testing.T) {
	t.Parallel()
	s := mustNew(t, selfSignedOptions(t, newLogbook()))
	pool := x509.NewCertPool()
	pool.AddCert(leaf(t, s))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	answer, err := client.Get("https://" + serve(t, s))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	client.CloseIdleConnections()
}

func TestSelfSignedPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	o := selfSignedOptions(t, newLogbook())
	modes := func() map[string]os.FileMode {
		found := map[string]os.FileMode{}
		for _, name := range []string{"", "self-signed.crt", "self-signed.key"} {
			info, err := os.Stat(filepath.Join(o.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			found[name] = info.Mode().Perm()
		}
		entries, err := os.ReadDir(o.Dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("%d files in the directory, %v; want 2", len(entries), err)
		}
		return found
	}
	check := func(when string) {
		t.Helper()
		for name, mode := range modes() {
			want := os.FileMode(0o600)
			if name == "" {
				want = 0o700
			}
			if mode != want {
				t.Errorf("%s: %q has mode %o, want %o", when, name, mode, want)
			}
		}
	}
	mustNew(t, o)
	check("created")
	if err := os.Chmod(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(o.Dir, "self-signed.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustNew(t, o)
	check("loaded with open permissions")
}

func TestSelfSignedKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(t *testing.T, o *Options)
		reason string // for a new certificate; empty if the old one is kept
	}{
		{"unchanged", func(*testing.T, *Options) {}, ""},
		{"other port", func(_ *testing.T, o *Options) { o.Listen = "0.0.0.0:9443" }, ""},
		{"other open address", func(_ *testing.T, o *Options) { o.Listen = "[::]:8443" }, ""},
		{"covered address", func(_ *testing.T, o *Options) { o.Listen = "127.0.0.1:8443" }, ""},
		{"other address", func(_ *testing.T, o *Options) { o.Listen = "192.0.2.7:8443" }, "not valid for 192.0.2.7"},
		{"other host", func(_ *testing.T, o *Options) { o.Listen = "chat.example.org:8443" }, "not valid for chat.example.org"},
		{"link-local address", func(_ *testing.T, o *Options) { o.Listen = "[fe80::1%eth0]:8443" }, "not valid for fe80::1"},
		{"further name", func(_ *testing.T, o *Options) { o.Domains = []string{"im.example.org"} }, "not valid for im.example.org"},
		{"certificate gone", func(t *testing.T, o *Options) {
			if err := os.Remove(filepath.Join(o.Dir, "self-signed.crt")); err != nil {
				t.Fatal(err)
			}
		}, "no certificate yet"},
		{"certificate empty", func(t *testing.T, o *Options) { write(t, filepath.Join(o.Dir, "self-signed.crt"), nil) }, "damaged"},
		{"key of another", func(t *testing.T, o *Options) {
			_, key := newAuthority(t).pair(t, "localhost")
			write(t, filepath.Join(o.Dir, "self-signed.key"), key)
		}, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := selfSignedOptions(t, newLogbook())
			before := leaf(t, mustNew(t, o))
			book := newLogbook()
			o.Log = book.logger()
			test.change(t, &o)
			after := leaf(t, mustNew(t, o))
			if kept := after.Equal(before); kept != (test.reason == "") {
				t.Fatalf("kept: %v, log: %s", kept, book)
			}
			if test.reason != "" && book.count(test.reason) != 1 {
				t.Errorf("the log has no reason %q: %s", test.reason, book)
			}
			if book.count(Fingerprint(after)) != 1 {
				t.Errorf("want the fingerprint once in the log: %s", book)
			}
			if again := leaf(t, mustNew(t, o)); !again.Equal(after) {
				t.Error("the next start creates another certificate")
			}
		})
	}
}

// TestSelfSignedUnreadable checks that files that cannot be read are not overwritten.
func TestSelfSignedUnreadable(t *testing.T) {
	t.Parallel()
	o := selfSignedOptions(t, newLogbook())
	file := filepath.Join(o.Dir, "self-signed.key")
	mustNew(t, o)
	before, err := os.ReadFile(filepath.Join(o.Dir, "self-signed.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error with %s", err, file)
	}
	if after, err := os.ReadFile(filepath.Join(o.Dir, "self-signed.crt")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the certificate changed, %v", err)
	}
}

// TestSelfSignedRenewed runs for three years without a restart and checks that the certificate is renewed and always
// valid.
func TestSelfSignedRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		book := newLogbook()
		s := mustNew(t, Options{Mode: ModeSelfSigned, Listen: ":8443", Dir: dir, Log: book.logger()})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		config := s.TLSConfig()
		seen := map[string]bool{}
		for range 3 * 365 {
			pair, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(pair.Leaf.NotAfter); left < 29*24*time.Hour {
				t.Fatalf("serving a certificate that expires in %v", left)
			}
			seen[Fingerprint(pair.Leaf)] = true
			time.Sleep(24 * time.Hour)
		}
		if len(seen) != 3 {
			t.Errorf("%d certificates in three years, want 3", len(seen))
		}
		for fingerprint := range seen {
			if book.count(fingerprint) != 1 {
				t.Errorf("want %s once in the log: %s", fingerprint, book)
			}
		}
		cancel()
		synctest.Wait()
	})
}

// TestSelfSignedRenewedAtStart checks that a start after a long time creates a new certificate.
func TestSelfSignedRenewedAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		book := newLogbook()
		o := Options{Mode: ModeSelfSigned, Listen: ":8443", Dir: dir, Log: book.logger()}
		first := leaf(t, mustNew(t, o))
		time.Sleep(370 * 24 * time.Hour)
		second := leaf(t, mustNew(t, o))
		if second.Equal(first) || book.count("expires soon") != 1 {
			t.Errorf("not renewed in the last month: %s", book)
		}
		time.Sleep(1000 * 24 * time.Hour)
		if third := leaf(t, mustNew(t, o)); third.Equal(second) || book.count("expired at") != 1 {
			t.Errorf("not renewed after its expiry: %s", book)
		}
	})
}
