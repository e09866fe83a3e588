//go:build soak && linux

package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imctl/kv"
)

const (
	returningBots   = 300
	returningPeople = 200
	peopleAddresses = 40 // behind which the people are
	returnTime      = 3 * time.Minute
)

// crowd counts the clients of a server that are connected.
type crowd struct {
	mu      sync.Mutex
	up      map[string]bool
	answers map[string]int // other answers to logins, and errors of bots, by their text
}

func (c *crowd) set(name string, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up {
		c.up[name] = true
	} else {
		delete(c.up, name)
	}
}

func (c *crowd) note(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[answer]++
}

func (c *crowd) count(prefix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.up {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// others returns the other answers.
func (c *crowd) others() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.answers)
}

// clear forgets which clients are connected.
func (c *crowd) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.up)
}

// account is a user of a test that logs in by password.
type account struct {
	ID       string `json:"id"`
	Account  string `json:"account"`
	Password string `json:"password"`
}

// importAccounts creates users with the given prefix and default hashes of their passwords.
func importAccounts(t *testing.T, data string, sizes map[string]int) map[string][]account {
	t.Helper()
	hasher := kv.NewHasher(kv.HasherOptions{Wait: returnTime})
	all := make(map[string][]account)
	var lines bytes.Buffer
	var mu sync.Mutex
	var wg sync.WaitGroup
	for prefix, n := range sizes {
		for i := range n {
			wg.Go(func() {
				a := account{kv.NewID(), fmt.Sprint(prefix, i), "password of " + strconv.Itoa(i)}
				hash, err := hasher.Hash(t.Context(), a.Password)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				all[prefix] = append(all[prefix], a)
				fmt.Fprintf(&lines, `{"id":%q,"account":%q,"password_hash":%q,"mail":"m@example.org"}`+"\n", a.ID, a.Account, hash)
			})
		}
	}
	wg.Wait()
	file := filepath.Join(t.TempDir(), "people.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("imctl", "user", "import", file, "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("import: %v: %s", err, out)
	}
	return all
}

// startBots runs the bots in one process of Node.js. What they must not see is noted.
func startBots(t *testing.T, c *crowd, url string, bots []account) {
	t.Helper()
	dir := npm(t, "../examples/echo-js")
	script, err := os.ReadFile("testdata/bots/bots.mjs")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bots.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(bots)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "bots.mjs")
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = dir, append(os.Environ(), "IM_NATS="+url), bytes.NewReader(list), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	t.Cleanup(func() { kill(cmd); <-read })
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			n, message, _ := strings.Cut(rest, " ")
			if what == "up" {
				c.set("bot "+n, true)
			} else {
				c.note(what + " bot: " + message)
			}
		}
	}()
}

// stay keeps a person logged in from an address until ctx ends. After each failure it waits twice as long, 10 s at most.
func (c *crowd) stay(ctx context.Context, p *process, d *websocket.Dialer, a account) {
	const first, most = 500 * time.Millisecond, 10 * time.Second
	for wait := first; ctx.Err() == nil; wait = min(2*wait, most) {
		if c.visit(ctx, p, d, a) {
			wait = first
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// visit logs a person in and waits for the end of the session. It returns whether there was one.
func (c *crowd) visit(ctx context.Context, p *process, d *websocket.Dialer, a account) bool {
	s, err := dialAt(ctx, d, p.url+"/im/login?"+query("account", a.Account, "password", a.Password), nil)
	if err != nil {
		return false // the server is down
	}
	defer s.ws.Close()
	defer context.AfterFunc(ctx, func() { s.ws.Close() })()
	_, frame, err := s.ws.ReadMessage()
	if err != nil {
		return false
	}
	if code := (reply{body: string(frame)}).code(); code != 200 {
		c.note(fmt.Sprint("login of a person: ", code))
		return false
	}
	c.set("person "+a.Account, true)
	defer c.set("person "+a.Account, false)
	for err == nil {
		_, _, err = s.ws.ReadMessage()
	}
	return true
}

// freeAddress returns a loopback address whose port was free.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestEveryoneReturns kills a server with 300 bots, which log in by password behind one address, and 200 people behind
// 40, and starts it again on the same data, with default limits and the default cost of a hash. All come back. No bot is
// told that its credentials are wrong: the client for Node.js would give up.
func TestEveryoneReturns(t *testing.T) {
	log, data := new(logBuffer), filepath.Join(t.TempDir(), "data")
	listen, listenNATS := freeAddress(t), freeAddress(t)
	env := append(defaultLimits(), "IMCTL_LISTEN="+listen, "IMCTL_NATS_LISTEN="+listenNATS)
	p := startProcess(t, data, log, env...)
	all := importAccounts(t, data, map[string]int{"bot": returningBots, "person": returningPeople})

	c := &crowd{up: make(map[string]bool), answers: make(map[string]int)}
	ctx, stop := context.WithCancel(t.Context())
	var people sync.WaitGroup
	defer people.Wait()
	defer stop()
	began := time.Now()
	startBots(t, c, "nats://"+listenNATS, all["bot"])
	for i, a := range all["person"] {
		d := &websocket.Dialer{NetDialContext: from(t, fmt.Sprint("127.0.0.", 2+i%peopleAddresses)).DialContext, HandshakeTimeout: waitTimeout}
		people.Go(func() { c.stay(ctx, p, d, a) })
	}
	arrive := func(when string) {
		t.Helper()
		took := make(map[string]time.Duration)
		for deadline := began.Add(returnTime); len(took) < 2; time.Sleep(20 * time.Millisecond) {
			for kind, n := range map[string]int{"bot ": returningBots, "person ": returningPeople} {
				if _, done := took[kind]; !done && c.count(kind) == n {
					took[kind] = time.Since(began)
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d bots and %d people are connected; %v", when, c.count("bot "), c.count("person "), c.others())
			}
		}
		t.Logf("%s: all bots after %s, all people after %s; other answers: %v", when,
			took["bot "].Round(10*time.Millisecond), took["person "].Round(10*time.Millisecond), c.others())
	}
	arrive("first start")

	p.kill(t)
	c.clear()
	began = time.Now()
	again := startProcess(t, data, log, env...)
	t.Logf("the server was ready after %s", time.Since(began).Round(10*time.Millisecond))
	arrive("kill -9 and restart")
	putOff := make(map[string]int)
	for _, m := range regexp.MustCompile(`login to NATS put off.* why=(".*?"|\S+)`).FindAllStringSubmatch(log.String(), -1) {
		putOff[m[1]]++
	}
	t.Logf("logins to NATS put off, with both starts: %v", putOff)
	for answer, n := range c.others() {
		// 500 asks a person to try again.
		if answer != "login of a person: 500" {
			t.Errorf("%d times: %s", n, answer)
		}
	}
	stop()
	people.Wait()
	again.stop(t)
	again.sound(t)
}
