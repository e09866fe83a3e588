package cmd

import (
	"strings"
)

// conversationsKept tells whether the servers of these tests keep conversations. If not, the documented answers and
// messages of kept conversations cannot be seen.
const conversationsKept = false

// ofConversations reports whether an answer, or a message, is one that only a server has that keeps conversations.
func ofConversations(documented string) bool {
	if conversationsKept {
		return false
	}
	for _, part := range []string{" /im/dialogues ", " /im/dialogues/remove "} {
		if strings.Contains(documented, part) {
			return true
		}
	}
	return false
}

// conversations returns the calls for kept conversations.
func (a *openAPI) conversations(me, friend *member) (all []exchange) {
	if !conversationsKept {
		return nil
	}
	never := strings.Repeat("0", 32)
	row := func(code int, pairs ...string) {
		auth := []string{"id", me.id, "token", me.token}
		all = append(all, exchange{path: "/im/dialogues?" + query(append(auth, pairs...)...), code: code})
	}
	row(200, "with", friend.id)
	row(200, "with", friend.id, "before", "17", "limit", "200")
	row(200, "with", friend.id, "after", "0")
	row(200, "with", never)
	row(200, "with", "nobody")
	row(403, "with", friend.id, "before", "-1")
	row(403, "with", friend.id, "after", "x")
	row(403, "with", friend.id, "limit", "0")
	row(403, "with", friend.id, "limit", "201")
	row(403, "with", "a\x00b")
	row(519)
	row(519, "with", " ")
	all = append(all, exchange{path: "/im/dialogues?" + query("id", me.id, "token", me.token, "with", friend.id, "before", "1", "after", "1"), code: 403, beyond: true},
		exchange{path: "/im/dialogues?" + query("id", me.id, "with", friend.id), code: 514},
		exchange{path: "/im/dialogues?" + query("token", me.token, "with", friend.id), code: 517},
		exchange{path: "/im/dialogues?" + query("id", me.id, "token", never, "with", friend.id), code: 515})
	for _, forget := range []struct {
		body string
		code int
	}{
		{fields("id", me.id, "token", me.token, "with", friend.id), 200}, {fields("id", me.id, "token", me.token, "with", never), 200},
		{fields("id", me.id, "token", me.token, "with", "a\x00b"), 403}, {fields("id", me.id, "token", me.token), 519},
		{fields("id", me.id, "with", friend.id), 514}, {fields("token", me.token, "with", friend.id), 517}, {fields("id", me.id, "token", never, "with", friend.id), 515},
	} {
		all = append(all, exchange{path: "/im/dialogues/remove", body: forget.body, code: forget.code})
	}
	return append(all, exchange{path: "/im/dialogues/remove", body: fields("id", me.id, "token", me.token, "with", friend.id, "more", strings.Repeat("A", 256<<10)),
		code: 403, status: 413})
}
