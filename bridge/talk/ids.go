package talk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"hash/maphash"
	"slices"
	"time"
	"unicode/utf8"
)

// An id is remembered for the last idDialogues dialogues of its conversation, and for idAge among the last idMost.
const (
	idDialogues = 1000
	idMost      = 10_000
	idAge       = 24 * time.Hour
)

// ids are the hashes of the ids that senders have used lately in a conversation.
type ids struct {
	numbers map[uint64]uint64 // the newest number of a hash
	queue   []usedID          // ascending by number
	start   int               // the entries before it are forgotten
}

type usedID struct {
	hash, n uint64
	at      int64 // Unix milliseconds
}

func newIDs() *ids { return &ids{numbers: make(map[uint64]uint64)} }

// len returns how many ids are remembered. A nil ids has none.
func (s *ids) len() int {
	if s == nil {
		return 0
	}
	return len(s.queue) - s.start
}

// outdated reports whether the dialogue n is outside of the window, which ends with last.
func outdated(n, last uint64, at, now int64) bool {
	back := last - min(n, last)
	return back >= idMost || back >= idDialogues && now-at > idAge.Milliseconds()
}

// add notes that the dialogue n has the id with that hash, and forgets ids that are outside of the window.
func (s *ids) add(hash, n uint64, at int64) {
	for s.start < len(s.queue) && outdated(s.queue[s.start].n, n, s.queue[s.start].at, at) {
		old := s.queue[s.start]
		if s.numbers[old.hash] == old.n {
			delete(s.numbers, old.hash)
		}
		s.start++
	}
	if s.start > len(s.queue)/2 && len(s.queue) == cap(s.queue) {
		s.queue = slices.Delete(s.queue, 0, s.start)
		s.start = 0
	}
	s.queue = append(s.queue, usedID{hash, n, at})
	s.numbers[hash] = n
}

// find returns the number of the newest dialogue whose id has that hash, 0 if there is none in the window that ends
// with last.
func (s *ids) find(hash, last uint64, now int64) uint64 {
	n := s.numbers[hash]
	if n == 0 {
		return 0
	}
	live := s.queue[s.start:]
	i, ok := slices.BinarySearchFunc(live, n, func(e usedID, n uint64) int { return cmp.Compare(e.n, n) })
	if ok && outdated(n, last, live[i].at, now) {
		return 0
	}
	return n
}

// truncate forgets the ids of dialogues after last: they are not stored.
func (s *ids) truncate(last uint64) {
	if s == nil {
		return
	}
	cut := len(s.queue)
	for cut > s.start && s.queue[cut-1].n > last {
		cut--
	}
	for _, e := range s.queue[cut:] {
		if s.numbers[e.hash] == e.n {
			delete(s.numbers, e.hash)
		}
	}
	s.queue = s.queue[:cut]
}

// idValue returns the text of a JSON string, so that two spellings of one id are one id. The result of a string that
// has no exact text, because of half a surrogate pair, is the string itself.
func idValue(id []byte) []byte {
	if len(id) < 2 || id[0] != '"' {
		return id
	}
	if bytes.IndexByte(id, '\\') < 0 {
		return id[1 : len(id)-1]
	}
	var text string
	if err := json.Unmarshal(id, &text); err != nil || bytes.ContainsRune([]byte(text), utf8.RuneError) {
		return id
	}
	return []byte(text)
}

// sameID reports whether two JSON strings have the same text.
func sameID(a, b []byte) bool { return bytes.Equal(a, b) || bytes.Equal(idValue(a), idValue(b)) }

// hashID returns the hash of an id of a sender.
func (s *Service) hashID(from string, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(from) // never fails
	_ = h.WriteByte(0)
	_, _ = h.Write(idValue(id))
	return h.Sum64()
}
