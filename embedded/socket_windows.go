package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"imctl/embedded/privatefile"
)

// pipePrefix begins the name of the pipe. The rest is random: no other program can make a pipe of that name before.
const pipePrefix = `\\.\pipe\imctl-`

// listenSocket listens on a named pipe that this user, administrators and the system may use. It writes the name of the
// pipe to the file path, and returns the function that removes that file.
func listenSocket(path string) (net.Listener, func() error, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, nil, err
	}
	name := pipePrefix + newSecret()
	listener, err := winio.ListenPipe(name, &winio.PipeConfig{
		SecurityDescriptor: fmt.Sprintf("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;%s)", user.User.Sid),
	})
	if err != nil {
		return nil, nil, err
	}
	if err := privatefile.Write(path, []byte(name+"\n")); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return pipeListener{listener}, func() error { return os.Remove(path) }, nil
}

// pipeListener is a listener that returns net.ErrClosed after Close.
type pipeListener struct{ net.Listener }

func (l pipeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, winio.ErrPipeListenerClosed) {
		err = net.ErrClosed
	}
	return c, err
}

// dialSocket connects to the pipe that the file names.
func dialSocket(path string) (net.Conn, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(string(b))
	if !strings.HasPrefix(name, pipePrefix) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("does not have the name of a pipe")}
	}
	return winio.DialPipe(name, nil)
}

// checkPeer returns nil: the access list of the pipe has refused all others.
func checkPeer(net.Conn, string) error { return nil }
