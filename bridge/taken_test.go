package bridge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// TestTakings: what one lane asked is answered in one message, what others asked in one each.
func TestTakings(t *testing.T) {
	t.Parallel()
	nc := member(t, "")
	defer nc.Close()
	in := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("_INBOX.>", in); err != nil {
		t.Fatal(err)
	}
	const a, b = "_INBOX.a" + laneMark, "_INBOX.b" + laneMark
	token := func(c string) string { return strings.Repeat(c, tokenSize) }
	k := &takings{nc: nc}
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
				t.Errorf("%s: nobody's", r)
			}
		}
	}
	for _, r := range []string{"", "_INBOX.a.1", "_INBOX.a.lane.", laneMark + token("1"), a + token("1") + "2", a + "12", "_INBOX.a" + token("1")} {
		if k.add(r) {
			t.Errorf("%q is taken for a lane's", r)
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
	if err := k.flush(); err != nil { // the lane will
		t.Fatal(err)
	}
	sent()
	if err := k.end(); err != nil {
		t.Fatal(err)
	}
	sent(b + "taken " + token("4") + token("5"))
	// No message is larger than it may be.
	for range manyMost + 1 {
		add(a + token("6"))
	}
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	sent(a+"taken "+strings.Repeat(token("6"), manyMost), a+token("6")+" ")
}

// TestTakenTogether: an answer to many flights ends each that is under way, once, whatever else is in it.
func TestTakenTogether(t *testing.T) {
	t.Parallel()
	nc := member(t, "")
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
	if err := nc.Publish(f.inbox+manyToken, []byte(none+tokens+strings.Repeat("x", tokenSize)+tokens+"12")); err != nil {
		t.Fatal(err)
	}
	o.want(t, "1 "+wire.Success.Message(), "2 "+wire.Success.Message())
	if f.mu.Lock(); f.active != 0 {
		t.Errorf("%d are under way", f.active)
	}
	f.mu.Unlock()
	if len(o) != 0 {
		t.Errorf("%d more outcomes", len(o))
	}
}
