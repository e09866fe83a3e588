package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsauth"
)

// webhookDestination records the events that it gets, and holds them back while it is told to.
type webhookDestination struct {
	*httptest.Server

	mu    sync.Mutex // guards the fields below
	order []string   // events in the order in which they arrived first
	ids   map[string]string
	hold  chan struct{} // requests are not answered until it is closed; nil: they are answered
	held  chan struct{} // receives when a request is held back
	wrong []string      // events that were repeated with another webhook-id
}

func startWebhookDestination(t *testing.T) *webhookDestination {
	d := &webhookDestination{ids: make(map[string]string), held: make(chan struct{}, 1)}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *webhookDestination) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e struct {
		Type string
		Data struct{ ID, From, To, User string }
	}
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		return // the node was killed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name, id := webhookEvent(e.Data.From, e.Data.To, e.Data.ID, e.Data.User), r.Header.Get("webhook-id")
	if hold := d.hold; hold != nil {
		select {
		case d.held <- struct{}{}:
		default:
		}
		d.mu.Unlock()
		<-hold
		d.mu.Lock()
	}
	before, again := d.ids[name]
	switch {
	case !again:
		d.ids[name], d.order = id, append(d.order, name)
	case before != id:
		d.wrong = append(d.wrong, name)
	}
}

// webhookEvent names an event: the two users and the id of a dialogue, or the user.
func webhookEvent(from, to, id, user string) string {
	return fmt.Sprintf("%s%s>%s/%s", user, from, to, id)
}

func (d *webhookDestination) has(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[name] != ""
}

// holdBack has further requests wait until the returned function is called.
func (d *webhookDestination) holdBack() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hold = make(chan struct{})
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.hold)
		d.hold = nil
	})
}

// webhookPairs are people who write to friends that are offline, while others register.
type webhookPairs struct {
	from, to []*member
	last     []string // names of the events of the dialogues that were sent last
	sent     int      // of each pair, and answered 508
	ids      int      // of dialogues
}

// send sends n dialogues of each pair, and registers an account for each round.
func (p *webhookPairs) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		p.sent++
		for i, a := range p.from {
			// While a node is dying, it may be unknown whether the friend is online: 507, and no event.
			eventually(t, "508", func() bool { p.ids++; return a.talk(t, p.to[i], fmt.Sprint(p.ids)) == 508 })
			p.last[i] = webhookEvent(a.id, p.to[i].id, fmt.Sprint(p.ids), "")
		}
		// While the streams of a cluster have no leader, an answer may be another one.
		if _, err := p.from[0].w.try(context.Background(), p.from[0].n, http.MethodPost, "/im/register", registration(fresh("hooked"))); err != nil {
			t.Error(err)
		}
	}
}

// webhookPosts is how long it may take until all is posted: 30 s until another node takes over, and some for the
// events.
const webhookPosts = 2 * time.Minute

// TestPosterKilled kills the node that posts a webhook, with events under way, while others are written. The
// destination gets each event of the log, those of two users in the order of the log, and a repeated one with the same
// id.
func TestPosterKilled(t *testing.T) {
	t.Parallel()
	t.Run("two bridges on one NATS", func(t *testing.T) {
		t.Parallel()
		there := startExternalNATS(t)
		nodes := &processes{}
		for i := range 2 {
			data := filepath.Join(t.TempDir(), fmt.Sprint("data", i))
			nodes.nodes = append(nodes.nodes, startProcess(t, data, new(logBuffer), "IMCTL_NATS_URL="+there.url, "IMCTL_WEBHOOKS_PRIVATE=true"))
		}
		address := firstGroup(there.url, `@(.*)`)
		killPoster(t, nodes, firstGroup(there.url, `:([0-9a-f]{32})@`), func(int) string { return "nats://" + address }, "--nats", there.url)
	})
	t.Run("three nodes", func(t *testing.T) {
		t.Parallel()
		nodes := startProcesses(t, 3, "IMCTL_WEBHOOKS_PRIVATE=true")
		killPoster(t, nodes, "", func(i int) string { return nodes.nodes[i].nats }, "--data", nodes.dir(0))
	})
}

