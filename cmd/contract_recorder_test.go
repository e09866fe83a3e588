package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
)

// recorder drives one server as clients do, and records what they send and see, one line each. It replaces random parts
// by names, in the order in which they appear, so that the same day has the same lines on every server.
type recorder struct {
	t         testing.TB
	url, nats string
	kept      bool // the server keeps conversations

	lines   []string
	names   map[string]string // by ids, tokens and sessions
	headers map[string]string // names of sets of headers
}

// random matches ids and tokens, the names of sessions, and times.
var random = regexp.MustCompile(`\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// longLine is the length from which the end of a line is replaced by its hash.
const longLine = 600

// note records one line.
func (r *recorder) note(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), r.url, "<server>")
	line = random.ReplaceAllStringFunc(line, func(s string) string {
		if strings.Contains(s, "T") {
			return "<time>"
		}
		if r.names[s] == "" {
			r.names[s] = fmt.Sprintf("<random %d>", len(r.names)+1)
		}
		return r.names[s]
	})
	if r.kept {
		line = withoutKept(line)
	}
	if len(line) > longLine {
		line = fmt.Sprintf("%.60s… %d bytes, SHA-256 %x", line, len(line), sha256.Sum256([]byte(line)))
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
		line = strconv.QuoteToGraphic(line)
	}
	r.lines = append(r.lines, line)
}

// part begins a part of the day.
func (r *recorder) part(name string) { r.lines = append(r.lines, "", "# "+name) }

// keptDifferences are what a server that keeps conversations shows NATS clients, and what another one shows in its place.
var keptDifferences = []struct {
	kept *regexp.Regexp
	base string
}{
	{regexp.MustCompile(`^(.* < )\{"code":202,"message":"Dialogue Kept","ok":true,"id":("offline[^"]*"),"n":\d+,"at":"<time>"\}$`),
		`$1{"code":508,"message":"Friend Is Offline","ok":false,"id":$2}`},
	{regexp.MustCompile(`^(.* < )\{"code":202,"message":"Dialogue Kept","ok":true,"id":("[^"]*"),"n":\d+,"at":"<time>"\}$`),
		`$1{"code":200,"message":"Success","ok":true,"id":$2}`},
	{regexp.MustCompile(`^(.* by NATS < \{"id":.*),"with":"<random \d+>","n":\d+,"at":"<time>"\}$`), `$1}`},
	{regexp.MustCompile(`^(.* by NATS < notice \{"id":"[^"]*","from":"<random \d+>"),"payload":(.*),"with":("<random \d+>"),"n":\d+,"at":"<time>","toFriend":"<random \d+>"\}$`),
		`$1,"toFriend":$3,"payload":$2}`},
}

// keptNotice matches news of kept conversations, which NATS clients get.
var keptNotice = regexp.MustCompile(`^notice \{"code":30[345],`)

// withoutKept returns a line as a server records it that keeps no conversations.
func withoutKept(line string) string {
	for _, d := range keptDifferences {
		if d.kept.MatchString(line) {
			return d.kept.ReplaceAllString(line, d.base)
		}
	}
	return line
}

// call makes an HTTP request and returns the body of the answer.
func (r *recorder) call(method, path, body string) string {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("User-Agent", "contract")
	a, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.note("%s %s %s", method, path, body)
	r.note("  < %d %s %s", a.StatusCode, r.headersOf(a.Header, len(b)), b)
	return string(b)
}

// get makes a GET call with these keys and values.
func (r *recorder) get(path string, pairs ...string) string {
	r.t.Helper()
	return r.call(http.MethodGet, path+"?"+query(pairs...), "")
}

// headersOf returns a name for the headers of an answer, and records those that are new.
func (r *recorder) headersOf(h http.Header, length int) string {
	h = h.Clone()
	h.Del("Date")
	h.Del("Sec-WebSocket-Accept")
	if h.Get("Content-Length") == fmt.Sprint(length) {
		h.Del("Content-Length")
	}
	text := ""
	for _, k := range slices.Sorted(maps.Keys(h)) {
		text += fmt.Sprintf("%s: %s; ", k, strings.Join(h[k], ", "))
	}
	if r.headers[text] == "" {
		r.headers[text] = fmt.Sprintf("headers-%d", len(r.headers)+1)
		r.note("%s: %s", r.headers[text], text)
	}
	return r.headers[text]
}

