package cmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
)

// These tests attack a server with its default limits. attackerAddress and others are loopback addresses, since every
// client of a test is on this machine.
const attackerAddress = "127.0.0.66"

// withDefaultLimits undoes the harness's change of the limits.
func withDefaultLimits(c *Config) { c.Limits = Defaults().Limits }

// from returns a dialer that connects from a loopback address. It skips the test on systems with a single one.
func from(t testing.TB, address string) *net.Dialer {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	l, err := net.ListenTCP("tcp", d.LocalAddr.(*net.TCPAddr))
	if err != nil {
		t.Skipf("this system has no address %s: %v", address, err)
	}
	l.Close()
	return d
}

// loginFrom tries a login with a password from a loopback address, and returns the code.
func (w *world) loginFrom(t testing.TB, address, account, password string) int {
	t.Helper()
	d := w.dialer()
	d.NetDialContext = from(t, address).DialContext
	c, err := w.tryDial(t.Context(), d, 0, "/im/login?"+query("account", account, "password", password), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.ws.Close()
	frame, err := c.tryNext()
	if err != nil {
		t.Fatal(err)
	}
	return reply{body: frame}.code()
}

// TestOwnerIsNotLockedOut: an attacker that guesses at an account keeps its owner out of no device that has logged in
// before, and keeps out no other account and no token behind its own address.
func TestOwnerIsNotLockedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, withDefaultLimits))
	ann, neighbour := w.newMember(t, 0), w.newMember(t, 0)
	fresh := w.newMember(t, 0) // has registered, and not logged in
	ann.login(t)
	neighbour.login(t)
	limited := 0
	for i := range 40 {
		switch code := w.loginFrom(t, attackerAddress, ann.account, fmt.Sprint("guess ", i)); code {
		case 505:
		case 403:
			limited++
		default:
			t.Fatalf("a guess was answered %d", code)
		}
	}
	if limited != 30 {
		t.Errorf("%d of 40 guesses were refused, want 30", limited)
	}
	for i := range 15 {
		if code := w.loginFrom(t, "127.0.0.1", ann.account, ann.password); code != 200 {
			t.Errorf("login %d of the owner: %d", i, code)
		}
	}
	for i := range 20 {
		w.loginFrom(t, attackerAddress, fresh.account, fmt.Sprint("guess ", i))
	}
	if code := w.loginFrom(t, "127.0.0.1", fresh.account, fresh.password); code != 200 {
		t.Errorf("the first login of a new account: %d", code)
	}
	if code := w.loginFrom(t, attackerAddress, neighbour.account, neighbour.password); code != 200 {
		t.Errorf("another account behind the attacker's address: %d", code)
	}
	for range 30 {
		w.dial(t, 0, "/im/login?"+query("id", ann.id, "token", strings.Repeat("0", 32))).want(t, replyBody(515))
	}
	c := w.dial(t, 0, "/im/login?"+query("id", ann.id, "token", ann.token))
	if code := (reply{body: c.next(t)}).code(); code != 200 {
		t.Errorf("the owner's token after 30 wrong ones: %d", code)
	}
	if !strings.Contains(w.output(t), `msg="login failed" address=`+attackerAddress) {
		t.Error("failed logins are not in the log")
	}
}

// TestOwnerAfterARestart: a server that has just started recognises a device by the token of its last login.
func TestOwnerAfterARestart(t *testing.T) {
	t.Parallel()
	data, log := filepath.Join(t.TempDir(), "data"), new(logBuffer)
	p := startProcess(t, data, log)
	w := newWorld(t, p)
	ann := w.newMember(t, 0)
	ann.login(t)
	p.stop(t) // a server that is killed may lose the token of the last moment, which NATS writes after the answer
	p = startProcess(t, data, log, "IMCTL_LIMITS_LOGIN_FAILURES="+Defaults().Limits.LoginFailures.String())
	w.deployment = p
	for i := range 15 {
		w.loginFrom(t, attackerAddress, ann.account, fmt.Sprint("guess ", i))
	}
	if code := w.loginFrom(t, "127.0.0.67", ann.account, ann.password); code != 403 {
		t.Errorf("a device that the account never used: %d", code)
	}
	if code := w.loginFrom(t, "127.0.0.1", ann.account, ann.password); code != 200 {
		t.Errorf("the owner's device: %d", code)
	}
	w.newMember(t, 0) // a call, for the metrics that close looks for
	w.close(t)
}

