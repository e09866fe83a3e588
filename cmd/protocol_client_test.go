package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// messages maps the codes of the protocol to their texts.
var messages = map[int]string{
	200: "Success", 202: "Dialogue Kept", 403: "Protocol Error", 500: "Internal Server Error", 501: "Account Info Empty", 502: "Password Info Empty",
	503: "Secure Mail Info Empty", 504: "Account Already Exists", 505: "Account & Password Wrong", 506: "Dialogue ID Empty",
	507: "Dialogue Send To Friend Failed", 508: "Friend Is Offline", 509: "Payload Must Be Text", 510: "Friend ID Empty", 511: "Payload Empty",
	512: "Not Relation of Friend", 513: "Login In Other Place", 514: "Auth Info Empty", 515: "Auth Illegal", 516: "Name Empty",
	517: "Account ID Empty", 519: "Friend Info Empty", 521: "Alias Empty", 522: "Already Be Friend", 523: "Friend Not Exists",
}

// replyBody returns the exact body of an answer with this code.
func replyBody(code int) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":%t}`, code, messages[code], code == 200 || code == 202)
}

// replyFrame returns the exact answer to a dialogue. id is the JSON text of its id.
func replyFrame(id string, code int) string {
	return strings.TrimSuffix(replyBody(code), "}") + `,"id":` + id + `}`
}

// query encodes keys and values as a query string.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// reply is an answer over HTTP.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request to the server of the n-th user.
func (w *world) do(t testing.TB, n int, method, pathAndQuery, body string) reply {
	t.Helper()
	r, err := w.try(t.Context(), n, method, pathAndQuery, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, pathAndQuery, err)
	}
	return r
}

