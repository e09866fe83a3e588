package talk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"imctl/bridge/natstest"
	"imctl/kv"
)

func newURL(t testing.TB) string {
	t.Helper()
	return natstest.Start(t, t.TempDir(), -1).ClientURL()
}

// Many senders number one conversation without gaps, each of them in its own order, and learn of it in the order of
// the numbers.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{"batches": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, newURL(t), Options{Plain: plain})
			const senders, each = 8, 150
			outcomes := make(result, senders*each)
			var wg sync.WaitGroup
			for i := range senders {
				wg.Go(func() {
					from, to := idA, idB
					if i%2 == 1 {
						from, to = to, from
					}
					for k := range each {
						if err := s.Add(to, say(from, fmt.Sprintf("%d-%04d", i, k)), outcomes); err != nil {
							t.Errorf("Add: %v", err)
							outcomes.Failed(err)
						}
					}
				})
			}
			wg.Wait()
			for n := range uint64(senders * each) {
				o := <-outcomes
				if o.err != nil || o.again || o.d.N != n+1 {
					t.Fatalf("outcome %d: %+v", n+1, o)
				}
			}
			all := read(t, s, kv.PairOf(idA, idB))
			checkNumbered(t, all, senders*each)
			last := make(map[byte]string)
			for _, d := range all {
				id := string(d.ID)
				if sender := id[1]; id <= last[sender] {
					t.Fatalf("%s comes after %s", id, last[sender])
				}
				last[id[1]] = id
			}
			if n := counter(t, s, "imctl_dialogues_kept_total", "stored"); n != senders*each {
				t.Errorf("%g are counted as stored", n)
			}
			if n := counter(t, s, "imctl_dialogues_group", ""); n >= senders*each/2 {
				t.Errorf("there were %g commits", n)
			}
		})
	}
}