// TestColleaguesBehindOneAddress: 200 people behind one address register and log in with the default limits.
func TestColleaguesBehindOneAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, withDefaultLimits, func(c *Config) { c.Limits.Dialogues = Rate{} }))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				p := w.newMember(t, 0)
				for range 2 {
					c := w.dial(t, 0, "/im/login?"+query("account", p.account, "password", p.password))
					if code := (reply{body: c.next(t)}).code(); code != 200 {
						t.Errorf("login: %d", code)
					}
					c.ws.Close()
				}
			}
		})
	}
	wg.Wait()
}

// TestRegistrationsAreCountedFirst: registrations at the same time, and tries of taken accounts, keep the limit.
func TestRegistrationsAreCountedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Limits.Registrations = Rate{5, Defaults().Limits.Registrations.Per} }))
	w.newMember(t, 0) // one of five
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	for i := range 20 {
		wg.Go(func() {
			r := w.register(t, 0, fmt.Sprintf(`{"account":"new %d","password":"secret","mail":"m"}`, i%2))
			if r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") == "" {
				t.Error("a limited registration has no Retry-After")
			}
			mu.Lock()
			defer mu.Unlock()
			codes[r.code()]++
		})
	}
	wg.Wait()
	if codes[200] > 2 || codes[200]+codes[504] != 4 || codes[403] != 16 {
		t.Errorf("20 registrations with 4 left: %v", codes)
	}
}

// TestBudgetsOfOneUser: each kind of call of one user has its own budget, which no other user shares.
func TestBudgetsOfOneUser(t *testing.T) {
	t.Parallel()
	limits := Defaults().Limits
	w := newWorld(t, start(t, func(c *Config) {
		c.Limits.Passwords, c.Limits.Updates = Rate{3, limits.Passwords.Per}, Rate{8, limits.Updates.Per}
		c.Limits.Searches, c.Limits.FriendChanges = Rate{5, limits.FriendChanges.Per}, Rate{6, limits.FriendChanges.Per}
		c.Limits.Calls = Rate{60, limits.FriendChanges.Per}
	}))
	two := w.newMembers(t, 2)
	ann, bob := two[0], two[1]
	update := func(p *member, field, value string) int {
		return w.do(t, 0, http.MethodPost, "/im/profile/update", fmt.Sprintf(`{"id":%q,"token":%q,%q:%q}`, p.id, p.token, field, value)).status
	}
	count := func(what string, n, want int, call func() int) {
		t.Helper()
		allowed := 0
		for range n {
			if call() == http.StatusOK {
				allowed++
			}
		}
		if allowed != want {
			t.Errorf("%s: %d of %d were allowed, want %d", what, allowed, n, want)
		}
	}
	count("new passwords", 10, 3, func() int { return update(ann, "password", ann.password) })
	count("updates", 10, 0, func() int { return update(ann, "sign", "x") }) // new passwords are updates too
	count("searches", 10, 5, func() int { return ann.call(t, "found", "name", "nobody").status })
	pairs := 0
	count("requests and removals", 10, 6, func() int {
		if pairs++; pairs%2 == 1 {
			return ann.call(t, "request", "to", bob.id).status
		}
		return ann.call(t, "remove", "to", bob.id).status
	})
	count("another user", 3, 3, func() int { return update(bob, "sign", "x") })
	count("all calls", 40, 0, func() int { return ann.call(t, "request", "to", bob.id).status })
}

