package certs

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func newFileSource(t *testing.T, cert, key []byte) (s *Source, book *logbook, certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = writePair(t, cert, key)
	book = newLogbook()
	s, err := New(Options{Mode: ModeFiles, Listen: ":443", Cert: certFile, Key: keyFile, Interval: time.Millisecond, Log: book.logger()})
	if err != nil {
		t.Fatal(err)
	}
	return s, book, certFile, keyFile
}

func TestFilesServe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pair(t, "chat.example.org")
	s, _, _, _ := newFileSource(t, cert, key)
	addr := serve(t, s)

	trusting := func() *tls.Config { return &tls.Config{RootCAs: ca.roots(), ServerName: "chat.example.org"} }
	for _, h2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: h2}}
		answer, err := client.Get("https://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		proto, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		client.CloseIdleConnections()
		want := "HTTP/1.1"
		if h2 {
			want = "HTTP/2.0"
		}
		if err != nil || string(proto) != want {
			t.Errorf("got %q, %v, want %s", proto, err, want)
		}
	}

	old := trusting()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := dial(t, addr, old); err == nil {
		t.Error("TLS 1.1 succeeded")
	}
	acme := trusting()
	acme.NextProtos = []string{"acme-tls/1"}
	if _, err := dial(t, addr, acme); err == nil {
		t.Error("acme-tls/1 succeeded without ACME")
	}
}

func TestFilesReload(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pair(t, "old.example.org")
	s, book, certFile, keyFile := newFileSource(t, cert, key)
	addr := serve(t, s)

	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if book.count("new certificate") != 0 {
		t.Errorf("logged an unchanged pair as new: %s", book)
	}
	cert, key = ca.pair(t, "new.example.org")
	write(t, certFile, cert)
	write(t, keyFile, key)
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := served(t, addr); got != "new.example.org" {
		t.Errorf("serving %s after the reload", got)
	}
	if book.count("new certificate") != 1 || book.count(Fingerprint(leaf(t, s))) != 1 {
		t.Errorf("want the new certificate once in the log: %s", book)
	}
}

// TestFilesReloadInvalid checks that invalid files do not replace the old pair, and that the error has the setting
// and no part of a key.
func TestFilesReloadInvalid(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	oldCert, oldKey := ca.pair(t, "old.example.org")
	cert, key := ca.pair(t, "new.example.org")
	expired, expiredKey := ca.pairUntil(t, "new.example.org", time.Now().Add(-time.Minute))
	future, futureKey := ca.pairUntil(t, "new.example.org", time.Now().Add(10*time.Hour))
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("unreadable")})
	encryptedOld := pem.EncodeToMemory(&pem.Block{
		Type: "EC PRIVATE KEY", Bytes: []byte("unreadable"), Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"},
	})
	damaged := bytes.Clone(cert)
	copy(damaged[100:], "AAAAAAAAAAAAAAAAAAAAAAAA")
	for _, test := range []struct {
		name      string
		cert, key []byte // nil: no file
		setting   string
		says      string
	}{
		{"only the certificate is new", cert, oldKey, "tls.key", "does not match"},
		{"only the key is new", oldCert, key, "tls.key", "does not match"},
		{"certificate cut off", cert[:len(cert)/2], key, "tls.cert", "PEM"},
		{"certificate damaged", damaged, key, "tls.cert", "certificate 1"},
		{"chain cut off", append(bytes.Clone(cert), cert[:len(cert)/2]...), key, "tls.cert", "incomplete"},
		{"chain damaged", append(bytes.Clone(cert), damaged...), key, "tls.cert", "certificate 2"},
		{"certificate empty", []byte{}, key, "tls.cert", "no PEM certificate"},
		{"certificate missing", nil, key, "tls.cert", "cert.pem"},
		{"key cut off", cert, key[:len(key)/2], "tls.key", "PEM"},
		{"key empty", cert, []byte{}, "tls.key", "PEM"},
		{"key missing", cert, nil, "tls.key", "key.pem"},
		{"key encrypted", cert, encrypted, "tls.key", "passphrase"},
		{"key encrypted the old way", cert, encryptedOld, "tls.key", "passphrase"},
		{"files swapped", key, cert, "tls.cert", "no PEM certificate"},
		{"expired", expired, expiredKey, "tls.cert", "the certificate expired at"},
		{"not yet valid", future, futureKey, "tls.cert", "not valid before"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, _, certFile, keyFile := newFileSource(t, oldCert, oldKey)
			for file, data := range map[string][]byte{certFile: test.cert, keyFile: test.key} {
				if data != nil {
					write(t, file, data)
				} else if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Reload(t.Context())
			var setting *SettingError
			if !errors.As(err, &setting) || setting.Setting != test.setting || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error for %s with %q", err, test.setting, test.says)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), string(key[40:60]))) {
				t.Errorf("want one line without a key: %q", err)
			}
			if got := leaf(t, s).Subject.CommonName; got != "old.example.org" {
				t.Errorf("serving %s, want the old certificate", got)
			}
		})
	}
}

