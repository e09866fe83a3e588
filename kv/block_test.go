package kv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// day is a limit with a cooldown of a day.
var day = limits{friends: 10, requests: 3, cooldown: 24 * time.Hour}

// shown applies a request of a to b, and reports whether the clients of b are shown it.
func shown(t *testing.T, a, b *party, note string, at time.Time) bool {
	t.Helper()
	a.quiet, a.unheard, b.quiet, b.unheard = false, false, false, false
	kind, err := request(a, b, note, at, day)
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	return kind == Requested && !b.quiet && !b.unheard
}

func TestWithdrawnRequestIsShownOnceInTheCooldown(t *testing.T) {
	t.Parallel()
	a, b := &party{id: idA}, &party{id: idB}
	at := then
	if !shown(t, a, b, "hi", at) {
		t.Fatal("the first request is not shown")
	}
	for i := range 50 {
		b.quiet = false
		kind, err := remove(a, b, at, day)
		if kind != Withdrawn || !errors.Is(err, ErrNotFriends) {
			t.Fatalf("withdraw: %v, %v", kind, err)
		}
		if b.quiet != (i > 0) {
			t.Errorf("withdrawal %d: quiet is %t", i, b.quiet)
		}
		at = at.Add(time.Minute)
		if shown(t, a, b, fmt.Sprint("again ", i), at) {
			t.Errorf("request %d within the cooldown is shown", i)
		}
		if q, ok := b.Roster.Request(idA); !ok || !q.Quiet {
			t.Errorf("the request is %+v, %t; want a quiet one", q, ok)
		}
		if shown(t, a, b, fmt.Sprint("new note ", i), at) {
			t.Errorf("a new note within the cooldown is shown")
		}
	}
	if !shown(t, a, b, "after", then.Add(day.cooldown)) {
		t.Error("a request after the cooldown is not shown")
	}
}

func TestDeclinedRequestIsUnheardInTheCooldown(t *testing.T) {
	t.Parallel()
	a, b := &party{id: idA}, &party{id: idB}
	shown(t, a, b, "hi", then)
	if kind, _ := remove(b, a, then, day); kind != Withdrawn || a.quiet || a.unheard {
		t.Fatalf("decline: %v, quiet %t, unheard %t", kind, a.quiet, a.unheard)
	}
	if shown(t, a, b, "please", then.Add(time.Hour)) || len(b.Requests) != 0 || !b.unheard || !a.asked(idB) {
		t.Errorf("after a decline: %+v, %+v; want an unheard request", a.Roster, b.Roster)
	}
	// The user who asked sees no difference: it may withdraw the request, and the other user is not told.
	a.unheard, b.unheard = false, false
	if kind, err := remove(a, b, then, day); kind != Withdrawn || !errors.Is(err, ErrNotFriends) || !b.unheard {
		t.Errorf("withdraw an unheard request: %v, %v, unheard %t", kind, err, b.unheard)
	}
	if !shown(t, a, b, "later", then.Add(day.cooldown)) {
		t.Error("a request after the cooldown is not shown")
	}
}

func TestDeclinerEndsTheCooldown(t *testing.T) {
	t.Parallel()
	a, b := &party{id: idA}, &party{id: idB}
	shown(t, a, b, "hi", then)
	remove(b, a, then, day)
	if !shown(t, b, a, "I was wrong", then.Add(time.Minute)) {
		t.Fatal("the request of the user who declined is not shown")
	}
	remove(b, a, then.Add(2*time.Minute), day)
	if !shown(t, a, b, "hi", then.Add(3*time.Minute)) {
		t.Error("the cooldown continues after the user who declined has asked")
	}
}

func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	a := &party{id: idA}
	for i := range 2 * maxRecent {
		a.remember(fmt.Sprint(i), Recent{Since: then}, then, day.cooldown)
	}
	if _, ok := a.recent(fmt.Sprint(2*maxRecent-1), then, day.cooldown); len(a.Recent) != maxRecent || !ok {
		t.Errorf("%d entries, the last one %t; want %d with the last one", len(a.Recent), ok, maxRecent)
	}
	a.remember("new", Recent{Since: then.Add(day.cooldown)}, then.Add(day.cooldown), day.cooldown)
	if len(a.Recent) != 1 {
		t.Errorf("%d entries, want only the one within the cooldown", len(a.Recent))
	}
}

// A repeated request of a blocked user writes nothing, as one that is pending, whatever the cooldown.
func TestRepeatedUnheardRequest(t *testing.T) {
	t.Parallel()
	for _, cooldown := range []time.Duration{0, time.Hour} {
		max := limits{friends: 10, requests: 10, cooldown: cooldown}
		a, b := &party{id: idA, Roster: Roster{Blocked: []string{idB}}}, &party{id: idB}
		for i, want := range []Kind{Requested, Unchanged, Unchanged} {
			a.unheard = false
			kind, err := request(b, a, "hi", then.Add(time.Duration(i)*2*time.Hour), max)
			if kind != want || err != nil || a.unheard != (want == Requested) {
				t.Errorf("cooldown %s, request %d: %v, %v, unheard %t; want %v", cooldown, i, kind, err, a.unheard, want)
			}
		}
	}
}