// TestRebinding: a server on a loopback address answers only to names of its own. A page whose name was bound to a
// loopback address after it was loaded gets nothing, from the operations listener either.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.HTTP.Hosts = []string{"chat.example.org"} })
	w := newWorld(t, s)
	_, port, err := net.SplitHostPort(s.app.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	status := func(base, path, host string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		got, err := w.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		return got.StatusCode
	}
	ops := "http://" + s.app.ops.Addr().String()
	w.newMember(t, 0)
	for host, want := range map[string]int{"evil.example": 421, "evil.example:" + port: 421, "": 200, "localhost:" + port: 200, "127.0.0.1": 200, "[::1]:" + port: 200,
		"a.localhost": 200, "chat.example.org": 200, "chat.example.org.": 200, "CHAT.example.org:443": 200, "192.0.2.1": 421, "localhost.evil.example": 421} {
		if got := status(s.app.URL(), "/im/www/v1/chat.html", host); got != want {
			t.Errorf("page by host %q: status %d, want %d", host, got, want)
		}
		if got := status(ops, "/metrics", host); got != want {
			t.Errorf("metrics by host %q: status %d, want %d", host, got, want)
		}
	}
	log := s.log.String()
	for _, host := range []string{"evil.example", "192.0.2.1", "localhost.evil.example"} {
		if n := strings.Count(log, "add it to http.hosts, and if a proxy passes the request on, add its address to http.trusted_proxies\" host="+host+" "); n != 1 {
			t.Errorf("the refusal of %s is logged %d times", host, n)
		}
	}
}

// TestOriginOverTLS: the scheme of an origin counts: a plain page of the same host may be forged on the way.
func TestOriginOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, overTLS))
	w.newMember(t, 0)
	base, err := url.Parse(w.base(0))
	if err != nil {
		t.Fatal(err)
	}
	for scheme, ok := range map[string]bool{"https": true, "http": false} {
		c, err := w.tryDial(context.Background(), w.dialer(), 0, "/im/login?account=a&password=b", http.Header{"Origin": {scheme + "://" + base.Host}})
		if (err == nil) != ok {
			t.Errorf("origin with %s: %v", scheme, err)
		}
		if err == nil {
			c.ws.Close()
		} else if err != websocket.ErrBadHandshake {
			t.Error(err)
		}
	}
}

// TestGuessesByNATS: an attacker with many logins to NATS under way, whose passwords wait to be hashed, keeps no client
// behind another address from logging in, by token or by password.
func TestGuessesByNATS(t *testing.T) {
	t.Parallel()
	s := start(t, natsListener, withDefaultLimits, func(c *Config) { c.Passwords.Memory, c.Passwords.Passes = 64*MiB, 3 })
	w := newWorld(t, s)
	p := w.newMember(t, 0)
	p.login(t)
	attack := from(t, attackerAddress)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer wg.Wait()
	defer stop()
	var conns atomic.Int32
	for i := range 400 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c, err := attack.DialContext(ctx, "tcp", strings.TrimPrefix(s.natsURL(), "nats://"))
				if err != nil {
					return
				}
				defer context.AfterFunc(ctx, func() { c.Close() })()
				fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"user\":\"guess %d of %d\",\"pass\":\"x\"}\r\nPING\r\n", n, i)
				conns.Add(1)
				_, _ = io.Copy(io.Discard, c) // until NATS closes it
				c.Close()
			}
		})
	}
	eventually(t, "the logins to be under way", func() bool { return conns.Load() >= 300 })
	for _, c := range [][2]string{{p.id, p.token}, {p.account, p.password}, {p.id, p.token}} {
		nc, err := bridgetest.Dial(s.natsURL(), c[0], c[1], subject.Inbox(p.id))
		if err != nil {
			t.Fatalf("a login behind another address: %v", err)
		}
		nc.Close()
	}
}
