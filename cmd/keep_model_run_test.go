package cmd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// modelRun compares a server with a model while users do random things, one after the other.
type modelRun struct {
	t      *testing.T
	w      *world
	rand   *rand.Rand
	users  []*modelUser
	serial int
	steps  []string // what was done
}

type modelUser struct {
	*member
	sessions []*modelSession
	talks    map[*modelUser]*keptModel
	place    map[*keptModel]int // of the user in the conversation
}

// kind is how a session logs in.
type sessionKind string

const (
	keepKind  sessionKind = "keep"
	pushKind  sessionKind = "push"
	plainKind sessionKind = ""
)

// modelSession is a session of a user with the dialogues that it must still receive, by the id of the other user.
type modelSession struct {
	*tunnel
	user    *modelUser
	kind    sessionKind
	frames  chan keepFrame
	expects map[string][]modelFrame
	answers []keepFrame // not looked at yet
	news    []keepFrame // notices of cursors, not looked at yet
}

// modelFrame is a dialogue that a session must receive. A session without keep=1 may receive it as it was when it was
// sent, or as it is since: edited, or if it is deleted, not at all.
type modelFrame struct {
	keepFrame
	kind sessionKind
	m    *keptModel
	n    uint64
}

// optional reports whether the session may miss the dialogue.
func (f modelFrame) optional() bool { return f.kind != keepKind && f.m.deleted[f.n] }

// is reports whether the session may receive the dialogue like this.
func (f modelFrame) is(got keepFrame) bool {
	if f.kind != keepKind && slices.Contains(f.m.texts[f.n], got.Payload) {
		got.Payload = f.Payload
	}
	return reflect.DeepEqual(got, f.keepFrame)
}

// newModelRun makes n users friends of each other.
func newModelRun(t *testing.T, w *world, n int) *modelRun {
	t.Helper()
	seed := rand.Uint64()
	x := &modelRun{t: t, w: w, rand: rand.New(rand.NewPCG(seed, 1))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, step %d; the last steps:\n%s", seed, len(x.steps), strings.Join(x.steps[max(0, len(x.steps)-30):], "\n"))
		}
	})
	for _, p := range w.newMembers(t, n) {
		u := &modelUser{member: p, talks: make(map[*modelUser]*keptModel), place: make(map[*keptModel]int)}
		for _, other := range x.users {
			other.befriend(t, p)
			m := newKeptModel(other.id, p.id)
			u.talks[other], other.talks[u] = m, m
			u.place[m], other.place[m] = 1, 0
		}
		x.users = append(x.users, u)
	}
	for _, u := range x.users {
		u.tunnel.close(t)
	}
	return x
}

func (x *modelRun) note(format string, args ...any) {
	x.steps = append(x.steps, fmt.Sprintf(format, args...))
}

// anyOf returns a random element, or the zero value if there is none.
func anyOf[E any](r *rand.Rand, all []E) (e E) {
	if len(all) > 0 {
		e = all[r.IntN(len(all))]
	}
	return e
}

// step does one random thing, and waits until every session has received what it must.
func (x *modelRun) step() {
	u := anyOf(x.rand, x.users)
	s := anyOf(x.rand, u.sessions)
	other := u
	for other == u {
		other = anyOf(x.rand, x.users)
	}
	switch dice := x.rand.IntN(100); {
	case s == nil, dice < 4 && len(u.sessions) < 4:
		x.open(u, anyOf(x.rand, []sessionKind{keepKind, keepKind, pushKind, plainKind}))
	case dice < 8:
		x.close(s)
	case dice < 10:
		x.forget(u, other)
	case dice < 22:
		x.page(u, other)
	case dice < 24:
		x.settled(u)
	case s.kind != keepKind:
		x.sendPlain(s, other)
	case dice < 45:
		x.acknowledge(s, other)
	default:
		x.sendKept(s, other)
	}
	for _, u := range x.users {
		for _, s := range u.sessions {
			x.sync(s)
		}
	}
	for _, u := range x.users {
		for _, s := range u.sessions {
			x.checkNews(s)
		}
	}
}

// open logs a user in.
func (x *modelRun) open(u *modelUser, kind sessionKind) {
	if kind != keepKind {
		x.settled(u) // the server notes an acknowledgement after the client has sent it
	}
	x.note("%s: open %q", u.account, kind)
	var pairs []string
	if kind != plainKind {
		pairs = []string{string(kind), "1"}
	}
	s := &modelSession{user: u, kind: kind, frames: make(chan keepFrame, 4096), expects: make(map[string][]modelFrame)}
	var a loginAnswer
	s.tunnel, a = u.openTunnel(x.t, pairs...)
	u.token = a.Token
	go func() {
		defer close(s.frames)
		for {
			text, err := s.patientNext()
			var f keepFrame
			if err != nil || json.Unmarshal([]byte(text), &f) != nil {
				return
			}
			s.frames <- f
		}
	}()
	u.sessions = append(u.sessions, s)
	for other, m := range u.talks {
		if kind != keepKind {
			for n, f := range m.caughtUp(u.place[m]) {
				s.expects[other.id] = append(s.expects[other.id], modelFrame{f, kind, m, n})
			}
		}
	}
}

// patientNext is tryNext without a time limit.
func (c *tunnel) patientNext() (string, error) {
	if err := c.ws.SetReadDeadline(time.Time{}); err != nil {
		return "", err
	}
	_, b, err := c.ws.ReadMessage()
	return string(b), err
}

