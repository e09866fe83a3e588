package wire

import (
	"strconv"
	"unicode/utf8"
)

// A LoginQuery has the credentials of a login: account and password, id and token, or a ticket.
type LoginQuery struct {
	Account  string
	Password string // as it came
	ID       string
	Token    string
	Ticket   string
	Push     bool // the session wants notices
	Keep     bool // the session's conversations are kept; Push is set too
}

// ByToken reports whether the login uses id and token.
func (q LoginQuery) ByToken() bool { return q.Token != "" }

// ByTicket reports whether the login uses a ticket.
func (q LoginQuery) ByTicket() bool { return q.Ticket != "" }

// CredentialFields declare the credentials of a login, without a ticket.
var CredentialFields = []Field{{Name: "account", Kind: Known}, {Name: "password", Kind: Verbatim}, {Name: "id"}, {Name: "token"}}

// loginFields declare the query of a login.
var loginFields = append(CredentialFields[:len(CredentialFields):len(CredentialFields)], Field{Name: "push"}, Field{Name: "keep"}, Field{Name: "ticket"})

// ParseLogin parses the query of a login. The code is 0 if the credentials have to be checked.
//
// It is [ProtocolError] if the query is malformed, or has credentials beside a ticket. Otherwise it is that of
// [LoginOf].
func ParseLogin(rawQuery string) (LoginQuery, Code) {
	v, code := ParseQuery(rawQuery, loginFields, Limits{})
	if code != 0 {
		return LoginQuery{}, ProtocolError
	}
	q, code := LoginOf(v)
	ticket := v.Get("ticket")
	if ticket == "" || code == ProtocolError {
		return q, code
	}
	if q.Account != "" || q.Password != "" || q.ID != "" || q.Token != "" {
		return LoginQuery{}, ProtocolError
	}
	q.Ticket = ticket
	return q, 0
}

// LoginOf returns the credentials of a login, without a ticket. The code is 0 if they have to be checked.
//
// It is [ProtocolError] if the login uses both methods, or if push or keep is neither 0 nor 1. With account and password
// it is [WrongCredentials] if one of them is empty, or the account too long to exist. With id and token it is
// [AuthEmpty] or [AccountIDEmpty], as in every call.
func LoginOf(v Values) (LoginQuery, Code) {
	push, pushOK := flag(v.Get("push"))
	keep, keepOK := flag(v.Get("keep"))
	if !pushOK || !keepOK {
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

// A Ticket is the answer to a call that checks a login. It opens one tunnel.
type Ticket struct {
	Ticket  string
	Expires int // seconds until it is no longer valid
}

// Append appends the answer to dst, with code 200.
func (t Ticket) Append(dst []byte) []byte {
	dst = appendKey(appendHead(dst, Success), `,"ticket":`, t.Ticket)
	dst = strconv.AppendInt(append(dst, `,"expires":`...), int64(t.Expires), 10)
	return append(dst, '}')
}
