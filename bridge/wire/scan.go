package wire

import (
	"bytes"
	"unicode/utf8"
)

// maxDepth limits the nesting of values, and so the stack that a hostile frame can use.
const maxDepth = 32

// A verdict is the result of scanning an object.
type verdict int

const (
	malformed verdict = iota // not one JSON object in UTF-8, or nested too deeply
	ambiguous                // valid, but a known key is repeated
	sound                    // valid, no known key is repeated
)

// scanObject parses b as one JSON object and sets values[i] to the raw value of the key names[i], which aliases b. The
// value is nil if the key is absent, null or repeated. All values are nil if b is malformed.
//
// encoding/json does not fit: the id and payload of a dialogue must leave as the bytes that arrived, and encoding/json
// ignores the case of keys, lets the last of two equal keys win, and repairs invalid UTF-8.
func scanObject(b []byte, names []string, values [][]byte) verdict {
	clear(values)
	if !utf8.Valid(b) {
		return malformed
	}
	s := scanner{b: b}
	v := s.object(names, values)
	if v == malformed || s.skipSpace() {
		clear(values)
		return malformed
	}
	return v
}

// stringsOnly sets the values that are not strings to nil, and reports whether all values were strings.
func stringsOnly(values [][]byte) bool {
	ok := true
	for i, v := range values {
		if v != nil && v[0] != '"' {
			values[i], ok = nil, false
		}
	}
	return ok
}

type scanner struct {
	b []byte
	i int
}

// object reads one object. It records the keys that it has seen, so that it detects a repeated key even if its value
// is null.
func (s *scanner) object(names []string, values [][]byte) verdict {
	v := sound
	var seen uint64
	s.skipSpace()
	if !s.take('{') {
		return malformed
	}
	s.skipSpace()
	if s.take('}') {
		return v
	}
	for {
		key, value, ok := s.member(1)
		if !ok {
			return malformed
		}
		if at := find(key, names); at >= 0 {
			switch {
			case seen&(1<<at) != 0:
				v, values[at] = ambiguous, nil
			case value[0] != 'n':
				values[at] = value
			}
			seen |= 1 << at
		}
		if s.take('}') {
			return v
		}
		if !s.take(',') {
			return malformed
		}
		s.skipSpace()
	}
}

// member reads a key, the colon, the value and the space after it.
func (s *scanner) member(depth int) (key, value []byte, ok bool) {
	from := s.i
	if !s.string() {
		return nil, nil, false
	}
	key = s.b[from:s.i]
	s.skipSpace()
	if !s.take(':') {
		return nil, nil, false
	}
	s.skipSpace()
	from = s.i
	if !s.value(depth) {
		return nil, nil, false
	}
	value = s.b[from:s.i:s.i]
	s.skipSpace()
	return key, value, true
}

// find returns the index of the quoted key in names, or -1.
func find(key []byte, names []string) int {
	text := key[1 : len(key)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var ok bool
		if text, ok = unescape(text); !ok {
			return -1
		}
	}
	for i, name := range names {
		if string(text) == name {
			return i
		}
	}
	return -1
}

// value reads any JSON value.
func (s *scanner) value(depth int) bool {
	if s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"':
		return s.string()
	case '{', '[':
		return depth < maxDepth && s.nested(depth+1)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

// nested skips an object or array.
func (s *scanner) nested(depth int) bool {
	object := s.b[s.i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	s.i++
	s.skipSpace()
	if s.take(end) {
		return true
	}
	for {
		if object {
			if _, _, ok := s.member(depth); !ok {
				return false
			}
		} else {
			if !s.value(depth) {
				return false
			}
			s.skipSpace()
		}
		if s.take(end) {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.skipSpace()
	}
}

// string reads a string with its quotes and checks its escapes.
func (s *scanner) string() bool {
	if !s.take('"') {
		return false
	}
	for i := s.i; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			i++
			n := escapeLen(s.b[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		}
	}
	return false
}

// escapeLen returns the length of the escape at the start of b, without its backslash, or 0 if it is invalid.
func escapeLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if _, ok := hex4(b[1:]); ok {
			return 5
		}
	}
	return 0
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits reads one or more digits.
func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) word(w string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(w)) {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// skipSpace skips JSON white space and reports whether any input is left.
func (s *scanner) skipSpace() bool {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return true
		}
	}
	return false
}