// Many conversations share a commit.
func TestManyConversations(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	const pairs, each = 60, 20
	results := make([]result, pairs)
	for i := range results {
		results[i] = make(result, each)
	}
	user := func(i int) string { return fmt.Sprintf("%032x", i+1) }
	for k := range each {
		for i := range pairs {
			if err := s.Add(user(i), say(idB, fmt.Sprint(k)), results[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range pairs {
		for k := range each {
			if o := <-results[i]; o.err != nil || o.d.N != uint64(k+1) {
				t.Fatalf("dialogue %d of conversation %d: %+v", k+1, i, o)
			}
		}
		checkNumbered(t, read(t, s, kv.PairOf(idB, user(i))), each)
	}
	if n := counter(t, s, "imctl_dialogues_group", ""); n >= pairs*each/4 {
		t.Errorf("there were %g commits", n)
	}
}

// Two nodes that write to the same conversations store each dialogue once, and number all of them without gaps.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	services := []*Service{startService(t, url, Options{}), startService(t, url, Options{})}
	const pairs, each = 12, 60
	user := func(i int) string { return fmt.Sprintf("%032x", i+1) }
	var wg sync.WaitGroup
	for i := range pairs {
		for node, s := range services {
			wg.Go(func() {
				window := make([]result, 0, each)
				for k := range each {
					r := make(result, 1)
					if err := s.Add(user(i), say(idB, fmt.Sprintf("%d-%d", node, k)), r); err != nil {
						t.Errorf("Add: %v", err)
						return
					}
					if window = append(window, r); k%8 == 7 { // eight at once
						for _, r := range window {
							if o := <-r; o.err != nil || o.again {
								t.Errorf("%+v", o)
							}
						}
						window = window[:0]
					}
				}
				for _, r := range window {
					<-r
				}
			})
		}
	}
	wg.Wait()
	for i := range pairs {
		all := read(t, services[0], kv.PairOf(idB, user(i)))
		checkNumbered(t, all, 2*each)
		ids := make(map[string]bool)
		for _, d := range all {
			if ids[string(d.ID)] {
				t.Errorf("%s is stored twice", d.ID)
			}
			ids[string(d.ID)] = true
		}
	}
	conflicts := 0.0
	for _, s := range services {
		conflicts += counter(t, s, "imctl_dialogues_conflicts_total", "")
	}
	if conflicts == 0 {
		t.Error("the two services never met")
	}
	t.Logf("%g conflicts", conflicts)
}

// NATS stops in the middle of commits and comes back. Each dialogue that was answered as stored is stored. No dialogue is
// stored twice, although the senders send the refused dialogues again.
func TestRestartOfNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := natstest.Run(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	s := startService(t, url, Options{Timeout: 2 * time.Second})
	const senders = 12
	user := func(i int) string { return fmt.Sprintf("%032x", i+1) }
	stop := make(chan struct{})
	numbers := make([]map[uint64]string, senders)
	failed, sent := make([]int, senders), make([]int, senders)
	underWay := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for i := range senders {
		numbers[i] = make(map[uint64]string)
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					sent[i] = k
					return
				default:
				}
				for { // until it is stored
					r := make(result, 1)
					id := fmt.Sprint(k)
					if err := s.Add(user(i), say(idB, id), r); err != nil {
						t.Errorf("Add: %v", err)
						return
					}
					o := <-r
					if o.err == nil {
						numbers[i][o.d.N] = string(o.d.ID)
						break
					}
					failed[i]++
				}
				select {
				case underWay <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 3 {
		for range 20 {
			<-underWay
		}
		natstest.Stop(srv)
		srv = natstest.Run(t, dir, port)
	}
	for range 20 {
		<-underWay
	}
	close(stop)
	wg.Wait()
	t.Cleanup(func() { natstest.Stop(srv) })
	for i := range senders {
		all := read(t, s, kv.PairOf(idB, user(i)))
		checkNumbered(t, all, sent[i])
		for _, d := range all {
			if id, ok := numbers[i][d.N]; ok && id != string(d.ID) {
				t.Errorf("number %d was answered as %s, and is %s", d.N, id, d.ID)
			}
			delete(numbers[i], d.N)
		}
		if len(numbers[i]) > 0 {
			t.Errorf("answered as stored, and lost: %v", numbers[i])
		}
	}
	t.Logf("%d were sent, and %d tries failed", sum(sent), sum(failed))
	closeService(t, s)
}

func sum(all []int) (n int) {
	for _, v := range all {
		n += v
	}
	return n
}

// A dialogue that cannot be stored fails in time, and the next one is stored when NATS is back.
func TestWithoutNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := natstest.Run(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	s := startService(t, url, Options{Timeout: time.Second})
	stored(t, s, idB, say(idA, "first"))
	natstest.Stop(srv)
	wait(t, "disconnected", func() bool { return !s.nc.IsConnected() })
	var refused []result
	for i := range 10 {
		for _, to := range []string{idB, idC} { // in memory, and not
			refused = append(refused, add(t, s, to, say(idA, fmt.Sprint(i))))
		}
	}
	for _, r := range refused {
		if o := <-r; o.err == nil {
			t.Errorf("it is answered as stored: %+v", o.d)
		}
	}
	srv = natstest.Run(t, dir, port)
	t.Cleanup(func() { natstest.Stop(srv) })
	wait(t, "stored again", func() bool { return (<-add(t, s, idB, say(idA, "second"))).err == nil })
	all := read(t, s, kv.PairOf(idA, idB))
	checkNumbered(t, all, 2)
	closeService(t, s)
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	s.mu.Lock() // as if the queues were full
	s.count = queueDialogues
	s.mu.Unlock()
	if err := s.Add(idB, say(idA, "x"), make(result, 1)); !errors.Is(err, ErrBusy) {
		t.Errorf("too many dialogues: %v", err)
	}
	s.mu.Lock()
	s.count, s.bytes = 0, queueBytes
	s.mu.Unlock()
	if err := s.Add(idB, say(idA, "x"), make(result, 1)); !errors.Is(err, ErrBusy) {
		t.Errorf("too many bytes: %v", err)
	}
	s.mu.Lock()
	s.bytes = 0
	c := s.conversation(kv.PairOf(idA, idB))
	c.count = queueDialogues / sharePart
	s.mu.Unlock()
	if err := s.Add(idB, say(idA, "x"), make(result, 1)); !errors.Is(err, ErrBusy) {
		t.Errorf("too many dialogues of one conversation: %v", err)
	}
	s.mu.Lock()
	c.count = 0
	s.mu.Unlock()
	large := say(idA, "x")
	large.Payload = make([]byte, 1<<20)
	if err := s.Add(idB, large, make(result, 1)); !errors.Is(err, errSize) {
		t.Errorf("a large dialogue: %v", err)
	}
	if err := s.Add("nobody", say(idA, "x"), make(result, 1)); !errors.Is(err, errUsers) {
		t.Errorf("no user: %v", err)
	}
	stored(t, s, idB, say(idA, "x"))
	s.opts.MayWrite = func() error { return errTest }
	if err := s.Add(idB, say(idA, "y"), make(result, 1)); !errors.Is(err, errTest) {
		t.Errorf("read-only: %v", err)
	}
}

// Large dialogues take several records and commits.
func TestLargeDialogues(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	const n = 40
	outcomes := make(result, n)
	for i := range n {
		d := say(idA, fmt.Sprint(i))
		d.Payload = slices.Repeat([]byte("p"), 100_000*(1+i%6))
		if err := s.Add(idB, d, outcomes); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if o := <-outcomes; o.err != nil || o.d.N != uint64(i+1) || len(o.d.Payload) != 100_000*(1+i%6) {
			t.Fatalf("dialogue %d: %d %v", i+1, o.d.N, o.err)
		}
	}
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), n)
}

// What was accepted is stored before Close returns, and what comes later is refused.
func TestClose(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{})
	const n = 3 * recordDialogues
	outcomes := fill(t, s, n)
	closeService(t, s)
	for range n {
		if o := <-outcomes; o.err != nil {
			t.Fatal(o.err)
		}
	}
	if err := s.Add(idB, say(idA, "late"), outcomes); err == nil {
		t.Error("a closed service takes dialogues")
	}
}

// A Close that may not take any longer refuses what is left, and tells the senders.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	const n = 20 * recordDialogues
	outcomes := fill(t, s, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	refused := 0
	for range n {
		if o := <-outcomes; o.err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// The dialogues that wait when the connection is lost are stored: Abort ends only the wait for an acknowledgement.
func TestAbort(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	const n = 40 * recordDialogues
	outcomes := fill(t, s, n)
	s.Abort()
	for range n {
		if o := <-outcomes; o.err != nil {
			t.Fatalf("refused: %v", o.err)
		}
	}
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), n)
}
