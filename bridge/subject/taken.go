package subject

import (
	"strconv"
	"strings"
)

// Taken returns the reply subject of a dialogue that is kept: a NATS client of the user replies on it that it has
// dialogue n of its conversation with the sender. node is the node that published the dialogue.
func (p Prefix) Taken(node, user, from string, n uint64) string {
	return string(p) + ".taken." + node + "." + user + "." + from + "." + strconv.FormatUint(n, 10)
}

// TakenAny returns the filter of the subjects of Taken.
func (p Prefix) TakenAny() string { return string(p) + ".taken.*.*.*.*" }

// ParseTaken parses a subject of Taken.
func (p Prefix) ParseTaken(subject string) (user, from string, n uint64, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(p)+".taken.")
	words := strings.Split(rest, ".")
	if !ok || len(words) != 4 {
		return "", "", 0, false
	}
	n, err := strconv.ParseUint(words[3], 10, 64)
	return words[1], words[2], n, err == nil && n > 0
}

// IsTaken reports whether subject is one of Taken with that node.
func (p Prefix) IsTaken(subject, node string) bool {
	const word = ".taken."
	at := len(p) + len(word)
	return len(subject) > at+len(node) && subject[:len(p)] == string(p) && subject[len(p):at] == word &&
		subject[at:at+len(node)] == node && subject[at+len(node)] == '.'
}
