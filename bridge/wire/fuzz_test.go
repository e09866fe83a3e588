package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// decode reads one object with encoding/json: every value of every key in their order. It is false for
// what is not exactly one object in UTF-8. depth is how deep it nests, the object itself included.
func decode(b []byte) (members map[string][]json.RawMessage, depth int, ok bool) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, 0, false
	}
	levels := json.NewDecoder(bytes.NewReader(b))
	for level := 0; ; {
		token, err := levels.Token()
		if err == io.EOF {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			level++
			depth = max(depth, level)
		case json.Delim('}'), json.Delim(']'):
			level--
		}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if token, _ := dec.Token(); token != json.Delim('{') {
		return nil, depth, false
	}
	members = map[string][]json.RawMessage{}
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, depth, false
		}
		members[key.(string)] = append(members[key.(string)], value)
	}
	return members, depth, true
}

// oneString returns the raw string of the key, nil if the key is absent or null. It is false if the key is there twice
// or is anything else.
func oneString(members map[string][]json.RawMessage, key string) (json.RawMessage, bool) {
	values := members[key]
	switch {
	case len(values) == 0:
		return nil, true
	case len(values) > 1:
		return nil, false
	case string(values[0]) == "null":
		return nil, true
	}
	return values[0], values[0][0] == '"'
}