// close ends a session, which must not have received anything else.
func (x *modelRun) close(s *modelSession) {
	if s.kind != keepKind {
		x.settled(s.user) // what is written to a session that is closing already does not count as delivered
	}
	x.note("%s: close %q", s.user.account, s.kind)
	s.user.sessions = slices.DeleteFunc(s.user.sessions, func(other *modelSession) bool { return other == s })
	if err := s.ws.WriteControl(8, []byte{3, 232}, time.Now().Add(waitTimeout)); err != nil {
		x.t.Fatal(err)
	}
	for f := range s.frames {
		x.take(s, f)
	}
	s.ws.Close()
}

// sync waits until a session has received what it must, and takes what else has come.
func (x *modelRun) sync(s *modelSession) {
	x.t.Helper()
	for {
		missing := 0
		for _, frames := range s.expects {
			for _, f := range frames {
				if !f.optional() {
					missing++
				}
			}
		}
		if missing > 0 {
			x.take(s, x.next(s, fmt.Sprintf("%d dialogues, such as %+v", missing, s.expects)))
			continue
		}
		select {
		case f, ok := <-s.frames:
			if !ok {
				x.t.Fatalf("a session of %s has ended", s.user.account)
			}
			x.take(s, f)
		default:
			return
		}
	}
}

// checkNews checks notices: they are not ahead of what a client has acknowledged.
func (x *modelRun) checkNews(s *modelSession) {
	x.t.Helper()
	for _, f := range s.news {
		for other, m := range s.user.talks {
			user := 1 - s.user.place[m]
			if f.Own {
				user = 1 - user
			}
			if other.id == f.ID && (f.Code == 303 && f.N > m.past(user, m.got[user]) || f.Code == 304 && f.N > m.read[user]) {
				x.t.Fatalf("notice %+v with cursors %v and %v", f, m.got, m.read)
			}
		}
	}
	s.news = s.news[:0]
}

// next waits for a frame.
func (x *modelRun) next(s *modelSession, what string) keepFrame {
	x.t.Helper()
	select {
	case f, ok := <-s.frames:
		if !ok {
			x.t.Fatalf("a session of %s has ended before %s", s.user.account, what)
		}
		return f
	case <-time.After(waitTimeout):
		x.t.Fatalf("a session (%q) of %s waits for %s", s.kind, s.user.account, what)
	}
	return keepFrame{}
}

// take checks a frame.
func (x *modelRun) take(s *modelSession, f keepFrame) {
	x.t.Helper()
	switch {
	case f.Code == 0 && f.From != "":
		other := f.From
		if f.With != "" {
			other = f.With
		} else if f.ToFriend != "" {
			other = f.ToFriend
		}
		waiting := s.expects[other]
		for len(waiting) > 0 && !waiting[0].is(f) && waiting[0].optional() {
			waiting = waiting[1:]
		}
		if len(waiting) == 0 || !waiting[0].is(f) {
			x.t.Fatalf("a session (%q) of %s received\n%+v, want\n%+v", s.kind, s.user.account, f, waiting[:min(1, len(waiting))])
		}
		s.expects[other] = waiting[1:]
	case f.Code == 303 || f.Code == 304:
		if s.kind != keepKind {
			x.t.Fatalf("a session (%q) received %+v", s.kind, f)
		}
		s.news = append(s.news, f)
	case f.Code == 300 || f.Code == 302 || f.Code == 305:
	default:
		s.answers = append(s.answers, f)
	}
}

// answer waits for the next answer to a dialogue.
func (x *modelRun) answer(s *modelSession) keepFrame {
	x.t.Helper()
	for len(s.answers) == 0 {
		x.take(s, x.next(s, "an answer"))
	}
	f := s.answers[0]
	s.answers = s.answers[1:]
	return f
}

// stored has all sessions expect a dialogue that the session s has sent.
func (x *modelRun) stored(s *modelSession, to *modelUser, m *keptModel, n uint64) {
	from := s.user
	e := m.entry(n)
	plain := keepFrame{keepEntry: keepEntry{ID: e.ID, From: from.id, Payload: e.Payload}}
	echo := plain
	echo.ToFriend = to.id
	expect := func(o *modelSession, with *modelUser, f keepFrame) {
		o.expects[with.id] = append(o.expects[with.id], modelFrame{f, o.kind, m, n})
	}
	for _, o := range from.sessions {
		switch {
		case o == s:
		case o.kind == keepKind:
			expect(o, to, keepFrame{keepEntry: m.live(from.place[m], n)})
		case o.kind == pushKind && e.Deletes == 0:
			expect(o, to, echo)
		}
	}
	for _, o := range to.sessions {
		if o.kind == keepKind {
			expect(o, from, keepFrame{keepEntry: m.live(to.place[m], n)})
			continue
		}
		m.takes(to.place[m], n, 0)
		if e.Deletes == 0 {
			expect(o, from, plain)
		}
	}
}

// acknowledge acknowledges dialogues, sometimes as read.
func (x *modelRun) acknowledge(s *modelSession, with *modelUser) {
	m := s.user.talks[with]
	if m.last() == 0 {
		return
	}
	n := 1 + x.rand.Uint64N(m.last())
	switch x.rand.IntN(5) {
	case 0:
		x.note("%s: read %d with %s", s.user.account, n, with.account)
		s.send(x.t, fmt.Sprintf(`{"read":%d,"with":"%s"}`, n, with.id))
		m.takes(s.user.place[m], n, n)
	case 1:
		s.send(x.t, fmt.Sprintf(`{"typing":true,"with":"%s"}`, with.id))
	default:
		x.note("%s: got %d with %s", s.user.account, n, with.account)
		s.send(x.t, fmt.Sprintf(`{"got":%d,"with":"%s"}`, n, with.id))
		m.takes(s.user.place[m], n, 0)
	}
	s.send(x.t, `{"ping":"p"}`)
	if f := x.answer(s); f.Code != 200 || f.Pong != "p" {
		x.t.Fatalf("answer to a ping: %+v", f)
	}
}
