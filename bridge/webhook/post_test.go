package webhook

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering starts a TCP server that answers each request with a text as it is, and returns its URL. Without a text it
// never answers.
func answering(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			t.Cleanup(func() { c.Close() })
			if _, err := bufio.NewReader(c).ReadString('}'); err == nil && text != "" {
				_, _ = io.WriteString(c, text) // the client may have gone
				c.Close()
			}
		}
	}()
	return "http://" + l.Addr().String()
}

// TestReason checks that the reason of a failure has neither the URL nor what the destination wrote: it is logged.
func TestReason(t *testing.T) {
	t.Parallel()
	encrypted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(encrypted.Close)
	open := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(open.Close)
	for name, c := range map[string]struct{ to, want string }{
		"no HTTP":                {answering(t, "\x1b[31mhostile words\r\n\r\n"), "the destination gave no valid answer"},
		"a hostile header":       {answering(t, "HTTP/1.1 200 OK\r\nhostile words\r\n\r\n"), "the destination gave no valid answer"},
		"a hostile status":       {answering(t, "HTTP/1.1 500 hostile words\r\nContent-Length: 0\r\n\r\n"), "the destination answered 500 Internal Server Error"},
		"a body that is cut off": {answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhostile words"), "the destination closed the connection without an answer"},
		"no answer":              {answering(t, ""), "the destination did not answer in time"},
		"an unknown host":        {"http://secret-name.invalid/hook", "the name of the destination cannot be resolved"},
		"an unknown authority":   {encrypted.URL, "the certificate of the destination is signed by an unknown authority"},
		"no TLS":                 {"https" + strings.TrimPrefix(open.URL, "http"), "the destination does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSender(true, 2*time.Second, nil)
			t.Cleanup(s.client.CloseIdleConnections)
			o := s.post(t.Context(), c.to, event{id: "msg_1", body: []byte("{}")}, []string{"whsec_c2VjcmV0"})
			if got := o.reason(); o.ok() || got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
