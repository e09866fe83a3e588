package tunnel

import (
	"bufio"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/answer"
	"imctl/bridge/wire"
)

// mismatch is the reason why a request does not open a tunnel.
type mismatch struct {
	status int
	what   string // the part of the handshake that is wrong
	got    string // what the client sent there; never a possible secret
}

// webSocketVersion is the only version that the server speaks. keySize is the decoded length of a handshake's key.
const (
	webSocketVersion = "13"
	keySize          = 16
)

// checkHandshake returns the reason why a request is not an allowed handshake, nil if it is one. The status is 200, as
// for the protocol's calls, if the request is no handshake at all or comes from a foreign origin.
func (t *Tunnel) checkHandshake(r *http.Request) *mismatch {
	switch {
	case r.Method != http.MethodGet:
		return &mismatch{http.StatusOK, "method", shown(r.Method, letters)}
	case !websocket.IsWebSocketUpgrade(r):
		return &mismatch{http.StatusOK, "Connection or Upgrade", ""}
	case !t.opts.Origins.Allowed(r):
		return &mismatch{http.StatusOK, "Origin", originOf(r)}
	case !hasToken(r.Header["Sec-Websocket-Version"], webSocketVersion):
		return &mismatch{http.StatusUpgradeRequired, "Sec-WebSocket-Version", shown(strings.Join(r.Header["Sec-Websocket-Version"], ","), digits)}
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return &mismatch{http.StatusBadRequest, "Sec-WebSocket-Key", "none, or more than one"}
	}
	if key, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(key) != keySize {
		return &mismatch{http.StatusBadRequest, "Sec-WebSocket-Key", "not 16 bytes in base64"}
	}
	return nil
}

// hasToken reports whether the lines of a header, taken as one comma-separated list, have the token.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.Trim(t, " \t") == token {
				return true
			}
		}
	}
	return false
}

// originOf returns the scheme and host of a request's origin for the log. Browsers send nothing else.
func originOf(r *http.Request) string {
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" {
		return "no URL with a host"
	}
	return shown(u.Scheme+"://"+u.Host, letters+digits+":/.-_[]")
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789, "
	// shownMost bounds the length of a client's text in the log.
	shownMost = 128
)

// shown returns a client's text for the log if it is short and has only the given characters. Any other text may hold a
// secret.
func shown(s, chars string) string {
	if len(s) > shownMost || strings.Trim(s, chars) != "" {
		return "malformed"
	}
	return s
}

// refuseHandshake answers a request that opens no tunnel.
func (t *Tunnel) refuseHandshake(w http.ResponseWriter, address string, m *mismatch) {
	t.metrics.login(wire.ProtocolError)
	t.refusals.add(m, address)
	if m.status == http.StatusUpgradeRequired {
		h := w.Header()
		h.Set("Sec-WebSocket-Version", webSocketVersion)
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	}
	answer.WriteCode(w, m.status, wire.ProtocolError)
}

// refuseEager answers a client that sent frames before the server answered its handshake, and closes the connection.
func (t *Tunnel) refuseEager(c *conn, address string) {
	defer c.finish()
	t.metrics.login(wire.ProtocolError)
	t.refusals.add(&mismatch{http.StatusBadRequest, "frames", "sent before the handshake was answered"}, address)
	body := wire.AppendReply(nil, wire.ProtocolError, nil)
	response := &http.Response{StatusCode: http.StatusBadRequest, ProtoMajor: 1, ProtoMinor: 1, Close: true, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"}},
		Body:   io.NopCloser(strings.NewReader(string(body)))}
	c.Conn.SetWriteDeadline(time.Now().Add(linger))
	if err := response.Write(c); err != nil {
		t.opts.Logger.Debug("answer a handshake", "err", err)
	}
}

// refusals logs refused handshakes. It logs the first at once, and then only the number of refusals in the following
// second, so that clients can't fill the log.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex // guards the fields below
	timer  *time.Timer
	silent bool // the second after a logged refusal is not over
	more   int  // refusals in this second
}

const refusalsEvery = time.Second

func (r *refusals) add(m *mismatch, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		r.more++
		return
	}
	r.silent = true
	if r.timer == nil {
		r.timer = time.AfterFunc(refusalsEvery, r.report)
	} else {
		r.timer.Reset(refusalsEvery)
	}
	r.log.Info("handshake refused", "address", address, "mismatch", m.what, "got", m.got, "status", m.status)
}

// report ends the second and logs its refusals.
func (r *refusals) report() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = false
	if r.more > 0 {
		r.log.Info("more handshakes refused", "count", r.more, "in", refusalsEvery)
		r.more = 0
	}
}

// close logs the refusals that are not logged yet.
func (r *refusals) close() {
	r.mu.Lock()
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.report()
}

// slimRequest returns the parts of a request that a handshake needs: no query, no body, no context.
func slimRequest(r *http.Request) *http.Request {
	h := make(http.Header, 4)
	for _, k := range []string{"Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key"} {
		h[k] = r.Header[k]
	}
	return &http.Request{Method: r.Method, Host: r.Host, Header: h, RemoteAddr: r.RemoteAddr}
}

// hijacked is the http.ResponseWriter of a hijacked connection. It discards gorilla's answer to a bad handshake: the
// connection is closed.
type hijacked struct {
	conn   net.Conn
	header http.Header
}

func newHijacked(c net.Conn) *hijacked { return &hijacked{conn: c, header: http.Header{}} }

func (h *hijacked) Header() http.Header         { return h.header }
func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijacked) WriteHeader(int)             {}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// gorilla/websocket reads into a buffer of its own, and uses this writer's buffer for the handshake.
	return h.conn, bufio.NewReadWriter(bufio.NewReaderSize(h.conn, 16), bufio.NewWriterSize(h.conn, 16)), nil
}
