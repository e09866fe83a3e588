package governor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// order is the programs whose calls have begun to run, in order.
type order struct {
	mu       sync.Mutex
	programs []string
}

func (o *order) add(program string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.programs = append(o.programs, program)
}

// asked is a call of a program in a test.
type asked struct {
	done chan struct{} // closed to let it end
	err  error         // why it was refused
}

// endAll lets calls end.
func endAll(all []*asked) {
	for _, a := range all {
		close(a.done)
	}
}

// askAll makes calls of a program. Each is added to started when it begins to run.
func askAll(q *ProgramQueue, program string, list bool, size, n int, started *order) (all []*asked) {
	for range n {
		a := &asked{done: make(chan struct{})}
		all = append(all, a)
		q.Run(program, list, size, func() { started.add(program); <-a.done }, func(err error) { a.err = err })
	}
	synctest.Wait()
	return all
}

// limited returns how many of the calls were refused.
func limited(all []*asked) (n int) {
	for _, a := range all {
		if errors.Is(a.err, ErrLimited) {
			n++
		}
	}
	return n
}

// TestProgramQueue: a program with calls without end waits for itself, and another one for the calls under way only.
func TestProgramQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{})
		q := g.NewProgramQueue(ProgramCalls, 1)
		var started order
		flood := askAll(q, "flood", false, 10, programCalls+5, &started)
		var first *LimitedError
		if n := limited(flood); n != 5 || !errors.As(flood[programCalls].err, &first) || first.Reason != ProgramCalls || first.RetryAfter != programRetry {
			t.Fatalf("%d calls are refused, the first with %v", n, flood[programCalls].err)
		}
		other := askAll(q, "other", false, 10, 1, &started)
		close(flood[0].done)
		synctest.Wait()
		endAll(flood[1:])
		close(other[0].done)
		synctest.Wait()
		if turn := slices.Index(started.programs, "other"); turn > 2 || turn < 0 || len(started.programs) != programCalls+1 {
			t.Errorf("%d calls ran, the other program's as number %d", len(started.programs), turn)
		}
		if len(q.has) != 0 {
			t.Errorf("still counted: %v", q.has)
		}
		q.Close()
	})
}

// TestListsOfUsers: lists of users are read one after the other for all programs, and other calls do not wait for them.
func TestListsOfUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{})
		reads, gateways := g.NewProgramQueue(ProgramCalls, 8), g.NewProgramQueue(GatewayCalls, 8)
		var started order
		lists := append(askAll(reads, "reader", true, 0, 4, &started), askAll(gateways, "gateway", true, 0, 4, &started)...)
		if !slices.Equal(started.programs, []string{"reader"}) {
			t.Errorf("lists of %v are read at the same time", started.programs)
		}
		calls := askAll(reads, "reader", false, 0, 8, &started)
		if len(started.programs) != 9 {
			t.Errorf("%d of 8 calls run beside a list", len(started.programs)-1)
		}
		endAll(append(lists, calls...))
		synctest.Wait()
		if len(started.programs) != 16 {
			t.Errorf("%d calls ran", len(started.programs))
		}
		reads.Close()
		gateways.Close()
	})
}

// TestProgramBytes: the bodies of a program's calls have a bound.
func TestProgramBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{})
		q := g.NewProgramQueue(GatewayCalls, 1)
		var started order
		all := askAll(q, "matrix", false, programBytes/4, 6, &started)
		if n := limited(all); n != 2 {
			t.Errorf("%d of 6 calls are refused", n)
		}
		if other := askAll(q, "xmpp", false, programBytes/4, 1, &started); limited(other) != 0 {
			t.Error("a call of another program is refused")
		} else {
			close(other[0].done)
		}
		endAll(all)
		synctest.Wait()
		q.Close()
	})
}

// TestProgramQueueEnds: a call that waits too long is refused, and a call that waits at the end is canceled.
func TestProgramQueueEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{})
		q := g.NewProgramQueue(ProgramCalls, 1)
		var started order
		all := askAll(q, "reader", false, 0, 2, &started)
		time.Sleep(programWait)
		synctest.Wait()
		if limited(all) != 1 {
			t.Errorf("after the wait: %v and %v", all[0].err, all[1].err)
		}
		late := askAll(q, "reader", false, 0, 1, &started)
		closed := make(chan struct{})
		go func() { q.Close(); close(closed) }()
		synctest.Wait()
		if !errors.Is(late[0].err, context.Canceled) {
			t.Errorf("at the end: %v", late[0].err)
		}
		select {
		case <-closed:
			t.Error("Close does not wait for the call that runs")
		default:
		}
		endAll(all)
		<-closed
	})
}

// TestCosts: a call that counts as several takes as much of the budget, and fits into a full one in any case.
func TestCosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{ProgramCalls: Rate{100, time.Minute}, GatewayCalls: Rate{50, time.Minute}})
		count := func(program string, n int) (allowed int) {
			for g.AllowProgramCall(program, n) == nil {
				allowed++
			}
			return allowed
		}
		if n := count("a", 10); n != 10 {
			t.Errorf("%d calls that count as 10 are allowed, want 10", n)
		}
		if err := g.AllowProgramCall("b", 10); err != nil {
			t.Error(err)
		}
		if n := count("b", 1); n != 90 {
			t.Errorf("%d calls are allowed after one that counts as 10, want 90", n)
		}
		time.Sleep(6 * time.Second)
		if n := count("a", 10); n != 1 {
			t.Errorf("%d calls are allowed after a tenth of the time", n)
		}
		if g.AllowGatewayCall("matrix", 100) != nil || g.AllowGatewayCall("matrix", 1) == nil {
			t.Error("a call that counts as more than the rate does not take all of it")
		}
		if (Rate{}).divided(10) != (Rate{}) {
			t.Error("no limit has become one")
		}
	})
}

// TestHoldBack: answers to a source that is refused often wait for a second, and those to others do not.
func TestHoldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{Refusals: Rate{2, time.Hour}})
		h := g.NewHoldBack()
		var flood, other atomic.Int64
		for range 5 {
			h.Answer("flood", func() { flood.Add(1) })
		}
		h.Answer("other", func() { other.Add(1) })
		synctest.Wait()
		if flood.Load() != 2 || other.Load() != 1 {
			t.Errorf("at once: %d answers to the flood and %d to the other", flood.Load(), other.Load())
		}
		time.Sleep(holdBack)
		synctest.Wait()
		if flood.Load() != 5 {
			t.Errorf("after the wait: %d answers", flood.Load())
		}
		for range maxHeld + 3 {
			h.Answer("flood", func() { flood.Add(1) })
		}
		synctest.Wait()
		// One more than the bound may wait: the goroutine holds one already.
		if at := flood.Load() - 5; at < 2 || at > 3 {
			t.Errorf("beyond the bound %d answers leave at once", at)
		}
		h.Close()
		if flood.Load() != 5+maxHeld+3 {
			t.Errorf("at the end %d answers", flood.Load())
		}
	})
}
