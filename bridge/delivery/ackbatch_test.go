package delivery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// TestAckBatch: the acknowledgements for one lane leave in one message, those for other senders in one each.
func TestAckBatch(t *testing.T) {
	t.Parallel()
	nc := server(t, "")
	defer nc.Close()
	in := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("_INBOX.>", in); err != nil {
		t.Fatal(err)
	}
	const a, b = "_INBOX.a" + laneMark, "_INBOX.b" + laneMark
	token := func(c string) string { return strings.Repeat(c, tokenSize) }
	k := &ackBatch{nc: nc}
	sent := func(want ...string) {
		t.Helper()
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(in) > 0 {
			m := <-in
			got = append(got, m.Subject+" "+string(m.Data))
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent:\n got %q\nwant %q", got, want)
		}
	}
	add := func(replies ...string) {
		t.Helper()
		for _, r := range replies {
			if !k.add(r) {
				t.Errorf("%s is not a lane's reply subject", r)
			}
		}
	}
	for _, r := range []string{"", "_INBOX.a.1", "_INBOX.a.lane.", laneMark + token("1"), a + token("1") + "2", a + "12", "_INBOX.a" + token("1")} {
		if k.add(r) {
			t.Errorf("%q is accepted as a lane's reply subject", r)
		}
	}
	add(a+token("1"), b+token("2"), a+token("3"))
	sent()
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	sent(a+"taken "+token("1")+token("3"), b+token("2")+" ")
	k.begin()
	add(b+token("4"), b+token("5"))
	if err := k.flush(); err != nil { // end sends them
		t.Fatal(err)
	}
	sent()
	if err := k.end(); err != nil {
		t.Fatal(err)
	}
	sent(b + "taken " + token("4") + token("5"))
	// A batch has at most maxBatch tokens.
	for range maxBatch + 1 {
		add(a + token("6"))
	}
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	sent(a+"taken "+strings.Repeat(token("6"), maxBatch), a+token("6")+" ")
}

// TestBatchEndsFlights: a batch of acknowledgements ends each flight once, whatever else is in it.
func TestBatchEndsFlights(t *testing.T) {
	t.Parallel()
	nc := server(t, "")
	f, o := testFlights(t, nc, true)
	silent, err := nc.SubscribeSync("friend")
	if err != nil {
		t.Fatal(err)
	}
	var tokens string
	for _, id := range []string{"1", "2"} {
		f.mustSend(t, id, o)
		m, err := silent.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		tokens += strings.TrimPrefix(m.Reply, f.inbox)
	}
	none := strings.Repeat("f", tokenSize)
	if err := nc.Publish(f.inbox+batchToken, []byte(none+tokens+strings.Repeat("x", tokenSize)+tokens+"12")); err != nil {
		t.Fatal(err)
	}
	o.want(t, "1 "+wire.Success.Message(), "2 "+wire.Success.Message())
	if f.mu.Lock(); f.active != 0 {
		t.Errorf("%d flights are active", f.active)
	}
	f.mu.Unlock()
	if len(o) != 0 {
		t.Errorf("%d more outcomes", len(o))
	}
}
