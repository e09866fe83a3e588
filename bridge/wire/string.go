package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// A RawString is a JSON string as in a frame, with its quotes and escapes, so that the text of one client reaches
// another byte for byte. nil means no string. An empty string is two quotes. A parsed RawString aliases its frame and
// is valid until the frame is overwritten.
type RawString []byte

// text decodes a scanned string. The result aliases r if there are no escapes. It returns false for nil, and for an
// unpaired surrogate, which JSON allows but which is not text.
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

// blank reports whether a scanned string is nil, empty or white space, which may be escaped.
func (r RawString) blank() bool {
	if len(r) < 2 {
		return true
	}
	b, ok := r.text()
	return ok && len(bytes.TrimSpace(b)) == 0
}

// unescape decodes a scanned string without its quotes. It returns false for an unpaired surrogate.
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

// appendString appends s as a JSON string, as encoding/json does with SetEscapeHTML(false): browsers get these frames
// from a socket, never inside a page. Bytes that are not UTF-8 become U+FFFD.
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
			// The two line separators are escaped, as older versions of JavaScript do not allow them in strings.
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
