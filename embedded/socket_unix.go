//go:build !windows

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest path of a Unix socket: 104 bytes on macOS and 108 on Linux, with a final zero.
const maxSocketPath = 103

// listenSocket listens on a Unix socket that only the user of this process can use, and returns the function that
// removes the file. It replaces a socket of a process that was killed.
func listenSocket(path string) (net.Listener, func() error, error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		return nil, nil, fmt.Errorf("%s is not a socket: remove it", path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, nil, err
		}
	}
	var listener *net.UnixListener
	err = withShortPath(path, func(short string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false) // by the short path, which has gone
	remove := func() error { return os.Remove(path) }
	// The directory's mode may allow others to enter. checkPeer refuses those that come before this.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, nil, errors.Join(err, listener.Close(), remove())
	}
	return listener, remove, nil
}

func dialSocket(path string) (c net.Conn, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	err = withShortPath(path, func(short string) (err error) {
		c, err = net.Dial("unix", short)
		return err
	})
	return c, err
}

// withShortPath calls do with a path of the file that is short enough for a Unix socket. If its own is too long, that
// leads through a symbolic link in the directory for temporary files, which exists until do returns.
func withShortPath(path string, do func(string) error) error {
	path, err := filepath.Abs(path)
	if err != nil || len(path) <= maxSocketPath {
		return errors.Join(err, do(path))
	}
	var failed error
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		temp, err := os.MkdirTemp(parent, "imctl-") // with mode 0700
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		link := filepath.Join(temp, "d")
		short := filepath.Join(link, filepath.Base(path))
		err = os.Symlink(filepath.Dir(path), link)
		if err == nil && len(short) <= maxSocketPath {
			return errors.Join(do(short), os.RemoveAll(temp)) // removes the link and not the directory
		}
		failed = errors.Join(failed, err, os.RemoveAll(temp))
	}
	return errors.Join(fmt.Errorf("%s is longer than %d bytes", path, maxSocketPath), failed)
}

// checkPeer returns an error unless the process at the other end is root's, the owner's of the data directory or of the
// user of this process.
func checkPeer(c net.Conn, dataDir string) error {
	uid, err := peerUID(c)
	if err != nil {
		return fmt.Errorf("credentials of the peer: %w", err)
	}
	return allowPeer(uid, dataDir)
}

// allowPeer returns errPeer unless the user may administer the server of a data directory.
func allowPeer(uid int, dataDir string) error {
	if uid == 0 || uid == os.Geteuid() {
		return nil
	}
	if info, err := os.Stat(dataDir); err == nil {
		if owner, ok := ownerOf(info); ok && owner.UID == uid {
			return nil
		}
	}
	return fmt.Errorf("user %s is %w", Identity{UID: uid}, errPeer)
}

// control calls do with the descriptor of a Unix socket.
func control(c net.Conn, do func(fd int) error) error {
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a Unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}
