package bridge

import (
	"context"
	"errors"
	"testing"
	"time"

	"imctl/bridge/delivery"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/kv"
)

// sink discards frames.
type sink struct{}

func (sink) Deliver([]byte, delivery.Receipt) error             { return nil }
func (sink) DeliverLive(string, []byte, delivery.Receipt) error { return nil }
func (sink) Notify([]byte)                                      {}
func (sink) Take(delivery.Kept)                                 {}
func (sink) Flush()                                             {}

// TestRemovingStrangers: a client that repeatedly removes users who are not its friends does not fill the memory of the
// node, and keeps its friend.
func TestRemovingStrangers(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, t.TempDir(), -1)
	b := startBridge(t, s.ClientURL(), eventlog.Options{})
	id, friend := pair(t, b, natstest.Connect(t, s.ClientURL()), 0)
	m := delivery.NewMember(sink{}, false, false)
	roster, revision, err := b.opts.Store.Rosters.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.lanes.Join(ctx, id, m, roster, revision); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := b.services.Friends.Remove(ctx, kv.User{ID: id}, kv.NewID()); !errors.Is(err, kv.ErrNotFriends) {
			t.Fatal(err)
		}
	}
	if m.User().NeedsReload() || !m.Relation([]byte(friend)).Friend {
		t.Errorf("NeedsReload is %t, and the friend is one: %t", m.User().NeedsReload(), m.Relation([]byte(friend)).Friend)
	}
	m.Leave()
}
