package eventlog

import (
	"strings"
	"testing"
	"time"

	"imctl/bridge/natstest"
)

// TestPresenceUnwanted checks that entries about presence are stored only while a consumer takes them.
func TestPresenceUnwanted(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{WatchEvery: 50 * time.Millisecond})
	l.Presence(idA, true, nil) // no consumer at all
	other := consumer(t, l, url, "other", "im.log.session.>", "im.log.user.>")
	wait(t, "presence is not wanted", func() bool { return !l.WantsPresence() })
	stored := state(t, l).LastSeq
	l.Presence(idA, true, nil)
	l.PresenceUnknown("node")
	l.Session(SessionBegan, idA, "s", "n")
	if m := <-fetch(t, other, 1); !strings.HasPrefix(m.Subject(), "im.log.session.") || state(t, l).LastSeq != stored+1 {
		t.Errorf("%s, and %d entries, want 1", m.Subject(), state(t, l).LastSeq-stored)
	}
	follower := consumer(t, l, url, "follower", "im.log.presence.>")
	told := &verdicts{make(chan bool, 1)}
	l.Presence(idA, true, told) // at once, before the consumers are counted again
	l.Presence(idA, false, nil)
	l.PresenceUnknown("node")
	if !<-told.oks {
		t.Error("the entry is not stored")
	}
	var got []string
	for m := range fetch(t, follower, 3) {
		got = append(got, strings.TrimPrefix(m.Subject(), "im.log.presence."))
	}
	if want := "online." + idA + " offline." + idA + " unknown.node"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if last, err := l.Last(t.Context()); err != nil || last != stored+4 {
		t.Errorf("the last entry is %d, %v; want %d", last, err, stored+4)
	}
}