// TestFilesExpired checks that the server starts with an expired certificate, and that a reload accepts another expired
// certificate if it is newer.
func TestFilesExpired(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pairUntil(t, "old.example.org", time.Now().Add(-time.Hour))
	s, book, certFile, keyFile := newFileSource(t, cert, key)
	if book.count("the certificate expired") != 1 {
		t.Errorf("the log has no warning: %s", book)
	}
	cert, key = ca.pairUntil(t, "new.example.org", time.Now().Add(-time.Minute))
	write(t, certFile, cert)
	write(t, keyFile, key)
	if err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFilesRunReloads(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pair(t, "old.example.org")
	s, book, certFile, keyFile := newFileSource(t, cert, key)
	addr := serve(t, s)
	run(t, s)

	cert, key = ca.pair(t, "new.example.org")
	write(t, certFile, cert)
	book.wait(t, "cannot use the changed certificate")
	if got := served(t, addr); got != "old.example.org" {
		t.Errorf("serving %s after half of the new pair was written", got)
	}
	write(t, keyFile, key)
	book.wait(t, "new certificate in use")
	if got := served(t, addr); got != "new.example.org" {
		t.Errorf("serving %s after the new pair was written", got)
	}
	if n := book.count("cannot use the changed certificate"); n != 1 {
		t.Errorf("the log has %d warnings about the incomplete pair: %s", n, book)
	}
}

// TestFilesPoll changes the files in different ways and polls after each.
func TestFilesPoll(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	firstCert, firstKey := ca.pair(t, "first.example.org")
	s, book, certFile, keyFile := newFileSource(t, firstCert, firstKey)
	f := s.provider.(*files)
	step := func(what, name string, warnings, news int) {
		t.Helper()
		for range 3 {
			f.poll()
		}
		if got := leaf(t, s).Subject.CommonName; got != name {
			t.Errorf("%s: serving %s, want %s", what, got, name)
		}
		if w, n := book.count("cannot use the changed certificate"), book.count("new certificate"); w != warnings || n != news {
			t.Errorf("%s: the log has %d warnings and %d new certificates, want %d and %d:\n%s", what, w, n, warnings, news, book)
		}
	}
	step("nothing changed", "first.example.org", 0, 0)

	cert, key := ca.pair(t, "second.example.org")
	write(t, certFile, cert[:200])
	step("half of the certificate", "first.example.org", 1, 0)
	write(t, certFile, cert)
	step("no key yet", "first.example.org", 1, 0)
	write(t, keyFile, key)
	step("both", "second.example.org", 1, 1)

	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	step("key gone", "second.example.org", 2, 1)
	write(t, keyFile, key)
	step("key back", "second.example.org", 2, 1)

	// Run does not log an error that Reload has returned.
	write(t, keyFile, firstKey)
	if err := s.Reload(t.Context()); err == nil {
		t.Error("accepted the key of another certificate")
	}
	step("reload failed", "second.example.org", 2, 1)
	write(t, certFile, firstCert)
	step("repaired", "first.example.org", 2, 2)
}

// TestFilesMovedIntoPlace replaces a file by one with the same time and size.
func TestFilesMovedIntoPlace(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	oldCert, oldKey := ca.pair(t, "old.example.org")
	s, _, certFile, keyFile := newFileSource(t, oldCert, oldKey)
	cert, key := ca.pair(t, "new.example.org")
	for len(cert) != len(oldCert) { // signatures vary in length
		cert, key = ca.pair(t, "new.example.org")
	}
	for file, data := range map[string][]byte{certFile: cert, keyFile: key} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file+".new", data)
		if err := os.Chtimes(file+".new", time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	s.provider.(*files).poll()
	if got := leaf(t, s).Subject.CommonName; got != "new.example.org" {
		t.Errorf("serving %s", got)
	}
}

// TestFilesLinks replaces the files as Kubernetes does: with one link to a directory.
func TestFilesLinks(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	ca := newAuthority(t)
	dir := t.TempDir()
	for _, name := range []string{"old", "new"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		cert, key := ca.pair(t, name+".example.org")
		write(t, filepath.Join(dir, name, "cert"), cert)
		write(t, filepath.Join(dir, name, "key"), key)
	}
	link := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
	}
	link("old")
	s, err := New(Options{Mode: ModeFiles, Listen: ":443", Cert: filepath.Join(dir, "current", "cert"), Key: filepath.Join(dir, "current", "key")})
	if err != nil {
		t.Fatal(err)
	}
	link("new")
	s.provider.(*files).poll()
	if got := leaf(t, s).Subject.CommonName; got != "new.example.org" {
		t.Errorf("serving %s", got)
	}
}

// TestFilesSameTime checks that an invalid pair is read again even if its time and size did not change, as after a
// second write within the resolution of the clock.
func TestFilesSameTime(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pair(t, "old.example.org")
	s, book, certFile, keyFile := newFileSource(t, cert, key)
	cert, key = ca.pair(t, "new.example.org")
	stamp := time.Now().Add(-time.Minute)
	put := func(data []byte) {
		t.Helper()
		write(t, certFile, data)
		if err := os.Chtimes(certFile, time.Time{}, stamp); err != nil {
			t.Fatal(err)
		}
		s.provider.(*files).poll()
	}
	write(t, keyFile, key)
	put(bytes.Repeat([]byte{'\n'}, len(cert)))
	if book.count("cannot use the changed certificate") != 1 {
		t.Fatalf("the log has no warning about a file without a certificate: %s", book)
	}
	put(cert)
	if got := leaf(t, s).Subject.CommonName; got != "new.example.org" {
		t.Errorf("serving %s", got)
	}
}
