package governor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// workload runs work of one hash each on a queue, and notes the order in which it was done.
type workload struct {
	q  *Queue
	mu sync.Mutex
	at map[string][]time.Duration // by name of the work, since the start
}

const hashTime = 25 * time.Millisecond

func newWorkload(places int) *workload {
	return &workload{q: NewQueue(QueueOptions{Places: places, Wait: 10 * time.Second, Busy: errBusy}), at: make(map[string][]time.Duration)}
}

func (w *workload) do(start time.Time, name string, class Class, source, account string) error {
	leave, err := w.q.Enter(WithCaller(context.Background(), class, source, account))
	if err != nil {
		return err
	}
	defer leave()
	time.Sleep(hashTime)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[name] = append(w.at[name], time.Since(start))
	return nil
}

// TestQueueIsFair: 200 hashes of one source delay the hash of another by what is under way and its turn, whatever the
// other asks for.
func TestQueueIsFair(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		flood   func(i int) (Class, string, string)
		class   Class
		source  string
		account string
		most    time.Duration
	}{
		{"another address", func(i int) (Class, string, string) { return People, "a", fmt.Sprint(i) }, People, "b", "x", 3 * hashTime},
		{"the same address, another account", func(i int) (Class, string, string) { return People, "a", "y" }, People, "a", "x", 3 * hashTime},
		{"a known device", func(i int) (Class, string, string) { return People, fmt.Sprint(i), "y" }, Known, "a", "x", 3 * hashTime},
		{"first login among suspects", func(i int) (Class, string, string) { return Suspects, fmt.Sprint(i), "y" }, People, "a", "x", 3 * hashTime},
		{"profile updates of one user", func(i int) (Class, string, string) { return Changes, "user", "" }, People, "a", "x", 3 * hashTime},
		{"a bot among people", func(i int) (Class, string, string) { return People, fmt.Sprint(i), fmt.Sprint(i) }, Programs, "a", "x", 3 * hashTime},
		{"the administrator", func(i int) (Class, string, string) { return People, fmt.Sprint(i), fmt.Sprint(i) }, Administration, "", "", 3 * hashTime},
		{"a suspect among people", func(i int) (Class, string, string) { return People, fmt.Sprint(i), fmt.Sprint(i) }, Suspects, "a", "x", 20 * hashTime},
		{"a suspect among suspects", func(i int) (Class, string, string) { return Suspects, "a", "y" }, Suspects, "b", "x", 3 * suspectPause},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorkload(1)
				var wg sync.WaitGroup
				for i := range 200 {
					class, source, account := test.flood(i)
					wg.Go(func() {
						if err := w.do(time.Now(), "flood", class, source, account); err != nil && (class != Suspects || !errors.Is(err, errBusy)) {
							t.Error(err)
						}
					})
				}
				time.Sleep(hashTime / 2)
				wg.Go(func() {
					if err := w.do(time.Now(), "victim", test.class, test.source, test.account); err != nil {
						t.Error(err)
					}
				})
				wg.Wait()
				if took := w.at["victim"][0]; took > test.most {
					t.Errorf("took %s, want at most %s", took, test.most)
				}
				if n := w.q.Waiting(); n != 0 || len(w.q.queue[People].sources) != 0 || w.q.free != 1 {
					t.Errorf("%d wait, %d sources and %d places are left", n, len(w.q.queue[People].sources), w.q.free)
				}
			})
		})
	}
}

// TestQueueShares: classes that always have work share the places by their weights.
func TestQueueShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkload(1)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for class := Administration; class < classes; class++ {
			for i := range 5 {
				wg.Go(func() {
					for ctx.Err() == nil {
						if err := w.do(time.Now(), fmt.Sprint(class), class, fmt.Sprint(i), ""); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		time.Sleep(60 * time.Second)
		stop()
		wg.Wait()
		var all uint64
		for _, weight := range weights {
			all += weight
		}
		if got, most := len(w.at[fmt.Sprint(Suspects)]), int(60*time.Second/suspectPause)+1; got > most {
			t.Errorf("suspects got %d places, want at most %d", got, most)
		}
		for class, weight := range weights {
			got, want := len(w.at[fmt.Sprint(class)]), int(uint64(60*time.Second/hashTime)*weight/all)
			if got < want*8/10 || got > want*12/10+6 {
				t.Errorf("class %d got %d places, want about %d", class, got, want)
			}
		}
	})
}

// TestQueueRefuses: work that waits too long, or that finds its source's queue full, gets Busy. Work whose context ends
// leaves the queue.
func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Int32 // work of the source a
		q := NewQueue(QueueOptions{Places: 1, Wait: time.Second, Busy: errBusy, Refused: func(s string) {
			if s == "a" {
				refused.Add(1)
			}
		}})
		leave, err := q.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx := WithCaller(t.Context(), People, "a", "x")
		start := time.Now()
		if _, err := q.Enter(ctx); !errors.Is(err, errBusy) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := q.Enter(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of its context: %v", err)
		}
		var wg sync.WaitGroup
		for range maxSource {
			wg.Go(func() {
				if leave, err := q.Enter(ctx); err == nil {
					leave()
				}
			})
		}
		synctest.Wait()
		start = time.Now()
		if _, err := q.Enter(ctx); !errors.Is(err, errBusy) || time.Since(start) != 0 {
			t.Errorf("a full queue: %v after %s", err, time.Since(start))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if leave, err := q.Enter(WithCaller(t.Context(), People, "b", "")); err != nil {
				t.Errorf("another source: %v", err)
			} else {
				leave()
			}
		}()
		synctest.Wait()
		leave()
		<-done
		wg.Wait()
		if refused.Load() != 2 || q.Waiting() != 0 {
			t.Errorf("%d were refused, want 2; %d still wait", refused.Load(), q.Waiting())
		}
	})
}
