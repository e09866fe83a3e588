package cmd

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// progress is the last step of a friendship before the server was killed. A step is recorded before the request and
// after the answer.
type progress int

const (
	untouched progress = iota
	asking             // the request has been sent
	wasAsked           // it has been answered 200
	adding             // the add has been sent
	wasAdded           // it has been answered 200
)

// victim is a server that is killed while clients make changes.
type victim struct {
	w        *world
	mu       sync.Mutex // guards the fields below
	accounts map[string]bool
	pairs    map[[2]*member]progress
	done     int
	enough   chan struct{} // closed after enoughDone answers
}

// enoughDone is how many steps are answered before the server is killed. Each worker then has one step in progress.
const enoughDone = 90

func (v *victim) note(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *victim) finished() {
	if v.done++; v.done == enoughDone {
		close(v.enough)
	}
}

// register registers accounts until the server has been killed.
func (v *victim) register(t *testing.T, prefix string) {
	for i := 0; ; i++ {
		account := fmt.Sprintf("%s.%d", prefix, i)
		v.note(func() { v.accounts[account] = false })
		r, err := v.w.try(context.Background(), 0, http.MethodPost, "/im/register", registration(account))
		if err != nil {
			return
		}
		if r.body != replyBody(200) {
			t.Errorf("registration of %s: %s", account, r.body)
		}
		v.note(func() { v.accounts[account] = true; v.finished() })
	}
}

const killedPassword = "kill-nine-pw"

func registration(account string) string {
	return `{"account":"` + account + `","password":"` + killedPassword + `","mail":"m","sign":"sign of ` + account + `"}`
}

// befriend makes pairs friends until the server has been killed.
func (v *victim) befriend(t *testing.T, pairs [][2]*member) {
	for _, pair := range pairs {
		a, b := pair[0], pair[1]
		steps := []string{
			"request?" + query("id", a.id, "token", a.token, "to", b.id, "note", "of "+a.account),
			"add?" + query("id", b.id, "token", b.token, "from", a.id, "name", "named "+a.account),
		}
		for i, step := range steps {
			v.note(func() { v.pairs[pair] = progress(2*i + 1) })
			r, err := v.w.try(context.Background(), 0, http.MethodGet, "/im/friends/"+step, "")
			if err != nil {
				return
			}
			if r.body != replyBody(200) {
				t.Errorf("%s: %s", step[:3], r.body)
			}
			v.note(func() { v.pairs[pair] = progress(2*i + 2); v.finished() })
		}
	}
}

// TestKill kills the server during registrations and adds. After the restart every answered change exists, and every
// other change exists completely or not at all.
func TestKill(t *testing.T) {
	t.Parallel()
	data, log := filepath.Join(t.TempDir(), "data"), new(logBuffer)
	p := startProcess(t, data, log)
	w := newWorld(t, p)
	w.secret(killedPassword)
	people := w.newMembers(t, 16)
	v := &victim{w: w, accounts: make(map[string]bool), pairs: make(map[[2]*member]progress), enough: make(chan struct{})}
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() { v.register(t, fresh("killed")+"-"+strconv.Itoa(i)) })
	}
	pairs := make([][][2]*member, 3)
	for i, a := range people {
		for j, b := range people[:i] {
			pairs[(i+j)%3] = append(pairs[(i+j)%3], [2]*member{a, b})
		}
	}
	for _, some := range pairs {
		work.Go(func() { v.befriend(t, some) })
	}
	<-v.enough
	p.kill(t)
	work.Wait()

	p = startProcess(t, data, log)
	w.deployment = p
	people[0].login(t) // tokens may be lost
	for account, answered := range v.accounts {
		v.checkAccount(t, people[0], account, answered)
	}
	lists := make(map[*member]loginAnswer)
	for _, m := range people {
		lists[m] = m.login(t) // and who was there before is there, whole
	}
	for pair, came := range v.pairs {
		checkPair(t, pair[0], pair[1], came, lists)
	}
	w.close(t)
	p.stop(t)
	p.sound(t)
}

// checkAccount checks that an account exists with all its records, or not at all.
func (v *victim) checkAccount(t *testing.T, finder *member, account string, answered bool) {
	t.Helper()
	c := v.w.dial(t, 0, "/im/login?"+query("account", account, "password", killedPassword))
	frame := c.next(t)
	c.ws.Close()
	there := strings.HasPrefix(frame, `{"code":200,`)
	if answered && !there || !there && frame != replyBody(505) {
		t.Errorf("login as %s (registration answered: %t): got %s", account, answered, frame)
		return
	}
	if there {
		v.w.secret(firstGroup(frame, `"token":"([^"]*)"`))
	}
	if there && !strings.Contains(frame, `"name":"`+account+`","picture":"","sex":"","birthday":"","sign":"sign of `+account+`"`) {
		t.Errorf("%s is incomplete: %s", account, frame)
	}
	found := finder.names(t, account)
	id := firstGroup(frame, `"profile":\{"id":"([^"]*)"`)
	if there != slices.Contains(found, id) || len(found) > 0 && !there {
		t.Errorf("%s exists: %t, but the search found %q", account, there, found)
	}
	want := 200
	if there {
		want = 504
	}
	v.w.register(t, 0, registration(account)).want(t, account+" again", replyBody(want))
}

// checkPair checks that both ends of a friendship agree, and include every answered step.
func checkPair(t *testing.T, a, b *member, came progress, lists map[*member]loginAnswer) {
	t.Helper()
	friendOf := func(m, other *member, name string) bool {
		return slices.ContainsFunc(lists[m].Friends, func(f friendEntry) bool { return f.ID == other.id && f.Name == name })
	}
	pending := slices.ContainsFunc(lists[b].Requests, func(r requestEntry) bool { return r.ID == a.id && r.Note == "of "+a.account })
	named, known := friendOf(b, a, "named "+a.account), friendOf(a, b, b.account)
	var got progress
	switch {
	case named && known && !pending:
		got = wasAdded
	case pending && !named && !known:
		got = wasAsked
	case !pending && !named && !known:
		got = untouched
	default:
		t.Errorf("incomplete friendship: friend at the ends %t and %t, pending request %t", named, known, pending)
		return
	}
	if got != came && !(came == asking && (got == untouched || got == wasAsked)) && !(came == adding && (got == wasAsked || got == wasAdded)) {
		t.Errorf("got step %d, want at least %d, which was answered", got, came)
	}
}
