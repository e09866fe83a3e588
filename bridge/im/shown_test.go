package im

import (
	"testing"
	"testing/synctest"
	"time"

	"imctl/bridge/wire"
)

// TestShownProfiles: a profile is remembered until it changes or a minute has passed, and not at all if a change came
// while it was read, or if it is large.
func TestShownProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Friends{shown: newShownProfiles()}
		has := func(what string, want int) {
			t.Helper()
			if known, missing, _ := f.shown.get([]string{"a", "b"}); len(known) != want || len(missing) != 2-want {
				t.Errorf("%s: it remembers %v", what, known)
			}
		}
		add := func(changes uint64, id, name string) {
			f.shown.add(wire.Profile{ID: id, ProfileFields: wire.ProfileFields{Name: name}}, changes)
		}
		_, _, now := f.shown.get(nil)
		add(now, "a", "A")
		add(now, "b", "B")
		has("two profiles", 2)
		f.ForgetProfile("a")
		has("after a change", 1)
		add(now, "a", "A")
		has("read before the change", 1)
		f.ForgetProfile("")
		has("after all may have changed", 0)
		add(now+2, "a", string(make([]byte, maxShownBytes+1)))
		has("a large profile", 0)
		add(now+2, "a", "A")
		time.Sleep(shownFor - 1)
		has("before its time is over", 1)
		time.Sleep(time.Nanosecond)
		has("after its time", 0)
	})
}
