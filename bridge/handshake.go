package bridge

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
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"imctl/bridge/wire"
)

// mismatch is why a request does not open a tunnel.
type mismatch struct {
	status int
	what   string // the part of the handshake
	got    string // what the client sent there; never anything that may be a secret
}

// webSocketVersion is the only one that the server speaks, and keySize what a handshake's key has to decode to.
const (
	webSocketVersion = "13"
	keySize          = 16
)

// mismatchOf returns what keeps a request from being a handshake that is allowed here, nil for nothing. A request that is
// none at all, and one of a foreign page, are answered as the protocol's calls are: with the code in the body.
func (b *Bridge) mismatchOf(r *http.Request) *mismatch {
	switch {
	case r.Method != http.MethodGet:
		return &mismatch{http.StatusOK, "method", shown(r.Method, letters)}
	case !websocket.IsWebSocketUpgrade(r):
		return &mismatch{http.StatusOK, "Connection or Upgrade", ""}
	case !b.originAllowed(r):
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

// hasToken looks for a token in the lines of a header, which are one list.
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

// originOf returns a request's origin for the log: scheme and host, which is all that a browser sends.
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
	// shownMost is how long a client's text may be that is logged.
	shownMost = 128
)

// shown returns a client's text for the log if it is as such text should be. Any other might be anything, a secret
// included.
func shown(s, chars string) string {
	if len(s) > shownMost || strings.Trim(s, chars) != "" {
		return "malformed"
	}
	return s
}

// refuseHandshake answers a request that opens no tunnel.
func (b *Bridge) refuseHandshake(w http.ResponseWriter, address string, m *mismatch) {
	b.metrics.login(wire.ProtocolError)
	b.refusals.add(m, address)
	if m.status == http.StatusUpgradeRequired {
		h := w.Header()
		h.Set("Sec-WebSocket-Version", webSocketVersion)
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	}
	writeStatus(w, m.status, wire.ProtocolError)
}

// refuseEager answers a client that has sent frames before its handshake was answered, and closes its connection.
func (b *Bridge) refuseEager(conn *tunnelConn, address string) {
	defer conn.finish()
	b.metrics.login(wire.ProtocolError)
	b.refusals.add(&mismatch{http.StatusBadRequest, "frames", "sent before the handshake was answered"}, address)
	body := wire.AppendReply(nil, wire.ProtocolError, nil)
	answer := &http.Response{StatusCode: http.StatusBadRequest, ProtoMajor: 1, ProtoMinor: 1, Close: true, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"}},
		Body:   io.NopCloser(strings.NewReader(string(body)))}
	conn.Conn.SetWriteDeadline(time.Now().Add(linger))
	if err := answer.Write(conn); err != nil {
		b.log.Debug("answer a handshake", "err", err)
	}
}

// refusals logs handshakes that were refused: the first at once, and those of the second that follows by their number, so
// that clients cannot fill the log.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	silent bool // the second is not over
	more   int  // refused in it
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
		r.timer = time.AfterFunc(refusalsEvery, r.over)
	} else {
		r.timer.Reset(refusalsEvery)
	}
	r.log.Info("handshake refused", "address", address, "mismatch", m.what, "got", m.got, "status", m.status)
}

// over ends a second.
func (r *refusals) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = false
	if r.more > 0 {
		r.log.Info("more handshakes refused", "count", r.more, "in", refusalsEvery)
		r.more = 0
	}
}

// close logs what was not logged yet.
func (r *refusals) close() {
	r.mu.Lock()
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.over()
}

// originAllowed tells whether a browser's page may open a WebSocket here. What is no browser sends no origin.
func (b *Bridge) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || !utf8.ValidString(origin) {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) {
		return true
	}
	for _, o := range *b.origins.Load() {
		if o == "*" || strings.EqualFold(strings.TrimSuffix(o, "/"), origin) {
			return true
		}
	}
	return false
}

// slimRequest is what a handshake needs of a request: no query, no body, no context.
func slimRequest(r *http.Request) *http.Request {
	h := make(http.Header, 4)
	for _, k := range []string{"Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key"} {
		h[k] = r.Header[k]
	}
	return &http.Request{Method: r.Method, Host: r.Host, Header: h, RemoteAddr: r.RemoteAddr}
}

// hijacked is the http.ResponseWriter of a connection that was taken over already. What gorilla would say to a
// handshake that it does not like goes nowhere: the connection is closed.
type hijacked struct {
	conn   net.Conn
	header http.Header
}

func newHijacked(c net.Conn) *hijacked { return &hijacked{conn: c, header: http.Header{}} }

func (h *hijacked) Header() http.Header         { return h.header }
func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijacked) WriteHeader(int)             {}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// gorilla reads by a buffer of its own and borrows this writer's for the handshake.
	return h.conn, bufio.NewReadWriter(bufio.NewReaderSize(h.conn, 16), bufio.NewWriterSize(h.conn, 16)), nil
}
