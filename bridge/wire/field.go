package wire

import (
	"cmp"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits are the sizes that an operator may set. The others are the protocol's, see the constants.
type Limits struct {
	Picture int // bytes of a picture; 0: only the limit of the body
}

// The longest that a field may be, in characters.
const (
	MaxAccount   = 64
	MaxName      = 64
	MaxSex       = 32
	MaxBirthday  = 32
	MaxSign      = 512
	MaxMail      = 254
	MaxNote      = 512
	MaxAlias     = 64
	MaxInvite    = 64
	MaxResetCode = 32 // with the hyphens and spaces that a user types
	MaxSession   = 32 // the id of a session
	MaxReport    = 1000
	MaxEvidence  = 4 << 10 // bytes
)

// A Kind is how a field is read. All kinds but Verbatim are trimmed.
type Kind int

// The kinds.
const (
	Line     Kind = iota // one line, without control characters
	Account              // Line, without invisible, format and bidi characters: a new account
	Name                 // Account, with emoji sequences: a name or an alias
	Known                // without control characters: an account that an older version may have accepted
	Lines                // may have line breaks and tabs
	Verbatim             // as it is: a password
	Picture              // Lines, within the limit of pictures in bytes: base64 may come in lines
	Number               // an integer in digits, see Least and Most; in JSON a number or a string
	Bool                 // true or false; in JSON also a string
)

// A Field declares a field of a call.
type Field struct {
	Name  string
	Kind  Kind
	Max   int  // characters; 0: no limit
	Bytes int  // 0: no limit
	Empty Code // the answer if the field is missing or empty; 0: it is optional
	// NotEmpty makes a field that is given and empty a [ProtocolError].
	NotEmpty bool
	// Least and Most bound a Number. A Most of 0 is MaxNumber.
	Least, Most uint64
}

// Values are the fields of one call, as its declaration reads them.
type Values struct {
	fields []Field
	values []string
	given  []bool // there and not null
}

// ParseQuery reads the fields of a call from the query of a URL. The code is [ProtocolError] or 0.
func ParseQuery(query string, fields []Field, limits Limits) (Values, Code) {
	return parse(queryFields(query, fields), fields, limits)
}

// ParseBody reads the fields of a call from a JSON object of strings, and of numbers and booleans for fields that are one.
// null is as good as absent. The code is [ProtocolError] or 0.
func ParseBody(body []byte, fields []Field, limits Limits) (Values, Code) {
	return parse(jsonFields(body, fields), fields, limits)
}

func names(fields []Field) []string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.Name
	}
	return all
}

// parse applies the declaration to the fields of a call.
func parse(raw *rawFields, fields []Field, limits Limits) (Values, Code) {
	v := Values{fields: fields, values: raw.values, given: raw.given}
	broken := raw.broken
	for i, f := range fields {
		s := raw.values[i]
		if f.Kind != Verbatim {
			s = strings.TrimSpace(s)
			broken = broken || f.Problem(s) != ""
		}
		v.values[i] = s
		broken = broken || f.Max > 0 && utf8.RuneCountInString(s) > f.Max || f.Bytes > 0 && len(s) > f.Bytes ||
			f.Kind == Picture && limits.Picture > 0 && len(s) > limits.Picture ||
			f.Kind == Number && s != "" && !f.inRange(s) ||
			f.Kind == Bool && s != "" && s != "true" && s != "false" ||
			f.NotEmpty && v.given[i] && s == ""
	}
	if broken {
		return Values{}, ProtocolError
	}
	return v, 0
}

// inRange reports whether a text is a number that the field may have.
func (f Field) inRange(s string) bool {
	n, ok := parseDigits(s)
	return ok && n >= f.Least && n <= cmp.Or(f.Most, MaxNumber)
}

// Check returns the code of the first field that must not be empty and is, or 0.
func (v Values) Check() Code {
	for i, f := range v.fields {
		if f.Empty != 0 && v.values[i] == "" {
			return f.Empty
		}
	}
	return 0
}

// Get returns a field, or "" if the call does not give it.
func (v Values) Get(name string) string {
	s, _ := v.Lookup(name)
	return s
}

// Lookup returns a field, and whether the call gives it.
func (v Values) Lookup(name string) (string, bool) {
	for i, f := range v.fields {
		if f.Name == name {
			return v.values[i], v.given[i]
		}
	}
	return "", false
}

// Optional returns a field, or nil if the call does not give it.
func (v Values) Optional(name string) *string {
	if s, given := v.Lookup(name); given {
		return &s
	}
	return nil
}

// Number returns a Number, and whether the call gives it. An empty text is as good as absent.
func (v Values) Number(name string) (n uint64, given bool) { return parseDigits(v.Get(name)) }

// Bool returns a Bool, or nil if the call does not give it. An empty text is as good as absent.
func (v Values) Bool(name string) *bool {
	s := v.Get(name)
	if s == "" {
		return nil
	}
	set := s == "true"
	return &set
}

// An Auth is the id and the token of a login's answer, by which HTTP calls are authorized.
type Auth struct {
	ID    string
	Token string
}

// AuthFields declare the fields of an Auth.
var AuthFields = []Field{{Name: "id"}, {Name: "token"}}

// Auth returns the caller, as [AuthFields] declare it. The code is 0 or, in this order, [AuthEmpty] or
// [AccountIDEmpty].
func (v Values) Auth() (Auth, Code) {
	a := Auth{ID: v.Get("id"), Token: v.Get("token")}
	return a, a.check()
}

// check looks at the token first, as the protocol does.
func (a Auth) check() Code {
	switch {
	case a.Token == "":
		return AuthEmpty
	case a.ID == "":
		return AccountIDEmpty
	}
	return 0
}

// rawFields are the known fields of one call as they came, in the order of the names that were asked for.
type rawFields struct {
	values []string
	given  []bool
	broken bool // malformed
}

func newRawFields(n int) *rawFields {
	return &rawFields{values: make([]string, n), given: make([]bool, n)}
}

// jsonFields reads the fields from a JSON object. null is as good as absent.
func jsonFields(body []byte, fields []Field) *rawFields {
	f := newRawFields(len(fields))
	raw := make([][]byte, len(fields))
	if scanObject(body, names(fields), raw) != sound {
		f.broken = true
		return f
	}
	for i, r := range raw {
		switch {
		case r == nil:
		case r[0] == '"':
			text, ok := RawString(r).text()
			f.broken = f.broken || !ok
			f.values[i], f.given[i] = string(text), true
		case fields[i].Kind == Number:
			f.broken = f.broken || r[0] < '0' || r[0] > '9' // true, an array, or a negative number
			f.values[i], f.given[i] = string(r), true
		case fields[i].Kind == Bool:
			f.broken = f.broken || r[0] != 't' && r[0] != 'f' // a number, an array, or an object
			f.values[i], f.given[i] = string(r), true
		default:
			f.broken = true
		}
	}
	return f
}

// queryFields reads the fields from a URL's query. A query with a pair that url.ParseQuery cannot read is malformed,
// and so is one with a known key twice.
func queryFields(raw string, fields []Field) *rawFields {
	f := newRawFields(len(fields))
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
	for i, field := range fields {
		values := query[field.Name]
		if len(values) > 1 {
			f.broken = true
		}
		if len(values) > 0 {
			f.values[i], f.given[i] = values[0], true
		}
	}
	return f
}
