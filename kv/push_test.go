package kv

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestPushKeys: the keys are made once, by any store, and stay.
func TestPushKeys(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	stores := []*Store{openStore(t, nc, Options{}), openStore(t, nc, Options{})}
	keys := make([]PushKeys, 8)
	for i, err := range atOnce(len(keys), func(i int) (err error) {
		keys[i], err = stores[i%2].Push.Keys(testContext(t))
		return err
	}) {
		if err != nil || keys[i] != keys[0] || len(keys[i].Public) != 87 || len(keys[i].Private) != 43 {
			t.Errorf("call %d: the keys differ or have a wrong length, %v", i, err)
		}
	}
}

func TestPushSubscriptions(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	john, mary := mustCreate(t, s, "john", "John"), mustCreate(t, s, "mary", "Mary")
	add := func(user, endpoint string, change func(*PushSubscription)) {
		t.Helper()
		sub := PushSubscription{Endpoint: endpoint, Auth: "a", Token: "t", Login: time.Unix(5, 0).UTC()}
		if change != nil {
			change(&sub)
		}
		if err := s.Push.Add(ctx, user, sub); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(user string, want ...string) []PushSubscription {
		t.Helper()
		all, err := s.Push.List(ctx, user)
		var got []string
		for _, sub := range all {
			got = append(got, sub.Endpoint)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("subscriptions are %v, %v, want %v", got, err, want)
		}
		return all
	}
	expect(john.ID)
	add(john.ID, "https://a", nil)
	add(john.ID, "https://b", nil)
	add(john.ID, "https://a", func(s *PushSubscription) { s.Text = true })
	if all := expect(john.ID, "https://b", "https://a"); !all[1].Text || all[0].Text {
		t.Errorf("the later one does not replace the earlier one: %+v", all)
	}
	add(mary.ID, "https://a", nil) // the device has a new user
	expect(john.ID, "https://b")
	expect(mary.ID, "https://a")
	var last []string
	for i := range MaxPushSubscriptions + 2 {
		last = append(last, fmt.Sprint("https://", i))
		add(mary.ID, last[i], nil)
	}
	expect(mary.ID, last[2:]...)
	if err := s.Push.Remove(ctx, mary.ID, PushSubscription{Endpoint: last[2]}.ID()); err != nil {
		t.Fatal(err)
	}
	if err := s.Push.RemoveWhere(ctx, mary.ID, func(s PushSubscription) bool { return s.Endpoint != last[5] }); err != nil {
		t.Fatal(err)
	}
	expect(mary.ID, last[5])
	if err := s.Push.Add(ctx, "x", PushSubscription{}); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("an invalid id: %v", err)
	}
	// Those of a deleted user are found.
	if err := s.Push.Add(ctx, NewID(), PushSubscription{Endpoint: "https://lost"}); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Sweep(ctx, false); err != nil || found.Push != 1 {
		t.Errorf("the sweep found %+v, %v", found, err)
	}
	if found, err := s.Sweep(ctx, false); err != nil || found != (Findings{}) {
		t.Errorf("the second sweep found %+v, %v", found, err)
	}
	expect(mary.ID, last[5])
}
