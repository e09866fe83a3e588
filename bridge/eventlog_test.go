package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/eventlog"
	"imctl/bridge/natsauth"
	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/bridge/tunnel"
	"imctl/kv"
)

const (
	envLogDir  = "BRIDGE_TEST_NATS_DIR"
	envLogPort = "BRIDGE_TEST_NATS_PORT"
)

// TestLogServerProcess is no test but the NATS server that TestLogSurvives kills: this program, run once more.
func TestLogServerProcess(t *testing.T) {
	dir := os.Getenv(envLogDir)
	if dir == "" {
		return
	}
	port, err := strconv.Atoi(os.Getenv(envLogPort))
	if err != nil {
		t.Fatal(err)
	}
	s := natstest.Start(t, dir, port)
	fmt.Println("url", s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent ends, should it not come to kill this one
	if err != nil {
		t.Fatal(err)
	}
}

// natsProcess starts a NATS server as a process of its own and returns its URL and what kills it. The caller does, in
// any case.
func natsProcess(t *testing.T, dir, port string) (string, func()) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestLogServerProcess$", "-test.v")
	c.Env = append(os.Environ(), envLogDir+"="+dir, envLogPort+"="+port)
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill := func() {
		once.Do(func() {
			c.Process.Kill()
			c.Wait()
			stdin.Close()
		})
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if u, ok := strings.CutPrefix(lines.Text(), "url "); ok {
			return u, kill
		}
	}
	kill()
	t.Fatal("the NATS server did not start")
	return "", nil
}

// startBridge runs a bridge on the server at url. change can change its options.
func startBridge(t testing.TB, url string, log eventlog.Options, change ...func(*Options)) *Bridge {
	t.Helper()
	return startReplicated(t, url, 1, log, change...)
}

// startReplicated is startBridge with that many replicas of each bucket.
func startReplicated(t testing.TB, url string, replicas int, log eventlog.Options, change ...func(*Options)) *Bridge {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := kv.Open(ctx, natstest.Connect(t, url), kv.Options{Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return runBridge(t, url, store, log, change...)
}

// runBridge is startBridge with a store.
func runBridge(t testing.TB, url string, store *kv.Store, log eventlog.Options, change ...func(*Options)) *Bridge {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opts := Options{Connect: natstest.Dialer(url), Prefix: "im", Store: store, Hasher: kv.NewHasher(kv.HasherOptions{MemoryKiB: 64, Passes: 1}),
		Sessions:  tunnel.SessionOptions{PerUser: 8, Buffer: 64, InFlight: 256, MaxFrame: 64 << 10, Ping: time.Minute, WriteTimeout: 10 * time.Second},
		Dialogues: Dialogues{Timeout: 5 * time.Second}, EventLog: log, Access: natsauth.Access{ConsumerAccount: "LOG"}, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&opts)
	}
	b, err := New(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Shutdown(ctx)
	})
	return b
}

// pair makes two accounts that are friends, and has the second take dialogues over NATS.
func pair(t testing.TB, b *Bridge, nc *nats.Conn, n int) (from, to string) {
	t.Helper()
	ids := [2]string{}
	for i := range ids {
		u, err := b.services.Accounts.Register(t.Context(), kv.User{Account: fmt.Sprintf("u%d-%d", n, i)}, "password")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = u.ID
	}
	if _, err := b.opts.Store.Rosters.Befriend(t.Context(), ids[0], ids[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("im.user."+ids[1]+".dialogue", func(m *nats.Msg) { m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return ids[0], ids[1]
}

// traffic sends dialogues over NATS until it is stopped, and remembers the ids of those that were answered 200.
type traffic struct {
	mu       sync.Mutex
	answered map[string]bool
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

func startTraffic(t *testing.T, b *Bridge, url string, senders int) *traffic {
	tr := &traffic{answered: make(map[string]bool)}
	var ctx context.Context
	ctx, tr.stop = context.WithCancel(context.Background())
	t.Cleanup(tr.stop)
	for n := range senders {
		from, to := pair(t, b, natstest.Connect(t, url), n)
		nc := natstest.Connect(t, url, nats.CustomInboxPrefix(subject.Inbox(from)))
		tr.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", n, i)
				m, err := nc.Request("im.send."+from, fmt.Appendf(nil, `{"id":"%s","toFriend":"%s","payload":"p"}`, id, to), 2*time.Second)
				if err == nil && strings.Contains(string(m.Data), `"code":200,`) {
					tr.mu.Lock()
					tr.answered[id] = true
					tr.mu.Unlock()
				}
			}
		})
	}
	return tr
}

func (tr *traffic) len() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.answered)
}

