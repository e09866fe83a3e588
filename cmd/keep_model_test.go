package cmd

import (
	"fmt"
	"iter"
	"reflect"
)

// keptModel is what a server must show of the conversation of two users. Its methods take the place of a user, 0 or 1.
type keptModel struct {
	ids     [2]string // of the users
	entries []modelEntry
	erased  uint64 // dialogues up to this one are erased
	got     [2]uint64
	read    [2]uint64
	forgot  [2]uint64
	deleted map[uint64]bool
	edited  map[uint64]string
	texts   map[uint64][]string // that it was edited to, ever
}

// modelEntry is a dialogue of a keptModel.
type modelEntry struct {
	from int
	kept bool // its id counts
	keepEntry
}

func newKeptModel(a, b string) *keptModel {
	return &keptModel{ids: [2]string{a, b}, deleted: make(map[uint64]bool), edited: make(map[uint64]string), texts: make(map[uint64][]string)}
}

// last returns the number of the newest dialogue.
func (m *keptModel) last() uint64 { return uint64(len(m.entries)) }

// entry returns the dialogue with a number, as it was sent.
func (m *keptModel) entry(n uint64) *modelEntry { return &m.entries[n-1] }

// first returns the number of the oldest dialogue that a user may read. It is last+1 if there is none.
func (m *keptModel) first(user int) uint64 { return max(m.erased, m.forgot[user]) + 1 }

// add adds a dialogue. Its number and time come from the answer of the server.
func (m *keptModel) add(from int, kept bool, e keepEntry) error {
	if e.N != m.last()+1 {
		return fmt.Errorf("dialogue %+v, want number %d", e, m.last()+1)
	}
	if e.N > 1 && e.At < m.entry(e.N-1).At {
		return fmt.Errorf("dialogue %+v is older than the one before it, %s", e, m.entry(e.N-1).At)
	}
	e.From = m.ids[from]
	m.entries = append(m.entries, modelEntry{from, kept, e})
	m.change(e)
	return nil
}

func (m *keptModel) change(e keepEntry) {
	if e.Edits != 0 {
		m.edited[e.Edits] = e.Payload
		m.texts[e.Edits] = append(m.texts[e.Edits], e.Payload)
	}
	if e.Deletes != 0 {
		m.deleted[e.Deletes] = true
	}
}

// code returns the code that answers a dialogue of a user with these numbers.
func (m *keptModel) code(from int, e keepEntry) int {
	for _, n := range []uint64{e.Re, e.Reacts, e.Edits, e.Deletes} {
		if n > m.last() || n != 0 && n <= m.erased {
			return 403
		}
	}
	for _, n := range []uint64{e.Edits, e.Deletes} {
		if n != 0 && (m.entry(n).from != from || m.entry(n).Edits+m.entry(n).Deletes != 0) {
			return 403
		}
	}
	if e.Edits != 0 && m.deleted[e.Edits] {
		return 403
	}
	return 202
}

// repeatable returns dialogues of a user whose ids must be recognized.
func (m *keptModel) repeatable(from int) (all []keepEntry) {
	for _, e := range m.entries[max(m.erased, m.last()-min(m.last(), 900)):] {
		if e.from == from && e.kept {
			all = append(all, e.keepEntry)
		}
	}
	return all
}

// seen returns a dialogue as a user reads it later.
func (m *keptModel) seen(user int, n uint64) keepEntry {
	e := m.live(user, n)
	text, edited := m.edited[n]
	switch {
	case m.deleted[n] || e.Edits != 0 && m.deleted[e.Edits]:
		e.Payload, e.Deleted = "", true
	case edited:
		e.Payload, e.Edited = text, true
	}
	return e
}

// live returns a dialogue as the sessions of a user with keep=1 receive it.
func (m *keptModel) live(user int, n uint64) keepEntry {
	e := m.entry(n).keepEntry
	e.With = m.ids[1-user]
	return e
}

// page returns a part of the conversation. Of before and after, one is 0.
func (m *keptModel) page(user int, before, after, limit uint64) keepPage {
	first, last := m.first(user), m.last()
	if first > last {
		return keepPage{Code: 200}
	}
	p := keepPage{Code: 200, First: first, Last: last}
	low, high := first, last
	if after > 0 {
		low = max(low, after+1)
		high = min(high, low+limit-1)
	} else {
		if before > 0 {
			high = min(high, before-1)
		}
		if high >= limit {
			low = max(low, high-limit+1)
		}
	}
	for n := low; n <= high; n++ {
		p.Dialogues = append(p.Dialogues, m.seen(user, n))
	}
	return p
}

// talk returns the conversation as a login shows it. It returns false if the user sees none of its dialogues.
func (m *keptModel) talk(user int) (keepTalk, bool) {
	if m.first(user) > m.last() {
		return keepTalk{}, false
	}
	e, other := m.seen(user, m.last()), 1-user
	return keepTalk{With: m.ids[other], Last: m.last(), Got: m.got[user], Read: m.read[user], PeerGot: m.got[other], PeerRead: m.read[other], Entry: &e}, true
}

// takes notes that the user has everything up to n.
func (m *keptModel) takes(user int, got, read uint64) {
	m.read[user] = max(m.read[user], min(read, m.last()))
	m.got[user] = max(m.got[user], min(got, m.last()), m.read[user])
}

// forget hides the conversation from a user.
func (m *keptModel) forget(user int) {
	m.forgot[user] = m.last()
	if m.forgot[1-user] == m.last() {
		m.erased = m.last()
	}
}

// caughtUp returns the dialogues that a contract session receives after its login, by number, in ascending order. It
// notes that the user has them.
func (m *keptModel) caughtUp(user int) iter.Seq2[uint64, keepFrame] {
	return func(yield func(uint64, keepFrame) bool) {
		for n := max(m.got[user]+1, m.first(user)); n <= m.last(); n++ {
			e := m.seen(user, n)
			if m.entry(n).from == user {
				continue
			}
			m.takes(user, n, 0)
			if e.Deletes == 0 && !e.Deleted && !yield(n, keepFrame{keepEntry: keepEntry{ID: e.ID, From: e.From, Payload: e.Payload}}) {
				return
			}
		}
	}
}

// past returns the number up to which a user has everything if it has everything up to n: it has its own dialogues, and
// nothing to get of those that it has forgotten or that are deleted.
func (m *keptModel) past(user int, n uint64) uint64 {
	for n < m.last() {
		e := m.entry(n + 1)
		if e.from != user && e.N > m.forgot[user] && e.Deletes == 0 && !m.deleted[e.N] {
			break
		}
		n++
	}
	return n
}

// shows reports whether a login shows a user the conversation as it must be. The server may or may not count
// dialogues that the user need not get.
func (m *keptModel) shows(user int, got keepTalk) bool {
	want, _ := m.talk(user)
	for _, k := range []*keepTalk{&got, &want} {
		k.Got, k.PeerGot = m.past(user, k.Got), m.past(1-user, k.PeerGot)
	}
	return reflect.DeepEqual(got, want)
}