// meaning is what encoding/json makes of a raw string: half of a surrogate pair is U+FFFD in it.
func meaning(t testing.TB, raw []byte) string {
	t.Helper()
	if raw == nil {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return s
}

func addAll[T string | []byte](f *testing.F, seeds ...T) {
	for _, s := range seeds {
		f.Add(s)
	}
}

func FuzzParseSend(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"7","toFriend":"f6","payload":"How are you?"}`),
		[]byte(`{"payload":"\u00e4\/<\ud83d\ude42","\u0069d":" ","toFriend":" f6 ","x":[{"y":-1.5e+3},null,true]}`),
		[]byte(`{"id":7,"toFriend":"f6","payload":null}`),
		[]byte(`{"id":"7","id":"8","toFriend":"f6","payload":"x"}`),
		[]byte("{\"id\":\"7\",\"toFriend\":\"\\ud800\",\"payload\":\"\xff\"}"),
		[]byte(` { "x" : { } , "id" : "" } `),
	)
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		s, code := ParseSend(frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("the frame was changed")
		}
		members, depth, ok := decode(frame)
		if !ok || depth > maxDepth {
			if code != ProtocolError || s.ID != nil || s.To != nil || s.Payload != nil {
				t.Fatalf("malformed, and it is %d, %q", code, s)
			}
			return
		}
		id, idOK := oneString(members, "id")
		to, toOK := oneString(members, "toFriend")
		payload, payloadOK := oneString(members, "payload")
		if !idOK || strings.TrimSpace(meaning(t, id)) == "" {
			id = nil
		}
		if !bytes.Equal(s.ID, id) || s.IDEmpty() != (id == nil) {
			t.Fatalf("id %q, want %q", s.ID, id)
		}
		friend, isText := meaning(t, to), true
		if toOK && to != nil {
			_, isText = RawString(to).Text()
		}
		want := Code(0)
		switch {
		case !idOK || !toOK || !payloadOK || !isText:
			want = ProtocolError
		case strings.TrimSpace(friend) == "":
			want = FriendIDEmpty
		case meaning(t, payload) == "":
			want = PayloadEmpty
		}
		if code != want {
			t.Fatalf("code %d, want %d", code, want)
		}
		if code != ProtocolError && (string(s.To) != strings.TrimSpace(friend) || !bytes.Equal(s.Payload, payload)) {
			t.Fatalf("%q, want %q and %q", s, friend, payload)
		}
	})
}

func FuzzAppendDialogue(f *testing.F) {
	f.Add([]byte(`{"id":"7","toFriend":"f6","payload":"How are you?"}`), "61")
	f.Add([]byte(`{"id":"\u0000\ud800","toFriend":"\"\\","payload":"\/<&>\u2028"}`), "6\"1\xff\n\u2028")
	f.Fuzz(func(t *testing.T, frame []byte, from string) {
		s, code := ParseSend(frame)
		if code != 0 {
			return
		}
		from = strings.ToValidUTF8(from, "\ufffd")
		got := AppendDialogue(nil, s.ID, from, s.Payload)
		var sent, arrived struct{ ID, From, Payload, ToFriend string }
		if json.Unmarshal(got, &arrived) != nil {
			t.Fatalf("no JSON: %s", got)
		}
		sent.ID, sent.From, sent.Payload = meaning(t, s.ID), from, meaning(t, s.Payload)
		if arrived != sent {
			t.Fatalf("%+v arrived, %+v was sent", arrived, sent)
		}
		d, ok := ParseDialogue(got)
		if ok != (from != "") {
			t.Fatalf("ParseDialogue is %t for %s", ok, got)
		}
		if ok && (string(d.From) != from || !bytes.Equal(d.Payload, s.Payload) || s.ID != nil && !bytes.Equal(d.ID, s.ID)) {
			t.Fatalf("%s parsed as %q", got, d)
		}
		echo := AppendEcho(nil, s.ID, from, string(s.To), s.Payload)
		sent.ToFriend = string(s.To)
		if json.Unmarshal(echo, &arrived) != nil || arrived != sent {
			t.Fatalf("echo %s", echo)
		}
	})
}

func FuzzParseDialogue(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"7","from":"f6","payload":"x"}`),
		[]byte(`{"payload":"\ud800","from":"\u0066","id":"","x":0}`),
		[]byte(`{"id":"7","from":"\ud800","payload":"x"}`),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseDialogue(b)
		members, depth, valid := decode(b)
		id, idOK := oneString(members, "id")
		from, fromOK := oneString(members, "from")
		payload, payloadOK := oneString(members, "payload")
		want := valid && depth <= maxDepth && idOK && fromOK && payloadOK && id != nil && meaning(t, payload) != ""
		text, isText := RawString(from).Text()
		if want = want && isText && text != ""; ok != want {
			t.Fatalf("%t, want %t", ok, want)
		}
		if ok && (!bytes.Equal(d.ID, id) || string(d.From) != text || !bytes.Equal(d.Payload, payload)) {
			t.Fatalf("%q", d)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	addAll(f,
		[]byte(`{"code":200,"message":"Success","ok":true,"id":"7"}`),
		[]byte(`{"code":512}`), []byte(`{"code":-1}`), []byte(`{"code":1e2}`), []byte(``), []byte("\n"),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := ParseReply(b)
		if taken := ParseTaken(b); taken != SendFailed && taken != Success && taken != NotFriends ||
			ok && taken != r.Code && taken != SendFailed || !ok && len(bytes.TrimSpace(b)) > 0 && taken != SendFailed {
			t.Fatalf("taken as %d with code %d", taken, r.Code)
		}
		members, depth, valid := decode(b)
		if !ok {
			return
		}
		id, idOK := oneString(members, "id")
		var code int
		if !valid || depth > maxDepth || len(members["code"]) != 1 || json.Unmarshal(members["code"][0], &code) != nil {
			t.Fatalf("taken for code %d", r.Code)
		}
		if code != int(r.Code) || code < 0 || code > 999 || !idOK || !bytes.Equal(r.ID, id) {
			t.Fatalf("%d, %q; want %d, %q", r.Code, r.ID, code, id)
		}
	})
}

func FuzzText(f *testing.F) {
	addAll(f, `""`, `"\ud83d\ude42"`, `"\ud83d"`, "\"\xff\"", `"\u2028\/"`, `null`)
	f.Fuzz(func(t *testing.T, s string) {
		quoted := Quote(s)
		if want := viaJSON(t, s); !bytes.Equal(quoted, want) {
			t.Fatalf("quoted %s, encoding/json %s", quoted, want)
		}
		if got, ok := quoted.Text(); !ok || got != string([]rune(s)) {
			t.Fatalf("%q became %q, %t", s, got, ok)
		}
		got, ok := RawString(s).Text()
		var want string
		trimmed := strings.TrimSpace(s) == s
		isString := utf8.ValidString(s) && trimmed && strings.HasPrefix(s, `"`) && json.Unmarshal([]byte(s), &want) == nil
		if ok && (!isString || got != want) || !ok && isString && !strings.Contains(want, "\ufffd") {
			t.Fatalf("text %q, %t; want %q, %t", got, ok, want, isString)
		}
	})
}

