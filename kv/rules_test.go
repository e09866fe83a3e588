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
	idC   = strings.Repeat("c", 32) // a third user, whose entries must not change
	then  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	limit = limits{friends: 10, requests: 10}
)

// between is the state between a and b.
type between struct{ a, b end }

// end is the part of the state that one roster has.
type end struct {
	friend  string // "", "friend" for one without an alias, or the alias
	request string // the note of the other's pending request, "" for none
	asked   bool
}

const unnamed = "friend"

// states has the consistent states.
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

// parties returns two rosters in the state s. Both also have entries of c.
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

// stateOf returns the state between a and b. It fails if an entry of c is lost or any entry occurs twice.
func stateOf(t *testing.T, a, b *party) between {
	t.Helper()
	return between{endOf(t, a, idB), endOf(t, b, idA)}
}

func endOf(t *testing.T, p *party, other string) (e end) {
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
			t.Errorf("roster %s: %s occurs %d times", p.id[:1], what, n)
		}
	}
	if seen["friend "+idC] != 1 || seen["request "+idC] != 1 || seen["asked "+idC] != 1 {
		t.Errorf("roster %s: the entries of a third user have changed: %v", p.id[:1], seen)
	}
	return e
}

var calls = map[string]func(a, b *party) (Kind, error){
	"request":  func(a, b *party) (Kind, error) { return request(a, b, "new", time.Now(), limit) },
	"add":      func(a, b *party) (Kind, error) { return add(a, b, "Ali", time.Now(), limit) },
	"remove":   func(a, b *party) (Kind, error) { return remove(a, b, time.Now(), limit) },
	"befriend": func(a, b *party) (Kind, error) { return befriend(a, b, time.Now(), limit) },
}

// result is the result of a call of a. The state is compared only after a change.
type result struct {
	kind  Kind
	err   error
	state between
}

var (
	named   = func(a, b string) between { return between{a: end{friend: a}, b: end{friend: b}} }
	nothing = between{}

	// table has the results of all calls in all states. The calls of b are those of a in the state with the two
	// exchanged, which the table also has.
	table = map[string]map[string]result{
		"strangers": {
			"request":  {Requested, nil, between{a: end{asked: true}, b: end{request: "new"}}},
			"add":      {err: ErrNoRequest},
			"remove":   {err: ErrNotFriends},
			"befriend": {Befriended, nil, named(unnamed, unnamed)},
		},
		"a asked": {
			"request":  {Requested, nil, between{a: end{asked: true}, b: end{request: "new"}}},
			"add":      {err: ErrNoRequest}, // a user does not become a friend without having asked
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
			"add":      {Befriended, nil, named("Ali", unnamed)}, // accepts both requests
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
				t.Errorf("the table has no result of %s in the state %s", call, name)
				continue
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				a, b := state.parties()
				kind, err := rule(a, b)
				if kind != want.kind || !errors.Is(err, want.err) {
					t.Fatalf("the change is %v, %v; want %v, %v", kind, err, want.kind, want.err)
				}
				if err != nil && kind == Unchanged {
					return
				}
				if got := stateOf(t, a, b); got != want.state {
					t.Errorf("the state is %+v, want %+v", got, want.state)
				}
			})
		}
	}
}

// The test has all combinations of entries in both rosters, most of which are inconsistent. After a call that
// succeeds, the state is consistent. The result is that of the consistent state that repair makes.
func TestRulesRepairInconsistentRosters(t *testing.T) {
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
					t.Errorf("remove in the state %+v: %v, want %v", raw, kind, removes(raw))
				}
				if err != nil && kind == Unchanged {
					continue
				}
				got := stateOf(t, a, b)
				if !consistent(got) {
					t.Errorf("%s in the state %+v leads to the inconsistent state %+v", call, raw, got)
				}
				rest := nothing
				if removes(raw) == Withdrawn && ea.request == "" {
					rest.b.asked = eb.asked // an unheard request of b stays
				}
				if call == "remove" && got != rest {
					t.Errorf("remove in the state %+v leads to %+v, want no relation", raw, got)
				}
				if call == "add" && kind == Befriended && ea.request == "" && ea.friend == "" {
					t.Errorf("add in the state %+v makes a friend without a request", raw)
				}
			}
		}
	}
}

// removes returns the kind of change of remove in any state. A friend in one roster is enough for Removed.
func removes(s between) Kind {
	switch {
	case s.a.friend != "" || s.b.friend != "":
		return Removed
	case s.a != (end{}) || s.b.request != "":
		return Withdrawn
	}
	return Unchanged
}

// consistent reports whether a state is one of states, with any aliases and notes, and with unheard requests.
func consistent(s between) bool {
	friends := s.a.friend != "" && s.b.friend != ""
	if friends {
		return s.a.request == "" && s.b.request == "" && !s.a.asked && !s.b.asked
	}
	return s.a.friend == "" && s.b.friend == "" &&
		(s.a.asked || s.b.request == "") && (s.b.asked || s.a.request == "")
}

func TestRequestAgainChangesNothing(t *testing.T) {
	t.Parallel()
	a, b := states["a asked"].parties()
	a2, b2 := states["a asked"].parties()
	if kind, err := request(a, b, "old", time.Now(), limit); kind != Unchanged || err != nil {
		t.Errorf("the change is %v, %v; want %v", kind, err, Unchanged)
	}
	if !reflect.DeepEqual(a, a2) || !reflect.DeepEqual(b, b2) {
		t.Error("the same request again changed a roster")
	}
	if kind, err := request(a, b, "", time.Now(), limit); kind != Requested || err != nil {
		t.Errorf("the change is %v, %v; want %v", kind, err, Requested)
	}
	if q, _ := b.Roster.Request(idA); q.Note != "" || !q.Since.Equal(then) {
		t.Errorf("the request is %+v, want no note and the old time", q)
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
	// Both rosters have one friend, one received and one sent request, all with c.
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
		for _, emptied := range []string{"a", "b"} { // one full roster is enough
			a, b := states[tc.state].parties()
			p := map[string]*party{"a": a, "b": b}[emptied]
			p.Friends = p.Friends[:len(p.Friends)-1]
			p.Requests = p.Requests[:len(p.Requests)-1]
			p.Asked = p.Asked[:len(p.Asked)-1]
			if tc.name == "request" && emptied == "a" {
				continue // b drops its oldest request, see TestFullRequestsDropTheOldest
			}
			if _, err := tc.call(a, b, full); !errors.Is(err, tc.want) {
				t.Errorf("%s with only %s below the limit: %v, want %v", tc.name, emptied, err, tc.want)
			}
		}
		a, b = states[tc.state].parties()
		if _, err := tc.call(a, b, roomy); err != nil {
			t.Errorf("%s below the limit: %v", tc.name, err)
		}
	}
	// At the limit, a change that adds no entry succeeds.
	a, b := states["a asked"].parties()
	if _, err := request(a, b, "new", then, full); err != nil {
		t.Errorf("a new note at the limit: %v", err)
	}
	a, b = states["friends"].parties()
	if _, err := add(a, b, "Al", then, full); err != nil {
		t.Errorf("an alias at the limit: %v", err)
	}
}
