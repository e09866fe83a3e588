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

// messages are the protocol's codes with their texts, as clients know them.
var messages = map[int]string{
	200: "Success", 403: "Protocol Error", 500: "Internal Server Error", 501: "Account Info Empty", 502: "Password Info Empty",
	503: "Secure Mail Info Empty", 504: "Account Already Exists", 505: "Account & Password Wrong", 506: "Dialogue ID Empty",
	507: "Dialogue Send To Friend Failed", 508: "Friend Is Offline", 509: "Payload Must Be Text", 510: "Friend ID Empty", 511: "Payload Empty",
	512: "Not Relation of Friend", 513: "Login In Other Place", 514: "Auth Info Empty", 515: "Auth Illegal", 516: "Name Empty",
	517: "Account ID Empty", 519: "Friend Info Empty", 521: "Alias Empty", 522: "Already Be Friend", 523: "Friend Not Exists",
}

// says is the answer with this code, to the letter.
func replyBody(code int) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":%t}`, code, messages[code], code == 200)
}

// saysTo is the answer to the dialogue whose id is written so in JSON.
func replyFrame(id string, code int) string {
	return strings.TrimSuffix(replyBody(code), "}") + `,"id":` + id + `}`
}

// query writes pairs of keys and values as a URL does.
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

// do sends one request to the n-th person's server.
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

// want compares an answer with what is documented: body, status and type of content.
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
		t.Errorf("%s: Content-Type is %q", what, got)
	}
}

// code is the answer's, or 0.
func (r reply) code() int {
	var a struct{ Code int }
	if json.Unmarshal([]byte(r.body), &a) != nil {
		return 0
	}
	return a.Code
}

// register sends a registration as it stands.
func (w *world) register(t testing.TB, n int, body string) reply {
	t.Helper()
	return w.do(t, n, http.MethodPost, "/im/register", body)
}

// member is somebody with an account, and a tunnel once it is logged in.
type member struct {
	w        *world
	n        int // place in its group
	account  string
	password string
	id       string
	token    string
	tunnel   *tunnel
}

var serial atomic.Int64

// people are n strangers of a group, registered and logged in, each in its place.
func (w *world) newMembers(t testing.TB, n int) []*member {
	t.Helper()
	all := make([]*member, n)
	for i := range all {
		all[i] = w.newMember(t, i)
		all[i].login(t)
	}
	return all
}

// pair are two friends who have named each other, both logged in.
func (w *world) newFriends(t testing.TB) (a, b *member) {
	t.Helper()
	two := w.newMembers(t, 2)
	two[0].befriend(t, two[1])
	return two[0], two[1]
}

// stranger registers somebody whom nobody knows.
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

// call makes a call with the person's id and token.
func (p *member) call(t testing.TB, name string, pairs ...string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodGet, "/im/friends/"+name+"?"+query(append([]string{"id", p.id, "token", p.token}, pairs...)...), "")
}

// befriend makes two people friends: p asks, the other answers, and both give an alias.
func (p *member) befriend(t testing.TB, other *member) {
	t.Helper()
	p.call(t, "request", "to", other.id).want(t, "request", replyBody(200))
	other.call(t, "add", "from", p.id, "name", "alias of "+p.account).want(t, "add", replyBody(200))
	p.call(t, "add", "from", other.id, "name", "alias of "+other.account).want(t, "add of the one who asked", replyBody(200))
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

// login opens a tunnel by account and password. It becomes the person's own, as do id and token.
func (p *member) login(t testing.TB) loginAnswer {
	t.Helper()
	var a loginAnswer
	p.tunnel, a = p.openTunnel(t)
	p.id, p.token = a.Profile.ID, a.Token
	return a
}

// another opens one more tunnel.
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
	return &websocket.Dialer{TLSClientConfig: w.trust(), HandshakeTimeout: waitTimeout, EnableCompression: true}
}

// dial opens a WebSocket that is closed when the test ends.
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

// want reads frames that have to be these.
func (c *tunnel) want(t testing.TB, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if got := c.next(t); got != want {
			t.Fatalf("frame:\n got %s\nwant %s", got, want)
		}
	}
}

// wantClose waits for the server's close frame, and answers it.
func (c *tunnel) wantClose(t testing.TB, code int) {
	t.Helper()
	frame, err := c.tryNext()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code {
		t.Fatalf("wanted the tunnel closed with %d, got %s, %v", code, frame, err)
	}
}

// close says goodbye and waits until the server has said so too.
func (c *tunnel) close(t testing.TB) {
	t.Helper()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(waitTimeout)); err != nil {
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

// dialogue is the frame that sends one; id and payload are given as JSON writes them.
func dialogue(id, to, payload string) string {
	return `{"id":` + id + `,"toFriend":"` + to + `","payload":` + payload + `}`
}

// received is the frame that a friend gets.
func dialogueFrame(id, from, payload string) string {
	return `{"id":` + id + `,"from":"` + from + `","payload":` + payload + `}`
}

// talk sends a dialogue over the person's tunnel and returns the code of its answer, which has to carry its id.
func (p *member) talk(t testing.TB, to *member, id string) int {
	t.Helper()
	quoted := strconv.Quote(id)
	p.tunnel.send(t, dialogue(quoted, to.id, `"hello"`))
	got := p.tunnel.next(t)
	code := reply{body: got}.code()
	if got != replyFrame(quoted, code) {
		t.Fatalf("answer to dialogue %s: %s", id, got)
	}
	return code
}
