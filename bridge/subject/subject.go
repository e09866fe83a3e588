// Package subject builds and parses every NATS name that imctl uses: subjects, streams, buckets, inboxes and connection
// names. No other package spells one out. It imports the standard library only, so that every package can use it.
package subject

import "strings"

// Prefix is the first word of all subjects of an installation, the setting nats.prefix. Its methods build names.
type Prefix string

// Leaves of a user's live subjects, <prefix>.user.<id>.<leaf>.
const (
	leafDialogue = "dialogue"
	leafNotice   = "notice"
	leafStored   = "stored"
)

// All returns the filter of all subjects of the installation.
func (p Prefix) All() string { return string(p) + ".>" }

// Dialogue returns the subject on which a user takes dialogues. A request on it delivers a dialogue.
func (p Prefix) Dialogue(user string) string { return string(p) + ".user." + user + "." + leafDialogue }

// Nowhere returns a subject like that of Dialogue, which no client may subscribe to. NATS answers a request on it as one
// to a user that is offline.
func (p Prefix) Nowhere(user string) string { return p.Dialogue(user + "-nowhere") }

// Notice returns the subject on which a user's clients are told news.
func (p Prefix) Notice(user string) string { return string(p) + ".user." + user + "." + leafNotice }

// Stored returns the subject on which the sessions of a user are shown dialogues that were stored after their delivery.
// Only nodes subscribe to it.
func (p Prefix) Stored(user string) string { return string(p) + ".user." + user + "." + leafStored }

// Live returns the filter of a user's live subjects: dialogues, notices, and dialogues that were stored late.
func (p Prefix) Live(user string) string { return string(p) + ".user." + user + ".*" }

// User returns the filter of all subjects of a user, those of later versions included.
func (p Prefix) User(user string) string { return string(p) + ".user." + user + ".>" }

// Leaf is the last word of a live subject.
type Leaf int

// The leaves that ParseLive returns.
const (
	Unknown Leaf = iota
	Dialogue
	Notice
	Stored
)

// ParseLive returns the user and the leaf of a live subject. It is called for every dialogue and does not allocate.
func (p Prefix) ParseLive(subject string) (user string, leaf Leaf) {
	const words = ".user."
	if len(subject) <= len(p)+len(words) {
		return "", Unknown
	}
	user, last, _ := strings.Cut(subject[len(p)+len(words):], ".")
	switch last {
	case leafDialogue:
		return user, Dialogue
	case leafNotice:
		return user, Notice
	case leafStored:
		return user, Stored
	}
	return user, Unknown
}

// Send returns the subject on which a user that is a NATS client sends dialogues.
func (p Prefix) Send(user string) string { return string(p) + ".send." + user }

// SendAny returns the filter of the subjects on which NATS clients send dialogues.
func (p Prefix) SendAny() string { return p.Send("*") }

// ParseSend returns the user of a subject that SendAny matches.
func (p Prefix) ParseSend(subject string) (user string) { return subject[len(p.Send("")):] }

// Call returns the subject of a call by a user that is a NATS client.
func (p Prefix) Call(user, call string) string { return string(p) + ".call." + user + "." + call }

// CallAny returns the filter of the subjects of all calls.
func (p Prefix) CallAny() string { return p.Call("*", "*") }

// CallsOf returns the filter of the subjects of a user's calls.
func (p Prefix) CallsOf(user string) string { return p.Call(user, ">") }

// ParseCall returns the user and the call of a subject that CallAny matches.
func (p Prefix) ParseCall(subject string) (user, call string) {
	user, call, _ = strings.Cut(subject[len(string(p)+".call."):], ".")
	return user, call
}

// Node returns the subject on which a node takes commands from other nodes.
func (p Prefix) Node(id string) string { return string(p) + ".node." + id }

// Admin returns the subject of an endpoint of the administration.
func (p Prefix) Admin(noun, verb string) string { return string(p) + ".admin." + noun + "." + verb }

// AdminAll returns the filter of all subjects of the administration.
func (p Prefix) AdminAll() string { return string(p) + ".admin.>" }

// Log returns the subject, or with wildcards the filter, of entries of the event log: its words joined by dots.
func (p Prefix) Log(words ...string) string { return string(p) + ".log." + strings.Join(words, ".") }

// LogAll returns the filter of all entries of the event log.
func (p Prefix) LogAll() string { return p.Log(">") }

// LogDialogue returns the subject of the entry of a dialogue.
func (p Prefix) LogDialogue(from, to string) string {
	return string(p) + ".log.dialogue." + from + "." + to
}

// TrimLog returns the part of the subject of an entry that follows Log: "dialogue.<from>.<to>".
func (p Prefix) TrimLog(subject string) string {
	return strings.TrimPrefix(subject, string(p)+".log.")
}

// Includes reports whether a filter selects every subject that another filter selects.
func Includes(filter, other string) bool {
	words := strings.Split(other, ".")
	all := strings.Split(filter, ".")
	for i, word := range all {
		switch {
		case i == len(words):
			return false
		case word == ">":
			return true
		case word != words[i] && (word != "*" || words[i] == ">"):
			return false
		}
	}
	return len(all) == len(words)
}

// ValidFilter reports whether filter selects entries of the event log: words joined by dots, where * stands for any
// word and > at the end for all words that follow.
func ValidFilter(filter string) bool {
	const longest = 256
	words := strings.Split(filter, ".")
	for i, word := range words {
		switch {
		case word == "*", word == ">" && i == len(words)-1:
		case word == "", strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }):
			return false
		}
	}
	return len(filter) <= longest
}
