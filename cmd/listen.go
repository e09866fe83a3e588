package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// unixPrefix begins the address of a Unix socket: unix:/run/imctl/http.sock.
const unixPrefix = "unix:"

// maxUnixPath is the longest path of a Unix socket, in bytes, that all systems take.
const maxUnixPath = 103

// socketMode lets the owner and the group of a Unix socket connect, such as the group of a proxy.
const socketMode = 0o660

// listenAddress checks host:port, or unix: and a path.
func listenAddress(s string) error { return listenAddressOn(runtime.GOOS, s) }

func listenAddressOn(system, s string) error {
	path, isUnix := strings.CutPrefix(s, unixPrefix)
	if !isUnix {
		return address(s)
	}
	if system == "windows" { // where the mode of a socket lets all users connect
		return errors.New("must be host:port: imctl does not listen on Unix sockets on Windows")
	}
	if !filepath.IsAbs(path) {
		return errors.New("must be an absolute path after unix:, such as unix:/run/imctl/http.sock")
	}
	return expect(len(path) <= maxUnixPath, fmt.Sprintf("must be a path of at most %d bytes after unix:", maxUnixPath))
}

// socketNames are the names, by FileDescriptorName, of the sockets that systemd may pass, and the settings that they
// replace.
var socketNames = map[string]string{"http": "listen", "ops": "ops.listen"}

// adoptSockets takes the sockets that systemd has passed to this process, in place of the addresses of the
// configuration.
func (c *Config) adoptSockets() error {
	all, err := activation.ListenersWithNames()
	if err != nil {
		return fmt.Errorf("take the sockets of systemd: %w", err)
	}
	c.sockets = make(map[string]net.Listener)
	for name, sockets := range all {
		key := socketNames[name]
		if key == "" {
			return fmt.Errorf("systemd passes a socket named %q: set FileDescriptorName=http or FileDescriptorName=ops in its unit", name)
		}
		if len(sockets) > 1 {
			return fmt.Errorf("systemd passes %d sockets named %q: keep one ListenStream in its unit", len(sockets), name)
		}
		c.sockets[key] = sockets[0]
	}
	return nil
}

// addressOf returns the address of a listener as a setting names it.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return l.Addr().String()
}

// frontAddress returns the address of the front: that of systemd's socket, or the configured one.
func (c *Config) frontAddress() string { return c.addressAt("listen", c.Listen) }

// opsAddress returns the address of the operations listener, "" for none.
func (c *Config) opsAddress() string { return c.addressAt("ops.listen", c.Ops.Listen) }

func (c *Config) addressAt(key, configured string) string {
	if l := c.sockets[key]; l != nil {
		return addressOf(l)
	}
	return configured
}

// open opens the listener of a setting. stop closes it when the server stops.
func (a *App) open(key, address, what string) (net.Listener, error) {
	l, passed := a.config.sockets[key]
	if !passed {
		var err error
		if l, err = listen(address); err != nil {
			return nil, listenError(key, address, err)
		}
	}
	a.stops.add(what, func(context.Context) error { return ignoreClosed(l.Close()) })
	return l, nil
}

// listen opens a listener at host:port or unix:path. A Unix socket is removed when its listener is closed.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixPrefix)
	if !isUnix {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Until here the umask decides, which lets no other user connect unless it was changed to.
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a Unix socket on which no server listens any more: a process that is killed leaves its socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("is not a socket: remove the file, or choose another path")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close() // nothing was sent
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
