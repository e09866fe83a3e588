package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// Found is a certificate on the disk that a server with the same options serves, or would serve.
type Found struct {
	Mode   string // ModeFiles, ModeACME or ModeSelfSigned
	File   string
	Domain string              // that ACME certifies, "" otherwise
	Chain  []*x509.Certificate // the server's certificate first
	// Err is fs.ErrNotExist if there is no certificate yet, or says what is wrong with the files.
	Err error
}

// Inspect returns the certificates of all listeners without a change to a file. The error is that of the options.
func Inspect(o Options) ([]Found, error) {
	o.Log = slog.New(slog.DiscardHandler)
	_, front, err := resolve(o)
	if err != nil {
		return nil, err
	}
	modes := []string{front}
	for _, listen := range o.Others {
		if Encrypted(o.Mode, listen) {
			if mode := othersMode(o, front); mode != front {
				modes = append(modes, mode)
			}
			break
		}
	}
	var found []Found
	for _, mode := range modes {
		switch mode {
		case ModeFiles:
			found = append(found, inspectFiles(o))
		case ModeACME:
			found = append(found, inspectACME(o)...)
		case ModeSelfSigned:
			file := OwnFile(o.Dir)
			chain, err := readChain(file)
			found = append(found, Found{Mode: mode, File: file, Chain: chain, Err: err})
		}
	}
	return found, nil
}

func inspectFiles(o Options) Found {
	f := Found{Mode: ModeFiles, File: o.Cert}
	var pair *tls.Certificate
	if pair, f.Err = readPair(o.Cert, o.Key); f.Err != nil {
		return f
	}
	f.Chain, f.Err = parseChain(pair.Certificate)
	return f
}

func inspectACME(o Options) (found []Found) {
	directory := o.Directory
	if directory == "" {
		directory = defaultDirectory
	}
	for _, name := range o.Domains {
		domain, err := publicDomain(name)
		f := Found{Mode: ModeACME, Domain: domain, Err: err}
		if err == nil {
			f.File = filepath.Join(o.Dir, "acme", cacheName(directory), domain)
			f.Chain, f.Err = readChain(f.File)
		}
		found = append(found, f)
	}
	return found
}

// readChain reads the certificates in a PEM file, which may have a key too.
func readChain(file string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	var der [][]byte
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			der = append(der, block.Bytes)
		}
	}
	if len(der) == 0 {
		return nil, errors.New("has no PEM certificate")
	}
	return parseChain(der)
}

func parseChain(der [][]byte) (chain []*x509.Certificate, err error) {
	for _, b := range der {
		cert, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// Verify returns an error if clients that trust roots refuse the certificate. nil means the roots of the system.
func (f Found) Verify(roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, c := range f.Chain[1:] {
		between.AddCert(c)
	}
	_, err := f.Chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}
