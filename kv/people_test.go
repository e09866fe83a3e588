package kv

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestFindPage reads a search in pages of all sizes: each page continues where the one before ended, and all pages
// together are what Find returns.
func TestFindPage(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	for i := range 40 {
		name := []string{"Jo", "Joanna", "Jo Smith", "Other"}[i%4]
		seedUser(t, s, User{ID: NewID(), Account: fmt.Sprint("a", i), Profile: Profile{Name: name}, Disabled: i%7 == 3})
	}
	me := mustCreate(t, s, "me", "Jo")
	want, err := s.Users.Find(ctx, "jo", 1000, me.ID)
	if err != nil || len(want) < 20 {
		t.Fatalf("Find = %d users, %v", len(want), err)
	}
	for _, limit := range []int{1, 2, 7, 20, 100} {
		var got []User
		var from FindCursor
		for pages := 0; ; pages++ {
			page, next, err := s.Users.FindPage(ctx, "jo", from, limit, me.ID)
			if err != nil || len(page) > limit || pages > len(want) {
				t.Fatalf("FindPage(%q, %d) = %d users, %v", from, limit, len(page), err)
			}
			got = append(got, page...)
			if next == (FindCursor{}) {
				break
			}
			parsed, ok := ParseFindCursor(next.String())
			if !ok || parsed != next {
				t.Fatalf("ParseFindCursor(%q) = %v, %v", next, parsed, ok)
			}
			from = parsed
		}
		if names(got) != names(want) || !slices.EqualFunc(got, want, func(a, b User) bool { return a.ID == b.ID }) {
			t.Errorf("pages of %d: %s, want %s", limit, names(got), names(want))
		}
	}
	for _, text := range []string{"x", "2-a", "0", "0-", "-1", "0-!", "0--1", "0-zzzzzzzzzzzzzzzz"} {
		if c, ok := ParseFindCursor(text); ok {
			t.Errorf("ParseFindCursor(%q) = %v, want none", text, c)
		}
	}
}

// TestCancel: a request that is taken back leaves nothing but the cooldown, whether it was heard or not. The request of
// the other user, and a friendship, stay.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{Cooldown: time.Hour, MaxFriends: 10, MaxRequests: 10})
	ctx := testContext(t)
	ann, bob, cleo := mustCreate(t, s, "ann", "Ann").ID, mustCreate(t, s, "bob", "Bob").ID, mustCreate(t, s, "cleo", "Cleo").ID
	for _, to := range []string{ann, bob, "*"} {
		if _, err := s.Rosters.Cancel(ctx, ann, to); !errors.Is(err, ErrNoRequest) {
			t.Errorf("cancel a request to %q that was never sent: %v, want %v", to, err, ErrNoRequest)
		}
	}
	must := func(_ Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * time.Second).Unix()
	must(s.Rosters.Request(ctx, ann, bob, "hi"))
	must(s.Rosters.Request(ctx, bob, ann, "ho"))
	if at := mustGet(t, s, ann).AskedAt[bob]; at < before {
		t.Errorf("asked at %d, want now", at)
	}
	c, err := s.Rosters.Cancel(ctx, ann, bob)
	if err != nil || c.Kind != Withdrawn || c.Quiet || c.Unheard {
		t.Errorf("cancel = %+v, %v", c, err)
	}
	a, b := mustGet(t, s, ann), mustGet(t, s, bob)
	if len(a.Asked)+len(a.AskedAt)+len(b.Requests) != 0 || len(a.Requests) != 1 || !b.Asks(ann) {
		t.Errorf("after cancel: %+v, %+v", a, b)
	}

	// Unheard: cleo blocks ann, who sees no difference.
	must(s.Rosters.Block(ctx, cleo, ann))
	must(s.Rosters.Request(ctx, ann, cleo, "hi"))
	if at := mustGet(t, s, ann).AskedAt[cleo]; at < before {
		t.Errorf("an unheard request has the time %d, want now", at)
	}
	c, err = s.Rosters.Cancel(ctx, ann, cleo)
	if err != nil || c.Kind != Withdrawn || !c.Unheard || c.RevisionA == 0 || c.RevisionB == 0 {
		t.Errorf("cancel an unheard request = %+v, %v; want both rosters to be written", c, err)
	}

	must(s.Rosters.Add(ctx, ann, bob, "Bobby"))
	if _, err := s.Rosters.Cancel(ctx, bob, ann); !errors.Is(err, ErrAlreadyFriends) {
		t.Errorf("cancel after the request was accepted: %v, want %v", err, ErrAlreadyFriends)
	}
	if _, ok := mustGet(t, s, ann).Friend(bob); !ok {
		t.Error("cancel has ended a friendship")
	}
}

// TestCommon counts common friends, also of users with 2,000 of them.
func TestCommon(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{MaxFriends: 2000})
	ctx := testContext(t)
	ann, bob, cleo := mustCreate(t, s, "ann", "Ann").ID, mustCreate(t, s, "bob", "Bob").ID, mustCreate(t, s, "cleo", "Cleo").ID
	for _, pair := range [][2]string{{ann, bob}, {bob, cleo}} {
		if _, err := s.Rosters.Befriend(ctx, pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Rosters.Common(ctx, mustGet(t, s, ann), []string{cleo, bob, NewID(), "*"})
	if err != nil || len(got) != 1 || got[cleo] != 1 {
		t.Errorf("Common = %v, %v; want one friend common with cleo", got, err)
	}
	if got, err := s.Rosters.Common(ctx, Roster{}, []string{cleo}); err != nil || len(got) != 0 {
		t.Errorf("Common without friends = %v, %v", got, err)
	}
}

// TestFriendIDs: the ids that are found in an encoded roster are those of its friends, whatever the other texts are.
func TestFriendIDs(t *testing.T) {
	t.Parallel()
	texts := []string{"", `}],"`, `{"id":"x"}`, `"}],"requests":[{"id":"`, "\\", `\"`, "}]}"}
	var full Roster
	for _, text := range texts {
		full.Friends = append(full.Friends, Friend{ID: NewID(), Alias: text, Since: now(), BlockedBy: text == ""})
		full.Requests = append(full.Requests, Request{From: NewID(), Note: text})
		full.Recent = append(full.Recent, Recent{ID: NewID()})
	}
	for _, r := range []Roster{full, {}, {Friends: full.Friends}, {Recent: full.Recent}, {Requests: full.Requests, Blocked: []string{NewID()}},
		{Friends: full.Friends[:1], Asked: []string{NewID()}}, {Friends: full.Friends[6:], Recent: full.Recent}} {
		value, err := encodeRoster(r)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for id := range friendIDs(value) {
			got = append(got, string(id))
		}
		for _, f := range r.Friends {
			want = append(want, f.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("friendIDs(%s) = %v, want %v", value, got, want)
		}
	}
}

// BenchmarkCommon counts the common friends of one page of a search, where everybody has 2,000 friends.
func BenchmarkCommon(b *testing.B) {
	s := newStore(b, Options{MaxFriends: 2000})
	var own Roster
	for range 2000 {
		own.Friends = append(own.Friends, Friend{ID: NewID(), Alias: "A longer alias", Since: now()})
	}
	value, err := encodeRoster(own)
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]string, 50)
	for i := range ids {
		ids[i] = NewID()
		if _, err := s.Rosters.b.write(b.Context(), putAt(ids[i], value, 0)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Rosters.Common(b.Context(), own, ids); err != nil {
			b.Fatal(err)
		}
	}
}
