package talk

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// A record whose acknowledgement is lost is found, and its dialogues are answered as stored.
func TestLostAcknowledgement(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{Timeout: time.Second})
	stored(t, s, idB, say(idA, "1"))
	if err := s.acks.sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	outcomes := make(result, 3)
	for i := range 3 {
		if err := s.Add(idB, say(idA, fmt.Sprint("lost", i)), outcomes); err != nil {
			t.Fatal(err)
		}
	}
	numbers := make(map[uint64]bool)
	for range 3 {
		// Those that wait for the first commit may expire, but must not be stored then.
		if o := <-outcomes; o.err == nil {
			numbers[o.d.N] = true
		} else if !errors.Is(o.err, errExpired) {
			t.Errorf("%v", o.err)
		}
	}
	if !numbers[2] {
		t.Error("a stored dialogue was not answered as stored")
	}
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), 1+len(numbers))
}

// A record that the server refuses fails at once, or when the time is over. The conversation goes on afterwards.
func TestRefusedRecord(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{Timeout: 300 * time.Millisecond})
	p := kv.PairOf(idA, idB)
	stored(t, s, idB, say(idA, "1"))
	subject := func(name string) (old string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.conversation(p)
		old, c.subject = c.subject, name
		return old
	}
	right := subject("im.nobody.listens")
	if o := <-add(t, s, idB, say(idA, "2")); !errors.Is(o.err, nats.ErrNoResponders) {
		t.Errorf("%+v", o)
	}
	wait(t, "idle", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.busy == 0 })
	subject(right)
	if o := stored(t, s, idB, say(idA, "2")); o.again || o.d.N != 2 {
		t.Errorf("%+v", o)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, read(t, s, p), 2)
}

// A conversation that conflicts makes no other one fail, and stays out of batches.
func TestConflictInBatch(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s, other := startService(t, url, Options{}), startService(t, url, Options{})
	const pairs = 3 * plainRecords
	user := func(i int) string { return fmt.Sprintf("%032x", i+1) }
	all := make([]result, pairs)
	round := func(id string) {
		t.Helper()
		for i := range pairs {
			all[i] = add(t, s, user(i), say(idB, id))
		}
		for i := range pairs {
			if o := <-all[i]; o.err != nil || o.again {
				t.Fatalf("conversation %d: %+v", i, o)
			}
		}
	}
	round("1")
	stored(t, other, user(3), say(idB, "other"))
	round("2")
	round("3")
	for i := range pairs {
		want := 3
		if i == 3 {
			want = 4
		}
		checkNumbered(t, read(t, s, kv.PairOf(idB, user(i))), want)
	}
	if n := counter(t, s, "imctl_dialogues_conflicts_total", ""); n != 1 {
		t.Errorf("%g conflicts", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conversation(kv.PairOf(idB, user(3))); !time.Now().Before(c.apart) {
		t.Error("the conversation that conflicted is in batches")
	}
}

// Conversations that are not used leave the memory, and are read again.
func TestEviction(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	stored(t, s, idB, say(idA, "1"))
	wait(t, "idle", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.busy == 0 })
	s.mu.Lock()
	for i := range maxConversations + 10 {
		s.conversation(kv.PairOf(idC, fmt.Sprintf("%032x", i+1)))
	}
	known, n := s.convs[kv.PairOf(idA, idB)] != nil, len(s.convs)
	remembered := s.ids.Load()
	s.mu.Unlock()
	if known || n > maxConversations || remembered != 0 {
		t.Errorf("%d conversations are in memory (the oldest one: %t), with %d ids", n, known, remembered)
	}
	if o := stored(t, s, idB, say(idA, "1")); !o.again {
		t.Errorf("%+v", o)
	}
}

// TestOutdatedLeader: the service decides nothing on the answer of an earlier leader, whose newest record is older than
// the newest record that the service knows.
func TestOutdatedLeader(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t, t.TempDir(), -1)
	s := startService(t, srv.ClientURL(), Options{})
	p := kv.PairOf(idA, idB)
	stored(t, s, idB, say(idA, "1"))
	api := subject.API("") + "DIRECT.GET." + s.opts.Talks.Stream() + "." + s.opts.Talks.Subject(p)
	nc := natstest.Connect(t, srv.ClientURL())
	old, err := nc.Request(api, nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stored(t, s, idB, say(idA, "2"))
	if _, err := nc.Subscribe("outdated", func(m *nats.Msg) {
		if err := m.RespondMsg(&nats.Msg{Header: old.Header, Data: old.Data}); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nc.Flush(), srv.GlobalAccount().AddMapping(api, "outdated")); err != nil {
		t.Fatal(err)
	}
	c := idle(t, s, p)
	for _, what := range []string{"head known", "head forgotten"} {
		if r, err := s.newest(t.Context(), c); !errors.Is(err, errOutdated) {
			t.Errorf("%s: %v, %v; want %v", what, r, err, errOutdated)
		}
		c.forget()
	}
	srv.GlobalAccount().RemoveMapping(api)
	if r, err := s.newest(t.Context(), c); err != nil || r.Last != 2 {
		t.Errorf("%v, %v; want the record of dialogue 2", r, err)
	}
	if o := stored(t, s, idB, say(idA, "3")); o.d.N != 3 {
		t.Errorf("%+v", o)
	}
}

// TestRefusedByEarlierLeader: a leader that does not know yet that it was replaced refuses a record, and shows the
// record before it. Meanwhile the new leader stores it. It is stored once.
func TestRefusedByEarlierLeader(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint("kept ", kept), func(t *testing.T) {
			t.Parallel()
			srv := natstest.Start(t, t.TempDir(), -1)
			s := startService(t, srv.ClientURL(), Options{})
			p := kv.PairOf(idA, idB)
			stored(t, s, idB, say(idA, "1"))
			publish := s.opts.Talks.Subject(p)
			direct := subject.API("") + "DIRECT.GET." + s.opts.Talks.Stream() + "." + publish
			nc := natstest.Connect(t, srv.ClientURL())
			old, err := nc.Request(direct, nil, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			account := srv.GlobalAccount()
			var reads, refusals atomic.Int32
			for on, answer := range map[string]func(*nats.Msg) error{
				"refused": func(m *nats.Msg) error {
					refusals.Add(1)
					account.RemoveMapping(publish)
					copied := &nats.Msg{Subject: publish, Header: m.Header, Data: m.Data}
					if _, err := nc.RequestMsg(copied, time.Minute); err != nil {
						return err
					}
					return m.Respond([]byte(`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`))
				},
				"outdated": func(m *nats.Msg) error {
					if reads.Add(1) == 2 {
						account.RemoveMapping(direct)
					}
					return m.RespondMsg(&nats.Msg{Header: old.Header, Data: old.Data})
				},
			} {
				if _, err := nc.Subscribe(on, func(m *nats.Msg) { // a subscription has a goroutine of its own
					if err := answer(m); err != nil {
						t.Error(err)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(nc.Flush(), account.AddMapping(publish, "refused"), account.AddMapping(direct, "outdated")); err != nil {
				t.Fatal(err)
			}
			d := say(idA, "2")
			d.Kept = kept
			if o := stored(t, s, idB, d); o.d.N != 2 || o.again {
				t.Errorf("%+v", o)
			}
			if refusals.Load() != 1 || reads.Load() != 2 {
				t.Errorf("%d refusals, %d outdated reads", refusals.Load(), reads.Load())
			}
			checkNumbered(t, read(t, s, p), 2)
		})
	}
}
