package wire

// MaxResetCode is how long the code for a new password may be, with whatever somebody puts between its characters.
const MaxResetCode = 32

// A Forgot is who forgot a password: the account, and the address that was given with it.
type Forgot struct {
	Account string
	Mail    string
}

// ParseForgot parses the body of a call for a code by mail. The code is 0 or [ProtocolError]: both fields are
// required.
func ParseForgot(body []byte) (Forgot, Code) {
	f := jsonFields(body, "account", "mail")
	c := Forgot{Account: f.line("account", MaxAccount), Mail: f.line("mail", MaxMail)}
	if f.broken || c.Account == "" || c.Mail == "" {
		return Forgot{}, ProtocolError
	}
	return c, 0
}

// A Reset sets a new password by a code that came by mail.
type Reset struct {
	Account  string
	Code     string // as it was typed
	Password string // as it came
}

// ParseReset parses the body of a call with a code. The code is 0 or [ProtocolError]: all fields are required.
func ParseReset(body []byte) (Reset, Code) {
	f := jsonFields(body, "account", "code", "password")
	c := Reset{Account: f.line("account", MaxAccount), Code: f.line("code", MaxResetCode)}
	c.Password, _ = f.plain("password")
	if f.broken || c.Account == "" || c.Code == "" || c.Password == "" {
		return Reset{}, ProtocolError
	}
	return c, 0
}
