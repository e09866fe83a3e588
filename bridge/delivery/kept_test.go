package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// memory is a Keeper that stores each dialogue at once.
type memory struct {
	n    atomic.Uint64
	acks chan string
}

func (m *memory) Add(_ string, d kv.Dialogue, done talk.Done) error {
	d.N, d.At = m.n.Add(1), time.UnixMilli(0).UTC()
	done.Stored(&d, false)
	return nil
}

func (m *memory) AddFixed(to string, d kv.Dialogue, done talk.Done) error { return m.Add(to, d, done) }

func (m *memory) AddLive(to string, d kv.Dialogue, done talk.Done) {
	d.Live = true
	_ = m.Add(to, d, done) // never fails
}

func (m *memory) Doubted(string, string) []uint64 { return nil }

func (m *memory) Stalled() bool { return false }

func (m *memory) Got(user, with string, n uint64)  { m.note("got", user, with, n) }
func (m *memory) Read(user, with string, n uint64) { m.note("read", user, with, n) }

func (m *memory) Seen(string, string, uint64) {}

func (m *memory) note(what, user, with string, n uint64) {
	m.acks <- fmt.Sprint(what, " ", user[:1], " ", with[:1], " ", n)
}

// taker is a sink and a sender that writes down what it is handed.
type taker struct {
	member *Member
	got    chan string
}

func (*taker) Deliver([]byte, Receipt) error             { return nil }
func (*taker) DeliverLive(string, []byte, Receipt) error { return nil }
func (*taker) Flush()                                    {}
func (k *taker) Notify(frame []byte)                     { k.got <- "notice " + string(frame) }
func (k *taker) Take(d Kept) {
	k.got <- fmt.Sprintf("take %d own %t frame %t plain %t", d.N, d.Own, d.Frame != nil, d.Plain != nil)
}

func (k *taker) Answered(id []byte, code wire.Code, _ time.Duration) {
	k.got <- fmt.Sprintf("%s: %d", id, code)
}

func (k *taker) Kept(id []byte, n uint64, _ time.Time, _ time.Duration) {
	k.got <- fmt.Sprintf("%s: kept as %d", id, n)
}

func (k *taker) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-k.got:
			if !strings.Contains(got, w) {
				t.Errorf("got %q, want %q", got, w)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no %q", w)
		}
	}
}