// more waits until so many more dialogues were answered 200.
func (tr *traffic) more(t *testing.T, n int) {
	t.Helper()
	n += tr.len()
	wait(t, fmt.Sprintf("%d dialogues answered 200", n), func() bool { return tr.len() >= n })
}

// archive is a consumer that notes the ids of all dialogues, then acknowledges.
type archive struct {
	mu   sync.Mutex
	seen map[string]int
}

// run consumes on a connection of its own until it is stopped; messages that it holds then are not acknowledged.
func (a *archive) run(t *testing.T, url string) (stop func()) {
	t.Helper()
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := c.Consume(func(m jetstream.Msg) {
		var d struct{ ID string }
		if err := json.Unmarshal(m.Data(), &d); err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		a.seen[d.ID]++
		a.mu.Unlock()
		// An error means that the connection is away: the message comes again.
		_ = m.Ack()
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		nc.Close()
		consuming.Stop()
	}
}

// missing counts the ids that were answered 200 and are not in the archive.
func (a *archive) missing(answered map[string]bool) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range answered {
		if a.seen[id] == 0 {
			n++
		}
	}
	return n
}

// Every dialogue that was answered 200 reaches the consumer, though the NATS server is killed under load and so is the
// consumer.
func TestLogSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, kill := natsProcess(t, dir, "-1")
	t.Cleanup(func() { kill() }) // whichever it is then; the bridge ends before
	b := startBridge(t, server, eventlog.Options{})
	consumer(t, server, "archive", "im.log.dialogue.>")
	tr := startTraffic(t, b, server, 16)
	a := &archive{seen: make(map[string]int)}
	stop := a.run(t, server)

	tr.more(t, 500)
	kill()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	_, kill = natsProcess(t, dir, u.Port())
	tr.more(t, 500)
	stop() // the consumer crashes
	tr.more(t, 500)
	stop = a.run(t, server)
	tr.more(t, 500)
	tr.stop()
	tr.wg.Wait()

	answered := maps.Clone(tr.answered)
	wait(t, "everything consumed", func() bool { return a.missing(answered) == 0 })
	wait(t, "everything acknowledged", func() bool { return state(t, server).Msgs == 0 })
	stop()
	twice := 0
	for _, n := range a.seen {
		twice += min(n-1, 1)
	}
	t.Logf("%d dialogues answered 200, none missing; the archive has %d, %d of them more than once", len(answered), len(a.seen), twice)
}

// A dialogue of a session waits for the log as one of a NATS client does, and all that happens around it is there.
func TestLogOfABridge(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	b := startBridge(t, url, eventlog.Options{})
	c := consumer(t, url, "all")
	if err := b.services.Cluster.ConsumerAttached(t.Context()); err != nil {
		t.Fatal(err)
	}
	from, to := pair(t, b, natstest.Connect(t, url), 0)
	ask := func(to, body string) string {
		t.Helper()
		id := strings.Split(to, ".")[2]
		nc := natstest.Connect(t, url, nats.CustomInboxPrefix(subject.Inbox(id)))
		m, err := nc.Request(to, []byte(body), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return string(m.Data)
	}
	other, err := b.services.Accounts.Register(t.Context(), kv.User{Account: "other"}, "password")
	if err != nil {
		t.Fatal(err)
	}
	if got := ask("im.send."+from, `{"id":"1","toFriend":"`+to+`","payload":"p"}`); !strings.Contains(got, `"code":200,`) {
		t.Error(got)
	}
	for _, call := range [][2]string{
		{from + ".request", `{"to":"` + other.ID + `","note":"hi"}`},
		{other.ID + ".add", `{"from":"` + from + `","name":"F"}`},
		{from + ".remove", `{"to":"` + to + `"}`},
		{from + ".profile", `{"name":"New","password":"another password","old_password":"password"}`},
	} {
		if got := ask("im.call."+call[0], call[1]); !strings.Contains(got, `"code":200,`) {
			t.Errorf("%s: %s", call[0], got)
		}
	}
	if err := b.services.Accounts.SetDisabled(t.Context(), to, false); err != nil { // it is enabled already
		t.Fatal(err)
	}
	if err := b.services.Accounts.Delete(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if err := b.events.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"user.created." + from, "user.created." + to, "user.created." + other.ID, "dialogue." + from + "." + to,
		"friend.requested." + from + "." + other.ID, "friend.added." + other.ID + "." + from, "friend.removed." + from + "." + to,
		"user.password." + from, "user.updated." + from, "user.disabled." + to, "user.deleted." + to}
	var got []string
	for m := range fetch(t, c, len(want)) {
		got = append(got, strings.TrimPrefix(m.Subject(), "im.log."))
		if strings.Contains(string(m.Data()), "argon2") || strings.Contains(string(m.Data()), "password\":") {
			t.Errorf("a secret is in %s", m.Data())
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}
