package wire

import "unicode/utf8"

// A LoginQuery has the credentials of a login: account and password, or id and token.
type LoginQuery struct {
	Account  string
	Password string // as it came
	ID       string
	Token    string
	Push     bool // the session wants notices
	Keep     bool // the session's conversations are kept; Push is set too
}

// ByToken reports whether the login uses id and token.
func (q LoginQuery) ByToken() bool { return q.Token != "" }

// loginFields declare the query of a login.
var loginFields = []Field{{Name: "account", Kind: Known}, {Name: "password", Kind: Verbatim}, {Name: "id"}, {Name: "token"}, {Name: "push"},
	{Name: "keep"}}

// ParseLogin parses the query of a login. The code is 0 if the credentials have to be checked.
//
// It is [ProtocolError] if the query is malformed or uses both login methods, or if push or keep is neither 0
// nor 1. With account and password it is [WrongCredentials] if one of them is empty, or the account too long to exist.
// With id and token it is [AuthEmpty] or [AccountIDEmpty], as in every call.
func ParseLogin(rawQuery string) (LoginQuery, Code) {
	v, code := ParseQuery(rawQuery, loginFields, Limits{})
	push, pushOK := flag(v.Get("push"))
	keep, keepOK := flag(v.Get("keep"))
	if code != 0 || !pushOK || !keepOK {
		return LoginQuery{}, ProtocolError
	}
	auth, authCode := v.Auth()
	q := LoginQuery{Account: v.Get("account"), Password: v.Get("password"), ID: auth.ID, Token: auth.Token,
		Push: push || keep, Keep: keep}
	if auth == (Auth{}) {
		if q.Account == "" || q.Password == "" || utf8.RuneCountInString(q.Account) > MaxAccount {
			return q, WrongCredentials
		}
		return q, 0
	}
	if q.Account != "" || q.Password != "" {
		return LoginQuery{}, ProtocolError
	}
	return q, authCode
}

// flag parses 0, 1 or nothing.
func flag(s string) (set, ok bool) { return s == "1", s == "" || s == "0" || s == "1" }
