package delivery

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// TestOutdatedDialogue delivers a dialogue that a NATS server kept while its sender's lane moved to another server. It
// is refused, since a later one was delivered before.
func TestOutdatedDialogue(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("later one stored %t", kept), func(t *testing.T) {
			t.Parallel()
			testOutdatedDialogue(t, kept)
		})
	}
}

// testOutdatedDialogue: with kept, the later dialogue is stored, and the others are not.
func testOutdatedDialogue(t *testing.T, kept bool) {
	lanes, _, url := keeping(t)
	if !kept {
		lanes.lanes[0].keeper, lanes.lanes[1].keeper = nil, nil
	}
	to := (&accepting{taker: taker{got: make(chan string, 8)}}).join(t, lanes, bob, ann)
	sender := natstest.Connect(t, url)
	f := newFlights(sender, time.Minute, func() bool { return true })
	replies := make(chan *nats.Msg, 8)
	if err := f.subscribe(replies); err != nil {
		t.Fatal(err)
	}
	reply := func(n uint32) string {
		r := f.appendReply(nil, n, 1)
		f.stamp(r)
		return string(r)
	}
	before, old := reply(1), reply(2)
	f.abort()
	publish := func(m *nats.Msg) {
		t.Helper()
		m.Subject = "im.user." + bob + ".dialogue"
		if err := sender.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	send := func(reply, id string, want string) {
		t.Helper()
		publish(&nats.Msg{Reply: reply, Header: nats.Header{liveHeader: {"1"}}, Data: wire.AppendDialogue(nil, []byte(id), ann, []byte(`"x"`))})
		for {
			select {
			case m := <-replies:
				if m.Subject != reply {
					continue // to the stored dialogue
				}
				if got := replyCode(m); (got == wire.Success) != (want == "taken") {
					t.Errorf("dialogue %s: %d %s, want %s", id, got, m.Data, want)
				}
				return
			case <-time.After(30 * time.Second):
				t.Fatalf("dialogue %s: no reply", id)
			}
		}
	}
	send(before, `"1"`, "taken")
	if kept {
		d := kv.Dialogue{N: 1, From: ann, ID: []byte(`"2"`), Payload: []byte(`"x"`)}
		publish(&nats.Msg{Reply: reply(3), Data: talk.Frame(&d, ann).Append(nil)})
	} else {
		send(reply(3), `"2"`, "taken")
	}
	send(old, `"3"`, "refused")
	if got := strings.Join(to.got, " "); strings.Contains(got, `"3"`) || !kept && got != `"1" "2"` {
		t.Errorf("delivered: %s", got)
	}
}

// accepting is a sink that acknowledges each dialogue.
type accepting struct {
	taker
	got []string
}

func (a *accepting) join(t *testing.T, lanes *Lanes, user, friend string) *accepting {
	t.Helper()
	m := NewMember(a, false, false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := lanes.Join(ctx, user, m, kv.Roster{Friends: []kv.Friend{{ID: friend}}}, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Leave)
	return a
}

// Deliver runs on the goroutine of the lane, before the reply.
func (a *accepting) Deliver(frame []byte, r Receipt) error {
	d, _ := wire.ParseDialogue(frame)
	a.got = append(a.got, string(d.ID))
	r.Settle(true)
	return nil
}

func (a *accepting) DeliverLive(_ string, frame []byte, r Receipt) error { return a.Deliver(frame, r) }

// TestEpochs: epochs wrap around, each lane has its own, and slots keep their numbers.
func TestEpochs(t *testing.T) {
	t.Parallel()
	var e epochs
	reply := func(lane string, epoch byte) string {
		return "_INBOX." + lane + laneMark + hex.EncodeToString([]byte{epoch, 0, 0, 1, 0, 0, 0, 1})
	}
	for i, x := range []struct {
		lane  string
		epoch byte
		want  bool
	}{{"a", 3, false}, {"a", 3, false}, {"a", 2, true}, {"b", 2, false}, {"a", 4, false}, {"a", 3, true}, {"a", 100, false}, {"a", 220, false}, {"a", 1, false}, {"a", 255, true}} {
		if got := e.outdated(reply(x.lane, x.epoch)); got != x.want {
			t.Errorf("%d: epoch %d of %s: outdated %t, want %t", i, x.epoch, x.lane, got, x.want)
		}
	}
	if e.outdated("_INBOX.a.1") || e.outdated("") {
		t.Error("a dialogue of a program is outdated")
	}
	f := &flights{inbox: "_INBOX.a" + laneMark}
	f.epoch.Store(0x1ff)
	r := f.appendReply(nil, 77, 5)
	f.stamp(r)
	_, token, _ := splitReply(string(r))
	if n, round, ok := parseToken([]byte(token)); n != 77 || round != 5 || !ok || token[:2] != "ff" {
		t.Errorf("token %s: slot %d, round %d", token, n, round)
	}
}
