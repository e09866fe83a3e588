package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"
)

// maxStore disables the limit on the size of all streams, since the disk is a limit. The default of nats-server is a
// part of the space that is free at the start, and a stream with a higher size limit can't be created.
const maxStore = 1 << 60

// tlsTimeout is how long a TLS handshake may take, in seconds. The default of nats-server is too short for a busy
// machine.
const tlsTimeout = 5

// settings are the settings of the NATS server. Its passwords are bcrypt hashes.
type settings struct {
	name         string
	listen       bool
	host         string
	port         int         // 0 means any free port
	maxConn      int         // 0 means the default of nats-server
	tls          *tls.Config // nil means without TLS
	maxPending   int64       // bytes; 0 means the default of nats-server
	dataDir      string
	sync         time.Duration
	bridgeHash   string
	adminHash    string
	operatorHash string
	issuer       string           // public key of the callout
	cluster      *clusterSettings // nil for a single server
}

// text returns the configuration of the NATS server. It is a text and not a struct since a reload compares two parsed
// texts, which leaves JetStream and the accounts unchanged.
func (s settings) text() string {
	syncInterval := "always"
	if s.sync > 0 {
		syncInterval = s.sync.String()
	}
	port := s.port
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nhost: %s\nport: %d\n", quote(s.name), quote(s.host), port)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %s\n  max_file_store: %d\n  sync_interval: %s\n}\n",
		quote(s.dataDir), int64(maxStore), quote(syncInterval))
	if s.maxConn > 0 {
		fmt.Fprintf(&b, "max_connections: %d\n", s.maxConn)
	}
	if s.maxPending > 0 {
		fmt.Fprintf(&b, "max_pending: %d\n", s.maxPending)
	}
	if s.cluster != nil {
		s.cluster.write(&b, s.listen)
	}
	b.WriteString(s.accounts().Text())
	return b.String()
}

// options parses the text and adds the options that the text can't express.
func (s settings) options() (*natsserver.Options, error) {
	o := new(natsserver.Options)
	if err := o.ProcessConfigString(s.text()); err != nil {
		return nil, fmt.Errorf("NATS configuration: %w", err)
	}
	o.NoSigs = true // The program handles signals.
	// The password of a login may wait in a queue to be hashed. Client libraries treat a ping before the answer as an
	// error.
	o.DisableShortFirstPing = true
	// nats-server connects to other nodes only if it also listens for clients. Without nats.listen a node listens on a free
	// port of the loopback address, which splitListen has set, and tells nobody.
	o.DontListen = !s.listen && s.cluster == nil
	if s.tls != nil {
		o.TLSConfig, o.TLSTimeout = s.tls, tlsTimeout
	}
	if c := s.cluster; c != nil {
		o.Routes, o.Cluster.Username, o.Cluster.Password = c.urls(), routeUser, c.password
		o.Cluster.TLSConfig, o.Cluster.TLSTimeout = c.tls, tlsTimeout
	}
	return o, nil
}

// quote returns s as a string of the configuration language, which reads it back byte for byte. Bytes that are not
// printable ASCII are written as \xHH.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// hashSecret hashes a secret at the lowest cost, since each connection verifies the hash. The secrets are 128 random
// bits, which can't be guessed.
func hashSecret(secret string) (string, error) {
	h, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash a secret: %w", err)
	}
	return string(h), nil
}

// splitListen splits an address into host and port. "" means that the server does not listen.
func splitListen(listen string) (host string, port int, err error) {
	if listen == "" {
		return "127.0.0.1", 0, nil
	}
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: %w", listen, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen address %q: port must be a number from 0 to 65535", listen)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// tryListen checks that the server can listen on the address. nats-server reports an address in use only after it has
// recovered every stream.
func tryListen(ctx context.Context, listen, clients string) error {
	if listen == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		var call *os.SyscallError
		if errors.As(err, &call) {
			err = call.Err // The error without "listen tcp" and "bind", which the message below replaces.
		}
		return fmt.Errorf("listen %s for %s: %w", listen, clients, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("listen %s for %s: %w", listen, clients, err)
	}
	return nil
}