// killPoster is TestPosterKilled on some nodes. address is where NATS clients connect, of a node. at are the flags of
// commands.
func killPoster(t *testing.T, nodes *processes, secret string, address func(node int) string, at ...string) {
	dir, d := t.TempDir(), startWebhookDestination(t)
	w := newWorld(t, nodes)
	w.secret(killedPassword)
	if secret != "" {
		w.secret(secret)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i, p := range nodes.nodes {
				t.Logf("warnings and errors of node %d:\n%s", i, tail(seriousLines(p.log.String()), 40))
			}
		}
	})
	file := filepath.Join(dir, "recorder.json")
	command(t, dir, "", append([]string{"attach", "add", "recorder", "--role", "consumer", "--filter", "offline.>", "--filter", "user.created.>", "--context", file}, at...)...).want(t, exitDone)
	added := command(t, dir, "", append([]string{"webhook", "add", "push", "--url", d.URL, "--events", "dialogue.offline,user.created"}, at...)...).want(t, exitDone)
	w.secret(firstGroup(added.out, `(whsec_\S+)`))

	first := w.newMember(t, 0)
	first.login(t)
	eventually(t, "the first event", func() bool { return d.has(webhookEvent("", "", "", first.id)) })
	victim := slices.IndexFunc(nodes.nodes, func(p *process) bool {
		n, err := p.metric(`imctl_webhook_posts_total\{result="ok",webhook="push"\}`)
		return err == nil && n > 0
	})
	if victim < 0 {
		t.Fatal("no node has posted")
	}
	alive := (victim + 1) % len(nodes.nodes)
	pairs := new(webhookPairs)
	for range 4 {
		a, b := w.newMember(t, alive), w.newMember(t, alive)
		a.login(t)
		b.login(t)
		a.befriend(t, b)
		b.tunnel.close(t)
		pairs.from, pairs.to, pairs.last = append(pairs.from, a), append(pairs.to, b), append(pairs.last, "")
	}
	pairs.send(t, 5)
	release := d.holdBack()
	defer release()
	pairs.send(t, 20)
	<-d.held
	nodes.nodes[victim].kill(t)
	killed := time.Now()
	release()
	pairs.send(t, 20)
	patientlyWithin(t, webhookPosts, "all events", func() bool {
		return !slices.ContainsFunc(pairs.last, func(name string) bool { return !d.has(name) })
	})
	t.Logf("all was posted %s after the node was killed", time.Since(killed))

	recorded := readWebhookLog(t, w, file, address(alive))
	patientlyWithin(t, webhookPosts, "the events of other users", func() bool {
		return !slices.ContainsFunc(recorded, func(name string) bool { return !d.has(name) })
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wrong) > 0 {
		t.Errorf("events that were repeated with another id: %v", d.wrong)
	}
	for i, a := range pairs.from {
		pair := a.id + ">" + pairs.to[i].id + "/"
		if want, got := ofPair(recorded, pair), ofPair(d.order, pair); len(want) < pairs.sent || !slices.Equal(got, want) {
			t.Errorf("the events of a pair arrived in the order\n%v, want\n%v", got, want)
		}
	}
	w.deployment = &processes{nodes: slices.Delete(slices.Clone(nodes.nodes), victim, victim+1)}
}

// ofPair returns the ids of the dialogues of two users.
func ofPair(names []string, pair string) (ids []string) {
	for _, name := range names {
		if id, of := strings.CutPrefix(name, pair); of {
			ids = append(ids, id)
		}
	}
	return ids
}

// patientlyWithin waits for a condition longer than waitTimeout.
func patientlyWithin(t *testing.T, most time.Duration, what string, met func() bool) {
	t.Helper()
	deadline, tick := time.After(most), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-deadline:
			t.Fatalf("timeout waiting for: %s", what)
		case <-tick.C:
		}
	}
}

// readWebhookLog returns the names of the events in the log, in order, as the attachment of the context file reads
// them.
func readWebhookLog(t *testing.T, w *world, file, address string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	login := fromJSON[natsauth.Context](t, string(text))
	w.secret(login.Password)
	login.URL = address
	if text, err = json.Marshal(login); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(connectByContext(t, file))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "IM_LOG", "recorder")
	if err != nil {
		t.Fatal(err)
	}
	for left := uint64(1); left > 0; {
		batch, err := c.Fetch(1)
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			var e struct{ ID, From, To, User string }
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			names = append(names, webhookEvent(e.From, e.To, e.ID, e.User))
			meta, err := m.Metadata()
			if err == nil {
				err = m.Ack()
			}
			if err != nil {
				t.Fatal(err)
			}
			left = meta.NumPending
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
