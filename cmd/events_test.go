package cmd

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestEventsCommand follows the log until it is interrupted.
func TestEventsCommand(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	command(t, dir, "", "events", "--filter", "a..b").want(t, exitUse, "filter")
	programs := s.follow(t, dir, "--filter", "im.log.dialogue.>", "-o", "json")
	people := s.follow(t, dir)
	alice.befriend(t, bob)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Fatalf("dialogue: got code %d, want 200", code)
	}
	type event struct {
		Subject string
		Entry   struct {
			V                           int
			Time, ID, From, To, Payload string
		}
	}
	got := fromJSON[event](t, programs.line(t))
	if got.Subject != "im.log.dialogue."+alice.id+"."+bob.id || got.Entry.Payload != "hello" || got.Entry.To != bob.id {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{
		"  friend requested  " + alice.account + " → " + bob.account + "\n",
		"  friend added      " + bob.account + " → " + alice.account + ": alias of " + alice.account + "\n",
		"  friend named      " + alice.account + " → " + bob.account,
		"  dialogue          " + alice.account + " → " + bob.account + ": hello\n",
	} {
		if line := people.line(t); !strings.Contains(line, want) {
			t.Errorf("%q is not in: %s", want, line)
		}
	}
	programs.interrupt(t)
	people.interrupt(t)
	if n := s.followers(t); n != 0 {
		t.Errorf("the log still has %d consumers", n)
	}
}

// TestEventsEnd checks that the command ends after --limit events, and when the server ends.
func TestEventsEnd(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	one, all := s.follow(t, dir, "--limit", "1", "--filter", "user.>"), s.follow(t, dir, "--filter", "user.deleted.>")
	carol := w.newMember(t, 0)
	if line := one.line(t); !strings.Contains(line, "user created      "+carol.account) {
		t.Errorf("unexpected line: %s", line)
	}
	if code := <-one.code; code != exitDone {
		t.Errorf("exit code %d: %s", code, one.errs)
	}
	w.close(t)
	s.close(t)
	if code := <-all.code; code != exitNoServer || !strings.Contains(all.errs.String(), "connection to the server lost") {
		t.Errorf("exit code %d: %s", code, all.errs)
	}
}

// follower is a command that follows the log.
type follower struct {
	lines  chan string
	cancel context.CancelCauseFunc
	code   chan int
	errs   *bytes.Buffer
}

// follow starts imctl events and waits until its consumer exists.
func (s *server) follow(t *testing.T, dir string, args ...string) *follower {
	t.Helper()
	before := s.followers(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f := &follower{lines: make(chan string, 64), cancel: cancel, code: make(chan int, 1), errs: new(bytes.Buffer)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.code <- Run(ctx, &Env{Out: lineWriter{f.lines}, Err: f.errs, Dir: dir}, append([]string{"events"}, args...))
	}()
	t.Cleanup(func() { cancel(errInterrupted); <-ended })
	eventually(t, "somebody reads the log", func() bool {
		return s.followers(t) > before && strings.Contains(s.output(t), fmt.Sprintf("imctl_log_consumers %d\n", before+1))
	})
	return f
}

// followers returns the number of consumers of the log.
func (s *server) followers(t *testing.T) int {
	t.Helper()
	js, err := s.app.backend.nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo("IM_LOG")
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Consumers
}

func (f *follower) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-f.lines:
		return line
	case <-time.After(waitTimeout):
		t.Fatal("timeout waiting for an event")
	}
	return ""
}

func (f *follower) interrupt(t *testing.T) {
	t.Helper()
	f.cancel(errInterrupted)
	if code := <-f.code; code != exitDone || f.errs.Len() > 0 {
		t.Errorf("exit code %d: %s", code, f.errs)
	}
}

// lineWriter sends each write, which must be a whole line, to a channel.
type lineWriter struct{ lines chan<- string }

func (w lineWriter) Write(p []byte) (int, error) {
	w.lines <- string(p)
	return len(p), nil
}
