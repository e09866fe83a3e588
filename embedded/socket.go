package embedded

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// socketFile is the Unix socket of administrators in the data directory. On Windows the file has the name of a pipe.
	socketFile = "admin.sock"

	// maxConnect limits the size of a client's first line, which is CONNECT and its options.
	maxConnect = 16 << 10

	// acceptWait is the pause after a failed accept, for instance while the process has no free descriptors.
	acceptWait = 100 * time.Millisecond
)

// errPeer means that the user of a connection may not administer the server.
var errPeer = errors.New("neither root nor the owner of the data directory")

// DialAdmin connects to the server of a data directory as its administrator. The connection speaks the protocol of NATS
// clients, and needs no credentials. Use AdminProvider to connect with package nats.
//
// The error is fs.ErrNotExist if no server has made a socket, fs.ErrPermission if this user may not connect, and another
// one if no server is running.
func DialAdmin(dataDir string) (net.Conn, error) {
	c, err := dialSocket(filepath.Join(dataDir, socketFile))
	if err != nil {
		return nil, fmt.Errorf("administrator's socket: %w", err)
	}
	return c, nil
}

// AdminProvider makes the connections of nats.InProcessServer by DialAdmin.
type AdminProvider struct{ DataDir string }

// InProcessConn calls DialAdmin.
func (p AdminProvider) InProcessConn() (net.Conn, error) { return DialAdmin(p.DataDir) }

var _ nats.InProcessConnProvider = AdminProvider{}

// adminSocket accepts connections of administrators on this machine, and joins each to the NATS server.
type adminSocket struct {
	server   *Server
	listener net.Listener
	joined   sync.WaitGroup // the goroutine that accepts, and those of connections
	close    func() error   // closes the listener and removes the file, once
}

// serveAdmin opens the socket. The lock of the data directory is held, so a socket that exists is stale.
func serveAdmin(s *Server) (*adminSocket, error) {
	listener, remove, err := listenSocket(s.dir.Path(socketFile))
	if err != nil {
		return nil, fmt.Errorf("administrator's socket: %w", err)
	}
	a := &adminSocket{server: s, listener: listener}
	a.close = sync.OnceValue(func() error {
		err := remove()
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, listener.Close())
	})
	a.joined.Go(a.accept)
	return a, nil
}

// accept joins connections until the listener is closed.
func (a *adminSocket) accept() {
	for {
		c, err := a.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			a.server.logger.Error("administrator's socket", "err", err)
			time.Sleep(acceptWait)
			continue
		}
		a.joined.Go(func() {
			defer c.Close()
			if err := a.join(c); err != nil {
				a.server.logger.Warn("administrator's socket: connection refused", "err", err)
			}
		})
	}
}

// join checks the user of a connection and copies between it and the NATS server until one of them closes. It logs the
// client in: its CONNECT gets the credentials of the administrator.
func (a *adminSocket) join(client net.Conn) error {
	if err := checkPeer(client, a.server.dir.path); err != nil {
		return err
	}
	a.server.restarting.RLock()
	server, err := inProcess{a.server}.InProcessConn()
	a.server.restarting.RUnlock()
	if err != nil {
		return err
	}
	defer server.Close()
	var copied sync.WaitGroup
	copied.Go(func() {
		_, _ = io.Copy(client, server) // ends when either side closes
		_ = client.Close()
	})
	defer copied.Wait()
	defer server.Close()
	requests := bufio.NewReaderSize(client, maxConnect)
	line, err := requests.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("the first line is longer than %d bytes", maxConnect)
	}
	if err != nil {
		return nil // the client or the NATS server has closed the connection
	}
	if line, err = withCredentials(line, a.server.admin.User, a.server.admin.Password); err != nil {
		return err
	}
	if _, err := server.Write(line); err == nil {
		_, _ = io.Copy(server, requests)
	}
	return nil
}

// withCredentials returns a line with the command CONNECT, with these credentials instead of those that it has.
func withCredentials(line []byte, user, password string) ([]byte, error) {
	command, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	options := make(map[string]any)
	if !bytes.EqualFold(command, []byte("CONNECT")) || json.Unmarshal(text, &options) != nil {
		return nil, errors.New("the first line is not CONNECT with options")
	}
	for _, key := range []string{"jwt", "nkey", "sig", "auth_token"} {
		delete(options, key)
	}
	options["user"], options["pass"] = user, password
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "CONNECT %s\r\n", text), nil
}

// openAdmin opens the socket of administrators. A file system without sockets does not stop a start: commands then
// connect to the address of admin.json.
func (s *Server) openAdmin() {
	var err error
	if s.socket, err = serveAdmin(s); err != nil {
		s.logger.Warn("commands on this machine need nats.listen to administer this server", "err", err)
	}
}

// DrainAdmin closes the socket of administrators and waits until they have disconnected, or until ctx is done. A server
// of a command calls it before it stops, since other commands may have connected.
func (s *Server) DrainAdmin(ctx context.Context) error {
	if s.socket == nil {
		return nil
	}
	err := s.socket.close()
	done := make(chan struct{})
	go func() { s.socket.joined.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return err
}

// closeAdmin closes the socket of administrators. Their connections end with the NATS server.
func (s *Server) closeAdmin(log *slog.Logger) {
	if s.socket == nil {
		return
	}
	if err := s.socket.close(); err != nil {
		log.Error("close the administrator's socket", "err", err)
	}
}
