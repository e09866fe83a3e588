package cmd

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// atOnce runs all functions concurrently and waits for them.
func atOnce(all ...func()) {
	var wg sync.WaitGroup
	ready := make(chan struct{})
	for _, f := range all {
		wg.Go(func() { <-ready; f() })
	}
	close(ready)
	wg.Wait()
}

// codes runs all functions concurrently and returns the codes of their answers, in the order of the functions.
func codes(all ...func() reply) []int {
	got := make([]int, len(all))
	run := make([]func(), len(all))
	for i, f := range all {
		run[i] = func() { got[i] = f().code() }
	}
	atOnce(run...)
	return got
}

// TestRegisterAtOnce checks that one of many concurrent registrations of an account succeeds, with the default limits
// and hash parameters.
func TestRegisterAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) {
		c.Limits, c.Passwords, c.NATS.Sync = Defaults().Limits, Defaults().Passwords, Defaults().NATS.Sync
	}))
	spellings := []string{"Sunny Tom", "sunny tom", "SUNNY TOM", " Sunny Tom\u00a0"}
	var calls []func() reply
	for i := range 24 {
		body := fmt.Sprintf(`{"account":"%s","password":"at-once-%d","mail":"m"}`, spellings[i%len(spellings)], i)
		w.secret(fmt.Sprintf("at-once-%d", i))
		calls = append(calls, func() reply { return w.register(t, i, body) })
	}
	got := codes(calls...)
	winner := slices.Index(got, 200)
	slices.Sort(got)
	want := append([]int{200}, slices.Repeat([]int{504}, 23)...)
	if !slices.Equal(got, want) {
		t.Fatalf("24 registrations of one account: %v", got)
	}
	for i := range 3 { // the stored password is that of the successful registration
		p := &member{w: w, account: "sunny tom", password: fmt.Sprintf("at-once-%d", (winner+i)%24)}
		if i == 0 {
			p.login(t)
		} else {
			p.refused(t, "another's password", p.password)
		}
	}
}

// TestLimits checks that requests over a limit are answered with status 429 and code 403.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) {
		c.Limits.Registrations, c.Limits.LoginFailures = Rate{7, time.Hour}, Rate{3, time.Hour}
	}))
	body := func(account string) string { return `{"account":"` + account + `","password":"limited-pw","mail":"m"}` }
	w.secret("limited-pw")
	w.register(t, 0, body("one")).want(t, "the first", replyBody(200))
	for range 5 {
		w.register(t, 0, body("one")).want(t, "taken", replyBody(504))
		w.register(t, 0, body("")).want(t, "empty", replyBody(501))
	}
	// A taken account counts, since the answers would list accounts otherwise. A malformed call does not.
	w.register(t, 0, body("two")).want(t, "the second", replyBody(200))
	w.register(t, 0, body("three")).wantStatus(t, "the third", http.StatusTooManyRequests, replyBody(403))
	p := &member{w: w, account: "one", password: "limited-pw"}
	for range 5 {
		p.login(t) // successful logins do not count as failures
	}
	for range 3 {
		p.refused(t, "wrong password", "wrong")
	}
	c := w.dial(t, 0, "/im/login?"+query("account", "one", "password", "limited-pw"))
	c.want(t, replyBody(403)) // refused after too many failures, even with the right password
	if _, err := c.tryNext(); err == nil {
		t.Error("the tunnel of a login over the limit stays open")
	}
	p.call(t, "found", "name", "x").want(t, "who is in stays in", `{"code":200,"found":null,"message":"Success","ok":true}`)
}

// TestDialogueRate checks that the server slows down a client over limits.dialogues instead of refusing its dialogues.
func TestDialogueRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Limits.Dialogues = Rate{20, time.Second} }))
	a, b := w.newFriends(t)
	started := time.Now()
	const all = 35
	for i := range all {
		a.tunnel.send(t, dialogue(fmt.Sprintf(`"%d"`, i), b.id, `"p"`))
	}
	for i := range all {
		a.tunnel.want(t, replyFrame(fmt.Sprintf(`"%d"`, i), 200))
		b.tunnel.want(t, dialogueFrame(fmt.Sprintf(`"%d"`, i), a.id, `"p"`))
	}
	if took := time.Since(started); took < 700*time.Millisecond { // 20 at once, 15 more at 20 a second
		t.Errorf("%d dialogues at 20 a second took %v", all, took)
	}
}

// state describes the friendship of two users at both ends, as in the answers to their logins.
func state(t testing.TB, a, b *member) string {
	t.Helper()
	var s []string
	for _, ends := range [][2]*member{{a, b}, {b, a}} {
		l := ends[0].list(t)
		for _, f := range l.Friends {
			if f.ID == ends[1].id {
				s = append(s, fmt.Sprintf("friend %q", strings.Replace(f.Name, ends[1].account, "own name", 1)))
			}
		}
		for _, r := range l.Requests {
			if r.ID == ends[1].id {
				s = append(s, "asked")
			}
		}
		s = append(s, "|")
	}
	return strings.Join(s, " ")
}

