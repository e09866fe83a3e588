package cmd

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// brokenPipe is a connection whose peer has said something and closed it.
type brokenPipe struct {
	net.Conn
	said *strings.Reader
}

func (c brokenPipe) Write([]byte) (int, error)  { return 0, errors.New("broken pipe") }
func (c brokenPipe) Read(p []byte) (int, error) { return c.said.Read(p) }

// TestExplainRefusal: the reason that a server has sent replaces the error of the write, whether it was read before or not.
func TestExplainRefusal(t *testing.T) {
	t.Parallel()
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	const refusal = "INFO {}\r\n-ERR 'maximum connections exceeded'\r\n"
	for _, row := range []struct {
		said string
		read int
		want string
	}{
		{refusal, 0, "nats: maximum connections exceeded"},
		{refusal, 9, "nats: maximum connections exceeded"},
		{refusal, len(refusal), "nats: maximum connections exceeded"},
		{"INFO {}\r\n", 9, "broken pipe"},
	} {
		c := &refusalConn{Conn: brokenPipe{one, strings.NewReader(row.said)}}
		if _, err := io.ReadFull(c, make([]byte, row.read)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("PING\r\n")); err == nil || err.Error() != row.want {
			t.Errorf("%q, %d bytes read: got error %v, want %s", row.said, row.read, err, row.want)
		}
	}
}
