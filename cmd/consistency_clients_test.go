package cmd

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"imctl/bridge"
)

// history lists the operations of clients and their answers.
type history struct {
	mu  sync.Mutex // guards all
	all []porcupine.Operation
}

// conclusiveCodes lists, for each call, the codes that tell the caller whether two users are friends.
var conclusiveCodes = map[string][]int{"add": {200, 522, 523}, "remove": {200, 512}, "request": {522}}

// record adds an operation, with end 0 if it was never answered.
func (h *history) record(in operation, out outcome, begin, end int64) {
	if end == 0 || out.code == 0 {
		out, end = outcome{}, math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{Input: in, Output: out, Call: begin, Return: end})
	if slices.Contains(conclusiveCodes[in.call], out.code) {
		in.call = opSettled
		h.all = append(h.all, porcupine.Operation{Input: in, Output: out, Call: end, Return: end})
	}
}

// unanswered returns the number of operations without a known outcome.
func (h *history) unanswered() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.all {
		if o.Return == math.MaxInt64 {
			n++
		}
	}
	return n
}

// complete is the whole history.
func (h *history) complete() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// killableNodes is a deployment of processes that a test kills and restarts.
type killableNodes struct {
	mu    sync.Mutex // guards nodes
	nodes []*process

	data []string
	env  []string
	log  *logBuffer
}

// startKillableNodes starts several processes on one NATS server, or one process with an embedded NATS server.
func startKillableNodes(t *testing.T, n int) *killableNodes {
	t.Helper()
	// The model has no cooldown: after a decline a request would be answered 200 and go nowhere.
	m := &killableNodes{log: new(logBuffer), env: []string{"IMCTL_LIMITS_COOLDOWN=0"}}
	if n > 1 {
		m.env = append(m.env, "IMCTL_NATS_URL="+startExternalNATS(t).url)
	}
	for range n {
		data := filepath.Join(t.TempDir(), "data")
		m.data, m.nodes = append(m.data, data), append(m.nodes, startProcess(t, data, m.log, m.env...))
	}
	return m
}

func (m *killableNodes) node(n int) *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[n%len(m.nodes)]
}

