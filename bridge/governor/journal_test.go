package governor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestJournal: each reason logs one line at once and one a minute, and the sources that were limited most are listed.
func TestJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, log := newGovernor(t, Options{})
		defer g.Close()
		for i := range 5000 {
			g.journal.add(Logins, fmt.Sprint("192.0.2.", i%3))
			g.journal.add(Hashing, strings.Repeat("x", 10000))
		}
		if n := len(log.lines("reason=logins")); n != 1 {
			t.Errorf("%d lines at once, want 1", n)
		}
		time.Sleep(logEvery + time.Second)
		if lines := log.lines("reason=logins"); len(lines) != 2 || !strings.Contains(lines[1], "count=4999") {
			t.Errorf("after a minute: %q", lines)
		}
		top := g.Limited()
		if len(top) != 4 || top[0].Count != 5000 || top[0].Reason != Hashing || top[1].Source != "192.0.2.0" || top[1].Count != 1667 {
			t.Errorf("the list is %+v", top)
		}
		time.Sleep(2 * logEvery)
		g.journal.add(Logins, "192.0.2.1")
		if n := len(log.lines("reason=logins")); n != 3 {
			t.Errorf("%d lines after a pause, want 3", n)
		}
		time.Sleep(2 * forgetAfter)
		if top := g.Limited(); len(top) != 0 {
			t.Errorf("hours later: %+v", top)
		}
		for range 100 {
			g.journal.failedLogin("192.0.2.1")
		}
		if n := len(log.lines("login failed")); n != failedPerSecond {
			t.Errorf("%d lines of 100 failed logins, want %d", n, failedPerSecond)
		}
		for i := range 2 * journalSources {
			g.journal.add(Logins, fmt.Sprint(i))
		}
		if n := g.journal.sources.Len(); n > journalSources {
			t.Errorf("%d sources are remembered, want at most %d", n, journalSources)
		}
	})
}
