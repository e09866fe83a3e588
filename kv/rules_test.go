package kv

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	idA   = strings.Repeat("a", 32)
	idB   = strings.Repeat("b", 32)
	idC   = strings.Repeat("c", 32) // somebody else, whom no call about a and b may touch
	then  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	limit = limits{friends: 10, requests: 10}
)

// between is what is between a and b, one end after the other.
type between struct{ a, b end }

type end struct {
	friend  string // "", "friend" for one without an alias, or the alias
	request string // the note of the other's pending request, "" for none
	asked   bool
}

const unnamed = "friend"

// The states that the rules know.
var states = map[string]between{
	"strangers":        {},
	"a asked":          {a: end{asked: true}, b: end{request: "old"}},
	"b asked":          {a: end{request: "old"}, b: end{asked: true}},
	"both asked":       {a: end{request: "old", asked: true}, b: end{request: "old", asked: true}},
	"friends":          {a: end{friend: unnamed}, b: end{friend: unnamed}},
	"friends, a named": {a: end{friend: "Al"}, b: end{friend: unnamed}},
	"friends, b named": {a: end{friend: unnamed}, b: end{friend: "Bo"}},
	"friends, named":   {a: end{friend: "Al"}, b: end{friend: "Bo"}},
}

func (s between) parties() (a, b *party) {
	a, b = &party{id: idA}, &party{id: idB}
	s.a.apply(a, idB)
	s.b.apply(b, idA)
	for _, p := range []*party{a, b} {
		p.Friends = append(p.Friends, Friend{ID: idC, Alias: "Cy", Since: then})
		p.Requests = append(p.Requests, Request{From: idC, Note: "hi", Since: then})
		p.Asked = append(p.Asked, idC)
	}
	return a, b
}

func (e end) apply(p *party, other string) {
	switch e.friend {
	case "":
	case unnamed:
		p.Friends = append(p.Friends, Friend{ID: other, Since: then})
	default:
		p.Friends = append(p.Friends, Friend{ID: other, Alias: e.friend, Since: then})
	}
	if e.request != "" {
		p.Requests = append(p.Requests, Request{From: other, Note: e.request, Since: then})
	}
	if e.asked {
		p.Asked = append(p.Asked, other)
	}
}

// look reads back what is between the two, and fails if anything about c is lost or anything is
// there twice.
func look(t *testing.T, a, b *party) between {
	t.Helper()
	return between{lookEnd(t, a, idB), lookEnd(t, b, idA)}
}

func lookEnd(t *testing.T, p *party, other string) (e end) {
	t.Helper()
	seen := map[string]int{}
	for _, f := range p.Friends {
		seen["friend "+f.ID]++
		if f.ID == other {
			e.friend = f.Alias
			if e.friend == "" {
				e.friend = unnamed
			}
		}
	}
	for _, q := range p.Requests {
		seen["request "+q.From]++
		if q.From == other {
			e.request = q.Note
		}
	}
	for _, id := range p.Asked {
		seen["asked "+id]++
		e.asked = e.asked || id == other
	}
	for what, n := range seen {
		if n > 1 {
			t.Errorf("%s: %s is there %d times", p.id[:1], what, n)
		}
	}
	if seen["friend "+idC] != 1 || seen["request "+idC] != 1 || seen["asked "+idC] != 1 {
		t.Errorf("%s: the entries of somebody else changed: %v", p.id[:1], seen)
	}
	return e
}

var calls = map[string]func(a, b *party) (Kind, error){
	"request":  func(a, b *party) (Kind, error) { return request(a, b, "new", time.Now(), limit) },
	"add":      func(a, b *party) (Kind, error) { return add(a, b, "Ali", time.Now(), limit) },
	"remove":   remove,
	"befriend": func(a, b *party) (Kind, error) { return befriend(a, b, time.Now(), limit) },
}

// after is what a call of a leads to: the state is only looked at where something happened.
type after struct {
	kind  Kind
	err   error
	state between
}

