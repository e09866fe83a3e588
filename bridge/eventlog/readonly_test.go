package eventlog

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"imctl/bridge/natstest"
)

// A log that refuses entries acts like a log that NATS can't write: on_error decides, and no entry is sent.
func TestMayNotWrite(t *testing.T) {
	t.Parallel()
	for onError, want := range map[OnError]bool{Refuse: false, Continue: true} {
		t.Run(string(onError), func(t *testing.T) {
			t.Parallel()
			url := natstest.Start(t, t.TempDir(), -1).ClientURL()
			var full atomic.Bool
			said := new(natstest.Log)
			l := startLog(t, url, Options{OnError: onError, Log: slog.New(slog.NewTextHandler(said, nil)), MayWrite: func() error {
				if full.Load() {
					return errors.New("no room left")
				}
				return nil
			}})
			full.Store(true)
			v := &verdicts{make(chan bool, 1)}
			if err := l.Attach(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !l.AddDialogue(delivered(v, "0", `"p"`)) {
				t.Fatal("an announced consumer is not waited for")
			}
			if ok := <-v.oks; !ok {
				t.Errorf("ok is %t although there is no consumer and nothing to store", ok)
			}
			consumer(t, l, url, "all")
			before := state(t, l).LastSeq
			if !l.AddDialogue(delivered(v, "1", `"p"`)) {
				t.Fatal("the dialogue does not wait")
			}
			if ok := <-v.oks; ok != want {
				t.Errorf("ok is %t, want %t", ok, want)
			}
			if s := state(t, l); s.LastSeq != before {
				t.Errorf("an entry was sent")
			}
			if lost := counted(t, l, "imctl_log_lost_total"); (lost == 1) != (onError == Continue) {
				t.Errorf("%v are counted as lost", lost)
			}
			full.Store(false)
			if !l.AddDialogue(delivered(v, "2", `"p"`)) {
				t.Fatal("the dialogue does not wait")
			}
			if ok := <-v.oks; !ok {
				t.Errorf("ok is %t with room again", ok)
			}
			if text := said.String(); strings.Count(text, "the event log cannot be written") != 1 || !strings.Contains(text, "no room left") {
				t.Errorf("logged: %s", text)
			}
		})
	}
}
