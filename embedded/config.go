package embedded

import (
	"context"
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

const (
	// maxStore is no limit: the disk is one already. nats-server's own default is
	// a share of what is free at the start, and a stream whose size limit is above
	// that share can't even be made.
	maxStore = 1 << 60
)

// settings is what the configuration text is made of. Passwords are in it as
// bcrypt hashes only.
type settings struct {
	name       string
	listen     bool
	host       string
	port       int // 0: any free port
	storeDir   string
	sync       time.Duration
	bridgeHash string
	adminHash  string
	issuer     string // public key
}

// text returns the server's configuration. It is a text and not a filled-in
// struct since a reload compares two parsed texts: that keeps JetStream and the
// accounts as they are.
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
		quote(s.storeDir), int64(maxStore), quote(syncInterval))
	b.WriteString(s.accounts().Text())
	return b.String()
}

// options parses the text and adds what no text can say.
func (s settings) options() (*natsserver.Options, error) {
	o := new(natsserver.Options)
	if err := o.ProcessConfigString(s.text()); err != nil {
		return nil, fmt.Errorf("NATS configuration: %w", err)
	}
	o.NoSigs = true // Signals belong to the program, not to a part of it.
	// A login may have to wait for its turn to be hashed, and client libraries take
	// a ping before its outcome for a mistake.
	o.DisableShortFirstPing = true
	o.DontListen = !s.listen
	return o, nil
}

// quote writes a string as the configuration language reads it back, byte for
// byte: it knows \xHH, so everything unusual is written like that.
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

// hashSecret is cheap on purpose: the secrets are 128 random bits, which nobody
// guesses, and every connection pays for it.
func hashSecret(secret string) (string, error) {
	h, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash a secret: %w", err)
	}
	return string(h), nil
}

// splitListen takes an address apart; "" is no address at all.
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

// tryListen finds out whether the address can be had. nats-server says so as well,
// but only after it has recovered every stream.
func tryListen(ctx context.Context, listen string) error {
	if listen == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		var call *os.SyscallError
		if errors.As(err, &call) {
			err = call.Err // Less of "tcp" and "bind".
		}
		return fmt.Errorf("listen %s for NATS clients: %w", listen, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("listen %s for NATS clients: %w", listen, err)
	}
	return nil
}
