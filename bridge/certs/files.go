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

// files serves a certificate from two PEM files and follows their changes. They
// are polled: that works on every file system and platform, and for links that
// are moved to another file, at the cost of two stats every few seconds.
type files struct {
	cert, key string
	interval  time.Duration
	log       *slog.Logger

	current atomic.Pointer[tls.Certificate] // never nil

	mu     sync.Mutex     // held while the files are read; guards what is below
	seen   [2]os.FileInfo // of cert and key, from before they were last read; nil: not there
	broken bool           // the last reading failed, and that was told
}

func newFiles(o Options) (*files, error) {
	f := &files{cert: o.Cert, key: o.Key, interval: o.Interval, log: o.Log}
	f.seen = f.stat()
	pair, err := readPair(f.cert, f.key)
	if err != nil {
		return nil, err
	}
	// Served all the same: a restart must not turn a late renewal into no service at all.
	if err := valid(pair.Leaf, time.Now()); err != nil {
		f.log.Warn("clients will refuse the certificate", "file", f.cert, "error", err)
	}
	f.current.Store(pair)
	return f, nil
}

func (f *files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

func (f *files) leaf() *x509.Certificate { return f.current.Load().Leaf }

func (f *files) protocols() []string { return nil }

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

// poll reads the files if they changed. A broken pair is read again each time,
// since a file that is written in two steps may look the same after the second.
func (f *files) poll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.broken && same(f.seen, f.stat()) {
		return
	}
	told := f.broken
	if err := f.load(); err != nil && !told {
		f.log.Warn("the changed certificate can't be used: the old one stays until it can", "error", err)
	}
}

// load replaces the certificate by what the files hold. The caller has the lock.
func (f *files) load() error {
	seen := f.stat()
	pair, err := readPair(f.cert, f.key)
	old := f.current.Load()
	if err == nil && valid(old.Leaf, time.Now()) == nil {
		if invalid := valid(pair.Leaf, time.Now()); invalid != nil {
			err = &SettingError{"tls.cert", fmt.Errorf("%s: %w", f.cert, invalid)}
		}
	}
	f.seen, f.broken = seen, err != nil
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

// same reports whether both files are the ones that were seen, unchanged.
func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
			continue
		}
		// SameFile: one that was moved into place may be as old and as long as the one before.
		if !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || !os.SameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}

// readPair reads a certificate and its key, and names the setting that is at
// fault. No error holds any of the key.
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
			err = errors.New("the key is encrypted: it has to be stored without a passphrase")
		}
		return nil, &SettingError{"tls.key", fmt.Errorf("%s: %w", keyFile, err)}
	}
	return &pair, nil
}

// checkChain parses all the certificates of a chain: the key's check only looks at the first.
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
		return errors.New("holds no PEM certificate")
	}
	// What is left is a block that was cut off, as while it is being written.
	if bytes.Contains(certPEM, []byte("-----BEGIN")) {
		return errors.New("a PEM block is not complete")
	}
	return nil
}
