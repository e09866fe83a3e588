package wire

import (
	"net/url"
	"strings"
	"testing"
)

// A caller parses one of the four calls. It returns the call, its code and the result of its Check.
type caller func(query string) (call any, code, check Code)

func callers() map[string][2]caller {
	type checked interface{ Check() Code }
	done := func(c checked, code Code) (any, Code, Code) { return c, code, c.Check() }
	return map[string][2]caller{
		"found": {
			func(q string) (any, Code, Code) { c, code := ParseFound(q); return done(c, code) },
			func(b string) (any, Code, Code) { c, code := ParseFoundJSON([]byte(b)); return done(c, code) },
		},
		"request": {
			func(q string) (any, Code, Code) { c, code := ParseRequest(q); return done(c, code) },
			func(b string) (any, Code, Code) { c, code := ParseRequestJSON([]byte(b)); return done(c, code) },
		},
		"add": {
			func(q string) (any, Code, Code) { c, code := ParseAdd(q); return done(c, code) },
			func(b string) (any, Code, Code) { c, code := ParseAddJSON([]byte(b)); return done(c, code) },
		},
		"remove": {
			func(q string) (any, Code, Code) { c, code := ParseRemove(q); return done(c, code) },
			func(b string) (any, Code, Code) { c, code := ParseRemoveJSON([]byte(b)); return done(c, code) },
		},
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	me := Auth{ID: "61", Token: "2ab3"}
	x := func(n int) string { return strings.Repeat("ä", n) }
	for _, tt := range []struct {
		call   string
		fields map[string]string // besides id and token
		want   any
		check  Code
	}{
		{"found", map[string]string{"name": " Min "}, FoundCall{me, "Min"}, 0},
		{"found", map[string]string{"name": x(64)}, FoundCall{me, x(64)}, 0},
		{"found", map[string]string{}, FoundCall{Auth: me}, NameEmpty},
		{"found", map[string]string{"name": " \u3000", "Name": "Min"}, FoundCall{Auth: me}, NameEmpty},
		{"request", map[string]string{"to": " f6 ", "note": " Hello,\nJohn "}, RequestCall{me, "f6", "Hello,\nJohn"}, 0},
		{"request", map[string]string{"to": "f6"}, RequestCall{Auth: me, To: "f6"}, 0},
		{"request", map[string]string{"to": "f6", "note": x(512)}, RequestCall{me, "f6", x(512)}, 0},
		{"request", map[string]string{"to": " ", "note": "x"}, RequestCall{Auth: me, Note: "x"}, FriendEmpty},
		{"add", map[string]string{"from": " f6 ", "name": " Tom "}, AddCall{me, "f6", "Tom"}, 0},
		{"add", map[string]string{"from": "f6", "name": x(64)}, AddCall{me, "f6", x(64)}, 0},
		{"add", map[string]string{"from": "f6"}, AddCall{Auth: me, From: "f6"}, AliasEmpty},
		{"add", map[string]string{"name": "Tom"}, AddCall{Auth: me, Name: "Tom"}, FriendEmpty},
		{"add", map[string]string{}, AddCall{Auth: me}, FriendEmpty},
		{"remove", map[string]string{"to": " f6 ", "from": "x"}, RemoveCall{me, "f6"}, 0},
		{"remove", map[string]string{}, RemoveCall{Auth: me}, FriendEmpty},
	} {
		by := callers()[tt.call]
		got, code, check := by[0](query(tt.fields, me))
		if code != 0 || check != tt.check || got != tt.want {
			t.Errorf("%s %v: %+v, %d, then %d; want %+v, then %d", tt.call, tt.fields, got, code, check, tt.want, tt.check)
		}
		got, code, check = by[1](string(viaJSON(t, tt.fields)))
		if want := withoutAuth(tt.want); code != 0 || check != tt.check || got != want {
			t.Errorf("%s %v by NATS: %+v, %d, then %d; want %+v, then %d", tt.call, tt.fields, got, code, check, want, tt.check)
		}
	}
}

func query(fields map[string]string, me Auth) string {
	q := url.Values{}
	for k, v := range fields {
		q.Set(k, v)
	}
	if me.ID != "" {
		q.Set("id", me.ID)
	}
	if me.Token != "" {
		q.Set("token", me.Token)
	}
	return q.Encode()
}

func withoutAuth(call any) any {
	switch c := call.(type) {
	case FoundCall:
		c.Auth = Auth{}
		return c
	case RequestCall:
		c.Auth = Auth{}
		return c
	case AddCall:
		c.Auth = Auth{}
		return c
	case RemoveCall:
		c.Auth = Auth{}
		return c
	}
	return call
}

// TestCallsCheckTokenThenID checks that a missing token comes before a missing id, and both before the call's own
// fields.
func TestCallsCheckTokenThenID(t *testing.T) {
	t.Parallel()
	for name, by := range callers() {
		for q, want := range map[string]Code{
			"":                       AuthEmpty,
			"id=61":                  AuthEmpty,
			"id=61&token=+":          AuthEmpty,
			"ID=61&TOKEN=2ab3":       AuthEmpty,
			"token=2ab3":             AccountIDEmpty,
			"token=2ab3&id=%0A":      AccountIDEmpty,
			"token=+2ab3+&id=61&q=1": 0,
		} {
			if _, code, _ := by[0](q); code != want {
				t.Errorf("%s?%s: %d, want %d", name, q, code, want)
			}
		}
	}
}

// TestMalformedCalls checks that a malformed call is refused before a missing token, and returns no call.
func TestMalformedCalls(t *testing.T) {
	t.Parallel()
	own := map[string]string{"found": "name", "request": "to", "add": "from", "remove": "to"}
	for name, by := range callers() {
		for _, q := range []string{
			"id=61&id=61&token=2ab3", "token=2ab3&token=2ab3&id=61", own[name] + "=x&" + own[name] + "=x",
			own[name] + "=%zz", own[name] + "=%FF", own[name] + "=a%00b", own[name] + "=a%0Ab", own[name] + "=a%C2%85b",
			"id=a%7Fb", "token=a%1Bb", "a=1;b=2", "x=%C3", "%",
		} {
			got, code, _ := by[0](q)
			if code != ProtocolError || !isZero(got) {
				t.Errorf("%s?%s: %+v, %d", name, q, got, code)
			}
		}
		for _, body := range []string{
			``, `x`, `[]`, `null`, `{"` + own[name] + `":7}`, `{"` + own[name] + `":"a","` + own[name] + `":"a"}`,
			`{"` + own[name] + `":"a\u0000b"}`, `{"` + own[name] + `":"a\nb"}`, `{"` + own[name] + `":"\udead"}`,
			"{\"" + own[name] + "\":\"\xff\"}", `{"` + own[name] + `":"a"`,
		} {
			got, code, _ := by[1](body)
			if code != ProtocolError || !isZero(got) {
				t.Errorf("%s by NATS %s: %+v, %d", name, body, got, code)
			}
		}
	}
	for name, field := range map[string]string{"found": "name=65", "add": "name=65", "request": "note=513"} {
		key, n, _ := strings.Cut(field, "=")
		length := map[string]int{"65": 65, "513": 513}[n]
		fields := map[string]string{key: strings.Repeat("x", length)}
		if _, code, _ := callers()[name][0](query(fields, Auth{ID: "61", Token: "2ab3"})); code != ProtocolError {
			t.Errorf("%s with %d characters of %s: %d", name, length, key, code)
		}
		if _, code, _ := callers()[name][1](string(viaJSON(t, fields))); code != ProtocolError {
			t.Errorf("%s by NATS with %d characters of %s: %d", name, length, key, code)
		}
	}
	if _, code, _ := callers()["request"][0]("note=a%1Bb"); code != ProtocolError {
		t.Errorf("escape character in a note: code %d, want 403", code)
	}
}

func isZero(call any) bool {
	switch call {
	case FoundCall{}, RequestCall{}, AddCall{}, RemoveCall{}:
		return true
	}
	return false
}

// TestCallsByNATSIgnoreIDAndToken checks that id and token in the body are ignored: the subject identifies the caller.
func TestCallsByNATSIgnoreIDAndToken(t *testing.T) {
	t.Parallel()
	for name, by := range callers() {
		got, code, _ := by[1](`{"id":"other","token":7}`)
		if code != 0 || !isZero(got) {
			t.Errorf("%s: %+v, %d", name, got, code)
		}
	}
}
