package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// TestPause: a pause ends once the dialogues in flight are answered. Those that begin meanwhile wait, and are sent in
// order.
func TestPause(t *testing.T) {
	t.Parallel()
	nc := server(t, "")
	f, answers := testFlights(t, nc, true)
	arrived := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("friend", arrived); err != nil {
		t.Fatal(err)
	}
	send := func(id string) { f.mustSend(t, id, answers) }
	take := func(id string) *nats.Msg {
		t.Helper()
		select {
		case m := <-arrived:
			if string(m.Data) != id {
				t.Errorf("arrived %s, want %s", m.Data, id)
			}
			return m
		case <-time.After(10 * time.Second):
			t.Fatalf("timeout waiting for %s", id)
		}
		return nil
	}
	send("1")
	first := take("1")
	paused := make(chan struct{})
	go func() { f.pause(t.Context()); close(paused) }()
	for f.mu.Lock(); !f.paused; f.mu.Lock() {
		f.mu.Unlock()
	}
	f.mu.Unlock()
	send("2")
	send("3")
	select {
	case <-paused:
		t.Error("the pause did not wait for the dialogue in flight")
	default:
	}
	if err := first.Respond(nil); err != nil {
		t.Fatal(err)
	}
	answers.want(t, "1 "+wire.Success.Message())
	select {
	case <-paused:
	case <-time.After(10 * time.Second):
		t.Fatal("the pause did not end")
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(arrived) != 0 {
		t.Error("a dialogue was sent during the pause")
	}
	f.resume()
	send("4")
	for _, id := range []string{"2", "3", "4"} {
		if err := take(id).Respond(nil); err != nil {
			t.Fatal(err)
		}
		answers.want(t, id+" "+wire.Success.Message())
	}

	// Without an answer the pause ends with its context. What waits has not been sent, so it survives a lost connection.
	send("5")
	take("5")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f.pause(ended)
	send("6")
	f.abort()
	answers.want(t, "5 "+wire.SendFailed.Message())
	f.resume()
	if err := take("6").Respond(nil); err != nil {
		t.Fatal(err)
	}
	answers.want(t, "6 "+wire.Success.Message())

	// The end of the lane answers what waits.
	f.pause(ended)
	send("7")
	f.close()
	answers.want(t, "7 "+wire.SendFailed.Message())
}