func (w *world) try(ctx context.Context, n int, method, pathAndQuery, body string) (reply, error) {
	q, err := http.NewRequestWithContext(ctx, method, w.base(n)+pathAndQuery, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r, err := w.http.Do(q)
	if err != nil {
		return reply{}, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return reply{r.StatusCode, r.Header, string(b)}, err
}

// want checks that an answer has status 200, this body and the documented content type.
func (r reply) want(t testing.TB, what, body string) {
	t.Helper()
	r.wantStatus(t, what, http.StatusOK, body)
}

func (r reply) wantStatus(t testing.TB, what string, status int, body string) {
	t.Helper()
	if r.body != body || r.status != status {
		t.Errorf("%s:\n got %d %s\nwant %d %s", what, r.status, r.body, status, body)
	}
	if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("%s: Content-Type is %q, want application/json; charset=utf-8", what, got)
	}
}

// code returns the code in the body, or 0 if there is none.
func (r reply) code() int {
	var a struct{ Code int }
	if json.Unmarshal([]byte(r.body), &a) != nil {
		return 0
	}
	return a.Code
}

// register sends a registration with this body.
func (w *world) register(t testing.TB, n int, body string) reply {
	t.Helper()
	return w.do(t, n, http.MethodPost, "/im/register", body)
}

// member is a test user. id, token and tunnel are set by login.
type member struct {
	w        *world
	n        int // number in the test, which selects the server
	account  string
	password string
	id       string
	token    string
	tunnel   *tunnel
}

var serial atomic.Int64

// newMembers registers n users, with the numbers 0 to n-1, and logs them in.
func (w *world) newMembers(t testing.TB, n int) []*member {
	t.Helper()
	all := make([]*member, n)
	for i := range all {
		all[i] = w.newMember(t, i)
		all[i].login(t)
	}
	return all
}

// newFriends registers two users, logs them in, and makes them friends with aliases.
func (w *world) newFriends(t testing.TB) (a, b *member) {
	t.Helper()
	two := w.newMembers(t, 2)
	two[0].befriend(t, two[1])
	return two[0], two[1]
}

// newMember registers the n-th user of a test.
func (w *world) newMember(t testing.TB, n int) *member {
	t.Helper()
	k := strconv.FormatInt(serial.Add(1), 10)
	p := &member{w: w, n: n, account: "Somebody " + k, password: "pass word+" + k + "&é"}
	w.secret(p.password)
	body, err := json.Marshal(map[string]string{"account": p.account, "password": p.password, "mail": "m" + k + "@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	w.register(t, n, string(body)).want(t, "registration of "+p.account, replyBody(200))
	return p
}

// call makes an HTTP call with the id and token of p.
func (p *member) call(t testing.TB, name string, pairs ...string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodGet, "/im/friends/"+name+"?"+query(append([]string{"id", p.id, "token", p.token}, pairs...)...), "")
}

// befriend makes two users friends: p requests, other accepts, and both set an alias.
func (p *member) befriend(t testing.TB, other *member) {
	t.Helper()
	p.call(t, "request", "to", other.id).want(t, "request", replyBody(200))
	other.call(t, "add", "from", p.id, "name", "alias of "+p.account).want(t, "add", replyBody(200))
	p.call(t, "add", "from", other.id, "name", "alias of "+other.account).want(t, "add by the requester", replyBody(200))
}

// loginAnswer is the answer to a login.
type loginAnswer struct {
	Code     int
	Friends  []friendEntry
	Profile  profileEntry
	Requests []requestEntry
	Token    string
}

type profileEntry struct{ ID, Name, Picture, Sex, Birthday, Sign string }

type friendEntry struct {
	profileEntry
	Online bool
}

type requestEntry struct{ ID, Name, To, Note string }

// login logs p in with account and password, and sets its id, token and tunnel.
func (p *member) login(t testing.TB) loginAnswer {
	t.Helper()
	var a loginAnswer
	p.tunnel, a = p.openTunnel(t)
	p.id, p.token = a.Profile.ID, a.Token
	return a
}

// openTunnel opens an additional tunnel with account and password. pairs are further query parameters.
func (p *member) openTunnel(t testing.TB, pairs ...string) (*tunnel, loginAnswer) {
	t.Helper()
	w := p.w.dial(t, p.n, "/im/login?"+query(append([]string{"account", p.account, "password", p.password}, pairs...)...))
	frame := w.next(t)
	var a loginAnswer
	if err := json.Unmarshal([]byte(frame), &a); err != nil || a.Code != 200 {
		t.Fatalf("login of %s: %s, %v", p.account, frame, err)
	}
	p.w.secret(a.Token)
	return w, a
}

// tunnel is a client's WebSocket.
type tunnel struct {
	ws       *websocket.Conn
	response *http.Response
}

func (w *world) dialer() *websocket.Dialer {
	return &websocket.Dialer{TLSClientConfig: w.trust(), HandshakeTimeout: w.http.Timeout, EnableCompression: true, NetDialContext: w.netDial}
}

// dial opens a WebSocket and closes it at the end of the test.
func (w *world) dial(t testing.TB, n int, pathAndQuery string) *tunnel {
	t.Helper()
	c, err := w.tryDial(t.Context(), w.dialer(), n, pathAndQuery, nil)
	if err != nil {
		t.Fatalf("WebSocket: %v", err)
	}
	t.Cleanup(func() { c.ws.Close() })
	return c
}

func (w *world) tryDial(ctx context.Context, d *websocket.Dialer, n int, pathAndQuery string, h http.Header) (*tunnel, error) {
	return dialAt(ctx, d, w.base(n)+pathAndQuery, h)
}

func dialAt(ctx context.Context, d *websocket.Dialer, url string, h http.Header) (*tunnel, error) {
	ws, r, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(url, "http"), h)
	return &tunnel{ws, r}, err
}

// send writes one text frame.
func (c *tunnel) send(t testing.TB, frame string) {
	t.Helper()
	if err := c.trySend(frame); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func (c *tunnel) trySend(frame string) error {
	return errors.Join(c.ws.SetWriteDeadline(time.Now().Add(waitTimeout)), c.ws.WriteMessage(websocket.TextMessage, []byte(frame)))
}

// next reads one frame.
func (c *tunnel) next(t testing.TB) string {
	t.Helper()
	frame, err := c.tryNext()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return frame
}

func (c *tunnel) tryNext() (string, error) {
	if err := c.ws.SetReadDeadline(time.Now().Add(waitTimeout)); err != nil {
		return "", err
	}
	kind, b, err := c.ws.ReadMessage()
	if err == nil && kind != websocket.TextMessage {
		err = fmt.Errorf("frame of kind %d", kind)
	}
	return string(b), err
}

// want reads frames and compares them with frames.
func (c *tunnel) want(t testing.TB, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if got := c.next(t); got != want {
			t.Fatalf("frame:\n got %s\nwant %s", got, want)
		}
	}
}

// wantClose checks that the next frame is a close frame with this code.
func (c *tunnel) wantClose(t testing.TB, code int) {
	t.Helper()
	frame, err := c.tryNext()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code {
		t.Fatalf("got frame %q and error %v, want a close frame with code %d", frame, err, code)
	}
}

// close sends a close frame and waits until the server ends the connection.
func (c *tunnel) close(t testing.TB) {
	t.Helper()
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.ws.WriteControl(websocket.CloseMessage, message, time.Now().Add(waitTimeout)); err != nil {
		t.Fatalf("close: %v", err)
	}
	for {
		_, err := c.tryNext()
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			t.Fatalf("close: %v", err)
		default:
			c.ws.Close()
			return
		}
	}
}

// dialogue returns the frame that sends a dialogue. id and payload are JSON texts.
func dialogue(id, to, payload string) string {
	return `{"id":` + id + `,"toFriend":"` + to + `","payload":` + payload + `}`
}

// dialogueFrame returns the frame that the friend receives.
func dialogueFrame(id, from, payload string) string {
	return `{"id":` + id + `,"from":"` + from + `","payload":` + payload + `}`
}

// talk sends a dialogue through p's tunnel and returns the code of the answer. It fails the test if the next frame is
// not that answer.
func (p *member) talk(t testing.TB, to *member, id string) int {
	t.Helper()
	quoted := strconv.Quote(id)
	p.tunnel.send(t, dialogue(quoted, to.id, `"hello"`))
	got := p.tunnel.next(t)
	code := reply{body: got}.code()
	if got != replyFrame(quoted, code) {
		t.Fatalf("answer to dialogue %s: got %s", id, got)
	}
	return code
}
