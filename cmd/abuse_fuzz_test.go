package cmd

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/bridge/api"
	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
	"imctl/embedded"
)

// TestAbuse sends a few mutated inputs.
func TestAbuse(t *testing.T) {
	t.Parallel()
	abuse(t, 2_000, 4, 1, waitTimeout)
}

// abuse sends mutated inputs to one process, over WebSockets, HTTP and NATS, from several workers. A seed and a number
// of workers always give the same inputs, of which a busy machine sends fewer within the given time. Each answer must have a documented code. The process must log no error, and
// have no more goroutines, files and memory afterwards.
func abuse(t *testing.T, inputs, workers int, seed uint64, most time.Duration) {
	log, data := new(logBuffer), filepath.Join(t.TempDir(), "data")
	p := startCommand(t, exec.Command("imctl", "serve", "--log.level", "info"), data, log, "IMCTL_NATS_SYNC=1m")
	w := newWorld(t, p)
	w.closed = true // the log has no debug lines, and would be too long with them
	credentials, err := embedded.ReadContext(data)
	if err != nil {
		t.Fatal(err)
	}
	run := func(inputs int, seed uint64) (sent int64) {
		var wg sync.WaitGroup
		var done atomic.Int64
		end := time.Now().Add(most)
		for i := range workers {
			wg.Go(func() {
				a := &abuser{w: w, nats: credentials.URL, r: newNoise(seed + uint64(i)<<32), calls: api.Calls()}
				defer a.close()
				done.Add(int64(a.work(t, inputs/workers, end)))
			})
		}
		wg.Wait()
		w.http.CloseIdleConnections()
		eventually(t, "all sessions to end", func() bool { n, err := p.metric(`imctl_sessions{kind="contract"}`); return err == nil && n == 0 })
		return done.Load()
	}
	run(40*workers, seed+1) // what is created once
	value := func(name string) float64 {
		n, err := p.metric(name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const goroutines, files, memory = "go_goroutines", "process_open_fds", "process_resident_memory_bytes"
	goroutinesBefore, filesBefore := value(goroutines), value(files)
	grown, began := p.watch(t, memory), time.Now()
	sent := run(inputs, seed)
	took, more := time.Since(began), grown()
	// The connection for metrics, and goroutines of the runtime and of NATS, come and go.
	const some = 6
	eventually(t, "all goroutines to end", func() bool { return value(goroutines) <= goroutinesBefore+some })
	eventually(t, "all connections to end", func() bool { return value(files) <= filesBefore+some })
	t.Logf("seed %d: %d inputs in %s, %.0f each second; memory grew by %.0f MB; goroutines %v, then %v", seed, sent, took.Round(time.Millisecond),
		float64(sent)/took.Seconds(), more/1e6, goroutinesBefore, value(goroutines))
	if more > 256e6 {
		t.Errorf("memory grew by %.0f MB", more/1e6)
	}
	p.stop(t)
	p.sound(t)
}

// abuser is a user that sends mutated inputs. It takes new accounts from time to time, and when it has lost its own.
type abuser struct {
	w     *world
	nats  string // URL
	r     noise
	calls []api.Call

	me, friend *member
	names      *strings.Replacer // of the words in seeds
	session    *tunnel
	nc         *bridgetest.Client
	conn       net.Conn
	in         *bufio.Reader
	before     string // the last request over conn
}

// accountLife is after how many inputs an abuser takes new accounts.
const accountLife = 1000

// work sends inputs until the given time at most, and returns how many.
func (a *abuser) work(t *testing.T, inputs int, end time.Time) (sent int) {
	age := accountLife
	for sent < inputs && !t.Failed() && time.Now().Before(end) {
		if age >= accountLife || a.me == nil {
			a.renew(t)
			age = 0
		}
		n := 1
		switch k := a.r.IntN(100); {
		case k < 5:
			n = a.frames(t)
		case k < 60:
			a.request(t)
		case k < 62:
			a.raw(t)
		case k < 80:
			a.call(t)
		default:
			a.dialogue(t)
		}
		sent, age = sent+n, age+n
	}
	return sent
}

// renew takes new accounts: two friends.
func (a *abuser) renew(t *testing.T) {
	a.close()
	a.me, a.friend = a.w.newMember(t, 0), a.w.newMember(t, 0)
	a.me.login(t)
	a.friend.login(t)
	a.me.befriend(t, a.friend)
	a.session = a.me.tunnel
	go func(c *tunnel) {
		for {
			if _, _, err := c.ws.ReadMessage(); err != nil {
				return
			}
		}
	}(a.friend.tunnel)
	a.names = strings.NewReplacer("MYID", a.me.id, "MYTOKEN", a.me.token, "MYACCOUNT", url.QueryEscape(a.me.account),
		"MYPASSWORD", url.QueryEscape(a.me.password), "FRIENDID", a.friend.id)
	var err error
	if a.nc, err = bridgetest.Dial(a.nats, a.me.account, a.me.password, subject.Inbox(a.me.id)); err != nil {
		t.Fatal(err)
	}
}

// close ends everything that the abuser has opened. Another renew follows before the next input.
func (a *abuser) close() {
	if a.me != nil {
		a.session.ws.Close()
		a.friend.tunnel.ws.Close()
		a.me = nil
	}
	if a.nc != nil {
		a.nc.Close()
	}
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// mutate spoils a seed in most cases, and then puts the ids into it.
func (a *abuser) mutate(seed string) string {
	switch k := a.r.IntN(100); {
	case k < 10: // as it is
	case k < 20:
		seed = string(a.r.bytes(120))
	case k < 21:
		seed = strings.Repeat(a.r.spoil(seed), 1+a.r.IntN(3000)) // up to 300 KiB
	default:
		seed = a.r.spoil(seed)
	}
	return a.names.Replace(seed)
}

// dialogues are seeds of dialogues.
var dialogues = []string{
	`{"id":"7","toFriend":"FRIENDID","payload":"How are you?"}`,
	`{"id":"7","toFriend":"MYID","payload":"How are you?"}`,
	`{"payload":"\u00e4\/<\ud83d\ude42","\u0069d":" ","toFriend":" FRIENDID ","x":[{"y":-1.5e+3},null,true]}`,
	`{"id":7,"toFriend":"FRIENDID","payload":null}`,
	`{"id":"7","id":"8","toFriend":"FRIENDID","payload":"x"}`,
	`{"id":"7","toFriend":"\ud800","payload":"` + "\xff" + `"}`,
	` { "x" : { } , "id" : "" } `,
	`{"id":"` + strings.Repeat("7", 300) + `","toFriend":"FRIENDID","payload":"` + strings.Repeat("[", 300) + `"}`,
	strings.Repeat(`{"x":[`, 40),
}

// The codes of answers to dialogues of sessions and of NATS clients.
var (
	dialogueCodes     = []int{200, 403, 506, 507, 508, 510, 511, 512}
	keptDialogueCodes = []int{202, 403, 506, 507, 510, 511, 512}
)

// wantDialogue checks the answer to a dialogue.
func wantDialogue(t *testing.T, sent, answer string, err error, codes []int) {
	t.Helper()
	code := reply{body: answer}.code()
	if err != nil || !slices.Contains(codes, code) || !strings.HasPrefix(answer, strings.TrimSuffix(replyBody(code), "}")) || !json.Valid([]byte(answer)) {
		t.Errorf("dialogue %.300q: answer %s, %v", sent, answer, err)
		return
	}
	var kept struct {
		N  uint64
		At time.Time
	}
	if code == 202 && (json.Unmarshal([]byte(answer), &kept) != nil || kept.N == 0 || kept.At.IsZero()) {
		t.Errorf("dialogue %.300q: answer %s has no number or no time", sent, answer)
	}
}

func pick[T any](r noise, list []T) T { return list[r.IntN(len(list))] }

// frames sends text frames, and reads an answer for each. Sometimes it ends the session by a frame that no client may
// send, and opens another one.
func (a *abuser) frames(t *testing.T) (n int) {
	n = 1 + a.r.IntN(40)
	sent := make([]string, n)
	for i := range sent {
		frame := strings.ToValidUTF8(a.mutate(pick(a.r, dialogues)), "\ufffd") // what is not UTF-8 ends the session
		sent[i] = frame[:min(len(frame), 60<<10)]
		sent[i] = strings.ToValidUTF8(sent[i], "?")
		if err := a.session.trySend(sent[i]); err != nil {
			t.Errorf("frame %.300q: %v", sent[i], err)
			return n
		}
	}
	for range sent {
		answer, err := a.session.tryNext()
		wantDialogue(t, strings.Join(sent, "\n"), answer, err, dialogueCodes)
		if err != nil {
			return n
		}
	}
	if a.r.IntN(20) > 0 {
		return n
	}
	ws := a.session.ws
	switch a.r.IntN(5) { // an error means that the server has closed the session already
	case 0:
		_ = ws.WriteMessage(websocket.BinaryMessage, a.r.bytes(50))
	case 1:
		_, _ = ws.NetConn().Write(a.r.bytes(200))
	case 2:
		_ = ws.WriteControl(websocket.CloseMessage, a.r.bytes(20), time.Now().Add(waitTimeout))
	case 3:
		_ = ws.WriteMessage(websocket.TextMessage, append(a.r.bytes(30), 0xff))
	case 4:
		_ = ws.WriteMessage(websocket.TextMessage, make([]byte, 70<<10))
	}
	ws.Close()
	a.session, _ = a.me.openTunnel(t)
	return n + 1
}

// example returns a plausible value of a field of a call.
func example(field string) string {
	values := map[string]string{"id": "MYID", "token": "MYTOKEN", "to": "FRIENDID", "from": "FRIENDID", "user": "FRIENDID", "name": "Somebody",
		"old_password": "wrong", "mail": "m@example.org", "birthday": "2000-01-02", "sex": "female", "picture": "data:image/png;base64,iVBORw0KGgo="}
	if v, ok := values[field]; ok {
		return v
	}
	return field + " é"
}

// arguments returns a seed of the arguments of a call: all fields, or all but one.
func (a *abuser) arguments(c *api.Call, more ...string) map[string]string {
	names := more
	for _, f := range c.Fields {
		names = append(names, f.Name)
	}
	args := make(map[string]string)
	without := a.r.IntN(2 * (len(names) + 1))
	for i, name := range names {
		if i != without {
			args[name] = example(name)
		}
	}
	return args
}

// knownCode reports whether a call may answer with a code. 500 is for faults of the server.
func knownCode(c *api.Call, code int) bool {
	for _, codes := range [][]int{ints(api.CommonCodes), ints(api.AuthCodes), ints(c.Codes)} {
		if slices.Contains(codes, code) {
			return code != 500
		}
	}
	return false
}

func ints[T ~int](list []T) (all []int) {
	for _, v := range list {
		all = append(all, int(v))
	}
	return all
}

// answered checks the answer to a call. If the call has ended the account, its token or its connections, the abuser gets
// new ones.
func (a *abuser) answered(t *testing.T, c *api.Call, sent, body string) {
	code := reply{body: body}.code()
	if !knownCode(c, code) || !json.Valid([]byte(body)) || code != 200 && body != replyBody(code) {
		t.Errorf("%s: %.500q: answer %s", c.Name, sent, body)
	}
	if code == 200 && slices.Contains([]string{"profile", "end", "delete", "logout"}, c.Name) {
		a.close()
	}
}

// inLine removes what would end a line of a header, or the part of the request line that it is in.
func inLine(s string, ends string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || strings.ContainsRune(ends, c) {
			return '%'
		}
		return c
	}, s)
}

// headers are seeds of a header.
var headers = []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.1", "Origin: http://evil.example", "Cookie: a=b", "Content-Type: application/json", "Accept-Encoding: gzip",
	"Range: bytes=0-1", "If-None-Match: *", "Authorization: Basic eDp5", "Expect: 100-continue", "Host: y", "Upgrade: h2c"}