var (
	named   = func(a, b string) between { return between{a: end{friend: a}, b: end{friend: b}} }
	nothing = between{}

	// table is every state and every call: what b's calls do follows from a's in the state that
	// has the two exchanged, which is in the table too.
	table = map[string]map[string]after{
		"strangers": {
			"request":  {Requested, nil, between{a: end{asked: true}, b: end{request: "new"}}},
			"add":      {err: ErrNoRequest},
			"remove":   {err: ErrNotFriends},
			"befriend": {Befriended, nil, named(unnamed, unnamed)},
		},
		"a asked": {
			"request":  {Requested, nil, between{a: end{asked: true}, b: end{request: "new"}}},
			"add":      {err: ErrNoRequest}, // nobody becomes a friend unasked
			"remove":   {Withdrawn, ErrNotFriends, nothing},
			"befriend": {Befriended, nil, named(unnamed, unnamed)},
		},
		"b asked": {
			"request":  {Requested, nil, between{a: end{asked: true, request: "old"}, b: end{asked: true, request: "new"}}},
			"add":      {Befriended, nil, named("Ali", unnamed)},
			"remove":   {Withdrawn, ErrNotFriends, nothing},
			"befriend": {Befriended, nil, named(unnamed, unnamed)},
		},
		"both asked": {
			"request":  {Requested, nil, between{a: end{asked: true, request: "old"}, b: end{asked: true, request: "new"}}},
			"add":      {Befriended, nil, named("Ali", unnamed)}, // answers both
			"remove":   {Withdrawn, ErrNotFriends, nothing},
			"befriend": {Befriended, nil, named(unnamed, unnamed)},
		},
		"friends": {
			"request":  {err: ErrAlreadyFriends},
			"add":      {Named, nil, named("Ali", unnamed)},
			"remove":   {Removed, nil, nothing},
			"befriend": {Unchanged, nil, named(unnamed, unnamed)},
		},
		"friends, a named": {
			"request":  {err: ErrAlreadyFriends},
			"add":      {err: ErrAlreadyFriends},
			"remove":   {Removed, nil, nothing},
			"befriend": {Unchanged, nil, named("Al", unnamed)},
		},
		"friends, b named": {
			"request":  {err: ErrAlreadyFriends},
			"add":      {Named, nil, named("Ali", "Bo")},
			"remove":   {Removed, nil, nothing},
			"befriend": {Unchanged, nil, named(unnamed, "Bo")},
		},
		"friends, named": {
			"request":  {err: ErrAlreadyFriends},
			"add":      {err: ErrAlreadyFriends},
			"remove":   {Removed, nil, nothing},
			"befriend": {Unchanged, nil, named("Al", "Bo")},
		},
	}
)

func TestRules(t *testing.T) {
	t.Parallel()
	for name, state := range states {
		for call, rule := range calls {
			want, ok := table[name][call]
			if !ok {
				t.Errorf("the table lacks %s when %s", call, name)
				continue
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				a, b := state.parties()
				kind, err := rule(a, b)
				if kind != want.kind || !errors.Is(err, want.err) {
					t.Fatalf("%v, %v; want %v, %v", kind, err, want.kind, want.err)
				}
				if err != nil && kind == Unchanged {
					return
				}
				if got := look(t, a, b); got != want.state {
					t.Errorf("leads to %+v, want %+v", got, want.state)
				}
			})
		}
	}
}

// Every combination of entries at both ends, limit of which no call leads to: whatever was on the
// disk, a call that succeeds leaves a state that the rules know, and answers as the state does that
// the entries amount to.
func TestRulesMendWhatIsInconsistent(t *testing.T) {
	t.Parallel()
	var ends []end
	for _, friend := range []string{"", unnamed, "X"} {
		for _, request := range []string{"", "old"} {
			for _, asked := range []bool{false, true} {
				ends = append(ends, end{friend, request, asked})
			}
		}
	}
	for _, ea := range ends {
		for _, eb := range ends {
			for call, rule := range calls {
				raw := between{ea, eb}
				a, b := raw.parties()
				kind, err := rule(a, b)
				if call == "remove" && kind != removes(raw) {
					t.Errorf("remove in %+v does %v, want %v", raw, kind, removes(raw))
				}
				if err != nil && kind == Unchanged {
					continue
				}
				got := look(t, a, b)
				if !known(got) {
					t.Errorf("%s in %+v leads to %+v, which the rules don't know", call, raw, got)
				}
				if call == "remove" && got != nothing {
					t.Errorf("remove in %+v leaves %+v", raw, got)
				}
				if call == "add" && kind == Befriended && ea.request == "" && ea.friend == "" {
					t.Errorf("add in %+v makes a friend unasked", raw)
				}
			}
		}
	}
}