// restart restarts a killed node.
func (m *killableNodes) restart(t *testing.T, n int) {
	t.Helper()
	p := startProcess(t, m.data[n], m.log, m.env...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[n] = p
}

func (m *killableNodes) base(n int) string          { return m.node(n).url }
func (m *killableNodes) trust() *tls.Config         { return nil }
func (m *killableNodes) services() *bridge.Services { return nil } // the server is another process

func (m *killableNodes) output(t testing.TB) string {
	t.Helper()
	all := m.log.String()
	for i := range m.nodes {
		all += httpBody(t, m.node(i).ops+"/metrics")
	}
	return all
}

// clientLoad is a number of clients on one deployment. The clients take a permit from a channel for each operation.
type clientLoad struct {
	w       *world
	nodes   int
	history history
	began   time.Time
	serial  atomic.Int64
	http    *http.Client
	calls   chan struct{} // permits for calls
	talks   chan struct{} // permits for dialogues
	codes   [1000]atomic.Int64
}

func (x *clientLoad) now() int64 { return int64(time.Since(x.began)) + 1 }

// person is one user of a pair, with its credentials.
type person struct {
	account string
	id      string
	token   atomic.Pointer[string]
}

// userPair is two users who befriend and remove each other.
type userPair struct {
	about  string
	people [2]*person
}

// get makes one call on a node. It returns 0 if it is unknown whether the call took effect, and false if it did not.
func (x *clientLoad) get(method string, node int, pathAndQuery, body string) (code int, done bool) {
	q, err := http.NewRequest(method, x.w.base(node)+pathAndQuery, strings.NewReader(body))
	if err != nil {
		return 0, false
	}
	r, err := x.http.Do(q)
	if err != nil {
		var op *net.OpError
		return 0, !errors.As(err, &op) || op.Op != "dial"
	}
	defer r.Body.Close()
	var a struct{ Code int }
	if json.NewDecoder(r.Body).Decode(&a) != nil || a.Code == 500 {
		return 0, true
	}
	x.codes[a.Code].Add(1)
	return a.Code, a.Code != 515 // the killed server has lost the token, since tokens are written asynchronously
}

// change makes calls of a random user of the pair until the permits end.
func (x *clientLoad) change(c userPair, r *rand.Rand) {
	for range x.calls {
		who, call := r.IntN(2), []string{"request", "request", "add", "add", "add", "remove"}[r.IntN(6)]
		me, other := c.people[who], c.people[1-who]
		fields := map[string][]string{"request": {"to", other.id}, "add": {"from", other.id, "name", "n"}, "remove": {"to", other.id}}[call]
		in := operation{about: c.about, call: call, who: who, id: int(x.serial.Add(1))}
		begin := x.now()
		code, done := x.get(http.MethodGet, r.IntN(x.nodes), "/im/friends/"+call+"?"+query(append(fields, "id", me.id, "token", *me.token.Load())...), "")
		if done {
			x.history.record(in, outcome{code: code}, begin, x.now())
		}
	}
}

// register registers accounts and logs in until the permits end. Several clients register the same accounts.
func (x *clientLoad) register(r *rand.Rand, accounts []string) {
	for range x.calls {
		account := accounts[r.IntN(len(accounts))]
		if begin := x.now(); r.IntN(2) == 0 {
			body := fmt.Sprintf(`{"account":%q,"password":%q,"mail":"m"}`, account, killedPassword)
			if code, done := x.get(http.MethodPost, r.IntN(x.nodes), "/im/register", body); done {
				x.history.record(operation{about: account, call: "register"}, outcome{code: code}, begin, x.now())
			}
		} else if tunnel, _ := x.login(account, r.IntN(x.nodes)); tunnel != nil {
			tunnel.ws.Close()
		}
	}
}

// login opens a tunnel on a node. The tunnel is nil if the node is down or refuses the login.
func (x *clientLoad) login(account string, node int) (*tunnel, loginAnswer) {
	begin := x.now()
	c, err := x.w.tryDial(context.Background(), x.w.dialer(), node, "/im/login?"+query("account", account, "password", killedPassword), nil)
	if err != nil {
		return nil, loginAnswer{}
	}
	var a loginAnswer
	frame, err := c.tryNext()
	if err == nil {
		err = json.Unmarshal([]byte(frame), &a)
	}
	if err == nil && (a.Code == 200 || a.Code == 505) {
		x.history.record(operation{about: account, call: "login"}, outcome{code: a.Code}, begin, x.now())
	}
	if err != nil || a.Code != 200 {
		c.ws.Close()
		return nil, a
	}
	x.w.secret(a.Token)
	return c, a
}

// logIn logs one user of a pair in, and records whether the answer lists the other user as a friend or a requester.
func (x *clientLoad) logIn(c userPair, who, node int) *tunnel {
	begin := x.now()
	me, other := c.people[who], c.people[1-who]
	tunnel, a := x.login(me.account, node)
	if tunnel == nil {
		return nil
	}
	me.token.Store(&a.Token)
	out := outcome{code: 200,
		friend: slices.ContainsFunc(a.Friends, func(f friendEntry) bool { return f.ID == other.id }),
		asked:  slices.ContainsFunc(a.Requests, func(q requestEntry) bool { return q.ID == other.id })}
	x.history.record(operation{about: c.about, call: opList, who: who}, out, begin, x.now())
	return tunnel
}

// talk sends dialogues of one user through a node until the permits end. It logs in again from time to time.
func (x *clientLoad) talk(c userPair, who, node int, r *rand.Rand) {
	var tunnel *tunnel
	leave := func() {
		if tunnel != nil {
			tunnel.ws.Close()
			tunnel = nil
		}
	}
	defer leave()
	for range x.talks {
		if r.IntN(50) == 0 {
			leave()
		}
		if tunnel == nil {
			if tunnel = x.logIn(c, who, node); tunnel == nil {
				continue
			}
		}
		begin := x.now()
		code, err := tunnel.ask(strconv.FormatInt(x.serial.Add(1), 10), c.people[1-who].id)
		if err != nil {
			leave()
			continue
		}
		x.codes[code].Add(1)
		// 507 and 500 do not depend on the friendship.
		if code == 200 || code == 508 || code == 512 {
			x.history.record(operation{about: c.about, call: opTalk, who: who}, outcome{code: code}, begin, x.now())
		}
	}
}

// ask sends a dialogue and returns the code of its answer. It skips other frames.
func (c *tunnel) ask(id, to string) (int, error) {
	if err := c.trySend(dialogue(strconv.Quote(id), to, `"p"`)); err != nil {
		return 0, err
	}
	for {
		frame, err := c.tryNext()
		if err != nil {
			return 0, err
		}
		var f struct {
			Code     int
			ID, From string
		}
		if err := json.Unmarshal([]byte(frame), &f); err != nil {
			return 0, err
		}
		if f.From == "" && f.ID == id {
			return f.Code, nil
		}
	}
}

// newPair registers two users.
func (x *clientLoad) newPair(t *testing.T) userPair {
	t.Helper()
	var c userPair
	for i := range c.people {
		p := &person{account: fresh("consistent")}
		x.w.register(t, 0, registration(p.account)).want(t, p.account, replyBody(200))
		x.history.record(operation{about: p.account, call: "register"}, outcome{code: 200}, x.now(), x.now())
		tunnel, a := x.login(p.account, 0)
		if tunnel == nil {
			t.Fatalf("login of %s: %+v", p.account, a)
		}
		tunnel.ws.Close()
		p.id = a.Profile.ID
		p.token.Store(&a.Token)
		c.people[i] = p
	}
	c.about = c.people[0].account + " and " + c.people[1].account
	return c
}

// permit issues permits for calls, and for three dialogues per call. It blocks until the clients have taken them.
func (x *clientLoad) permit(calls int) {
	for range calls {
		x.calls <- struct{}{}
		for range 3 {
			x.talks <- struct{}{}
		}
	}
}

// check checks each part of the history, for up to timeout, and reports invalid parts. The history must be large enough
// to be worth a check.
func (x *clientLoad) check(t *testing.T, timeout time.Duration) {
	t.Helper()
	if decided, all := x.checkValid(t, timeout); decided < all/3 {
		t.Errorf("only %d of %d operations are in decided histories, want at least a third", decided, all)
	}
	// The history must contain every code that the model distinguishes.
	for _, code := range []int{200, 504, 512, 522, 523} {
		if x.codes[code].Load() == 0 {
			t.Errorf("no answer had code %d; the load is too small", code)
		}
	}
}

// checkValid checks each part of the history, for up to timeout, and reports invalid parts. It returns the number of
// operations, and how many of them are in parts that were decided in time.
func (x *clientLoad) checkValid(t *testing.T, timeout time.Duration) (decided, operations int) {
	t.Helper()
	all := x.history.complete()
	unanswered, began := 0, time.Now()
	for _, part := range consistency.Partition(all) {
		for _, o := range part {
			if o.Return == math.MaxInt64 {
				unanswered++
			}
		}
		result := porcupine.CheckOperationsTimeout(consistency, part, timeout)
		switch {
		case result == porcupine.Ok:
			decided += len(part)
			continue
		case result == porcupine.Unknown:
			// The search grows with the number of overlapping calls, which is high on a busy machine. That is no fault
			// of the server.
			t.Logf("a history of %d operations was not decided in %s", len(part), timeout)
			continue
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		var lines strings.Builder
		for _, o := range part {
			fmt.Fprintf(&lines, "%12d %12d %s\n", o.Call, o.Return, describe(o.Input.(operation), o.Output.(outcome)))
		}
		t.Errorf("a history of %d operations is %s:\n%s", len(part), result, &lines)
	}
	var codes []string
	for code := range x.codes {
		if n := x.codes[code].Load(); n > 0 {
			codes = append(codes, fmt.Sprintf("%d: %d", code, n))
		}
	}
	t.Logf("%d operations, %d of them unanswered, checked in %s; codes %s", len(all), unanswered, time.Since(began).Round(time.Millisecond), strings.Join(codes, ", "))
	return decided, len(all)
}