// request makes a call over HTTP, with a mutated path, query, body or header.
func (a *abuser) request(t *testing.T) {
	c := pick(a.r, a.calls)
	var auth []string
	if c.Auth {
		auth = []string{"id", "token"}
	}
	args := a.arguments(&c, auth...)
	method, path, body, header := cmp.Or(c.Method, http.MethodPost), cmp.Or(c.Path, "/im/"+c.Name), "", "" // only NATS has all calls
	what := a.r.IntN(10)
	if what == 0 {
		path = "/" + inLine(a.mutate(path), " #")
		path = path[:min(len(path), 8<<10)]
	}
	if what == 1 {
		header = cmp.Or(inLine(a.mutate(pick(a.r, headers)), ""), "X: y") // an empty line would end the request
		header = header[:min(len(header), 8<<10)] + "\r\n"
	}
	if what == 2 {
		method = pick(a.r, []string{"GET", "POST", "PUT", "DELETE", "BREW", "OPTIONS"})
	}
	if c.Method == http.MethodGet {
		q := make([]string, 0, 2*len(args))
		for k, v := range args {
			q = append(q, k, v)
		}
		args := inLine(a.mutate(query(q...)), " #")
		path += "?" + args[:min(len(args), 8<<10)]
	} else {
		body = a.mutate(jsonOf(args))
	}
	sent := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", method, path, header, len(body), body)
	status, answer, err := a.exchange(method, sent)
	defer func() { a.before = fmt.Sprint(status, answer, sent) }()
	switch {
	case err != nil && (what < 2 || len(body) > 64<<10):
		// The server refuses the request, and closes before it has read the body: the answer may be lost.
	case err != nil:
		t.Errorf("%.500q: after %.500q: %v", sent, a.before, err)
	case !strings.HasPrefix(answer, `{"code":`):
		if !slices.Contains(plausible, status) {
			t.Errorf("%.500q: status %d", sent, status)
		}
	case what == 0:
		if code := (reply{body: answer}).code(); messages[code] == "" || code == 500 {
			t.Errorf("%.500q: status %d, %s", sent, status, answer)
		}
	case status == http.StatusRequestEntityTooLarge || status == http.StatusTooManyRequests || status == http.StatusOK:
		a.answered(t, &c, sent, answer)
	default:
		t.Errorf("%.500q: status %d, %s", sent, status, answer)
	}
}