// tidy fails the test unless the field is as the parsers promise: trimmed, in UTF-8, no longer than its limit, and
// of one line unless several are allowed.
func tidy(t *testing.T, name, s string, limit int, lines bool) {
	t.Helper()
	control := strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && !(lines && strings.ContainsRune("\r\n\t", r))
	})
	if s != strings.TrimSpace(s) || !utf8.ValidString(s) || control || limit > 0 && utf8.RuneCountInString(s) > limit {
		t.Fatalf("%s is %q", name, s)
	}
}

func oneOf(t *testing.T, code Code, allowed ...Code) {
	t.Helper()
	if !slices.Contains(allowed, code) {
		t.Fatalf("code %d", code)
	}
}

func FuzzParseRegister(f *testing.F) {
	addAll(f,
		[]byte(`{"account":"tom","password":" p ","mail":"t@x"}`),
		[]byte(`{"account":" t\u00e4m ","password":"\ud83d\ude42","name":null,"picture":"01\n","sex":"m","birthday":"b","sign":"a\tb","mail":"t@x","x":[{}]}`),
		[]byte(`{"account":"t\u0000m","password":"","mail":7}`),
	)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, code := ParseRegister(body, Limits{Picture: 16})
		oneOf(t, code, 0, ProtocolError, AccountEmpty, PasswordEmpty, MailEmpty)
		if code == ProtocolError {
			return
		}
		members, _, ok := decode(body)
		if !ok {
			t.Fatalf("no JSON, and it is %d", code)
		}
		tidy(t, "account", r.Account, MaxAccount, false)
		tidy(t, "name", r.Name, MaxName, false)
		tidy(t, "sex", r.Sex, MaxSex, false)
		tidy(t, "birthday", r.Birthday, MaxBirthday, false)
		tidy(t, "mail", r.Mail, MaxMail, false)
		tidy(t, "sign", r.Sign, MaxSign, true)
		tidy(t, "picture", r.Picture, 16, true)
		password, _ := oneString(members, "password")
		account, _ := oneString(members, "account")
		if r.Password != meaning(t, password) || r.Account != strings.TrimSpace(meaning(t, account)) {
			t.Fatalf("%+v", r)
		}
		if code == 0 && (r.Account == "" || r.Password == "" || r.Mail == "" || r.Name == "") {
			t.Fatalf("taken: %+v", r)
		}
	})
}

