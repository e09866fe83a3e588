package wire

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query string
		code  Code
		want  LoginQuery
	}{
		{"account=tom&password=p", 0, LoginQuery{Account: "tom", Password: "p"}},
		{"account=+tom%20&password=+p%2B%0A&push=1&x=1&x=2", 0, LoginQuery{Account: "tom", Password: " p+\n", Push: true}},
		{"account=tom&password=p&push=0", 0, LoginQuery{Account: "tom", Password: "p"}},
		{"account=tom&password=p&push=", 0, LoginQuery{Account: "tom", Password: "p"}},
		{"account=tom&password=p&id=&token=", 0, LoginQuery{Account: "tom", Password: "p"}},
		{"account=t%C3%B6m&password=%F0%9F%99%82", 0, LoginQuery{Account: "töm", Password: "🙂"}},
		{"id=61&token=2ab3", 0, LoginQuery{ID: "61", Token: "2ab3"}},
		{"id=+61&token=2ab3+&push=1&account=&password=", 0, LoginQuery{ID: "61", Token: "2ab3", Push: true}},
		{"account=tom&password=p&keep=1", 0, LoginQuery{Account: "tom", Password: "p", Push: true, Keep: true}},
		{"id=61&token=2ab3&keep=1&push=0", 0, LoginQuery{ID: "61", Token: "2ab3", Push: true, Keep: true}},
		{"account=tom&password=p&keep=0&push=1", 0, LoginQuery{Account: "tom", Password: "p", Push: true}},
		{"account=tom&password=p&keep=", 0, LoginQuery{Account: "tom", Password: "p"}},
		{"ticket=7a", 0, LoginQuery{Ticket: "7a"}},
		{"ticket=+7a&keep=1&account=&token=", 0, LoginQuery{Ticket: "7a", Push: true, Keep: true}},
		{"account=tom&password=p&ticket=", 0, LoginQuery{Account: "tom", Password: "p"}},

		{"", WrongCredentials, LoginQuery{}},
		{"ticket=", WrongCredentials, LoginQuery{}},
		{"account=tom", WrongCredentials, LoginQuery{Account: "tom"}},
		{"account=+&password=p", WrongCredentials, LoginQuery{Password: "p"}},
		{"Account=tom&password=p", WrongCredentials, LoginQuery{Password: "p"}},
		{"account=" + strings.Repeat("x", 65) + "&password=p", WrongCredentials, LoginQuery{Account: strings.Repeat("x", 65), Password: "p"}},
		{"id=61", AuthEmpty, LoginQuery{ID: "61"}},
		{"token=2ab3", AccountIDEmpty, LoginQuery{Token: "2ab3"}},

		{"account=tom&password=p&id=61&token=2ab3", ProtocolError, LoginQuery{}},
		{"account=tom&id=61&token=2ab3", ProtocolError, LoginQuery{}},
		{"password=p&token=2ab3", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&push=yes", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&push=1&push=1", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&keep=yes", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&keep=1&keep=1", ProtocolError, LoginQuery{}},
		{"account=tom&account=tom&password=p", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&password=", ProtocolError, LoginQuery{}},
		{"account=t%00m&password=p", ProtocolError, LoginQuery{}},
		{"account=tom&password=%FF", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&x=%ED%A0%80", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&%FF=x", ProtocolError, LoginQuery{}},
		{"account=tom&password=%zz", ProtocolError, LoginQuery{}},
		{"account=tom&password=p%", ProtocolError, LoginQuery{}},
		{"account=tom;password=p", ProtocolError, LoginQuery{}},
		{"id=6%0A1&token=2ab3", ProtocolError, LoginQuery{}},
		{"account=tom&password=p&ticket=7a", ProtocolError, LoginQuery{}},
		{"password=p&ticket=7a", ProtocolError, LoginQuery{}},
		{"id=61&ticket=7a", ProtocolError, LoginQuery{}},
		{"ticket=7a&ticket=7a", ProtocolError, LoginQuery{}},
		{"ticket=7a&push=2", ProtocolError, LoginQuery{}},
	} {
		got, code := ParseLogin(tt.query)
		if code != tt.code || got != tt.want {
			t.Errorf("%s: %+v, %d; want %+v, %d", tt.query, got, code, tt.want, tt.code)
		}
		if code == 0 && got.ByToken() != (tt.want.Token != "") {
			t.Errorf("%s: ByToken() is %t", tt.query, got.ByToken())
		}
	}
}

// TestLoginTakesEveryPassword: a query that a browser's URLSearchParams or encodeURIComponent builds keeps every
// password.
func TestLoginTakesEveryPassword(t *testing.T) {
	t.Parallel()
	for r := rune(0); r < 0x300; r++ {
		password := " " + string(r) + "&=+%;# "
		got, code := ParseLogin(url.Values{"account": {"tom"}, "password": {password}}.Encode())
		if code != 0 || got.Password != password {
			t.Errorf("password %q: got %q, code %d", password, got.Password, code)
		}
	}
}
