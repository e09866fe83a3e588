package cmd

import (
	"strings"
	"testing"
)

// list logs in and out again, and returns the answer to the login.
func (p *member) list(t testing.TB) loginAnswer {
	t.Helper()
	c, a := p.openTunnel(t)
	c.close(t)
	return a
}

// wantFriends checks the friends, and their names, in the answer to a login.
func (p *member) wantFriends(t testing.TB, what string, names map[*member]string) {
	t.Helper()
	friends := p.list(t).Friends
	if len(friends) != len(names) {
		t.Errorf("%s: %d friends, want %d: %+v", what, len(friends), len(names), friends)
	}
	for other, name := range names {
		found := false
		for _, f := range friends {
			found = found || f.ID == other.id && f.Name == name
		}
		if !found {
			t.Errorf("%s: no friend %s named %q in %+v", what, other.id, name, friends)
		}
	}
}

// wantRequests checks the requests in the answer to a login.
func (p *member) wantRequests(t testing.TB, what string, notes map[*member]string) {
	t.Helper()
	requests := p.list(t).Requests
	if len(requests) != len(notes) {
		t.Errorf("%s: %d requests, want %d: %+v", what, len(requests), len(notes), requests)
	}
	for from, note := range notes {
		found := false
		for _, r := range requests {
			found = found || r == requestEntry{ID: from.id, Name: from.account, To: p.id, Note: note}
		}
		if !found {
			t.Errorf("%s: no request of %s with %q in %+v", what, from.id, note, requests)
		}
	}
}

// testRequest checks that a repeated request stays a single request, and does not make the users friends.
func testRequest(t *testing.T, w *world) {
	three := w.newMembers(t, 3)
	a, b, c := three[0], three[1], three[2]
	a.wantRequests(t, "at first", nil)
	for _, note := range []string{"", "hello", "hello"} {
		a.call(t, "request", "to", b.id, "note", note).want(t, "request", replyBody(200))
		b.wantRequests(t, "asked by one", map[*member]string{a: note})
	}
	longest := "two\nlines " + strings.Repeat("é", 502)
	c.call(t, "request", "to", " "+b.id, "note", "\n"+longest+" ").want(t, "request", replyBody(200))
	b.wantRequests(t, "asked by two", map[*member]string{a: "hello", c: longest})
	a.wantRequests(t, "who asked", nil)
	a.call(t, "request", "to", b.id).want(t, "without a note", replyBody(200))
	b.wantRequests(t, "asked again without a note", map[*member]string{a: "", c: longest})
	for _, p := range three {
		p.wantFriends(t, "unasked", nil)
	}
	// The requester cannot accept its own request.
	a.call(t, "add", "from", b.id, "name", "x").want(t, "add by who asked", replyBody(523))
	if code := a.talk(t, b, "1"); code != 512 {
		t.Errorf("dialogue before the request is accepted: got code %d, want 512", code)
	}
	// Tunnels without push=1 get no notices.
	if code := b.talk(t, a, "2"); code != 512 {
		t.Errorf("dialogue before the request is accepted: got code %d, want 512", code)
	}
}

// testAdd checks that the recipient of a request can accept it, that both are friends at once, and that each user sets
// its alias once.
func testAdd(t *testing.T, w *world) {
	three := w.newMembers(t, 3)
	a, b, c := three[0], three[1], three[2]
	b.call(t, "add", "from", a.id, "name", "x").want(t, "nobody asked", replyBody(523))
	a.call(t, "request", "to", b.id, "note", "n").want(t, "request", replyBody(200))
	c.call(t, "add", "from", a.id, "name", "x").want(t, "somebody else was asked", replyBody(523))
	b.call(t, "add", "from", a.id, "name", "  A <&> \"é\" ").want(t, "add", replyBody(200))
	b.wantFriends(t, "who added", map[*member]string{a: `A <&> "é"`})
	a.wantFriends(t, "who asked", map[*member]string{b: b.account})
	b.wantRequests(t, "answered", nil)
	b.call(t, "add", "from", a.id, "name", "again").want(t, "the end is named", replyBody(522))
	b.call(t, "request", "to", a.id).want(t, "friends", replyBody(522))
	a.call(t, "request", "to", b.id).want(t, "friends", replyBody(522))
	a.call(t, "add", "from", b.id, "name", "B").want(t, "who asked names its end", replyBody(200))
	a.call(t, "add", "from", b.id, "name", "B2").want(t, "both ends are named", replyBody(522))
	a.wantFriends(t, "who asked", map[*member]string{b: "B"})
	b.wantFriends(t, "who added", map[*member]string{a: `A <&> "é"`})

	// Either user can accept if both have sent a request.
	a.call(t, "request", "to", c.id).want(t, "request", replyBody(200))
	c.call(t, "request", "to", a.id).want(t, "the other way", replyBody(200))
	a.wantRequests(t, "crossing", map[*member]string{c: ""})
	c.wantRequests(t, "crossing", map[*member]string{a: ""})
	a.call(t, "add", "from", c.id, "name", "C").want(t, "add", replyBody(200))
	c.wantRequests(t, "answered by the other's add", nil)
	a.wantRequests(t, "answered", nil)
	c.wantFriends(t, "crossing", map[*member]string{a: a.account})
	c.call(t, "add", "from", a.id, "name", "A").want(t, "the other end is named", replyBody(200))
	c.call(t, "add", "from", a.id, "name", "A").want(t, "and was", replyBody(522))
	a.wantFriends(t, "two friends", map[*member]string{b: "B", c: "C"})
}

// testRemove checks that a removal ends the friendship and the requests of two users, and no others.
func testRemove(t *testing.T, w *world) {
	three := w.newMembers(t, 3)
	a, b, c := three[0], three[1], three[2]
	a.befriend(t, b)
	a.befriend(t, c)
	b.call(t, "remove", "to", " "+a.id+" ").want(t, "remove", replyBody(200))
	a.call(t, "remove", "to", b.id).want(t, "removed at the other end", replyBody(512))
	b.call(t, "remove", "to", a.id).want(t, "removed", replyBody(512))
	b.wantFriends(t, "removed", nil)
	a.wantFriends(t, "one is left", map[*member]string{c: "alias of " + c.account})
	b.call(t, "add", "from", a.id, "name", "x").want(t, "no friendship and no request", replyBody(523))

	// A new friendship needs a new request, and has no aliases.
	b.call(t, "request", "to", a.id).want(t, "request", replyBody(200))
	a.call(t, "add", "from", b.id, "name", "new").want(t, "add", replyBody(200))
	b.wantFriends(t, "again", map[*member]string{a: a.account})
	a.call(t, "remove", "to", b.id).want(t, "remove", replyBody(200))

	// Without a friendship, a removal by either user withdraws requests in both directions.
	for _, ends := range [][2]*member{{a, b}, {b, a}} {
		a.call(t, "request", "to", b.id).want(t, "request", replyBody(200))
		b.call(t, "request", "to", a.id).want(t, "request", replyBody(200))
		ends[0].call(t, "remove", "to", ends[1].id).want(t, "remove of requests", replyBody(512))
		a.wantRequests(t, "withdrawn", nil)
		b.wantRequests(t, "withdrawn", nil)
		a.call(t, "add", "from", b.id, "name", "x").want(t, "add of what was withdrawn", replyBody(523))
		b.call(t, "add", "from", a.id, "name", "x").want(t, "add of what was withdrawn", replyBody(523))
	}
	c.wantFriends(t, "the third", map[*member]string{a: "alias of " + a.account})
}
