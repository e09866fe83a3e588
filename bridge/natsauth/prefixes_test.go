package natsauth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
)

// startOthers starts the part of a callout that finds other installations.
func startOthers(t *testing.T, url string, prefix subject.Prefix) *others {
	t.Helper()
	o := &others{nc: natstest.Connect(t, url), prefix: prefix, log: slog.New(slog.DiscardHandler), seen: make(map[subject.Prefix]time.Time)}
	if err := o.start(within(t)); err != nil {
		t.Fatal(err)
	}
	return o
}

// answerLogins answers the logins that other installations ask about.
func answerLogins(t *testing.T, o *others, answer func(m *nats.Msg) error) {
	t.Helper()
	_, err := o.nc.QueueSubscribe(o.prefix.CalloutLogin(), o.prefix.QueueGroup(), func(m *nats.Msg) {
		if err := answer(m); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = o.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOthersFound checks that installations find each other in any order, and forget an installation that is gone.
func TestOthersFound(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	im, second := startOthers(t, url, "im"), startOthers(t, url, "im")
	chat := startOthers(t, url, "chat")
	if got := chat.list(); !slices.Equal(got, []subject.Prefix{"im"}) { // known as soon as it has started
		t.Errorf("chat knows %v", got)
	}
	shop := startOthers(t, url, "shop")
	if got := shop.list(); !slices.Equal(got, []subject.Prefix{"chat", "im"}) {
		t.Errorf("shop knows %v", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, o := range []*others{im, second} {
		for !slices.Equal(o.list(), []subject.Prefix{"chat", "shop"}) {
			if time.Now().After(deadline) {
				t.Fatalf("im knows %v", o.list())
			}
			if err := o.nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	im.mu.Lock()
	im.seen["chat"] = time.Now().Add(-hereFor - time.Second)
	im.mu.Unlock()
	if got := im.list(); !slices.Equal(got, []subject.Prefix{"shop"}) {
		t.Errorf("im knows %v", got)
	}
}

// TestOthersAsked checks that a login is refused only if all other installations refuse it, and that those that refuse
// it learn whether another one admits the client.
func TestOthersAsked(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	im, chat, shop := startOthers(t, url, "im"), startOthers(t, url, "chat"), startOthers(t, url, "shop")
	heard := make(chan string, 8)
	answerLogins(t, chat, func(m *nats.Msg) error {
		answer := outcome(outcomeRefused)
		answer.Subject = m.Reply
		final, err := chat.nc.RequestMsgWithContext(within(t), answer)
		if err == nil {
			heard <- final.Header.Get(outcomeHeader)
		}
		return err
	})
	says := make(chan string, 1)
	answerLogins(t, shop, func(m *nats.Msg) error { return m.RespondMsg(outcome(<-says)) })
	for _, c := range []struct {
		says, heard string
		admitted    bool
		refused     bool
	}{
		{says: outcomeRefused, heard: outcomeRefused, refused: true},
		{says: outcomeAdmitted, heard: outcomeAdmitted, admitted: true},
		{says: outcomeBusy, heard: outcomeRefused},
	} {
		says <- c.says
		admitted, err := im.ask(within(t), &nats.Msg{}, []subject.Prefix{"chat", "shop"})
		if got := <-heard; (admitted != nil) != c.admitted || errors.Is(err, errRefused) != c.refused || (err == nil) != c.admitted || got != c.heard {
			t.Errorf("shop says %s: admitted %t, error %v, chat hears %s", c.says, admitted != nil, err, got)
		}
	}
	// An installation that does not answer is not a refusal.
	says <- outcomeRefused
	if _, err := im.ask(within(t), &nats.Msg{}, []subject.Prefix{"gone", "shop"}); err == nil || errors.Is(err, errRefused) {
		t.Errorf("an installation is gone: got %v, want another error than %v", err, errRefused)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	says <- outcomeRefused
	if _, err := im.ask(ctx, &nats.Msg{}, []subject.Prefix{"shop"}); err == nil || errors.Is(err, errRefused) {
		t.Errorf("without time: got %v, want another error than %v", err, errRefused)
	}
}

// within returns a context of a test that ends after a while.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
