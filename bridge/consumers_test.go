package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// sender sends dialogues over NATS.
type sender struct {
	nc       *nats.Conn
	from, to string
	n        int
}

func newSender(t *testing.T, b *Bridge, url string, n int) *sender {
	t.Helper()
	from, to := pair(t, b, natstest.Connect(t, url), n)
	return &sender{nc: natstest.Connect(t, url, nats.CustomInboxPrefix(subject.Inbox(from))), from: from, to: to}
}

// send sends one dialogue of a kilobyte, and returns the answer.
func (s *sender) send(t *testing.T) string {
	t.Helper()
	s.n++
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, "im.send."+s.from,
		fmt.Appendf(nil, `{"id":"%d","toFriend":"%s","payload":"%s"}`, s.n, s.to, strings.Repeat("p", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Data)
}

// TestForgottenConsumer fills the log up with entries for a consumer whose program never comes. Two nodes detach it,
// one of them does it, and dialogues go on. A restart changes nothing, and the attachment can be resumed.
func TestForgottenConsumer(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	testForgottenConsumer(t, 1, url, url)
}

// TestForgottenConsumerInCluster is TestForgottenConsumer with three replicas, and nodes on two NATS servers.
func TestForgottenConsumerInCluster(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartCluster(t, 3)
	testForgottenConsumer(t, 3, cluster.Nodes[0].URL(), cluster.Nodes[1].URL())
}

func testForgottenConsumer(t *testing.T, replicas int, url, other string) {
	const maxBytes = 64 << 10
	log := new(natstest.Log)
	startAt := func(url string, idle time.Duration) *Bridge {
		t.Helper()
		return startBridge(t, url, eventlog.Options{MaxBytes: maxBytes, WatchEvery: 10 * time.Millisecond, Replicas: replicas}, func(o *Options) {
			o.LogIdle, o.Log = idle, slog.New(slog.NewTextHandler(log, nil))
		})
	}
	start := func(idle time.Duration) *Bridge { return startAt(url, idle) }
	b := start(0)
	ctx := t.Context()
	if _, _, err := b.services.Attachments.Add(ctx, "archive", kv.RoleConsumer, ""); err != nil {
		t.Fatal(err)
	}
	s := newSender(t, b, url, 0)
	for !strings.Contains(s.send(t), `"code":507`) {
		if s.n > 2*maxBytes/1000 {
			t.Fatal("the log does not get full")
		}
	}
	full := "the event log is full, so dialogues are answered 507; consumer archive is behind by"
	wait(t, "the node says so", func() bool { return strings.HasPrefix(b.LogDegraded(), full) })
	if err := b.Ready(); err != nil {
		t.Errorf("a full log makes the node unready: %v", err)
	}
	shutDown(t, b)

	const idle = 100 * time.Millisecond
	one, two := start(idle), startAt(other, idle)
	attachment := func() kv.Attachment {
		t.Helper()
		a, err := one.opts.Store.Attachments.Get(ctx, "archive")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	wait(t, "the consumer is detached", func() bool { return state(t, url).Consumers == 0 && state(t, url).Msgs == 0 })
	if a := attachment(); !a.IsDetached() || a.Detached.Entries == 0 {
		t.Errorf("the attachment is %+v", a)
	}
	for range 3 * maxBytes / 1000 {
		if got := s.send(t); !strings.Contains(got, `"code":200`) {
			t.Fatalf("a dialogue is answered %s", got)
		}
	}
	wait(t, "the log is fine", func() bool { return one.LogDegraded() == "" && two.LogDegraded() == "" })
	shutDown(t, two)
	shutDown(t, one)
	if n := strings.Count(log.String(), "a consumer of the event log was detached"); n != 1 {
		t.Errorf("%d nodes have detached the consumer:\n%s", n, log)
	}

	one = start(idle)
	current, err := one.opts.Store.States.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := current.Streams["IM_LOG/archive"]; ok {
		t.Errorf("the state expects the consumer of %s", at)
	}
	if a := attachment(); !a.IsDetached() || state(t, url).Consumers != 0 {
		t.Errorf("after a restart the attachment is %+v, with %d consumers", a, state(t, url).Consumers)
	}
	if _, err := one.services.Attachments.Resume(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	if _, err := one.services.Attachments.Resume(ctx, "archive"); !errors.Is(err, kv.ErrAttachmentInvalid) {
		t.Errorf("resumed twice: %v", err)
	}
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(ctx, "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.send(t); !strings.Contains(got, `"code":200`) {
		t.Fatalf("a dialogue is answered %s", got)
	}
	if m := <-fetch(t, c, 1); !strings.Contains(string(m.Data()), fmt.Sprintf(`"id":"%d"`, s.n)) {
		t.Errorf("the resumed consumer got %s", m.Data())
	}
	shutDown(t, one)
	if current, err = one.opts.Store.States.Get(ctx); err != nil || current.Streams["IM_LOG/archive"].IsZero() {
		t.Errorf("the state does not expect the new consumer: %v, %v", current.Streams, err)
	}
}

// TestUnfinishedDetach has a node end after it has noted that an attachment is detached. The next start removes the
// consumer.
func TestUnfinishedDetach(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	start := func() *Bridge {
		return startBridge(t, url, eventlog.Options{WatchEvery: 10 * time.Millisecond})
	}
	b := start()
	ctx := t.Context()
	if _, _, err := b.services.Attachments.Add(ctx, "archive", kv.RoleConsumer, ""); err != nil {
		t.Fatal(err)
	}
	shutDown(t, b)
	for range 2 {
		if _, err := b.opts.Store.Attachments.Observe(ctx, "archive", kv.Observation{Limit: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if _, done, err := b.opts.Store.Attachments.Detach(ctx, "archive", time.Nanosecond, 1); err != nil || !done {
		t.Fatalf("Detach: %t, %v", done, err)
	}
	b = start()
	wait(t, "the consumer is removed", func() bool { return state(t, url).Consumers == 0 })
	shutDown(t, b)
	start()
}
