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
		"account=a&account=b", "password=%zz", "account=%FF", "a;b", "push=2", "account=tom&password=p&keep=1", "keep=2", "ticket=7a", "ticket=7a&token=b")
	f.Fuzz(func(t *testing.T, query string) {
		q, code := ParseLogin(query)
		oneOf(t, code, 0, ProtocolError, WrongCredentials, AuthEmpty, AccountIDEmpty)
		if code == ProtocolError {
			return
		}
		once(t, query, "account", "password", "id", "token", "push", "keep", "ticket")
		tidy(t, "account", q.Account, 0, false)
		tidy(t, "id", q.ID, 0, false)
		tidy(t, "token", q.Token, 0, false)
		if q.ByTicket() {
			tidy(t, "ticket", q.Ticket, 0, false)
			if code != 0 || q != (LoginQuery{Ticket: q.Ticket, Push: q.Push, Keep: q.Keep}) {
				t.Fatalf("a ticket beside credentials: %+v, code %d", q, code)
			}
			return
		}
		byAccount, byToken := q.Account != "" && q.Password != "", q.ID != "" && q.Token != ""
		if code == 0 && (byAccount == byToken || q.ByToken() != byToken || utf8.RuneCountInString(q.Account) > MaxAccount) {
			t.Fatalf("taken: %+v, by token: %t", q, q.ByToken())
		}
		if q.Keep && !q.Push {
			t.Fatal("keep without push")
		}
		if values, _ := url.ParseQuery(query); q.Password != values.Get("password") || !utf8.ValidString(q.Password) {
			t.Fatalf("password %q", q.Password)
		}
	})
}
