package cmd

import (
	"cmp"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// commitOnly stores a dialogue as a node does that is killed between the commit and the delivery: no client hears of it.
func (s *server) commitOnly(t *testing.T, from *keepPerson, id, payload string) {
	t.Helper()
	talks, p := s.app.backend.store.Talks, kv.PairOf(from.id, from.friend.id)
	head, err := talks.Last(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	next := cmp.Or(head, kv.EmptyRecord(p, 0)).Next(1, []kv.Dialogue{{From: from.id, ID: []byte(strconv.Quote(id)), Payload: []byte(strconv.Quote(payload)), At: at, Kept: true}})
	m := &nats.Msg{Subject: talks.Subject(p), Data: next.Append(nil), Header: nats.Header{}}
	seq := uint64(0)
	if head != nil {
		seq = head.Seq
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	js, err := jetstream.New(s.app.backend.nc)
	if err == nil {
		_, err = js.PublishMsg(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNodeKilledBeforeDelivery: a dialogue that was stored by a node that ended before it was shown is found by its
// number and at the next login, and keeps its number when its sender sends it again.
func TestNodeKilledBeforeDelivery(t *testing.T) {
	t.Parallel()
	s := start(t)
	people := newWorld(t, s).newKeepPersons(t)
	a, b := people[0], people[1]
	keep, _ := a.openKeep(t, 0)
	friend, _ := b.openKeep(t, 0)
	plain, _ := b.openTunnel(t)
	a.sendKept(t, keep, 1, 2, "")
	s.commitOnly(t, a, "k3", "3")
	keep.send(t, dialogue(`"k3"`, b.id, `"3"`))
	if f := keep.nextKept(t, "k3"); f.Code != 202 || f.N != 3 {
		t.Errorf("a dialogue that was stored, sent again: %+v, want number 3", f)
	}
	s.commitOnly(t, a, "k4", "4")
	a.sendKept(t, keep, 5, 1, "")
	// The friend sees the gaps. Its contract session has none.
	for last := uint64(0); last < 5; {
		d := friend.nextDialogue(t)
		if d.N <= last {
			t.Fatalf("dialogue %d after %d", d.N, last)
		}
		last = d.N
	}
	b.wantPlain(t, plain, 1, 5, "")
	b.acknowledges(5, 0) // by the contract session
	d := b.newDevice(t, "late", 0, 0, nil)
	if err := d.settle(); err != nil || d.upTo != 5 || d.log[4].Payload != "4" {
		t.Errorf("the device has %d dialogues, %+v, %v", d.upTo, d.log[4], err)
	}
}

// TestAckWhileFriendIsAway: an acknowledgement for a friend without any session does no harm, and is shown at its login.
func TestAckWhileFriendIsAway(t *testing.T) {
	t.Parallel()
	people := newWorld(t, start(t)).newKeepPersons(t)
	a, b := people[0], people[1]
	keep, _ := a.openKeep(t, 0)
	a.sendKept(t, keep, 1, 2, "")
	keep.close(t)
	d := b.newDevice(t, "reader", 0, 0, nil)
	if err := d.settle(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cursors of the friend", func() bool {
		c, talks := a.openKeep(t, 0)
		defer c.close(t)
		return len(talks) == 1 && talks[0].PeerGot == 2 && talks[0].PeerRead == 2
	})
}
