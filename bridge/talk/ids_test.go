package talk

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// A dialogue whose id was used before is answered with the first one: after its commit, while it waits, while it is
// committed, and after a restart.
func TestSameID(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{})
	first := stored(t, s, idB, say(idA, "x"))
	second := say(idA, "x")
	second.Payload = []byte(`"another"`)
	check := func(s *Service, what string, o outcome) {
		t.Helper()
		if o.err != nil || !o.again || o.d.N != first.d.N || string(o.d.Payload) != `"payload of x"` || !o.d.At.Equal(first.d.At) {
			t.Errorf("%s: %+v", what, o)
		}
	}
	check(s, "after the commit", stored(t, s, idB, second))
	spelled := second
	spelled.ID = []byte(`"\u0078"`)
	check(s, "in another spelling", stored(t, s, idB, spelled))
	if o := stored(t, s, idB, say(idA, "elsewhere")); o.again || o.d.N != 2 {
		t.Errorf("another id: %+v", o)
	}
	if o := stored(t, s, idA, say(idB, "x")); o.again || o.d.N != 3 {
		t.Errorf("the same id of the friend: %+v", o)
	}
	contract := say(idA, "x")
	contract.Kept = false
	if o := stored(t, s, idB, contract); o.again || o.d.N != 4 {
		t.Errorf("the same id of a session that does not keep: %+v", o)
	}
	check(s, "after a contract dialogue with this id", stored(t, s, idB, second))
	outcomes := make(result, 40)
	for i := range 20 {
		for range 2 { // one behind the other, so both wait or are committed at once
			if err := s.Add(idB, say(idA, fmt.Sprint("twice", i)), outcomes); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		a, b := <-outcomes, <-outcomes
		if a.err != nil || b.err != nil || a.again || !b.again || a.d.N != b.d.N || a.d.N != uint64(5+i) {
			t.Errorf("twice at once: %+v and %+v", a, b)
		}
	}
	closeService(t, s)
	s = startService(t, url, Options{})
	check(s, "after a restart", stored(t, s, idB, second))
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), 24)
	if n := counter(t, s, "imctl_dialogues_kept_total", "again"); n != 1 {
		t.Errorf("%g are counted as stored before", n)
	}
}

// After a commit whose outcome is not known, a conversation reads what was stored since, and not all ids again.
func TestIDsAfterForget(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	one, two := startService(t, url, Options{}), startService(t, url, Options{})
	for i := range 50 {
		stored(t, one, idB, say(idA, fmt.Sprint(i)))
	}
	idle(t, one, kv.PairOf(idA, idB)).forget()
	for i := range 3 {
		stored(t, two, idB, say(idA, fmt.Sprint("two ", i)))
	}
	nc := natstest.Connect(t, url)
	var reads [2]*nats.Subscription // by sequence, and of the newest record
	for i, end := range []string{"", ".>"} {
		var err error
		if reads[i], err = nc.SubscribeSync(subject.API("") + "DIRECT.GET." + one.opts.Talks.Stream() + end); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"two 1", "7", "49"} {
		if o := stored(t, one, idB, say(idA, id)); !o.again || o.d.N != []uint64{52, 8, 50}[i] {
			t.Errorf("%s: %+v", id, o)
		}
	}
	if o := stored(t, one, idB, say(idA, "new")); o.again || o.d.N != 54 {
		t.Errorf("a new id: %+v", o)
	}
	for i, most := range []int{20, 10} {
		if n, _, err := reads[i].Pending(); n == 0 || n > most || err != nil {
			t.Errorf("%d reads, %v; want up to %d", n, err, most)
		}
	}
}

// The ids of dialogues that another node has stored are compared, too.
func TestSameIDOnAnotherNode(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	one, two := startService(t, url, Options{}), startService(t, url, Options{})
	stored(t, one, idB, say(idA, "a"))
	stored(t, two, idB, say(idA, "b")) // two knows the conversation
	for i := range 10 {
		stored(t, one, idB, say(idA, fmt.Sprint(i)))
	}
	for i := range 10 {
		if o := stored(t, two, idB, say(idA, fmt.Sprint(i))); !o.again || o.d.N != uint64(3+i) {
			t.Errorf("%d: %+v", i, o)
		}
	}
	checkNumbered(t, read(t, one, kv.PairOf(idA, idB)), 12)
}

func TestIDWindow(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	old := now - idAge.Milliseconds() - 1
	for _, c := range []struct {
		name        string
		at          int64
		kept, count uint64
	}{{"within a day", now, idMost, idMost + 500}, {"before", old, idDialogues, idMost + 500}, {"few", old, 10, 10}} {
		ids := newIDs()
		for n := uint64(1); n <= c.count; n++ {
			ids.add(n, n, c.at)
		}
		for n := uint64(1); n <= c.count; n++ {
			want := uint64(0)
			if n > c.count-c.kept+1 || c.count == c.kept { // the next dialogue ends the window
				want = n
			}
			if got := ids.find(n, c.count+1, now); got != want {
				t.Fatalf("%s: dialogue %d of %d is found as %d", c.name, n, c.count, got)
			}
		}
	}
}

// The window is what a plain list of all ids would say.
func TestIDWindowModel(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	ids := newIDs()
	var all []usedID
	at := time.Now().UnixMilli()
	for range 60_000 {
		at += int64(random.IntN(int(idAge.Milliseconds() / 3000)))
		last := uint64(len(all))
		hash := 1 + random.Uint64N(20_000)
		want := uint64(0)
		for i := len(all) - 1; i >= 0 && !outdated(all[i].n, last+1, all[i].at, at); i-- {
			if all[i].hash == hash {
				want = all[i].n
				break
			}
		}
		if got := ids.find(hash, last+1, at); got != want {
			t.Fatalf("after %d: found %d, want %d", last, got, want)
		}
		if want == 0 {
			all = append(all, usedID{hash, last + 1, at})
			ids.add(hash, last+1, at)
			if random.IntN(50) == 0 { // the commit failed
				cut := last + 1 - min(last, random.Uint64N(3))
				all = all[:cut]
				ids.truncate(cut)
			}
		}
	}
	if len(ids.numbers) != ids.len() || cap(ids.queue) > 4*idMost {
		t.Errorf("%d numbers of %d ids, in a queue for %d", len(ids.numbers), ids.len(), cap(ids.queue))
	}
}

func TestIDValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`"x"`, `"x"`, true}, {`"x"`, `"y"`, false}, {`"\u0078"`, `"x"`, true}, {`"\/"`, `"/"`, true},
		{`"\ud83d\ude00"`, `"😀"`, true}, {`"\ud83d"`, `"\ud83e"`, false}, {`"\n"`, `"n"`, false}, {`""`, `""`, true},
	} {
		if got := sameID([]byte(c.a), []byte(c.b)); got != c.same {
			t.Errorf("%s and %s: %t", c.a, c.b, got)
		}
	}
}
