package bridge

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"imctl/bridge/wire"
)

// A log that refuses entries acts like a log that NATS can't write: on_error decides, and no entry is sent.
func TestLogMayNotWrite(t *testing.T) {
	t.Parallel()
	for onError, want := range map[OnLogError]wire.Code{RefuseOnLogError: wire.SendFailed, ContinueOnLogError: wire.Success} {
		t.Run(string(onError), func(t *testing.T) {
			t.Parallel()
			url := logServer(t, t.TempDir(), -1).ClientURL()
			var full atomic.Bool
			said := new(logText)
			l := startLog(t, url, EventLogOptions{OnError: onError, Log: slog.New(slog.NewTextHandler(said, nil)), MayWrite: func() error {
				if full.Load() {
					return errors.New("no room left")
				}
				return nil
			}})
			full.Store(true)
			v := &verdicts{make(chan wire.Code, 1)}
			if err := l.Attach(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !l.takes(taken(v, "0", `"p"`)) {
				t.Fatal("an announced consumer is not waited for")
			}
			if code := <-v.codes; code != wire.Success {
				t.Errorf("code %d although there is no consumer and nothing to store", code)
			}
			consumer(t, l, url, "all")
			before := state(t, l).LastSeq
			if !l.takes(taken(v, "1", `"p"`)) {
				t.Fatal("the dialogue does not wait")
			}
			if code := <-v.codes; code != want {
				t.Errorf("code %d, want %d", code, want)
			}
			if s := state(t, l); s.LastSeq != before {
				t.Errorf("an entry was sent")
			}
			if lost := counted(t, l, "imctl_log_lost_total"); (lost == 1) != (onError == ContinueOnLogError) {
				t.Errorf("%v are counted as lost", lost)
			}
			full.Store(false)
			if !l.takes(taken(v, "2", `"p"`)) {
				t.Fatal("the dialogue does not wait")
			}
			if code := <-v.codes; code != wire.Success {
				t.Errorf("code %d with room again", code)
			}
			if text := said.String(); strings.Count(text, "the event log is not written") != 1 || !strings.Contains(text, "no room left") {
				t.Errorf("logged: %s", text)
			}
		})
	}
}