// dayUser is a user with a client of its own.
type dayUser struct {
	r                 *recorder
	account, password string
	id, token         string
}

// window is a session of a user, or its NATS client. Frames wait in it until they are recorded.
type window struct {
	r      *recorder
	who    string
	frames chan string
	ws     *websocket.Conn
	nc     *nats.Conn
}

// dial opens a session and records the answer to the login, which it returns.
func (r *recorder) dial(who string, pairs ...string) (*window, string) {
	r.t.Helper()
	path := "/im/login?" + query(pairs...)
	d := websocket.Dialer{HandshakeTimeout: waitTimeout}
	ws, a, err := d.DialContext(r.t.Context(), "ws"+strings.TrimPrefix(r.url, "http")+path, http.Header{"User-Agent": {"contract"}})
	if err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	r.t.Cleanup(func() { ws.Close() })
	r.note("%s opens %s", who, path)
	r.note("  < %d %s", a.StatusCode, r.headersOf(a.Header, 0))
	w := &window{r: r, who: who, frames: make(chan string, 4096), ws: ws}
	go func() {
		defer close(w.frames)
		for {
			kind, frame, err := ws.ReadMessage()
			var end *websocket.CloseError
			switch {
			case errors.As(err, &end):
				w.frames <- fmt.Sprintf("close %d %s", end.Code, end.Text)
				return
			case err != nil:
				w.frames <- "the connection ends"
				return
			case kind != websocket.TextMessage:
				w.frames <- fmt.Sprintf("kind %d: %s", kind, frame)
			default:
				w.frames <- string(frame)
			}
		}
	}()
	return w, w.sees(1)[0]
}

// login opens a session by account and password, and remembers the token.
func (p *dayUser) login(who string, pairs ...string) *window {
	p.r.t.Helper()
	w, frame := p.r.dial(who, append([]string{"account", p.account, "password", p.password}, pairs...)...)
	var a loginAnswer
	if err := json.Unmarshal([]byte(frame), &a); err != nil || a.Code != 200 {
		p.r.t.Fatalf("login of %s: %s, %v", who, frame, err)
	}
	p.id, p.token = a.Profile.ID, a.Token
	return w
}

// friends makes a call about friends.
func (p *dayUser) friends(call string, pairs ...string) string {
	p.r.t.Helper()
	return p.r.get("/im/friends/"+call, append([]string{"id", p.id, "token", p.token}, pairs...)...)
}

// post makes a call with id and token. fields is the JSON text of further fields, with a comma before it.
func (p *dayUser) post(path, fields string) string {
	p.r.t.Helper()
	return p.r.call(http.MethodPost, path, `{"id":"`+p.id+`","token":"`+p.token+`"`+fields+`}`)
}

// sees records the next n frames, in the order of their texts.
func (w *window) sees(n int) []string {
	w.r.t.Helper()
	var seen []string
	for range n {
		seen = append(seen, w.next())
	}
	slices.Sort(seen)
	for _, frame := range seen {
		w.r.note("%s < %s", w.who, frame)
	}
	return seen
}

func (w *window) next() string {
	w.r.t.Helper()
	select {
	case frame, ok := <-w.frames:
		if !ok {
			frame = "nothing, after the end"
		}
		if w.nc != nil && w.r.kept && keptNotice.MatchString(frame) {
			return w.next()
		}
		return frame
	case <-time.After(waitTimeout):
		return "nothing"
	}
}

// seesKept checks a frame that only a server sends that keeps conversations. It does not record it.
func (w *window) seesKept(want string) {
	w.r.t.Helper()
	if !w.r.kept {
		return
	}
	got := w.next()
	if w.nc != nil {
		got = ownKept.ReplaceAllString(strings.TrimPrefix(got, "notice "), `$1,"toFriend":$3,"payload":$2}`)
	}
	if got != want {
		w.r.t.Errorf("%s: got %s, want %s", w.who, got, want)
	}
}

