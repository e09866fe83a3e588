package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// A RawString is a JSON string as it stands in a frame, with its quotes and escapes. It lets what
// one client wrote reach another byte for byte. nil is no string at all; an empty string is two quotes.
// One that was parsed is a part of the parsed frame: it holds while the frame is not overwritten.
type RawString []byte

// Quote returns s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func Quote(s string) RawString { return appendString(nil, s) }

// Text returns what the string says. It is false for nil, for what is not a JSON string, and for half of a surrogate pair,
// which is no text, though JSON lets it pass.
func (r RawString) Text() (string, bool) {
	s := scanner{b: r}
	if !s.string() || s.i != len(r) || !utf8.Valid(r) {
		return "", false
	}
	b, ok := r.text()
	return string(b), ok
}

// text is Text for a string that was scanned: no check, and no copy where there is no escape.
func (r RawString) text() ([]byte, bool) {
	if len(r) < 2 {
		return nil, false
	}
	b := []byte(r[1 : len(r)-1 : len(r)-1])
	if bytes.IndexByte(b, '\\') < 0 {
		return b, true
	}
	return unescape(b)
}

// blank tells whether a scanned string says nothing: it is nil, empty or white space. White space may be
// written in escapes.
func (r RawString) blank() bool {
	if len(r) < 2 {
		return true
	}
	b, ok := r.text()
	return ok && len(bytes.TrimSpace(b)) == 0
}

// unescape decodes the inside of a scanned string. It is false for half of a surrogate pair.
func unescape(b []byte) ([]byte, bool) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(b[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if i+2 < len(b) && b[i+1] == '\\' && b[i+2] == 'u' {
					low, _ = hex4(b[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return nil, false
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default: // a quote, a backslash, a slash
			out = append(out, b[i])
		}
	}
	return out, true
}

// hex4 reads the four hex digits of a \u escape.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendString appends s as a JSON string, as encoding/json does without its escapes for HTML: browsers get these
// frames from a socket, never inside a page.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			// The two line separators are escaped for readers that take JSON for JavaScript.
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
			dst = append(dst, s[from:i]...)
			switch r {
			case '\u2028', '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, digits[r&0xf])
			default:
				dst = append(dst, `\ufffd`...)
			}
		} else {
			dst = append(dst, s[from:i]...)
			dst = appendEscape(dst, c)
		}
		i += size
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// appendEscape appends a quote, backslash or control character.
func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
}
