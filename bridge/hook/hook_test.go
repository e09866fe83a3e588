package hook

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// TestParseVerdict: only answers that a moderator may give have an effect.
func TestParseVerdict(t *testing.T) {
	t.Parallel()
	none := Verdict{Code: -1} // for a fault
	for _, row := range []struct {
		kind   Kind
		answer string
		want   Verdict
	}{
		{Dialogue, ``, Verdict{}},
		{Dialogue, `{"action":"pass"}`, Verdict{}},
		{Dialogue, ` {"action" : "pass", "later":1}`, Verdict{}},
		{Dialogue, `{"action":"replace","payload":"x"}`, Verdict{Action: Replace, Payload: []byte(`"x"`)}},
		{Dialogue, `{"action":"replace","payload":"\u00e4"}`, Verdict{Action: Replace, Payload: []byte(`"\u00e4"`)}},
		{Dialogue, `{"action":"replace","payload":""}`, none},
		{Dialogue, `{"action":"replace","payload":["x"]}`, none},
		{Dialogue, `{"action":"replace","payload":null}`, none},
		{Dialogue, `{"action":"replace"}`, none},
		{Dialogue, `{"action":"refuse"}`, Verdict{Action: Refuse, Code: wire.NotFriends}},
		{Dialogue, `{"action":"refuse","code":511}`, Verdict{Action: Refuse, Code: wire.PayloadEmpty}},
		{Dialogue, `{"action":"refuse","code":200}`, none},
		{Dialogue, `{"action":"refuse","code":508}`, none}, // no answer to a session with keep
		{Dialogue, `{"action":"refuse","code":"512"}`, none},
		{Dialogue, `{"action":"drop"}`, Verdict{Action: Drop}},
		{Dialogue, `{"action":"Drop"}`, none},
		{Dialogue, `{}`, none},
		{Dialogue, `null`, none},
		{Dialogue, `{"action":"pass"`, none},
		{Register, `{"action":"refuse","code":504}`, Verdict{Action: Refuse, Code: wire.AccountExists}},
		{Register, `{"action":"refuse","code":512}`, none},
		{Register, `{"action":"drop"}`, none},
		{Register, `{"action":"replace","payload":"x"}`, none},
		{Request, `{"action":"refuse"}`, Verdict{Action: Refuse, Code: wire.ProtocolError}},
		{Request, `{"action":"replace","payload":"two\nlines"}`, Verdict{Action: Replace, Payload: []byte(`"two\nlines"`)}},
		{Request, `{"action":"replace","payload":""}`, Verdict{Action: Replace, Payload: []byte(`""`)}},
		{Request, `{"action":"replace","payload":"` + strings.Repeat("x", wire.MaxNote+1) + `"}`, none},
		{Request, `{"action":"replace"}`, none},
		{Request, `{"action":"drop"}`, Verdict{Action: Drop}},
	} {
		got, ok := parseVerdict(row.kind, []byte(row.answer))
		if !ok {
			got = none
		}
		if fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s %s: %+v, want %+v", row.kind, row.answer, got, row.want)
		}
	}
}

// TestBreaker: after failures in a row it is open, then one request at a time is a probe.
func TestBreaker(t *testing.T) {
	t.Parallel()
	var b breaker
	start := time.Unix(1000, 0)
	const most, pause = 3, time.Second
	fail := func(at time.Time, probe bool) bool { return b.failed(at, probe, most, pause) }
	for range most - 1 {
		if fail(start, false) {
			t.Error("open too early")
		}
	}
	b.succeeded(false)
	for i := range most + 1 {
		if fail(start, false) != (i == most-1) {
			t.Errorf("after an answer and %d failures: it must open at failure %d, and tell it once", i+1, most)
		}
	}
	if ok, _ := b.allow(start.Add(pause / 2)); ok {
		t.Error("a request is allowed in the pause")
	}
	later := start.Add(pause)
	if ok, probe := b.allow(later); !ok || !probe {
		t.Error("no probe after the pause")
	}
	if ok, _ := b.allow(later); ok {
		t.Error("a second probe is allowed")
	}
	if b.succeeded(false) || !b.isOpen() {
		t.Error("the late answer to an earlier request closed it")
	}
	fail(later, true)
	if ok, _ := b.allow(later.Add(pause / 2)); ok {
		t.Error("the failed probe began no pause")
	}
	if ok, probe := b.allow(later.Add(pause)); !ok || !probe {
		t.Error("no second probe")
	}
	if !b.succeeded(true) || b.isOpen() {
		t.Error("the probe did not close it")
	}
	if ok, probe := b.allow(later); !ok || probe {
		t.Error("closed, it must allow all")
	}
}

