package wire

import "unicode/utf8"

// A Register is what somebody sends to get an account. All but the password is trimmed.
type Register struct {
	Account  string
	Password string
	Name     string // the account where none was given
	Picture  string
	Sex      string
	Birthday string
	Sign     string
	Mail     string
}

// ParseRegister parses the body of a registration. The code is 0 for a good one, else, in this order,
// [ProtocolError], [AccountEmpty], [PasswordEmpty] or [MailEmpty].
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
	case f.broken:
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

// A ProfileUpdate is what somebody changes of an account. A field that is nil stays as it is. Name may be empty: then
// it becomes the account, as at registration.
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

// ParseProfileUpdate parses the body of a profile's update. The code is 0 for a good one, else, in this order,
// [ProtocolError], [AuthEmpty] or [AccountIDEmpty]. A password or mail that is there and empty is a ProtocolError: an account has both.
func ParseProfileUpdate(body []byte, limits Limits) (ProfileUpdate, Code) {
	f := jsonFields(body, "id", "token", "password", "name", "picture", "sex", "birthday", "sign", "mail")
	u, c := profileUpdate(f, limits)
	if c == 0 {
		c = u.check()
	}
	return u, c
}

// ParseProfileJSON is [ParseProfileUpdate] for a call by NATS: without id and token.
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
	if f.broken || u.Password != nil && *u.Password == "" || u.Mail != nil && *u.Mail == "" {
		return ProfileUpdate{}, ProtocolError
	}
	return u, 0
}

// A LoginQuery is who wants to log in: by account and password, or by id and token.
type LoginQuery struct {
	Account  string
	Password string // as it came
	ID       string
	Token    string
	Push     bool // the session wants the family's frames
}

// ByToken tells whether the login goes by id and token.
func (q LoginQuery) ByToken() bool { return q.Token != "" }

// ParseLogin parses the query of a login. The code is 0 for one that is worth a look at the store.
//
// [ProtocolError] is for what is malformed, for both ways at once, and for a push that is neither 0 nor 1. By account and
// password, [WrongCredentials] is for one of them empty, and for an account too long to exist. By id and
// token it is [AuthEmpty] or [AccountIDEmpty], as in every call that takes these two.
func ParseLogin(rawQuery string) (LoginQuery, Code) {
	f := queryFields(rawQuery, "account", "password", "id", "token", "push")
	auth := f.auth()
	q := LoginQuery{Account: f.line("account", 0), ID: auth.ID, Token: auth.Token}
	q.Password, _ = f.plain("password")
	push := f.line("push", 0)
	q.Push = push == "1"
	if f.broken || push != "" && push != "0" && push != "1" {
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
