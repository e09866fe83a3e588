package wire

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// checkField fails the test unless the field is trimmed, UTF-8, within its limit, and has no control characters except
// line breaks and tabs in a multi-line field.
func checkField(t *testing.T, name, s string, limit int, lines bool) {
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
			t.Fatalf("not JSON: code %d, want %d", code, ProtocolError)
		}
		checkField(t, "account", r.Account, MaxAccount, false)
		checkField(t, "name", r.Name, MaxName, false)
		checkField(t, "sex", r.Sex, MaxSex, false)
		checkField(t, "birthday", r.Birthday, MaxBirthday, false)
		checkField(t, "mail", r.Mail, MaxMail, false)
		checkField(t, "sign", r.Sign, MaxSign, true)
		checkField(t, "picture", r.Picture, 16, true)
		password, _ := oneString(members, "password")
		account, _ := oneString(members, "account")
		if r.Password != meaning(t, password) || r.Account != strings.TrimSpace(meaning(t, account)) {
			t.Fatalf("%+v", r)
		}
		if code == 0 && (r.Account == "" || r.Password == "" || r.Mail == "" || r.Name == "") {
			t.Fatalf("accepted %+v", r)
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
			t.Fatalf("call by NATS has %+v", byNATS.Auth)
		}
		if code == ProtocolError {
			return
		}
		if codeNATS != 0 {
			t.Fatalf("code %d, but by NATS %d", code, codeNATS)
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
				t.Fatalf("%s is %q: changed %t", field.name, raw, field.value != nil)
			}
			if raw != nil {
				checkField(t, field.name, *field.value, field.limit, field.lines)
			}
		}
		if u.Mail != nil && *u.Mail == "" || u.Password != nil && *u.Password == "" {
			t.Fatal("accepted an empty mail or password")
		}
	})
}

// once fails the test if an accepted query is malformed or repeats one of the keys.
func once(t *testing.T, query string, keys ...string) {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatalf("accepted a malformed query: %v", err)
	}
	for _, key := range keys {
		if len(values[key]) > 1 {
			t.Fatalf("accepted a repeated key %q", key)
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
		checkField(t, "account", q.Account, 0, false)
		checkField(t, "id", q.ID, 0, false)
		checkField(t, "token", q.Token, 0, false)
		byAccount, byToken := q.Account != "" && q.Password != "", q.ID != "" && q.Token != ""
		if code == 0 && (byAccount == byToken || q.ByToken() != byToken || utf8.RuneCountInString(q.Account) > MaxAccount) {
			t.Fatalf("accepted %+v, by token: %t", q, q.ByToken())
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
					t.Fatalf("%s: refused, but returned %+v", name, call)
				}
				continue
			}
			once(t, query, "id", "token")
			checkCall(t, call, code, check)
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
			checkCall(t, call, AuthEmpty, check)
		}
	})
}

// checkCall checks the fields and the Check of a call that is not malformed.
func checkCall(t *testing.T, call any, code, check Code) {
	t.Helper()
	var auth Auth
	var other, name, note string
	want := Code(0)
	switch c := call.(type) {
	case FoundCall:
		auth, other, name = c.Auth, "-", c.Name
		if name == "" {
			want = NameEmpty
		}
	case RequestCall:
		auth, other, note = c.Auth, c.To, c.Note
	case AddCall:
		auth, other, name = c.Auth, c.From, c.Name
		if name == "" {
			want = AliasEmpty
		}
	case RemoveCall:
		auth, other = c.Auth, c.To
	}
	if other == "" {
		want = FriendEmpty
	}
	if check != want {
		t.Fatalf("%+v: Check returned %d, want %d", call, check, want)
	}
	if got := auth.check(); got != code {
		t.Fatalf("%+v: code %d, but check returns %d", auth, code, got)
	}
	checkField(t, "id", auth.ID, 0, false)
	checkField(t, "token", auth.Token, 0, false)
	checkField(t, "other", other, 0, false)
	checkField(t, "name", name, MaxName, false)
	checkField(t, "note", note, MaxNote, true)
}
