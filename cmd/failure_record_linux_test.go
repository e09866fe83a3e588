package cmd

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsauth"
)

// logRecorder is a consumer of the event log that records the dialogues in it.
type logRecorder struct {
	mu   sync.Mutex      // guards seen
	seen map[string]bool // sender and id
}

// record attaches a consumer to the log and lets it work until the end of the test.
func (s *failureSite) record(t *testing.T, w *world) *logRecorder {
	t.Helper()
	file := filepath.Join(s.dir, "recorder.json")
	attach := s.command(0, "imctl", "attach", "add", "recorder", "--role", "consumer", "--filter", "dialogue.>", "--context", file)
	if s.url != "" {
		attach.Args = append(attach.Args, "--nats", s.url)
	} else {
		attach.Args = append(attach.Args, "--data", s.data(0))
	}
	if out, err := attach.CombinedOutput(); err != nil {
		t.Fatalf("attach add: %v: %s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := fromJSON[natsauth.Context](t, string(text))
	w.secret(c.Password)
	var urls []string
	for _, host := range s.inside {
		urls = append(urls, "nats://"+host+":4222")
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.PingInterval(2*time.Second), nats.ReconnectWait(100*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.SetCustomDialer(siteDialer{s}))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := &logRecorder{seen: make(map[string]bool)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx, js) }()
	t.Cleanup(func() { cancel(); <-done; nc.Close() })
	return r
}

// siteDialer connects a NATS client to the servers of a site.
type siteDialer struct{ s *failureSite }

func (d siteDialer) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return d.s.dial(ctx, network, addr)
}

// run records until ctx ends. A failed request is repeated.
func (r *logRecorder) run(ctx context.Context, js jetstream.JetStream) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		c, err := js.Consumer(attempt, "IM_LOG", "recorder")
		cancel()
		for err == nil && ctx.Err() == nil {
			var batch jetstream.MessageBatch
			if batch, err = c.Fetch(500, jetstream.FetchMaxWait(time.Second)); err != nil {
				break
			}
			for m := range batch.Messages() {
				r.add(m.Data())
				_ = m.Ack() // an entry that is not acknowledged comes again
			}
			err = batch.Error()
		}
	}
}

func (r *logRecorder) add(entry []byte) {
	var e struct{ ID, From string }
	if json.Unmarshal(entry, &e) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[e.From+" "+e.ID] = true
}

// missing returns the names that the log does not have.
func (r *logRecorder) missing(names []string) (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if !r.seen[name] {
			all = append(all, name)
		}
	}
	return all
}
