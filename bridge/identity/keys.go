package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeyFile = 1 << 20 // bytes of a file with keys, or of an answer with a key set
	maxKeys    = 64      // of all files, and of a key set
	minSecret  = 32      // bytes of a secret for HMAC
	minRSA     = 2048    // bits
)

// Keys verify tokens: public keys, or one secret for HMAC. A secret stands alone. Otherwise a token could be signed by
// HMAC with a public key, which is no secret.
type Keys struct {
	public []jose.JSONWebKey
	secret []byte
}

// ReadKeys reads public keys from files: PEM files with public keys or certificates, JWK and JWK Set files.
func ReadKeys(files []string) (*Keys, error) {
	k := new(Keys)
	for _, name := range files {
		keys, err := readKeyFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		k.public = append(k.public, keys...)
	}
	if len(k.public) > maxKeys {
		return nil, fmt.Errorf("the files have %d keys: the most is %d", len(k.public), maxKeys)
	}
	return k, nil
}

// ReadSecret reads a secret for HMAC from a file. A line break at the end is not part of it.
func ReadSecret(name string) (*Keys, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data = bytes.TrimRight(data, "\r\n")
	switch {
	case bytes.HasPrefix(data, []byte("-----BEGIN")):
		return nil, fmt.Errorf("%s: is a PEM file, not a secret: public keys belong into auth.jwt.keys", name)
	case len(data) < minSecret:
		return nil, fmt.Errorf("%s: has %d bytes: a secret needs at least %d", name, len(data), minSecret)
	}
	return &Keys{secret: data}, nil
}

// readFile reads a file of at most maxKeyFile bytes. Its errors do not repeat the name.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err == nil {
		defer f.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, maxKeyFile+1)); err == nil && len(data) > maxKeyFile {
			err = errors.New("is too large")
		}
		if err == nil {
			return data, nil
		}
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return nil, err
}

func readKeyFile(name string) (keys []jose.JSONWebKey, err error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		keys, err = parseJWK(trimmed)
	} else {
		keys, err = parsePEM(data)
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("has no public key")
	}
	return keys, err
}

// parseJWK reads a JWK or a JWK Set of a file. Each key must be usable.
func parseJWK(data []byte) ([]jose.JSONWebKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("is neither JSON nor PEM")
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{data}
	}
	keys := make([]jose.JSONWebKey, len(set.Keys))
	for i, raw := range set.Keys {
		if err := json.Unmarshal(raw, &keys[i]); err != nil {
			return nil, fmt.Errorf("key %d is not a JWK of a kind that is supported", i+1)
		}
		if err := checkKey(keys[i]); err != nil {
			return nil, fmt.Errorf("key %d %w", i+1, err)
		}
	}
	return keys, nil
}

// parseKeySet reads the JWK Set of an issuer. It skips keys that do not verify tokens, which is no mistake of the issuer.
func parseKeySet(data []byte) ([]jose.JSONWebKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(data, &set); err != nil || set.Keys == nil {
		return nil, errors.New("the answer is not a JWK Set")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && checkKey(key) == nil && len(keys) < maxKeys {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK Set has no key that verifies tokens")
	}
	return keys, nil
}

func parsePEM(data []byte) (keys []jose.JSONWebKey, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return keys, nil
		}
		var key crypto.PublicKey
		switch {
		case block.Type == "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case block.Type == "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case block.Type == "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = cert.PublicKey
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("has a private key: only the public key belongs here")
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("has a %s that cannot be parsed", block.Type)
		}
		found := jose.JSONWebKey{Key: key}
		if err := checkKey(found); err != nil {
			return nil, fmt.Errorf("key %d %w", len(keys)+1, err)
		}
		keys = append(keys, found)
	}
}

// checkKey returns an error for a key that does not verify tokens. It completes a sentence about the key.
func checkKey(k jose.JSONWebKey) error {
	switch key := k.Key.(type) {
	case []byte:
		return errors.New("is a secret: it belongs into a file of its own, auth.jwt.secret")
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return fmt.Errorf("has %d bits: RSA needs at least %d", key.N.BitLen(), minRSA)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return errors.New("is not a public key of RSA, ECDSA or Ed25519")
	}
	switch {
	case !k.Valid():
		return errors.New("is not valid")
	case k.Use != "" && k.Use != "sig":
		return errors.New("is not for signatures")
	}
	return nil
}

// publicAlgorithms and secretAlgorithms are those that a token may have with public keys, and with a secret.
var (
	publicAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}
	secretAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
)

// fits reports whether a key may verify a token with that algorithm and key id. A key without an id, such as that of a
// PEM file, fits every id, and a token without an id fits every key.
func fits(k jose.JSONWebKey, alg jose.SignatureAlgorithm, kid string) bool {
	if k.KeyID != "" && kid != "" && k.KeyID != kid || k.Algorithm != "" && k.Algorithm != string(alg) {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(string(alg), "RS") || strings.HasPrefix(string(alg), "PS")
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return alg == jose.ES256
		case elliptic.P384():
			return alg == jose.ES384
		case elliptic.P521():
			return alg == jose.ES512
		}
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}