// verdicts is a Done that writes down what it is told.
type verdicts chan Verdict

func (v verdicts) Decided(got Verdict) { v <- got }

// TestAnswersToOthers: an answer counts for the request that it answers, once, and a lost one is repeated.
func TestAnswersToOthers(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	s, err := Open(nc, Options{Prefix: "im", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	a := s.NewAsker(nc)
	questions, err := nc.SubscribeSync("im.hook.>")
	if err != nil {
		t.Fatal(err)
	}
	got := make(verdicts, 10)
	ask := func(due time.Time) (Verdict, bool) {
		return a.AskDialogue("to", &kv.Dialogue{ID: []byte(`"1"`), From: "from", Payload: []byte(`"p"`)}, due, got)
	}
	soon := time.Now().Add(time.Minute)
	if v, decided := ask(soon); !decided || v.Action != Pass {
		t.Error("without a moderator it must pass at once")
	}
	s.SetModerators([]string{"filter"})
	if v, decided := ask(time.Now()); !decided || v.Action != Pass {
		t.Error("a dialogue that has waited too long must pass at once")
	}
	question := func() *nats.Msg {
		t.Helper()
		m, err := questions.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	answer := func(to, body string) { a.Receive(&nats.Msg{Subject: to, Data: []byte(body)}) }
	if _, decided := ask(soon); decided {
		t.Fatal("decided without an answer")
	}
	first := question()
	a.Again()
	if again := question(); again.Reply != first.Reply || string(again.Data) != string(first.Data) {
		t.Errorf("repeated as %s on %s", again.Data, again.Reply)
	}
	for _, to := range []string{a.inbox + "x", a.inbox + "00000000000000ff", a.inbox + "0000ffff00000001", a.inbox + strings.Repeat("g", 16)} {
		answer(to, `{"action":"drop"}`)
	}
	answer(first.Reply, `{"action":"refuse","code":403}`)
	if v := <-got; v.Code != wire.ProtocolError {
		t.Errorf("verdict %+v", v)
	}
	if _, decided := ask(soon); decided {
		t.Fatal("decided without an answer")
	}
	second := question()
	answer(first.Reply, `{"action":"drop"}`) // the second answer to the first request, in whose slot the second one is
	answer(second.Reply, `{"action":"pass"}`)
	if v := <-got; v.Action != Pass || len(got) != 0 {
		t.Errorf("verdict %+v, and %d more", v, len(got))
	}
	ask(soon)
	a.Close()
	if v := <-got; v.Action != Refuse || v.Code != wire.SendFailed {
		t.Errorf("at the end: %+v", v)
	}
	if v, decided := ask(soon); !decided || v.Action != Pass {
		t.Errorf("after the end: %+v", v)
	}
	s.SetModerator("filter", false)
	s.SetModerators([]string{"filter"}) // as a replica may read it
	if s.Asks(Dialogue) {
		t.Error("a late replica has brought a removed moderator back")
	}
}

// TestExpire: each request ends when it is due, whichever were made before it, and whether these are answered.
func TestExpire(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	s, err := Open(nc, Options{Prefix: "im", Timeout: 20 * time.Millisecond, Failures: 100})
	if err != nil {
		t.Fatal(err)
	}
	a := s.NewAsker(nc)
	questions, err := nc.SubscribeSync("im.hook.>") // and answers none
	if err != nil {
		t.Fatal(err)
	}
	s.SetModerators([]string{"filter"})
	ask := func(wait time.Duration) verdicts {
		t.Helper()
		got := make(verdicts, 1)
		if _, decided := a.AskDialogue("to", &kv.Dialogue{ID: []byte(`"1"`), From: "from", Payload: []byte(`"p"`)}, time.Now().Add(wait), got); decided {
			t.Fatal("decided without an answer")
		}
		return got
	}
	ends := func(got verdicts) {
		t.Helper()
		select {
		case v := <-got:
			if v.Action != Pass {
				t.Errorf("verdict %+v", v)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a request that is due has not ended")
		}
	}
	late := ask(time.Hour)
	for range 2 { // the first one was made, and ends, in the time of another one
		ends(ask(50 * time.Millisecond))
		if len(late) != 0 {
			t.Fatal("a request has ended before it is due")
		}
	}
	for range 3 {
		m, err := questions.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		a.Receive(&nats.Msg{Subject: m.Reply}) // also to those that have ended
	}
	ends(late)
	ends(ask(50 * time.Millisecond)) // after a time with none
	a.Close()
}