func TestFullRequestsDropTheOldest(t *testing.T) {
	t.Parallel()
	victim := &party{id: idB}
	strangers := make([]*party, day.requests)
	for i := range strangers {
		strangers[i] = &party{id: fmt.Sprintf("%032x", i)}
		shown(t, strangers[i], victim, "", then)
	}
	friend := &party{id: idA}
	if !shown(t, friend, victim, "it's me", then) {
		t.Fatal("the request to a user with many requests is not shown")
	}
	if _, ok := victim.Roster.Request(strangers[0].id); ok || len(victim.Requests) != day.requests {
		t.Errorf("the requests are %+v, want the oldest dropped", victim.Requests)
	}
	if !strangers[0].asked(idB) {
		t.Error("the user whose request was dropped can see it")
	}
	friend.Asked = []string{"1", "2", "3"}
	if _, err := request(friend, &party{id: idC}, "", then, day); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("a user who has asked too many: %v, want %v", err, ErrTooManyRequests)
	}
}

// TestLongNotesDropTheOldest: however many requests a user may have, their notes fit into one roster.
func TestLongNotesDropTheOldest(t *testing.T) {
	t.Parallel()
	many := day
	many.requests = 1000
	victim := &party{id: idB}
	for i := range 300 {
		if _, err := request(&party{id: fmt.Sprintf("%032x", i)}, victim, strings.Repeat("é", 1<<10), then, many); err != nil {
			t.Fatal(err)
		}
	}
	notes := 0
	for _, q := range victim.Requests {
		notes += len(q.Note)
	}
	if newest := victim.Requests[len(victim.Requests)-1]; notes > maxNotes || notes < maxNotes*9/10 || newest.From != fmt.Sprintf("%032x", 299) {
		t.Errorf("%d requests with notes of %d bytes, the last from %s", len(victim.Requests), notes, newest.From)
	}
}

func TestBlockedRequestIsUnheard(t *testing.T) {
	t.Parallel()
	for name, state := range states {
		if state.a.friend != "" {
			continue
		}
		a, b := state.parties()
		if kind, err := block(a, b); kind != Blocked || err != nil {
			t.Fatalf("%s: block: %v, %v", name, kind, err)
		}
		if b.quiet != (state.b.request == "") {
			t.Errorf("%s: the withdrawal is quiet: %t", name, b.quiet)
		}
		want := between{b: end{asked: state.b.asked}} // the request of b is unheard
		if got := stateOf(t, a, b); got != want || !a.Blocks(idB) || b.Blocks(idA) {
			t.Errorf("%s: the state is %+v, want %+v", name, got, want)
		}
		if shown(t, b, a, "hello", then) || !a.unheard || !b.asked(idA) {
			t.Errorf("%s: a request of the blocked user is shown, or can be told from another", name)
		}
		before := slices.Clone(b.Asked)
		if kind, _ := request(b, a, "hello", then, day); kind != Unchanged || !slices.Equal(before, b.Asked) {
			t.Errorf("%s: the same request again: %v", name, kind)
		}
		if _, err := request(a, b, "", then, day); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: the blocker asks: %v, want %v", name, err, ErrBlocked)
		}
		if kind, err := remove(a, b, then, day); kind != Unchanged || !errors.Is(err, ErrNotFriends) || !b.asked(idA) {
			t.Errorf("%s: the blocker removes a request that it does not see: %v, %v", name, kind, err)
		}
		if kind, err := unblock(a, b); kind != Unblocked || err != nil {
			t.Fatalf("%s: unblock: %v, %v", name, kind, err)
		}
		if !shown(t, b, a, "hello again", then) {
			t.Errorf("%s: a request after the block is not shown", name)
		}
	}
}

func TestBlockedFriend(t *testing.T) {
	t.Parallel()
	a, b := states["friends, named"].parties()
	blockedBy := func(p *party, id string) bool { f, _ := p.Friend(id); return f.BlockedBy }
	if kind, err := block(a, b); kind != Blocked || err != nil || !b.quiet {
		t.Fatalf("block: %v, %v, quiet %t", kind, err, b.quiet)
	}
	if got := stateOf(t, a, b); got != named("Al", "Bo") || !blockedBy(b, idA) || blockedBy(a, idB) {
		t.Errorf("the state is %+v, want friends, with a mark at the blocked one", got)
	}
	if kind, err := block(a, b); kind != Unchanged || err != nil {
		t.Errorf("block again: %v, %v", kind, err)
	}
	if _, err := remove(b, a, then, day); err != nil || !a.Blocks(idB) {
		t.Errorf("remove: %v; the block must stay", err)
	}
	if _, err := befriend(a, b, then, day); err != nil || !blockedBy(b, idA) {
		t.Errorf("befriend: %v; the new entry must have the mark", err)
	}
	if _, err := unblock(a, b); err != nil || blockedBy(b, idA) {
		t.Errorf("unblock: %v; the mark must be removed", err)
	}
	for i := range MaxBlocked {
		a.Blocked = append(a.Blocked, fmt.Sprint(i))
	}
	if _, err := block(a, b); !errors.Is(err, ErrTooManyBlocked) {
		t.Errorf("block at the limit: %v, want %v", err, ErrTooManyBlocked)
	}
}
