package wire

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits are the sizes that an operator may set. The others are the protocol's, see the constants.
type Limits struct {
	Picture int // bytes of a picture; 0: no limit but that of the body
}

// The longest that a field may be, in characters.
const (
	MaxAccount  = 64
	MaxName     = 64
	MaxSex      = 32
	MaxBirthday = 32
	MaxSign     = 512
	MaxMail     = 254
	MaxNote     = 512
	MaxAlias    = 64
)

// fields are the known fields of one call as they came. Their names are its keys.
type fields struct {
	names  []string
	values []string
	given  []bool // there and not null
	broken bool   // malformed, or a field broke its rule
}

func newFields(names []string) *fields {
	return &fields{names: names, values: make([]string, len(names)), given: make([]bool, len(names))}
}

// jsonFields reads the fields from a JSON object of strings. null is as good as absent.
func jsonFields(body []byte, names ...string) *fields {
	f := newFields(names)
	raw := make([][]byte, len(names))
	if scanObject(body, names, raw) != sound || !stringsOnly(raw) {
		f.broken = true
		return f
	}
	for i, r := range raw {
		if r == nil {
			continue
		}
		text, ok := RawString(r).text()
		if !ok {
			f.broken = true
		}
		f.values[i], f.given[i] = string(text), true
	}
	return f
}

// queryFields reads the fields from a URL's query. url.ParseQuery goes on after a pair that it can't read: here that
// is the end, as is a known key that is there twice.
func queryFields(raw string, names ...string) *fields {
	f := newFields(names)
	query, err := url.ParseQuery(raw)
	if err != nil {
		f.broken = true
		return f
	}
	for key, values := range query {
		for _, v := range values {
			f.broken = f.broken || !utf8.ValidString(v)
		}
		f.broken = f.broken || !utf8.ValidString(key)
	}
	for i, name := range names {
		values := query[name]
		if len(values) > 1 {
			f.broken = true
		}
		if len(values) > 0 {
			f.values[i], f.given[i] = values[0], true
		}
	}
	return f
}

// plain returns a field as it is. A name that is not one of the fields is one that was not given: a call by NATS
// has neither id nor token, for its subject says who calls.
func (f *fields) plain(name string) (string, bool) {
	for i, n := range f.names {
		if n == name {
			return f.values[i], f.given[i]
		}
	}
	return "", false
}

// line returns a field of one line, trimmed, of up to limit characters (0: any number).
func (f *fields) line(name string, limit int) string {
	return f.trimmed(name, limit, unicode.IsControl)
}

// lines returns a field that may have several lines, trimmed, of up to limit characters (0: any number).
func (f *fields) lines(name string, limit int) string {
	return f.trimmed(name, limit, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	})
}

func (f *fields) trimmed(name string, limit int, forbidden func(rune) bool) string {
	s, _ := f.plain(name)
	s = strings.TrimSpace(s)
	if limit > 0 && utf8.RuneCountInString(s) > limit || strings.ContainsFunc(s, forbidden) {
		f.broken = true
	}
	return s
}

// picture returns a picture, trimmed. Base64 may come in lines.
func (f *fields) picture(limits Limits) string {
	s := f.lines("picture", 0)
	if limits.Picture > 0 && len(s) > limits.Picture {
		f.broken = true
	}
	return s
}

// optional hands back what was read of a field, or nil when the field was not given.
func (f *fields) optional(name, value string) *string {
	if _, given := f.plain(name); !given {
		return nil
	}
	return &value
}
