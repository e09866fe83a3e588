package wire

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

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
