package wire

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits are the configurable limits. The limits of the protocol are constants.
type Limits struct {
	Picture int // bytes of a picture; 0: limited only by the size of the body
}

// The maximum lengths of fields, in characters.
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

// fields are the known fields of one call, before trimming. names are their keys.
type fields struct {
	names  []string
	values []string
	given  []bool // present and not null

	malformed bool // the call, or a field that was read
}

func newFields(names []string) *fields {
	return &fields{names: names, values: make([]string, len(names)), given: make([]bool, len(names))}
}

// jsonFields reads the fields from a JSON object of strings. null means absent.
func jsonFields(body []byte, names ...string) *fields {
	f := newFields(names)
	raw := make([][]byte, len(names))
	if scanObject(body, names, raw) != sound || !stringsOnly(raw) {
		f.malformed = true
		return f
	}
	for i, r := range raw {
		if r == nil {
			continue
		}
		text, ok := RawString(r).text()
		if !ok {
			f.malformed = true
		}
		f.values[i], f.given[i] = string(text), true
	}
	return f
}

// queryFields reads the fields from the query of a URL. url.ParseQuery skips pairs that it cannot decode. Here they
// make the query malformed, as does a repeated known key.
func queryFields(raw string, names ...string) *fields {
	f := newFields(names)
	query, err := url.ParseQuery(raw)
	if err != nil {
		f.malformed = true
		return f
	}
	for key, values := range query {
		for _, v := range values {
			f.malformed = f.malformed || !utf8.ValidString(v)
		}
		f.malformed = f.malformed || !utf8.ValidString(key)
	}
	for i, name := range names {
		values := query[name]
		if len(values) > 1 {
			f.malformed = true
		}
		if len(values) > 0 {
			f.values[i], f.given[i] = values[0], true
		}
	}
	return f
}

// plain returns a field untrimmed, and whether it was given. A name that is not one of the fields was not given: a
// call by NATS has no id and token, since its subject identifies the caller.
func (f *fields) plain(name string) (string, bool) {
	for i, n := range f.names {
		if n == name {
			return f.values[i], f.given[i]
		}
	}
	return "", false
}

// line returns a one-line field, trimmed, of at most limit characters (0: no limit).
func (f *fields) line(name string, limit int) string {
	return f.trimmed(name, limit, unicode.IsControl)
}

// lines returns a multi-line field, trimmed, of at most limit characters (0: no limit).
func (f *fields) lines(name string, limit int) string {
	return f.trimmed(name, limit, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	})
}

func (f *fields) trimmed(name string, limit int, forbidden func(rune) bool) string {
	s, _ := f.plain(name)
	s = strings.TrimSpace(s)
	if limit > 0 && utf8.RuneCountInString(s) > limit || strings.ContainsFunc(s, forbidden) {
		f.malformed = true
	}
	return s
}

// picture returns a picture, trimmed. Base64 may have line breaks.
func (f *fields) picture(limits Limits) string {
	s := f.lines("picture", 0)
	if limits.Picture > 0 && len(s) > limits.Picture {
		f.malformed = true
	}
	return s
}

// optional returns value, which was read from the field, or nil if the field was not given.
func (f *fields) optional(name, value string) *string {
	if _, given := f.plain(name); !given {
		return nil
	}
	return &value
}