// keeping returns lanes that keep conversations in memory, on a NATS server that tells its interest.
func keeping(t *testing.T) (*Lanes, *memory, string) {
	t.Helper()
	s := natstest.Start(t, t.TempDir(), -1)
	keeper := &memory{acks: make(chan string, 8)}
	always := func() bool { return true }
	lanes, err := New(Options{Lanes: 2, Prefix: "im", Node: "n", Timeout: time.Minute, Connect: natstest.Dialer(s.ClientURL()), Keeper: keeper, Receipts: true,
		Interest: func(subject string) int { return s.GlobalAccount().Interest(subject) },
		Notices:  NewNotices(natstest.Connect(t, s.ClientURL()), "im"), Fresh: always, Alone: always, Metrics: NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if s.GlobalAccount().Interest(subject.Prefix("im").Taken("n", bob, ann, 1)) == 0 {
		t.Error("NATS does not have the subscription to acknowledgements yet")
	}
	t.Cleanup(lanes.Close)
	return lanes, keeper, s.ClientURL()
}

var (
	ann = strings.Repeat("a", 32)
	bob = strings.Repeat("b", 32)
)

func (k *taker) join(t *testing.T, lanes *Lanes, user, friend string, push, keep bool) *taker {
	t.Helper()
	k.got = make(chan string, 64)
	k.member = NewMember(k, push, keep)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := lanes.Join(ctx, user, k.member, kv.Roster{Friends: []kv.Friend{{ID: friend}}}, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.member.Leave)
	return k
}

// TestKeptDialogue hands a dialogue to each kind of session of both users.
func TestKeptDialogue(t *testing.T) {
	t.Parallel()
	lanes, keeper, _ := keeping(t)
	from := new(taker).join(t, lanes, ann, bob, true, true)
	other, pushed := new(taker).join(t, lanes, ann, bob, true, true), new(taker).join(t, lanes, ann, bob, true, false)
	to, plain := new(taker).join(t, lanes, bob, ann, true, true), new(taker).join(t, lanes, bob, ann, false, false)
	d := kv.Dialogue{ID: []byte(`"1"`), Payload: []byte(`"hello"`)}
	if err := from.member.Keep([]byte(bob), Relation{Friend: true}, d, from); err != nil {
		t.Fatal(err)
	}
	to.want(t, "take 1 own false frame true")
	plain.want(t, "take 1 own false frame true plain true")
	from.want(t, `"1": kept as 1`, "take 1 own true frame false plain false")
	other.want(t, "take 1 own true frame true")
	pushed.want(t, "take 1 own true frame true plain true")

	to.member.Got(ann, 1)
	lanes.Advanced(bob, ann, 1, 0)
	from.want(t, `"code":303`)
	other.want(t, `"code":303`)
	lanes.Advanced(bob, ann, 0, 1)
	from.want(t, `"code":304`)
	to.want(t, `"own":true`)
	to.member.Typing(ann)
	from.want(t, `"code":305`)
	if len(pushed.got)+len(plain.got) > 0 {
		t.Error("a session that takes no part was told")
	}
	if got := <-keeper.acks; got != "got b a 1" {
		t.Errorf("acknowledged: %s", got)
	}
}

// TestKeptAnswer answers a sender that does not know of kept conversations when a client of the friend has the dialogue,
// also if that is before the sender begins to wait, or if no client has it any more.
func TestKeptAnswer(t *testing.T) {
	t.Parallel()
	lanes, _, _ := keeping(t)
	from := new(taker).join(t, lanes, ann, bob, false, false)
	send := func() {
		t.Helper()
		if err := from.member.Send([]byte(bob), Relation{Friend: true}, []byte(`"1"`), []byte(`"x"`), from); err != nil {
			t.Fatal(err)
		}
	}
	send()
	from.want(t, `"1": 508`)
	to := new(taker).join(t, lanes, bob, ann, true, true)
	send()
	to.want(t, "take 1")
	from.want(t, "take 1 own true")
	if len(from.got) > 0 {
		t.Errorf("answered before the acknowledgement: %s", <-from.got)
	}
	to.member.Got(ann, 1)
	from.want(t, `"1": 200`)
	to.member.Got(ann, 2) // from a read of the store
	send()
	from.want(t, "take 2", `"1": 200`)
	send()
	from.want(t, "take 3")
	to.member.Leave()
	from.want(t, `"1": 507`)
}

// TestAwayIsNotTold: an acknowledgement in a conversation with a user that has no client does no harm.
func TestAwayIsNotTold(t *testing.T) {
	t.Parallel()
	lanes, _, _ := keeping(t)
	lanes.Advanced(bob, ann, 1, 1)
}

// TestKeptByNATS: a program takes a kept dialogue as a request, and its empty reply acknowledges.
func TestKeptByNATS(t *testing.T) {
	t.Parallel()
	lanes, keeper, url := keeping(t)
	from := new(taker).join(t, lanes, ann, bob, true, true)
	nc := natstest.Connect(t, url)
	asked := make(chan string, 8)
	_, err := nc.Subscribe("im.user."+bob+".dialogue", func(m *nats.Msg) {
		asked <- string(m.Data)
		_ = m.Respond(nil) // the test notices a lost acknowledgement
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := from.member.Keep([]byte(bob), Relation{Friend: true}, kv.Dialogue{ID: []byte(`"1"`), Payload: []byte(`"x"`), Re: 7}, from); err != nil {
		t.Fatal(err)
	}
	if got, want := <-asked, `{"id":"1","from":"`+ann+`","payload":"x","with":"`+ann+`","n":1,"at":"1970-01-01T00:00:00.000Z","re":7}`; got != want {
		t.Errorf("the program got %s, want %s", got, want)
	}
	select {
	case got := <-keeper.acks:
		if got != "got b a 1" {
			t.Errorf("acknowledged: %s", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the reply acknowledged nothing")
	}
}
