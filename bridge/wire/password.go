package wire

// MaxResetCode is the maximum length of a code for a new password, including separators such as hyphens.
const MaxResetCode = 32

// A Forgot requests a code by mail for an account whose password was forgotten.
type Forgot struct {
	Account string
	Mail    string
}

// ParseForgot parses the body of a call for a code by mail. The code is 0, or [ProtocolError] also if a field is
// empty.
func ParseForgot(body []byte) (Forgot, Code) {
	f := jsonFields(body, "account", "mail")
	c := Forgot{Account: f.line("account", MaxAccount), Mail: f.line("mail", MaxMail)}
	if f.malformed || c.Account == "" || c.Mail == "" {
		return Forgot{}, ProtocolError
	}
	return c, 0
}

// A Reset sets a new password with a code from a mail.
type Reset struct {
	Account  string
	Code     string // as entered, with separators
	Password string // not trimmed
}

// ParseReset parses the body of a call with a code. The code is 0, or [ProtocolError] also if a field is empty.
func ParseReset(body []byte) (Reset, Code) {
	f := jsonFields(body, "account", "code", "password")
	c := Reset{Account: f.line("account", MaxAccount), Code: f.line("code", MaxResetCode)}
	c.Password, _ = f.plain("password")
	if f.malformed || c.Account == "" || c.Code == "" || c.Password == "" {
		return Reset{}, ProtocolError
	}
	return c, 0
}
