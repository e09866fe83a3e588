package embedded

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestInterest(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0"})
	want := func(n int) {
		t.Helper()
		if got := s.Interest("im.user.a.notice"); got != n {
			t.Errorf("%d subscriptions, want %d", got, n)
		}
	}
	want(0)
	nc, err := s.Connect("one")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	outside, err := nats.Connect(s.URL(), nats.UserInfo(s.admin.User, s.admin.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	subscribe := func(nc *nats.Conn, subject string) *nats.Subscription {
		t.Helper()
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		return sub
	}
	subscribe(nc, "im.user.a.*")
	subscribe(nc, "im.user.b.*")
	want(1)
	sub := subscribe(outside, "im.user.a.notice")
	want(2)
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := outside.Flush(); err != nil {
		t.Fatal(err)
	}
	want(1)
}
