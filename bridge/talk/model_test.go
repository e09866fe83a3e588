package talk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// model is what a conversation of idA and idB should be.
type model struct {
	dialogues []kv.Dialogue // all of them, also those that are erased
	erased    uint64        // dialogues up to this one
	forgot    map[string]uint64
}

func (m *model) last() uint64 { return uint64(len(m.dialogues)) }

func (m *model) exists(n uint64) bool { return n > m.erased && n <= m.last() }

// deletes reports whether a dialogue is deleted.
func (m *model) deleted(n uint64) bool {
	for _, d := range m.dialogues[m.erased:] {
		if d.Deletes == n {
			return true
		}
	}
	return false
}

// add returns the number of a dialogue, 0 if it is refused, and whether it was stored before.
func (m *model) add(d kv.Dialogue) (n uint64, again bool) {
	if d.Kept {
		for _, old := range m.dialogues[m.erased:] {
			if old.Kept && old.From == d.From && string(old.ID) == string(d.ID) {
				return old.N, true
			}
		}
	}
	for _, n := range []uint64{d.Re, d.Reacts} {
		if n != 0 && !m.exists(n) {
			return 0, false
		}
	}
	for _, n := range []uint64{d.Edits, d.Deletes} {
		if n != 0 && (!m.exists(n) || m.dialogues[n-1].From != d.From || m.dialogues[n-1].Changes()) {
			return 0, false
		}
	}
	if d.Edits != 0 && m.deleted(d.Edits) {
		return 0, false
	}
	d.N = m.last() + 1
	m.dialogues = append(m.dialogues, d)
	return d.N, false
}

func (m *model) forget(user string) {
	if m.last() == m.erased {
		return
	}
	m.forgot[user] = m.last()
	if m.forgot[idA] == m.last() && m.forgot[idB] == m.last() {
		m.erased = m.last()
	}
}

// check compares what a user sees.
func (m *model) check(t *testing.T, s *Service, user string) {
	t.Helper()
	page, err := s.History(t.Context(), user, kv.PairOf(idA, idB).Other(user), kv.Range{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	want := m.dialogues[max(m.forgot[user], m.erased):]
	if len(page.Dialogues) != len(want) {
		t.Fatalf("%d dialogues, want %d", len(page.Dialogues), len(want))
	}
	for i, d := range page.Dialogues {
		w := want[i]
		if d.N != w.N || d.From != w.From || d.Deleted != (m.deleted(d.N) || w.Edits != 0 && m.deleted(w.Edits) || w.Hidden && w.From != user) {
			t.Fatalf("dialogue %d is %+v, want %+v", w.N, d, w)
		}
		if !d.Deleted && !d.Edited && (string(d.Payload) != string(w.Payload) || string(d.ID) != string(w.ID)) {
			t.Fatalf("dialogue %d is %+v, want %+v", w.N, d, w)
		}
	}
}

// Random operations on two nodes, which are restarted now and then, do what the model says.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			testModel(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func testModel(t *testing.T, random *rand.Rand) {
	url := newURL(t)
	services := []*Service{startService(t, url, Options{}), startService(t, url, Options{Plain: true})}
	m := &model{forgot: make(map[string]uint64)}
	p := kv.PairOf(idA, idB)
	number := func() uint64 { // often a recent one
		if last := m.last(); random.IntN(4) > 0 && last > 0 {
			return last - min(random.Uint64N(6), last-1)
		}
		return random.Uint64N(m.last()+3) + 1
	}
	for step := range 600 {
		s := services[random.IntN(2)]
		user := []string{idA, idB}[random.IntN(2)]
		switch op := random.IntN(100); {
		case op < 2:
			if err := s.Forget(t.Context(), user, p.Other(user)); err != nil {
				t.Fatal(err)
			}
			m.forget(user)
		case op < 4:
			i := random.IntN(2)
			closeService(t, services[i])
			services[i] = startService(t, url, Options{})
		case op < 8:
			m.check(t, s, user)
		default:
			m.say(t, s, user, random, number, step)
		}
	}
	for _, user := range []string{idA, idB} {
		m.check(t, services[0], user)
	}
}

// say sends one to four random dialogues at once.
func (m *model) say(t *testing.T, s *Service, user string, random *rand.Rand, number func() uint64, step int) {
	t.Helper()
	type expected struct {
		d     kv.Dialogue
		n     uint64
		again bool
		r     result
	}
	var all []expected
	for i := range 1 + random.IntN(4) {
		d := say(user, fmt.Sprint(step, i))
		if random.IntN(5) == 0 {
			d.ID = fmt.Appendf(nil, `"%d"`, random.IntN(20)) // used again
		}
		d.Kept, d.Hidden = random.IntN(5) > 0, random.IntN(10) == 0
		switch random.IntN(10) {
		case 0:
			d.Re = number()
		case 1:
			d.Reacts = number()
		case 2:
			d.Edits = number()
		case 3:
			d.Deletes = number()
		}
		n, again := m.add(d)
		all = append(all, expected{d, n, again, add(t, s, kv.PairOf(idA, idB).Other(user), d)})
	}
	for _, e := range all {
		switch o := <-e.r; {
		case e.n == 0 && !errors.Is(o.err, wire.ProtocolError):
			t.Fatalf("%+v: %+v, want 403", e.d, o)
		case e.n != 0 && (o.err != nil || o.d.N != e.n || o.again != e.again):
			t.Fatalf("%+v: %+v, want number %d (again: %t)", e.d, o, e.n, e.again)
		}
	}
}