func FuzzParseProfileUpdate(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"61","token":"2ab3","password":" q ","name":" T ","picture":"01","sex":"","birthday":null,"sign":"a\nb","mail":"u@x"}`),
		[]byte(`{"id":"","token":"2ab3","password":""}`),
		[]byte(`{"token":7}`),
	)
	f.Fuzz(func(t *testing.T, body []byte) {
		u, code := ParseProfileUpdate(body, Limits{Picture: 16})
		oneOf(t, code, 0, ProtocolError, AuthEmpty, AccountIDEmpty)
		byNATS, codeNATS := ParseProfileJSON(body, Limits{Picture: 16})
		oneOf(t, codeNATS, 0, ProtocolError)
		if byNATS.Auth != (Auth{}) {
			t.Fatalf("a call by NATS with %+v", byNATS.Auth)
		}
		if code == ProtocolError {
			return
		}
		if codeNATS != 0 {
			t.Fatalf("%d, but by NATS %d", code, codeNATS)
		}
		members, _, _ := decode(body)
		for _, field := range []struct {
			name  string
			value *string
			limit int
			lines bool
		}{
			{"name", u.Name, MaxName, false}, {"picture", u.Picture, 16, true}, {"sex", u.Sex, MaxSex, false},
			{"birthday", u.Birthday, MaxBirthday, false}, {"sign", u.Sign, MaxSign, true}, {"mail", u.Mail, MaxMail, false},
		} {
			raw, _ := oneString(members, field.name)
			if (raw == nil) != (field.value == nil) {
				t.Fatalf("%s is %q, and changes: %t", field.name, raw, field.value != nil)
			}
			if raw != nil {
				tidy(t, field.name, *field.value, field.limit, field.lines)
			}
		}
		if u.Mail != nil && *u.Mail == "" || u.Password != nil && *u.Password == "" {
			t.Fatal("an account without a mail or a password")
		}
	})
}

// once fails the test if a query that was not refused is malformed or has one of the keys twice.
func once(t *testing.T, query string, keys ...string) {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatalf("taken, and %v", err)
	}
	for _, key := range keys {
		if len(values[key]) > 1 {
			t.Fatalf("taken with %q twice", key)
		}
	}
}

func FuzzParseLogin(f *testing.F) {
	addAll(f, "account=tom&password=p", "account=+t%C3%B6m&password=+%2B&push=1", "id=61&token=2ab3", "id=61", "account=tom&token=x",
		"account=a&account=b", "password=%zz", "account=%FF", "a;b", "push=2")
	f.Fuzz(func(t *testing.T, query string) {
		q, code := ParseLogin(query)
		oneOf(t, code, 0, ProtocolError, WrongCredentials, AuthEmpty, AccountIDEmpty)
		if code == ProtocolError {
			return
		}
		once(t, query, "account", "password", "id", "token", "push")
		tidy(t, "account", q.Account, 0, false)
		tidy(t, "id", q.ID, 0, false)
		tidy(t, "token", q.Token, 0, false)
		byAccount, byToken := q.Account != "" && q.Password != "", q.ID != "" && q.Token != ""
		if code == 0 && (byAccount == byToken || q.ByToken() != byToken || utf8.RuneCountInString(q.Account) > MaxAccount) {
			t.Fatalf("taken: %+v, by token: %t", q, q.ByToken())
		}
		if values, _ := url.ParseQuery(query); q.Password != values.Get("password") || !utf8.ValidString(q.Password) {
			t.Fatalf("password %q", q.Password)
		}
	})
}

func FuzzCalls(f *testing.F) {
	addAll(f, "id=61&token=2ab3&name=Tom&to=f6&from=f6&note=Hello%0A", "token=2ab3", "id=61", "to=%FF&name=%00&from=%0A", "id=1&id=2", "%", ";")
	f.Fuzz(func(t *testing.T, query string) {
		for name, by := range callers() {
			call, code, check := by[0](query)
			oneOf(t, code, 0, ProtocolError, AuthEmpty, AccountIDEmpty)
			if code == ProtocolError {
				if !isZero(call) {
					t.Fatalf("%s: refused, and it is %+v", name, call)
				}
				continue
			}
			once(t, query, "id", "token")
			tidyCall(t, call, code, check)
		}
	})
}

func FuzzCallsJSON(f *testing.F) {
	addAll(f, `{"id":"61","token":"2ab3","name":"Tom","to":"f6","from":"f6","note":"Hello\n"}`, `{"to":7}`, `{"name":"\u0000"}`, `{}`, `[]`, ``)
	f.Fuzz(func(t *testing.T, body string) {
		_, depth, ok := decode([]byte(body))
		for name, by := range callers() {
			call, code, check := by[1](body)
			oneOf(t, code, 0, ProtocolError)
			if code == 0 && (!ok || depth > maxDepth) || code != 0 && !isZero(call) {
				t.Fatalf("%s: %d, %+v", name, code, call)
			}
			tidyCall(t, call, AuthEmpty, check)
		}
	})
}

// tidyCall checks the fields of a call that was not refused as malformed, and its Check.
func tidyCall(t *testing.T, call any, code, check Code) {
	t.Helper()
	var who Auth
	var other, name, note string
	want := Code(0)
	switch c := call.(type) {
	case FoundCall:
		who, other, name = c.Auth, "-", c.Name
		if name == "" {
			want = NameEmpty
		}
	case RequestCall:
		who, other, note = c.Auth, c.To, c.Note
	case AddCall:
		who, other, name = c.Auth, c.From, c.Name
		if name == "" {
			want = AliasEmpty
		}
	case RemoveCall:
		who, other = c.Auth, c.To
	}
	if other == "" {
		want = FriendEmpty
	}
	if check != want {
		t.Fatalf("%+v: %d, want %d", call, check, want)
	}
	if got := who.check(); got != code {
		t.Fatalf("%+v was %d, is %d", who, code, got)
	}
	tidy(t, "id", who.ID, 0, false)
	tidy(t, "token", who.Token, 0, false)
	tidy(t, "other", other, 0, false)
	tidy(t, "name", name, MaxName, false)
	tidy(t, "note", note, MaxNote, true)
}
