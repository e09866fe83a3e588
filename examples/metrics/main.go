// Command metrics counts users and dialogues for Prometheus. It shows no content, and no user:
//
//	imctl attach add people --role reader --context people.json
//	imctl attach add counter --role consumer --filter 'dialogue.>' --context counter.json
//	go run ./examples/metrics people.json counter.json 127.0.0.1:9464
//	curl http://127.0.0.1:9464/metrics
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/synadia-io/orbit.go/natscontext"
)

const (
	timeout = 10 * time.Second // for an answer of the server
	atOnce  = 100              // ids in one question for presence
)

// census is what the program knows.
type census struct {
	mu     sync.Mutex
	online map[string]bool      // of each user
	sent   map[string]time.Time // the last dialogue of each user within the last hour
}

// entry has the keys that the program uses of the log's entries.
type entry struct {
	Time       time.Time
	User, From string
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: metrics READER.json CONSUMER.json ADDRESS")
	}
	c := &census{online: make(map[string]bool), sent: make(map[string]time.Time)}
	gauge := func(name, help string, value func() int) {
		promauto.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	gauge("chat_users", "Accounts.", func() int { users, _, _ := c.count(); return users })
	gauge("chat_online_users", "Users with a session.", func() int { _, online, _ := c.count(); return online })
	gauge("chat_active_users", "Users that have sent a dialogue within the last hour.", func() int { _, _, active := c.count(); return active })
	dialogues := promauto.NewCounter(prometheus.CounterOpts{Name: "chat_dialogues_total", Help: "Dialogues; increase(chat_dialogues_total[1h]) is those of an hour."})

	// The consumer of the reader exists since imctl attach add, so the log keeps what happens from then on. So the program
	// reads first, and then applies each entry. To apply one again that it has read already changes nothing.
	reader, people := connect(os.Args[1])
	must(c.readAll(reader, people))
	go follow(reader, people, func(subject string, e entry) { must(c.apply(reader, people, subject, e)) })
	counter, name := connect(os.Args[2])
	go follow(counter, name, func(_ string, e entry) {
		dialogues.Inc()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sent[e.From] = e.Time
	})
	http.Handle("GET /metrics", promhttp.Handler())
	log.Printf("listening on http://%s/metrics", os.Args[3])
	log.Fatal(http.ListenAndServe(os.Args[3], nil))
}

// readAll reads the users, and which of them are online.
func (c *census) readAll(nc *nats.Conn, name string) error {
	for after, more := "", true; more; more = after != "" {
		var page struct {
			Users []struct{ ID string }
			Next  string
		}
		if err := ask(nc, "im.read."+name+".users", map[string]any{"after": after}, &page); err != nil {
			return err
		}
		ids := make([]string, len(page.Users))
		for i, u := range page.Users {
			ids[i] = u.ID
		}
		if err := c.readPresence(nc, name, ids); err != nil {
			return err
		}
		after = page.Next
	}
	return nil
}

// readPresence reads which of some users are online.
func (c *census) readPresence(nc *nats.Conn, name string, ids []string) error {
	for some := range slices.Chunk(ids, atOnce) {
		var answer struct{ Online []string }
		if err := ask(nc, "im.read."+name+".presence", map[string]any{"ids": some}, &answer); err != nil {
			return err
		}
		c.mu.Lock()
		for _, id := range some {
			c.online[id] = slices.Contains(answer.Online, id)
		}
		c.mu.Unlock()
	}
	return nil
}

// apply applies an entry of the log about a user.
func (c *census) apply(nc *nats.Conn, name, subject string, e entry) error {
	kind := strings.Split(subject, ".")
	switch kind[2] + "." + kind[3] {
	case "user.created":
		return c.readPresence(nc, name, []string{e.User})
	case "user.deleted":
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.online, e.User)
	case "presence.online", "presence.offline":
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, known := c.online[e.User]; known { // a deleted user goes offline after its deletion
			c.online[e.User] = kind[3] == "online"
		}
	case "presence.unknown": // a node has crashed, and its users have no entries
		return c.readAll(nc, name)
	}
	return nil
}

// count returns the number of users, of those online, and of those active.
func (c *census) count() (users, online, active int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, is := range c.online {
		if is {
			online++
		}
	}
	for id, at := range c.sent {
		if time.Since(at) > time.Hour {
			delete(c.sent, id)
		}
	}
	return len(c.online), online, len(c.sent)
}

// follow calls do with each entry that the consumer of an attachment takes, and then acknowledges it.
func follow(nc *nats.Conn, name string, do func(subject string, e entry)) {
	js, err := jetstream.New(nc)
	must(err)
	consumer, err := js.Consumer(context.Background(), "IM_LOG", name)
	must(err)
	_, err = consumer.Consume(func(m jetstream.Msg) {
		var e entry
		must(json.Unmarshal(m.Data(), &e))
		do(m.Subject(), e)
		must(m.Ack())
	})
	must(err)
}

// connect connects with a context file, and returns the name of the attachment.
func connect(file string) (*nats.Conn, string) {
	file, err := filepath.Abs(file)
	must(err)
	nc, settings, err := natscontext.Connect(file, nats.MaxReconnects(-1))
	must(err)
	return nc, settings.User
}

// ask sends a request, and decodes the answer.
func ask(nc *nats.Conn, subject string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	m, err := nc.Request(subject, body, timeout)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if after := m.Header.Get("Retry-After"); after != "" { // the limit of calls is reached
		seconds, err := strconv.Atoi(after)
		if err != nil {
			return fmt.Errorf("%s: Retry-After: %w", subject, err)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		return ask(nc, subject, request, answer)
	}
	var code struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(m.Data, &code); err != nil || code.Code != http.StatusOK {
		return fmt.Errorf("%s: %s", subject, m.Data)
	}
	return json.Unmarshal(m.Data, answer)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
