package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsutil"
)

// options returns the options of connections to an attached NATS server. Each connection, and each reconnect, reads the
// files anew.
//
// Errors: a file that cannot be used.
func (c NATSTLSConfig) options() (all []nats.Option, err error) {
	for _, m := range c.mistakes() {
		return nil, usageErrorf("%s: %s", m.key, m.text)
	}
	if c.CA != "" {
		all = append(all, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		all = append(all, nats.ClientCert(c.Cert, c.Key))
	}
	return all, nil
}

// mistakes returns what is wrong with the files.
func (c NATSTLSConfig) mistakes() (found []conflict) {
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		switch {
		case err != nil:
			found = append(found, conflict{"nats.tls.ca", c.CA + ": " + withoutPath(err).Error()})
		case !x509.NewCertPool().AppendCertsFromPEM(text):
			found = append(found, conflict{"nats.tls.ca", c.CA + ": has no certificate in PEM format"})
		}
	}
	if c.Cert != "" && c.Key != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			found = append(found, conflict{"nats.tls.cert", c.Cert + ": " + withoutPath(err).Error()})
		}
	}
	return found
}

// firstKey returns the key of the first setting that is set.
func (c NATSTLSConfig) firstKey() string {
	switch {
	case c.CA != "":
		return "nats.tls.ca"
	case c.Cert != "":
		return "nats.tls.cert"
	}
	return "nats.tls.key"
}

// tlsRemedy returns what to do about an error of a TLS handshake with a NATS server, and "" for any other error.
func tlsRemedy(c NATSConfig, err error) string {
	ca, cert := "nats.tls.ca", "nats.tls.cert and nats.tls.key"
	if c.Context != "" {
		ca, cert = "ca in the context", "cert and key in the context"
	}
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, new(x509.HostnameError)):
		return "connect to a host name that is in its certificate"
	case errors.As(err, &verification), errors.As(err, new(x509.UnknownAuthorityError)):
		return "set " + ca + " to the file with the certificates of its authority"
	// The server's alert has no type of its own. It comes after the handshake, so the connection may be closed before the
	// client reads it.
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"),
		strings.Contains(err.Error(), "connection closed by remote after TLS handshake"):
		return "set " + cert + ": the server requires a client certificate that it trusts"
	}
	return ""
}

// inDomain makes a connection, unless it is nil, use a JetStream domain, and returns it.
func inDomain(nc *nats.Conn, domain string) *nats.Conn {
	if nc != nil {
		natsutil.SetDomain(nc, domain)
	}
	return nc
}
