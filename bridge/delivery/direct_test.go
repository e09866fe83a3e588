package delivery

import (
	"log/slog"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
)

// settler is a sink that settles receipts at once.
type settler struct{ taker }

func (k *settler) Deliver(frame []byte, r Receipt) error {
	k.got <- "dialogue " + string(frame)
	r.Settle(true)
	k.member.FlushAcks()
	return nil
}

// direct is a pair of friends on lanes of one process, which keep no conversations.
type direct struct {
	lanes    *Lanes
	server   *natsserver.Server
	from, to *settler
}

func newDirect(t *testing.T) *direct {
	t.Helper()
	s := natstest.Start(t, t.TempDir(), -1)
	always := func() bool { return true }
	lanes, err := New(Options{Lanes: 2, Prefix: "im", Node: "n", Timeout: time.Minute, Connect: natstest.Dialer(s.ClientURL()),
		Interest: func(subject string) int { return s.GlobalAccount().Interest(subject) },
		Notices:  NewNotices(natstest.Connect(t, s.ClientURL()), "im"), Fresh: always, Alone: always, Metrics: NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lanes.Close)
	d := &direct{lanes: lanes, server: s, from: new(settler), to: new(settler)}
	// The sink of the member is the settler, not its taker.
	for _, p := range []struct {
		k        *settler
		id, with string
	}{{d.from, ann, bob}, {d.to, bob, ann}} {
		p.k.join(t, lanes, p.id, p.with, false, false)
		p.k.member.sink = p.k
	}
	return d
}

// passed returns how many messages clients have sent to the NATS server, once it has read all that were sent before.
func (d *direct) passed(t *testing.T) int64 {
	t.Helper()
	for _, l := range d.lanes.lanes {
		if err := l.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	v, err := d.server.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.InMsgs
}

// send sends a dialogue and waits until the friend's sink has it.
func (d *direct) send(t *testing.T, id string) {
	t.Helper()
	if err := d.from.member.Send([]byte(bob), Relation{Friend: true}, []byte(id), []byte(`"hello"`), d.from); err != nil {
		t.Fatal(err)
	}
	d.to.want(t, `"id":`+id)
}

// TestDirectAck: NATS sees the dialogue between two users of this process, and not its acknowledgement.
func TestDirectAck(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	before := d.passed(t)
	for _, id := range []string{`"1"`, `"2"`, `"3"`} {
		d.send(t, id)
		d.from.want(t, id+": 200")
	}
	if n := d.passed(t) - before; n != 3 {
		t.Errorf("%d messages passed through NATS, want the 3 dialogues", n)
	}
	d.to.member.Leave()
	if err := d.from.member.Send([]byte(bob), Relation{Friend: true}, []byte(`"4"`), []byte(`"hello"`), d.from); err != nil {
		t.Fatal(err)
	}
	d.from.want(t, `"4": 508`)
}

// TestPost: a lane that is full or closed leaves a message to NATS, and blocks no other lane.
func TestPost(t *testing.T) {
	t.Parallel()
	l := &lane{in: make(chan *nats.Msg, 1)}
	if !l.post(new(nats.Msg)) {
		t.Error("an empty lane did not take a message")
	}
	if l.post(new(nats.Msg)) {
		t.Error("a full lane took a message")
	}
	<-l.in
	l.closeIn()
	if l.post(new(nats.Msg)) {
		t.Error("a closed lane took a message")
	}
}