// exchange sends a request over the open connection, or over a new one.
func (a *abuser) exchange(method, sent string) (status int, body string, err error) {
	if a.conn == nil {
		if a.conn, err = net.DialTimeout("tcp", strings.TrimPrefix(a.w.base(0), "http://"), waitTimeout); err != nil {
			return 0, "", err
		}
		a.in = bufio.NewReader(a.conn)
	}
	if err := a.conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		return 0, "", err
	}
	_, _ = a.conn.Write([]byte(sent)) // the server may refuse the beginning, and close before it has read the rest
	for {
		r, err := http.ReadResponse(a.in, &http.Request{Method: method})
		if err != nil {
			a.conn.Close()
			a.conn = nil
			return 0, "", err
		}
		if r.StatusCode == http.StatusContinue {
			continue
		}
		answer := new(strings.Builder)
		_, err = bufio.NewReader(r.Body).WriteTo(answer)
		r.Body.Close()
		if r.Close || err != nil {
			a.conn.Close()
			a.conn = nil
		}
		return r.StatusCode, answer.String(), err
	}
}

// raw sends mutated bytes over a connection of their own: handshakes, requests and TLS.
func (a *abuser) raw(t *testing.T) {
	sent := a.mutate(pick(a.r, []string{
		"GET /im/login?account=MYACCOUNT&password=MYPASSWORD HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello",
		"GET /im/login?id=MYID&token=MYTOKEN HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85abcdhello",
		"GET /im/friends/found?id=MYID&token=MYTOKEN&name=x HTTP/1.1\r\nHost: x\r\n\r\nGET /im/www/v1/chat.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"POST /im/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"GET /im/pictures/00000000000000000000000000000000/MYID HTTP/1.0\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "CONNECT {}\r\nPING\r\n",
	}))
	a.w.answers(t, "", []byte(sent))
}

// natsReply sends a request of the user over NATS. It returns no answer if NATS refuses the size.
func (a *abuser) natsReply(t *testing.T, to, body string) (answer string, ok bool) {
	m, err := a.nc.Request(to, []byte(body), waitTimeout)
	if err != nil {
		if err != nats.ErrMaxPayload {
			t.Errorf("%s %.500q: %v", to, body, err)
		}
		return "", false
	}
	return string(m.Data), true
}

// call makes a call over NATS.
func (a *abuser) call(t *testing.T) {
	c := pick(a.r, a.calls)
	name, body := c.Name, a.mutate(jsonOf(a.arguments(&c)))
	answer, ok := a.natsReply(t, "im.call."+a.me.id+"."+name, body)
	if ok {
		a.answered(t, &c, body, answer)
	}
}

// dialogue sends a dialogue over NATS.
func (a *abuser) dialogue(t *testing.T) {
	body := a.mutate(pick(a.r, dialogues))
	if answer, ok := a.natsReply(t, "im.send."+a.me.id, body); ok {
		wantDialogue(t, body, answer, nil, keptDialogueCodes)
	}
}