// ownKept matches a user's own dialogue as its NATS client sees it.
var ownKept = regexp.MustCompile(`^(\{"id":"[^"]*","from":"\w+"),"payload":(".*"),"with":("\w+"),"n":\d+,"at":"[^"]*","toFriend":"\w+"\}$`)

// sends sends a text frame.
func (w *window) sends(frame string) { w.r.t.Helper(); w.sendsKind(websocket.TextMessage, frame) }

func (w *window) sendsKind(kind int, frame string) {
	w.r.t.Helper()
	w.r.note("%s > %s", w.who, frame)
	if err := w.ws.WriteMessage(kind, []byte(frame)); err != nil {
		w.r.t.Fatal(err)
	}
}

// says sends a dialogue, which these windows receive, and records the answer. payload is a JSON text.
func (w *window) says(id string, to *dayUser, payload string, windows ...*window) {
	w.r.t.Helper()
	w.sends(dialogue(quote(id), to.id, payload))
	for _, other := range windows {
		other.sees(1)
	}
	w.sees(1)
}

// quiet records all frames that were not expected: those before the answer to a frame that is refused.
func (r *recorder) quiet(windows ...*window) {
	r.t.Helper()
	for _, w := range windows {
		answer := `{"code":510,"message":"Friend ID Empty","ok":false,"id":"quiet"}`
		if err := w.ws.WriteMessage(websocket.TextMessage, []byte(`{"id":"quiet"}`)); err != nil {
			r.t.Fatalf("%s: %v", w.who, err)
		}
		for frame := w.next(); frame != answer; frame = w.next() {
			r.note("%s < unexpected: %s", w.who, frame)
			if frame == "nothing" || strings.HasPrefix(frame, "nothing,") {
				break
			}
		}
	}
}

// closes closes a session and records what comes until its end.
func (w *window) closes() {
	w.r.t.Helper()
	w.r.note("%s closes", w.who)
	if err := w.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(waitTimeout)); err != nil {
		w.r.t.Fatal(err)
	}
	w.ends()
}

// ends records the frames until the end of the session.
func (w *window) ends() {
	w.r.t.Helper()
	for {
		select {
		case frame, ok := <-w.frames:
			if !ok {
				return
			}
			w.r.note("%s < %s", w.who, frame)
		case <-time.After(waitTimeout):
			w.r.note("%s stays open", w.who)
			return
		}
	}
}

// byNATS logs a user in to NATS and takes its dialogues and notices. reply answers each dialogue; nil: it is not
// answered. Presence checks are answered and not recorded.
func (p *dayUser) byNATS(reply func(frame string) []byte) *window {
	p.r.t.Helper()
	nc, err := nats.Connect(p.r.nats, nats.UserInfo(p.account, p.password), nats.CustomInboxPrefix(subject.Inbox(p.id)), nats.NoReconnect(), nats.Timeout(waitTimeout))
	if err != nil {
		p.r.t.Fatal(err)
	}
	p.r.t.Cleanup(nc.Close)
	w := &window{r: p.r, who: p.account + " by NATS", frames: make(chan string, 4096), nc: nc}
	_, err = nc.Subscribe("im.user."+p.id+".dialogue", func(m *nats.Msg) {
		var d struct{ ID, From, Payload string }
		answer := []byte{}
		if json.Unmarshal(m.Data, &d) != nil || d.ID+d.From+d.Payload != "" {
			w.frames <- string(m.Data)
			answer = reply(string(m.Data))
		}
		if answer != nil {
			_ = m.Respond(answer) // a failure shows as 507
		}
	})
	if err == nil {
		_, err = nc.Subscribe("im.user."+p.id+".notice", func(m *nats.Msg) { w.frames <- "notice " + string(m.Data) })
	}
	if err := errors.Join(err, nc.Flush()); err != nil {
		p.r.t.Fatal(err)
	}
	return w
}

// requests makes a request by NATS and records the answer.
func (w *window) requests(subject, body string) string {
	w.r.t.Helper()
	w.r.note("%s > %s %s", w.who, subject, body)
	ctx, cancel := context.WithTimeout(w.r.t.Context(), waitTimeout)
	defer cancel()
	m, err := w.nc.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		w.r.note("%s < %v", w.who, err)
		return ""
	}
	w.r.note("%s < %s", w.who, m.Data)
	return string(m.Data)
}
