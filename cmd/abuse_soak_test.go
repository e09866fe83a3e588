//go:build soak && linux

package cmd

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	attackSockets = 2000
	attackClients = 200
	attackTime    = time.Minute
)

// latencies are the durations of one kind of work.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

// at returns a quantile.
func (l *latencies) at(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[min(int(float64(len(l.all))*q), len(l.all)-1)]
}

func (l *latencies) String() string {
	return fmt.Sprintf("%d: p50 %s, p99 %s, most %s", len(l.all), l.at(.5).Round(10*time.Microsecond), l.at(.99).Round(10*time.Microsecond), l.at(1).Round(10*time.Microsecond))
}

// startAttack opens idle sockets and guesses passwords until ctx ends. It returns the number of guesses so far.
func startAttack(ctx context.Context, t *testing.T, p *process, victim string) (guesses *atomic.Int64, wait func()) {
	t.Helper()
	guesses = new(atomic.Int64)
	var wg sync.WaitGroup
	host := strings.TrimPrefix(p.url, "http://")
	idle := from(t, attackerAddress)
	for range attackSockets {
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := idle.DialContext(ctx, "tcp", host)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { c.Close() })
				_, _ = c.Read(make([]byte, 1)) // until the server closes it
				stop()
				c.Close()
			}
		})
	}
	for i := range attackClients {
		d := &websocket.Dialer{NetDialContext: from(t, fmt.Sprint("127.0.0.", 66+i%4)).DialContext, HandshakeTimeout: waitTimeout}
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				account := victim
				if i%2 == 0 {
					account = fmt.Sprint("guess", i, "-", n)
				}
				c, err := dialAt(ctx, d, p.url+"/im/login?"+query("account", account, "password", fmt.Sprint("guess ", n)), nil)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { c.ws.Close() })
				_, _ = c.tryNext()
				stop()
				c.ws.Close()
				guesses.Add(1)
			}
		})
	}
	return guesses, wg.Wait
}

// defaultLimits undoes the harness's change of the limits and of the cost of a hash, for a server that is another process.
func defaultLimits() (env []string) {
	for _, s := range Defaults().settings() {
		if _, ok := s.value.(*Rate); ok || s.key == "passwords.memory" || s.key == "passwords.passes" {
			env = append(env, "IMCTL_"+strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))+"="+s.String())
		}
	}
	return env
}

// timedLogin opens a tunnel by a dialer and returns the time to its answer.
func timedLogin(w *world, d *websocket.Dialer, q string) (time.Duration, int, error) {
	started := time.Now()
	c, err := w.tryDial(context.Background(), d, 0, "/im/login?"+q, nil)
	if err != nil {
		return 0, 0, err
	}
	defer c.ws.Close()
	frame, err := c.tryNext()
	return time.Since(started), reply{body: frame}.code(), err
}

// TestUnderAttack measures what people notice of an attacker with 200 clients that guess passwords and 2,000 idle
// sockets, on the same machine, with default limits and the default cost of a hash.
func TestUnderAttack(t *testing.T) {
	log := new(logBuffer)
	env := append(defaultLimits(), "IMCTL_LIMITS_REGISTRATIONS=0")
	p := startCommand(t, exec.Command("imctl", "serve"), filepath.Join(t.TempDir(), "data"), log, env...)
	w := &world{deployment: p, http: http.DefaultClient, secrets: make(map[string]bool), closed: true}
	a, b := w.newFriends(t)
	go func() {
		for { // a client that does not read does not answer pings either
			if _, err := b.tunnel.tryNext(); err != nil {
				return
			}
		}
	}()
	known := w.newMembers(t, 2)
	owner := w.newMember(t, 0)
	owner.login(t)
	fresh := make([]*member, 120)
	for i := range fresh {
		fresh[i] = w.newMember(t, 0)
	}
	talk := func(span time.Duration) *latencies {
		l := new(latencies)
		for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
			started := time.Now()
			if code := a.talk(t, b, "1"); code != 200 {
				t.Errorf("dialogue: %d", code)
			}
			l.add(time.Since(started))
		}
		return l
	}
	quiet := talk(15 * time.Second)
	before, _ := p.metric("process_resident_memory_bytes")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	guesses, wait := startAttack(ctx, t, p, owner.account)
	grown := p.watch(t, "process_resident_memory_bytes")
	first, remembered, byToken := new(latencies), new(latencies), new(latencies)
	owned := 0
	var wg sync.WaitGroup
	every := func(n int, l *latencies, d *websocket.Dialer, q func(i int) string) {
		wg.Go(func() {
			tick := time.NewTicker(attackTime / time.Duration(n+1))
			defer tick.Stop()
			for i := range n {
				<-tick.C
				took, code, err := timedLogin(w, d, q(i))
				if err != nil || code != 200 {
					t.Errorf("login %d: %d, %v", i, code, err)
				}
				l.add(took)
			}
		})
	}
	elsewhere := &websocket.Dialer{NetDialContext: from(t, "127.0.0.5").DialContext, HandshakeTimeout: waitTimeout} // an unknown device
	every(len(fresh), first, elsewhere, func(i int) string { return query("account", fresh[i].account, "password", fresh[i].password) })
	every(200, remembered, w.dialer(), func(int) string { return query("account", known[0].account, "password", known[0].password) })
	every(200, byToken, w.dialer(), func(int) string { return query("id", known[1].id, "token", known[1].token) })
	wg.Go(func() {
		for range 15 {
			time.Sleep(attackTime / 20)
			if _, code, err := timedLogin(w, w.dialer(), query("account", owner.account, "password", owner.password)); err == nil && code == 200 {
				owned++
			}
		}
	})
	attacked := talk(attackTime)
	wg.Wait()
	n, _ := p.metric("imctl_connections")
	stop()
	wait()
	t.Logf("dialogues, quiet:    %s", quiet)
	t.Logf("dialogues, attacked: %s", attacked)
	t.Logf("first logins:        %s", first)
	t.Logf("remembered logins:   %s", remembered)
	t.Logf("logins by token:     %s", byToken)
	t.Logf("the owner of the attacked account got in %d of 15 times; %d guesses were answered; %v connections", owned, guesses.Load(), n)
	t.Logf("memory: %.0f MB, and %.0f MB more at most", before/1e6, grown()/1e6)
	if owned != 15 {
		t.Error("the owner was kept out")
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "limit reached") {
			t.Log(strings.TrimSpace(line))
		}
	}
	p.sound(t)
}
