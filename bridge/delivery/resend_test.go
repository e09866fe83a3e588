package delivery

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// server starts a NATS server and connects to it. A cluster name makes the server a member of that cluster, without
// other members.
func server(t *testing.T, cluster string) *nats.Conn {
	t.Helper()
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}
	if cluster != "" {
		o.Cluster = natsserver.ClusterOpts{Name: cluster, Host: "127.0.0.1", Port: -1}
	}
	ns, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// outcomes is a Sender that collects ids and codes in the order of the answers.
type outcomes chan string

func (o outcomes) Answered(id []byte, code wire.Code, _ time.Duration) {
	o <- string(id) + " " + code.Message()
}

func (o outcomes) Kept([]byte, uint64, time.Time, time.Duration) {}

func (o outcomes) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-o:
			if got != w {
				t.Errorf("got %s, want %s", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("timeout waiting for %s", w)
		}
	}
}

// testFlights returns flights on a connection, and a sender for them.
func testFlights(t *testing.T, nc *nats.Conn, alone bool) (*flights, outcomes) {
	t.Helper()
	f := newFlights(nc, time.Minute, func() bool { return alone })
	in := make(chan *nats.Msg, 100)
	if err := f.subscribe(in); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range in {
			f.receive(m)
		}
	}()
	t.Cleanup(func() { f.close(); nc.Close(); close(in) })
	return f, make(outcomes, 100)
}

func (f *flights) mustSend(t *testing.T, id string, o outcomes) {
	t.Helper()
	fl := f.take(o)
	fl.subject, fl.data, fl.id = "friend", append(fl.data, id...), append(fl.id, id...)
	if err := f.launch(fl); err != nil {
		t.Fatal(err)
	}
}

// TestResend: a friend that comes online a moment after a dialogue was sent gets that dialogue and the following ones,
// in order.
func TestResend(t *testing.T) {
	t.Parallel()
	nc := server(t, "c")
	f, o := testFlights(t, nc, false)
	f.holdFor = time.Second
	f.mustSend(t, "1", o)
	f.mustSend(t, "2", o)
	f.mu.Lock()
	for len(f.held["friend"]) < 2 { // both found no subscription
		f.mu.Unlock()
		runtime.Gosched()
		f.mu.Lock()
	}
	f.mu.Unlock()
	friend, err := nc.SubscribeSync("friend")
	if err != nil {
		t.Fatal(err)
	}
	f.mustSend(t, "3", o)
	for _, id := range []string{"1", "2", "3"} {
		m, err := friend.NextMsg(10 * time.Second)
		if err != nil || string(m.Data) != id {
			t.Fatalf("got %v, %v, want %s", m, err, id)
		}
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
		o.want(t, id+" Success")
	}
}

// TestResendOffline: the friend stays offline. Where no interest can be on its way, the answer is not delayed.
func TestResendOffline(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what    string
		cluster string
		alone   bool
		waits   bool
	}{{"cluster", "c", false, true}, {"one server", "", false, false}, {"one node", "c", true, false}} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			f, o := testFlights(t, server(t, row.cluster), row.alone)
			began := time.Now()
			f.mustSend(t, "1", o)
			o.want(t, "1 "+wire.PeerOffline.Message())
			if took := time.Since(began); took >= interestDelay != row.waits {
				t.Errorf("answered after %s", took)
			}
		})
	}
}

// TestResendOvertaken: a dialogue is not resent if a later one was delivered, or may have been.
func TestResendOvertaken(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		nc := server(t, "c")
		f, o := testFlights(t, nc, false)
		friend, err := nc.SubscribeSync("friend")
		if err != nil {
			t.Fatal(err)
		}
		f.mustSend(t, "1", o)
		f.mustSend(t, "2", o)
		var got []*nats.Msg
		for range 2 {
			m, err := friend.NextMsg(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m)
		}
		slot := slices.IndexFunc(f.slots, func(s flightSlot) bool { return string(s.flight.id) == "1" })
		if !f.hold(uint32(slot), f.slots[slot].round) { // as if the first one had found no subscription
			t.Fatal("not held")
		}
		if answered {
			if err := got[1].Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
		o.want(t, "1 "+wire.PeerOffline.Message())
		if answered {
			o.want(t, "2 Success")
		}
		if m, err := friend.NextMsg(2 * interestDelay); err == nil {
			t.Errorf("resent: %s", m.Data)
		}
	}
}

// TestRefusals: a dialogue that is refused only by nodes on which the friend has left is answered with 508. If a
// session refuses it too, the answer is 507, and if one accepts it, 200.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answers []string
		want    wire.Code
	}{
		"left":                {[]string{string(left)}, wire.PeerOffline},
		"left everywhere":     {[]string{string(left), string(left)}, wire.PeerOffline},
		"left, and refused":   {[]string{string(left), string(refused)}, wire.SendFailed},
		"refused, and left":   {[]string{string(refused), string(left)}, wire.SendFailed},
		"left, and delivered": {[]string{string(left), ""}, wire.Success},
		"a client's refusal":  {[]string{`{"code":508}`}, wire.SendFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := server(t, "")
			f, o := testFlights(t, nc, true)
			if _, err := nc.Subscribe("friend", func(m *nats.Msg) {
				for _, a := range row.answers {
					if err := m.Respond([]byte(a)); err != nil {
						t.Error(err)
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			f.mustSend(t, "1", o)
			o.want(t, "1 "+row.want.Message())
		})
	}
}

// TestBytesInFlight: when the dialogues in flight have too many bytes, a sender may still send its share, and what has
// ended makes room.
func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	nc := server(t, "c")
	f, o := testFlights(t, nc, true)
	f.most = func() int { return 4 * senderShare }
	if _, err := nc.SubscribeSync("friend"); err != nil { // it never replies
		t.Fatal(err)
	}
	send := func(m *Member, size int) error {
		fl := f.take(o)
		fl.subject, fl.data, fl.id, fl.member = "friend", append(fl.data, make([]byte, size)...), append(fl.id, '1'), m
		return f.launch(fl)
	}
	greedy, modest := new(Member), new(Member)
	for range 4 {
		if err := send(greedy, senderShare); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		what   string
		sender *Member
		size   int
		want   error
	}{
		{"a sender with much in flight", greedy, 1, errInFlight},
		{"a sender with little in flight", modest, senderShare, nil},
		{"the same sender over its share", modest, 1, errInFlight},
		{"a small dialogue of a NATS client", nil, smallDialogue, nil},
		{"a large dialogue of a NATS client", nil, smallDialogue + 1, errInFlight},
	} {
		if err := send(test.sender, test.size); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.what, err, test.want)
		}
	}
	f.abort()
	if f.bytes != 0 || greedy.inFlight != 0 || modest.inFlight != 0 {
		t.Errorf("after the end %d bytes are counted, and %d and %d of the senders", f.bytes, greedy.inFlight, modest.inFlight)
	}
	if err := send(greedy, senderShare); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// TestReturn: after an outage of NATS a dialogue that no client takes is answered 507, since the friend's node may not
// have returned yet, and later 508.
func TestReturn(t *testing.T) {
	t.Parallel()
	f, got := testFlights(t, server(t, ""), false)
	send := func(at time.Time) {
		f.setBack(at)
		fl := f.take(got)
		fl.subject, fl.id = "nobody", append(fl.id, '1')
		if err := f.launch(fl); err != nil {
			t.Fatal(err)
		}
	}
	send(time.Now().Add(time.Hour))
	got.want(t, "1 "+wire.SendFailed.Message())
	send(time.Now().Add(-returnTime))
	got.want(t, "1 "+wire.PeerOffline.Message())
}
