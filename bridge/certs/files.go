package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// files serves a certificate from two PEM files and reloads them when they change. It polls them: this works on every
// file system and platform, and for links that are moved to another file, at the cost of two stats every few seconds.
type files struct {
	cert, key string
	interval  time.Duration
	log       *slog.Logger

	current atomic.Pointer[tls.Certificate] // never nil

	mu     sync.Mutex     // held while the files are read; guards the fields below
	seen   [2]os.FileInfo // of cert and key, before they were last read; nil if missing
	failed bool           // the last reload failed, and that was reported
}

func newFiles(o Options) (*files, error) {
	f := &files{cert: o.Cert, key: o.Key, interval: o.Interval, log: o.Log}
	f.seen = f.stat()
	pair, err := readPair(f.cert, f.key)
	if err != nil {
		return nil, err
	}
	// Serve it nevertheless: a restart must not turn a late renewal into an outage.
	if err := valid(pair.Leaf, time.Now()); err != nil {
		f.log.Warn("clients will refuse the certificate", "file", f.cert, "error", err)
	}
	f.current.Store(pair)
	return f, nil
}

func (f *files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

func (f *files) protocols() []string { return nil }

func (f *files) expiry() time.Time { return f.current.Load().Leaf.NotAfter }

func (f *files) reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load()
}

func (f *files) run(ctx context.Context) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.poll()
		}
	}
}

// poll reloads the files if they changed. After a failure it reloads them each time, since a file that is written in
// two steps may have the same time and size after the second.
func (f *files) poll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.failed && same(f.seen, f.stat()) {
		return
	}
	reported := f.failed
	if err := f.load(); err != nil && !reported {
		f.log.Warn("cannot use the changed certificate, keeping the old one", "error", err)
	}
}

// load replaces the certificate with that of the files. The caller holds the lock.
func (f *files) load() error {
	seen := f.stat()
	pair, err := readPair(f.cert, f.key)
	old := f.current.Load()
	if err == nil && valid(old.Leaf, time.Now()) == nil {
		if invalid := valid(pair.Leaf, time.Now()); invalid != nil {
			err = &SettingError{"tls.cert", fmt.Errorf("%s: %w", f.cert, invalid)}
		}
	}
	f.seen, f.failed = seen, err != nil
	if err != nil {
		return err
	}
	f.current.Store(pair)
	if !pair.Leaf.Equal(old.Leaf) {
		f.log.Info("new certificate in use", describe(pair.Leaf))
	}
	return nil
}

func (f *files) stat() (seen [2]os.FileInfo) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// same reports whether both files are unchanged.
func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
			continue
		}
		// SameFile: a file that was moved into place may have the same time and size as the old one.
		if !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || !os.SameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}

// readPair reads a certificate and its key. Errors are *SettingError and have no part of the key.
func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, &SettingError{"tls.cert", err}
	}
	if err := checkChain(certPEM); err != nil {
		return nil, &SettingError{"tls.cert", fmt.Errorf("%s: %w", certFile, err)}
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, &SettingError{"tls.key", err}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		if bytes.Contains(keyPEM, []byte("ENCRYPTED")) {
			err = errors.New("the key is encrypted: store it without a passphrase")
		}
		return nil, &SettingError{"tls.key", fmt.Errorf("%s: %w", keyFile, err)}
	}
	return &pair, nil
}

// checkChain parses all certificates of a chain. tls.X509KeyPair parses only the first.
func checkChain(certPEM []byte) error {
	count := 0
	for {
		var block *pem.Block
		if block, certPEM = pem.Decode(certPEM); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("certificate %d: %w", count+1, err)
		}
		count++
	}
	if count == 0 {
		return errors.New("has no PEM certificate")
	}
	// The rest may be a truncated block, for example while the file is being written.
	if bytes.Contains(certPEM, []byte("-----BEGIN")) {
		return errors.New("a PEM block is incomplete")
	}
	return nil
}
