package kv

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAbsence checks how long a program counts as away.
func TestAbsence(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const step, limit = 10 * time.Minute, 11 * time.Minute
	minutes := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	for name, c := range map[string]struct {
		at   []int       // minutes of the observations
		seen map[int]int // by observation: the minute in which the program was seen
		want time.Duration
	}{
		"it was never there":                             {at: []int{0, 10, 20, 30}, want: 30 * time.Minute},
		"two nodes observe it":                           {at: []int{0, 1, 10, 11, 20, 21, 30, 31}, want: 30 * time.Minute},
		"it is there":                                    {at: []int{0, 10, 20, 30}, seen: map[int]int{0: 0, 10: 10, 20: 20, 30: 30}, want: 0},
		"it came back":                                   {at: []int{0, 10, 20, 30, 40}, seen: map[int]int{30: 29}, want: 10 * time.Minute},
		"the servers were down for a week":               {at: []int{0, 10, 10090, 10100}, want: 31 * time.Minute},
		"it was seen before the servers went down":       {at: []int{10, 10090}, seen: map[int]int{10: 10, 10090: 10}, want: 11 * time.Minute},
		"the clock of a node is behind":                  {at: []int{10, 0, 20}, want: 10 * time.Minute},
		"it came back between two observations, shortly": {at: []int{0, 10, 15}, seen: map[int]int{15: 12}, want: 0},
	} {
		var r attachmentRecord
		for _, at := range c.at {
			o := Observation{Step: step, Limit: limit}
			if seen, ok := c.seen[at]; ok {
				o.Seen = minutes(seen)
			}
			r.observe(minutes(at), o)
		}
		if r.Absent != c.want {
			t.Errorf("%s: absent for %s, want %s", name, r.Absent, c.want)
		}
	}
}

// TestDetach detaches an attachment from several nodes at once, and resumes it.
func TestDetach(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx, a := testContext(t), s.Attachments
	if _, _, err := a.Add(ctx, Attachment{Name: "archive", Role: RoleConsumer, Filter: ">"}); err != nil {
		t.Fatal(err)
	}
	if _, done, err := a.Detach(ctx, "archive", time.Nanosecond, 7); err != nil || done {
		t.Errorf("an attachment that no node has missed is detached: %t, %v", done, err)
	}
	away := func() {
		t.Helper()
		for range 2 {
			if _, err := a.Observe(ctx, "archive", Observation{Limit: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
	}
	away()
	var wg sync.WaitGroup
	var winners atomic.Int64
	for range 8 {
		wg.Go(func() {
			at, done, err := a.Detach(ctx, "archive", time.Nanosecond, 7)
			if err != nil || !at.IsDetached() || at.Detached.Entries != 7 {
				t.Errorf("Detach: %+v, %v", at, err)
			}
			if done {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d nodes have detached it, want 1", winners.Load())
	}
	resumed, done, err := a.Resume(ctx, "archive")
	if err != nil || !done || resumed.IsDetached() || resumed.Detached.Entries != 7 {
		t.Errorf("Resume: %+v, %t, %v", resumed, done, err)
	}
	if _, done, err := a.Resume(ctx, "archive"); err != nil || done {
		t.Errorf("Resume again: %t, %v", done, err)
	}
	if _, done, err := a.Detach(ctx, "archive", time.Nanosecond, 7); err != nil || done {
		t.Errorf("detached right after it was resumed: %t, %v", done, err)
	}
	if err := a.Unresume(ctx, resumed); err != nil {
		t.Fatal(err)
	}
	if at, err := a.Get(ctx, "archive"); err != nil || !at.IsDetached() {
		t.Errorf("after Unresume: %+v, %v", at, err)
	}
	if _, err := a.Revoke(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Resume(ctx, "archive"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("Resume of an attachment that is being removed: %v", err)
	}
}
