package wire

import "unicode/utf8"

// A Register is a registration. All fields except the password are trimmed.
type Register struct {
	Account  string
	Password string
	Name     string // defaults to the account
	Picture  string
	Sex      string
	Birthday string
	Sign     string
	Mail     string
}

// ParseRegister parses the body of a registration. The code is 0 if it is valid, or else the first of [ProtocolError],
// [AccountEmpty], [PasswordEmpty] and [MailEmpty] that applies.
func ParseRegister(body []byte, limits Limits) (Register, Code) {
	f := jsonFields(body, "account", "password", "name", "picture", "sex", "birthday", "sign", "mail")
	r := Register{
		Account:  f.line("account", MaxAccount),
		Name:     f.line("name", MaxName),
		Picture:  f.picture(limits),
		Sex:      f.line("sex", MaxSex),
		Birthday: f.line("birthday", MaxBirthday),
		Sign:     f.lines("sign", MaxSign),
		Mail:     f.line("mail", MaxMail),
	}
	r.Password, _ = f.plain("password")
	if r.Name == "" {
		r.Name = r.Account
	}
	switch {
	case f.malformed:
		return Register{}, ProtocolError
	case r.Account == "":
		return r, AccountEmpty
	case r.Password == "":
		return r, PasswordEmpty
	case r.Mail == "":
		return r, MailEmpty
	}
	return r, 0
}

// A ProfileUpdate changes an account. Fields that are nil are not changed. An empty Name is replaced by the account,
// as at registration.
type ProfileUpdate struct {
	Auth
	Password *string // never empty
	Name     *string
	Picture  *string
	Sex      *string
	Birthday *string
	Sign     *string
	Mail     *string // never empty
}

// ParseProfileUpdate parses the body of a profile update. The code is 0 if it is valid, or else the first of
// [ProtocolError], [AuthEmpty] and [AccountIDEmpty] that applies. An empty password or mail is a ProtocolError, since
// an account needs both.
func ParseProfileUpdate(body []byte, limits Limits) (ProfileUpdate, Code) {
	f := jsonFields(body, "id", "token", "password", "name", "picture", "sex", "birthday", "sign", "mail")
	u, c := profileUpdate(f, limits)
	if c == 0 {
		c = u.check()
	}
	return u, c
}

// ParseProfileJSON is [ParseProfileUpdate] for a call by NATS, which has no id and token.
func ParseProfileJSON(body []byte, limits Limits) (ProfileUpdate, Code) {
	return profileUpdate(jsonFields(body, "password", "name", "picture", "sex", "birthday", "sign", "mail"), limits)
}

func profileUpdate(f *fields, limits Limits) (ProfileUpdate, Code) {
	password, _ := f.plain("password")
	u := ProfileUpdate{
		Auth:     f.auth(),
		Password: f.optional("password", password),
		Name:     f.optional("name", f.line("name", MaxName)),
		Picture:  f.optional("picture", f.picture(limits)),
		Sex:      f.optional("sex", f.line("sex", MaxSex)),
		Birthday: f.optional("birthday", f.line("birthday", MaxBirthday)),
		Sign:     f.optional("sign", f.lines("sign", MaxSign)),
		Mail:     f.optional("mail", f.line("mail", MaxMail)),
	}
	if f.malformed || u.Password != nil && *u.Password == "" || u.Mail != nil && *u.Mail == "" {
		return ProfileUpdate{}, ProtocolError
	}
	return u, 0
}

// A LoginQuery has the credentials of a login: account and password, or id and token.
type LoginQuery struct {
	Account  string
	Password string // not trimmed
	ID       string
	Token    string
	Push     bool // the session requests news
}

// ByToken reports whether the login uses id and token.
func (q LoginQuery) ByToken() bool { return q.Token != "" }

// ParseLogin parses the query of a login. The code is 0 if the credentials need to be checked against the store.
//
// It is [ProtocolError] if the query is malformed, uses both login methods, or has a push that is neither 0 nor 1. By
// account and password it is [WrongCredentials] if one of them is empty or the account is too long. By id and token it
// is [AuthEmpty] or [AccountIDEmpty] if one of them is missing, as in every call that needs both.
func ParseLogin(rawQuery string) (LoginQuery, Code) {
	f := queryFields(rawQuery, "account", "password", "id", "token", "push")
	auth := f.auth()
	q := LoginQuery{Account: f.line("account", 0), ID: auth.ID, Token: auth.Token}
	q.Password, _ = f.plain("password")
	push := f.line("push", 0)
	q.Push = push == "1"
	if f.malformed || push != "" && push != "0" && push != "1" {
		return LoginQuery{}, ProtocolError
	}
	if auth == (Auth{}) {
		if q.Account == "" || q.Password == "" || utf8.RuneCountInString(q.Account) > MaxAccount {
			return q, WrongCredentials
		}
		return q, 0
	}
	if q.Account != "" || q.Password != "" {
		return LoginQuery{}, ProtocolError
	}
	return q, auth.check()
}