// removes is what remove has to do in any state: a friend at either end counts, then anything else.
func removes(s between) Kind {
	switch {
	case s.a.friend != "" || s.b.friend != "":
		return Removed
	case s != nothing:
		return Withdrawn
	}
	return Unchanged
}

// known tells that a state is one of those in states, whatever the names and notes in it.
func known(s between) bool {
	friends := s.a.friend != "" && s.b.friend != ""
	if friends {
		return s.a.request == "" && s.b.request == "" && !s.a.asked && !s.b.asked
	}
	return s.a.friend == "" && s.b.friend == "" &&
		s.a.asked == (s.b.request != "") && s.b.asked == (s.a.request != "")
}

func TestRequestAgainChangesNothing(t *testing.T) {
	t.Parallel()
	a, b := states["a asked"].parties()
	a2, b2 := states["a asked"].parties()
	if kind, err := request(a, b, "old", time.Now(), limit); kind != Unchanged || err != nil {
		t.Errorf("%v, %v; want unchanged", kind, err)
	}
	if !reflect.DeepEqual(a, a2) || !reflect.DeepEqual(b, b2) {
		t.Error("asking again with the same note changed a roster")
	}
	if kind, err := request(a, b, "", time.Now(), limit); kind != Requested || err != nil {
		t.Errorf("%v, %v; want the note to be taken away", kind, err)
	}
	if q, _ := b.Roster.Request(idA); q.Note != "" || !q.Since.Equal(then) {
		t.Errorf("the request is now %+v", q)
	}
}

func TestRulesAboutOneself(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]error{
		"request": ErrSelf, "add": ErrNoRequest, "remove": ErrNotFriends, "befriend": ErrSelf,
	} {
		a, _ := nothing.parties()
		twin, _ := nothing.parties()
		if _, err := calls[call](a, twin); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", call, err, want)
		}
	}
}

func TestRulesKeepTheLimits(t *testing.T) {
	t.Parallel()
	// Both rosters have one friend, one request and one mark, all of c.
	full := limits{friends: 1, requests: 1}
	roomy := limits{friends: 2, requests: 2}
	for _, tc := range []struct {
		name  string
		state string
		call  func(a, b *party, l limits) (Kind, error)
		want  error
	}{
		{"request", "strangers", func(a, b *party, l limits) (Kind, error) { return request(a, b, "", then, l) }, ErrTooManyRequests},
		{"add", "b asked", func(a, b *party, l limits) (Kind, error) { return add(a, b, "Al", then, l) }, ErrTooManyFriends},
		{"befriend", "strangers", func(a, b *party, l limits) (Kind, error) { return befriend(a, b, then, l) }, ErrTooManyFriends},
	} {
		a, b := states[tc.state].parties()
		if _, err := tc.call(a, b, full); !errors.Is(err, tc.want) {
			t.Errorf("%s at the limit: %v, want %v", tc.name, err, tc.want)
		}
		for _, emptied := range []string{"a", "b"} { // one full end is enough
			a, b := states[tc.state].parties()
			p := map[string]*party{"a": a, "b": b}[emptied]
			p.Friends = p.Friends[:len(p.Friends)-1]
			p.Requests = p.Requests[:len(p.Requests)-1]
			p.Asked = p.Asked[:len(p.Asked)-1]
			if _, err := tc.call(a, b, full); !errors.Is(err, tc.want) {
				t.Errorf("%s with room at %s alone: %v, want %v", tc.name, emptied, err, tc.want)
			}
		}
		a, b = states[tc.state].parties()
		if _, err := tc.call(a, b, roomy); err != nil {
			t.Errorf("%s below the limit: %v", tc.name, err)
		}
	}
	// At the limit, what adds nothing still works.
	a, b := states["a asked"].parties()
	if _, err := request(a, b, "new", then, full); err != nil {
		t.Errorf("a new note at the limit: %v", err)
	}
	a, b = states["friends"].parties()
	if _, err := add(a, b, "Al", then, full); err != nil {
		t.Errorf("an alias at the limit: %v", err)
	}
}
