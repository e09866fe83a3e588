package cmd

import (
	"fmt"
	"strconv"
	"testing"
)

// sendPlain sends a dialogue from a session that knows only the contract.
func (x *modelRun) sendPlain(s *modelSession, to *modelUser) {
	m := s.user.talks[to]
	id := strconv.Itoa(x.rand.IntN(3)) // such clients restart their ids
	e := keepEntry{ID: id, Payload: fmt.Sprint("plain ", x.rand.IntN(1000)), N: m.last() + 1}
	x.note("%s: plain %s to %s", s.user.account, id, to.account)
	var keeps *modelSession
	other := false
	for _, o := range to.sessions {
		if o.kind == keepKind {
			keeps = o
		} else {
			other = true
		}
	}
	s.send(x.t, dialogue(strconv.Quote(id), to.id, strconv.Quote(e.Payload)))
	if keeps == nil && !other {
		if f := x.answer(s); f.Code != 508 {
			x.t.Fatalf("dialogue to a friend that is offline: %+v", f)
		}
		return
	}
	if keeps != nil { // its frame tells the time
		f := x.next(keeps, "a plain dialogue")
		for ; f.Code != 0 || f.From != s.user.id; f = x.next(keeps, "a plain dialogue") {
			x.take(keeps, f)
		}
		e.At = f.At
		if err := m.add(s.user.place[m], false, e); err != nil {
			x.t.Fatal(err)
		}
		x.stored(s, to, m, e.N)
		x.take(keeps, f)
		if !other {
			keeps.send(x.t, fmt.Sprintf(`{"got":%d,"with":"%s"}`, e.N, s.user.id))
			m.takes(to.place[m], e.N, 0)
		}
	}
	if f := x.answer(s); f.Code != 200 || f.ID != id {
		x.t.Fatalf("answer to a dialogue: %+v", f)
	}
	if keeps == nil {
		e.At = x.time(s.user, to, e.N)
		if err := m.add(s.user.place[m], false, e); err != nil {
			x.t.Fatal(err)
		}
		x.stored(s, to, m, e.N)
	}
}

// time reads the time of a dialogue from the history.
func (x *modelRun) time(u, with *modelUser, n uint64) string {
	d := (&keepPerson{member: u.member, friend: &keepPerson{member: with.member}}).newDevice(x.t, u.account, u.n, 0, nil)
	d.token = u.token
	page, err := d.history("before", strconv.FormatUint(n+1, 10), "limit", "1")
	if err != nil || len(page.Dialogues) != 1 || page.Dialogues[0].N != n {
		x.t.Fatalf("history of dialogue %d: %+v, %v", n, page, err)
	}
	return page.Dialogues[0].At
}

// modelSend is a dialogue of a session with keep=1, and its expected answer.
type modelSend struct {
	keepEntry
	code  int
	again bool // it was stored before
}

// sendKept sends some dialogues at once from a session with keep=1.
func (x *modelRun) sendKept(s *modelSession, to *modelUser) {
	m := s.user.talks[to]
	me := s.user.place[m]
	count := 1
	if x.rand.IntN(4) == 0 {
		count += x.rand.IntN(20)
	}
	// A copy of the model knows the numbers before the answers come.
	ahead := newKeptModel(m.ids[0], m.ids[1])
	ahead.entries, ahead.erased = append(ahead.entries, m.entries...), m.erased
	for n := range m.deleted {
		ahead.deleted[n] = true
	}
	var sends []modelSend
	for range count {
		send := x.random(ahead, me)
		if send.code == 202 && !send.again {
			send.N = ahead.last() + 1
			ahead.entries = append(ahead.entries, modelEntry{me, true, send.keepEntry})
			ahead.change(send.keepEntry)
		}
		x.note("%s: send %+v to %s", s.user.account, send, to.account)
		s.send(x.t, keptFrame(send.keepEntry, to.id))
		sends = append(sends, send)
	}
	for _, send := range sends {
		f := x.answer(s)
		if f.Code != send.code || f.ID != send.ID || f.N != send.N {
			x.t.Fatalf("answer to %+v: %+v", send, f)
		}
		switch {
		case f.Code != 202:
		case send.again:
			if at := m.entry(f.N).At; at != f.At {
				x.t.Fatalf("a dialogue that was sent again: %+v, want time %s", f, at)
			}
		default:
			send.At = f.At
			if err := m.add(me, true, send.keepEntry); err != nil {
				x.t.Fatal(err)
			}
			x.stored(s, to, m, f.N)
		}
	}
}

// random returns a random dialogue, and the answer that the model expects.
func (x *modelRun) random(m *keptModel, from int) modelSend {
	x.serial++
	e := keepEntry{ID: fmt.Sprint("k", x.serial), Payload: fmt.Sprint("text é ", x.serial)}
	if again := m.repeatable(from); len(again) > 0 && x.rand.IntN(8) == 0 {
		return modelSend{keepEntry: anyOf(x.rand, again), code: 202, again: true}
	}
	n := 1 + x.rand.Uint64N(m.last()+1) // sometimes a number that does not exist
	if x.rand.IntN(2) == 0 && m.last() > 10 {
		n = m.last() - x.rand.Uint64N(10)
	}
	switch x.rand.IntN(12) {
	case 0:
		e.Re = n
	case 1:
		e.Reacts, e.Payload = n, "👍"
	case 2, 3:
		e.Edits = n
	case 4:
		e.Deletes = n
		if x.rand.IntN(2) == 0 {
			e.Payload = ""
		}
	case 5:
		e.Re, e.Edits = n, n
	}
	return modelSend{keepEntry: e, code: m.code(from, e)}
}

// keptFrame returns the frame that sends a dialogue.
func keptFrame(e keepEntry, to string) string {
	frame := dialogue(strconv.Quote(e.ID), to, strconv.Quote(e.Payload))
	frame = frame[:len(frame)-1]
	for i, n := range []uint64{e.Re, e.Reacts, e.Edits, e.Deletes} {
		if n != 0 {
			frame += fmt.Sprintf(`,"%s":%d`, []string{"re", "reacts", "edits", "deletes"}[i], n)
		}
	}
	return frame + "}"
}

// TestKeptModel does random things with kept conversations, and compares everything that the server shows with a model.
func TestKeptModel(t *testing.T) {
	t.Parallel()
	x := newModelRun(t, newWorld(t, start(t)), 3)
	for range modelSteps {
		x.step()
	}
	for _, u := range x.users {
		x.settled(u)
	}
}
