package subject

import "strings"

// TalkStream returns the name of the stream of conversations.
func (p Prefix) TalkStream() string { return strings.ToUpper(string(p)) + "_TALKS" }

// Talk returns the subject of the conversation of two users, in either order.
func (p Prefix) Talk(x, y string) string {
	if y < x {
		x, y = y, x
	}
	return p.talks() + x + "." + y
}

// TalksOf returns the filters of a user's conversations.
func (p Prefix) TalksOf(user string) []string {
	return []string{p.talks() + user + ".*", p.talks() + "*." + user}
}

// TalkAll returns the filter of all conversations.
func (p Prefix) TalkAll() string { return p.talks() + ">" }

// ParseTalk returns the users of a subject of a conversation, the smaller id first. ok is false for another subject.
func (p Prefix) ParseTalk(subject string) (a, b string, ok bool) {
	rest, ok := strings.CutPrefix(subject, p.talks())
	if !ok {
		return "", "", false
	}
	a, b, ok = strings.Cut(rest, ".")
	return a, b, ok && a != "" && a < b && !strings.Contains(b, ".")
}

// talks returns what the subjects of all conversations begin with.
func (p Prefix) talks() string { return string(p) + ".talk." }