// races are concurrent calls of two users. Each has a few valid results.
var races = []struct {
	what   string
	before func(t *testing.T, a, b *member)
	calls  func(t *testing.T, a, b *member) []func() reply
	allows []string // codes in the order of the calls, and the state that they leave at both ends
}{
	{"crossing requests", func(*testing.T, *member, *member) {},
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return a.call(t, "request", "to", b.id) }, func() reply { return b.call(t, "request", "to", a.id) }}
		}, []string{"[200 200] asked | asked |"}},
	{"the same request twice", func(*testing.T, *member, *member) {},
		func(t *testing.T, a, b *member) []func() reply {
			ask := func() reply { return a.call(t, "request", "to", b.id, "note", "n") }
			return []func() reply{ask, ask, ask}
		}, []string{"[200 200 200] | asked |"}},
	{"both answer crossing requests", cross,
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return a.call(t, "add", "from", b.id, "name", "B") }, func() reply { return b.call(t, "add", "from", a.id, "name", "A") }}
		}, []string{`[200 200] friend "B" | friend "A" |`}},
	{"two adds", asked,
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return b.call(t, "add", "from", a.id, "name", "1") }, func() reply { return b.call(t, "add", "from", a.id, "name", "2") }}
		}, []string{`[200 522] friend "own name" | friend "1" |`, `[522 200] friend "own name" | friend "2" |`}},
	{"add against the asker's remove", asked,
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return b.call(t, "add", "from", a.id, "name", "A") }, func() reply { return a.call(t, "remove", "to", b.id) }}
		}, []string{"[200 200] | |", "[523 512] | |"}},
	{"add against request", asked,
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return b.call(t, "add", "from", a.id, "name", "A") }, func() reply { return b.call(t, "request", "to", a.id) }}
		}, []string{`[200 522] friend "own name" | friend "A" |`, `[200 200] friend "own name" | friend "A" |`}},
	{"naming against remove", func(t *testing.T, a, b *member) {
		asked(t, a, b)
		b.call(t, "add", "from", a.id, "name", "A").want(t, "add", replyBody(200))
	}, func(t *testing.T, a, b *member) []func() reply {
		return []func() reply{func() reply { return a.call(t, "add", "from", b.id, "name", "B") }, func() reply { return b.call(t, "remove", "to", a.id) }}
	}, []string{"[200 200] | |", "[523 200] | |"}},
	{"remove at both ends", func(t *testing.T, a, b *member) { a.befriend(t, b) },
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return a.call(t, "remove", "to", b.id) }, func() reply { return b.call(t, "remove", "to", a.id) }}
		}, []string{"[200 512] | |", "[512 200] | |"}},
	{"remove against the request that follows it", func(t *testing.T, a, b *member) { a.befriend(t, b) },
		func(t *testing.T, a, b *member) []func() reply {
			return []func() reply{func() reply { return a.call(t, "remove", "to", b.id) }, func() reply { return b.call(t, "request", "to", a.id) }}
		}, []string{"[200 522] | |", "[200 200] asked | |"}},
}

func asked(t *testing.T, a, b *member) {
	a.call(t, "request", "to", b.id).want(t, "request", replyBody(200))
}

func cross(t *testing.T, a, b *member) {
	asked(t, a, b)
	asked(t, b, a)
}

// TestFriendsAtOnce runs each race several times between users with open tunnels. Logins and dialogues must agree on
// the result at both ends. The calls go to one server, or to two servers on one NATS.
func TestFriendsAtOnce(t *testing.T) {
	t.Parallel()
	patient := func(c *Config) { c.Dialogues.Timeout = 2 * waitTimeout }
	for name, deploy := range map[string]func() deployment{
		"one server":  func() deployment { return start(t, patient) },
		"two servers": func() deployment { return &roundRobin{bridges: startBridges(t, 2, patient)} },
	} {
		w := newWorld(t, deploy())
		for _, race := range races {
			t.Run(name+"/"+race.what, func(t *testing.T) {
				t.Parallel()
				for range 4 {
					two := w.newMembers(t, 2)
					a, b := two[0], two[1]
					race.before(t, a, b)
					got := fmt.Sprint(codes(race.calls(t, a, b)...))
					got += " " + state(t, a, b)
					if !slices.Contains(race.allows, got) {
						t.Fatalf("ended as\n%s\nwant one of\n%s", got, strings.Join(race.allows, "\n"))
					}
					holds(t, a, b, got, strings.Contains(got, "friend"))
				}
			})
		}
	}
}

// holds checks that the answers to dialogues agree with the result of a race.
func holds(t *testing.T, a, b *member, ended string, friends bool) {
	t.Helper()
	want := 512
	if friends {
		want = 200
	}
	if to := a.talk(t, b, "1"); to != want {
		t.Errorf("result %s, but a dialogue is answered %d", ended, to)
	}
	if friends {
		b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
	}
	if from := b.talk(t, a, "2"); from != want {
		t.Errorf("result %s, but a dialogue in the other direction is answered %d", ended, from)
	}
}

// TestFriendsWhileMade checks that after an answer that two users are friends, dialogues are accepted in both
// directions, even if the node that made them friends has not notified the other nodes yet.
func TestFriendsWhileMade(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := newWorld(t, s)
	rosters := s.app.backend.store.Rosters
	for name, x := range map[string]struct {
		named  bool // both ends have their aliases
		call   string
		fields []string
		want   int
	}{
		"named":   {false, "add", []string{"name", "B", "from"}, 200},
		"added":   {true, "add", []string{"name", "B", "from"}, 522},
		"request": {true, "request", []string{"note", "again", "to"}, 522},
	} {
		two := w.newMembers(t, 2)
		a, b := two[0], two[1]
		_, err := rosters.Request(t.Context(), a.id, b.id, "")
		if err == nil {
			_, err = rosters.Add(t.Context(), b.id, a.id, "A")
		}
		if err == nil && x.named {
			_, err = rosters.Add(t.Context(), a.id, b.id, "B")
		}
		if err != nil {
			t.Fatal(err)
		}
		a.call(t, x.call, append(x.fields, b.id)...).want(t, name, replyBody(x.want))
		if code := a.talk(t, b, "1"); code != 200 {
			t.Errorf("%s: there: %d", name, code)
			continue
		}
		b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
		if code := b.talk(t, a, "2"); code != 200 {
			t.Errorf("%s: back: %d", name, code)
		}
	}
}
