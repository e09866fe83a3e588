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

// progress is how far something came before the server was killed: each step is noted before it is asked for and after
// it was answered.
type progress int

const (
	untouched progress = iota
	asking             // the request was sent
	wasAsked           // and answered 200
	adding             // the add was sent
	wasAdded           // and answered 200
)

// victim is a server under work that is killed in the middle of it.
type victim struct {
	w        *world
	mu       sync.Mutex // guards what follows
	accounts map[string]bool
	pairs    map[[2]*member]progress
	done     int
	enough   chan struct{} // closed when there is enough to be killed for
}

// enoughDone is how many steps are answered before the server is killed; as many as there are workers are under way then.
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

// register makes accounts until the server is gone.
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

// befriend makes friends of pairs until the server is gone.
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

// TestKill kills the server in the middle of registrations and adds. What was answered is there after the restart, and
// nothing that was not is there by half.
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

// checkAccount: an account is there with everything that belongs to it, or not at all.
func (v *victim) checkAccount(t *testing.T, finder *member, account string, answered bool) {
	t.Helper()
	c := v.w.dial(t, 0, "/im/login?"+query("account", account, "password", killedPassword))
	frame := c.next(t)
	c.ws.Close()
	there := strings.HasPrefix(frame, `{"code":200,`)
	if answered && !there || !there && frame != replyBody(505) {
		t.Errorf("login as %s, whose registration was answered: %t: %s", account, answered, frame)
		return
	}
	if there {
		v.w.secret(firstGroup(frame, `"token":"([^"]*)"`))
	}
	if there && !strings.Contains(frame, `"name":"`+account+`","picture":"","sex":"","birthday":"","sign":"sign of `+account+`"`) {
		t.Errorf("%s is there by half: %s", account, frame)
	}
	found := finder.names(t, account)
	id := firstGroup(frame, `"profile":\{"id":"([^"]*)"`)
	if there != slices.Contains(found, id) || len(found) > 0 && !there {
		t.Errorf("%s is there: %t, and was found: %q", account, there, found)
	}
	want := 200
	if there {
		want = 504
	}
	v.w.register(t, 0, registration(account)).want(t, account+" again", replyBody(want))
}

// checkPair: both ends say the same, and no less than what was answered.
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
		t.Errorf("half-made: friend at one end %t, at the other %t, request pending %t", named, known, pending)
		return
	}
	if got != came && !(came == asking && (got == untouched || got == wasAsked)) && !(came == adding && (got == wasAsked || got == wasAdded)) {
		t.Errorf("came to %d before the end, found at %d", came, got)
	}
}
