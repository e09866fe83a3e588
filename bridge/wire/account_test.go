package wire

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestParseRegister(t *testing.T) {
	t.Parallel()
	limits := Limits{Picture: 8}
	long := func(n int) string { return strings.Repeat("ä", n) }
	for _, tt := range []struct {
		name, body string
		code       Code
		want       Register
	}{
		{"required fields", `{"account":"tom","password":"p","mail":"t@x"}`, 0,
			Register{Account: "tom", Password: "p", Name: "tom", Mail: "t@x"}},
		{"all", `{"account":" tom\n","password":" p\n ","name":" Tom T. ","picture":" 01\n23 ","sex":" male ","birthday":" 1937-07-07 ","sign":" a\n\tb ","mail":" t@x "}`, 0,
			Register{"tom", " p\n ", "Tom T.", "01\n23", "male", "1937-07-07", "a\n\tb", "t@x"}},
		{"nulls", `{"account":"tom","password":"p","name":null,"picture":null,"sex":null,"birthday":null,"sign":null,"mail":"t@x"}`, 0,
			Register{Account: "tom", Password: "p", Name: "tom", Mail: "t@x"}},
		{"white name", `{"account":"tom","password":"p","name":" ","mail":"t@x","other":[1]}`, 0,
			Register{Account: "tom", Password: "p", Name: "tom", Mail: "t@x"}},
		{"password of white space and a NUL", `{"account":"tom","password":" \u0000","mail":"t@x"}`, 0,
			Register{Account: "tom", Password: " \x00", Name: "tom", Mail: "t@x"}},
		{"longest", `{"account":"` + long(64) + `","password":"p","name":"` + long(64) + `","picture":"01234567","sex":"` + long(32) + `","birthday":"` + long(32) +
			`","sign":"` + long(512) + `","mail":"` + long(254) + `"}`, 0,
			Register{long(64), "p", long(64), "01234567", long(32), long(32), long(512), long(254)}},
		{"trimmed to the limit", `{"account":"` + strings.Repeat(" ", 99) + `tom","password":"p","mail":"t@x"}`, 0,
			Register{Account: "tom", Password: "p", Name: "tom", Mail: "t@x"}},

		{"nothing", `{}`, AccountEmpty, Register{}},
		{"white account", `{"account":" \u00a0","password":"","mail":""}`, AccountEmpty, Register{}},
		{"key in another case", `{"Account":"tom","password":"p","mail":"t@x"}`, AccountEmpty, Register{Password: "p", Mail: "t@x"}},
		{"no password", `{"account":"tom","mail":""}`, PasswordEmpty, Register{Account: "tom", Name: "tom"}},
		{"null password", `{"account":"tom","password":null,"mail":"t@x"}`, PasswordEmpty, Register{Account: "tom", Name: "tom", Mail: "t@x"}},
		{"no mail", `{"account":"tom","password":"p"}`, MailEmpty, Register{Account: "tom", Password: "p", Name: "tom"}},
		{"white mail", `{"account":"tom","password":"p","mail":" "}`, MailEmpty, Register{Account: "tom", Password: "p", Name: "tom"}},

		{"not JSON", `account=tom`, ProtocolError, Register{}},
		{"number", `{"account":7,"password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"boolean picture", `{"account":"tom","password":"p","mail":"t@x","picture":false}`, ProtocolError, Register{}},
		{"duplicate key", `{"account":"tom","account":"tom","password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"unpaired surrogate", `{"account":"tom","password":"\ud83d","mail":"t@x"}`, ProtocolError, Register{}},
		{"not UTF-8", "{\"account\":\"t\xffm\",\"password\":\"p\",\"mail\":\"t@x\"}", ProtocolError, Register{}},
		{"malformed before empty", `{"account":"","name":7}`, ProtocolError, Register{}},
		{"control in account", `{"account":"t\u0000m","password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"line break in account", `{"account":"t\nm","password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"C1 control in name", `{"account":"tom","name":"a\u009bb","password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"delete in mail", `{"account":"tom","password":"p","mail":"t\u007f@x"}`, ProtocolError, Register{}},
		{"line break in sex", `{"account":"tom","password":"p","mail":"t@x","sex":"a\nb"}`, ProtocolError, Register{}},
		{"tab in birthday", `{"account":"tom","password":"p","mail":"t@x","birthday":"a\tb"}`, ProtocolError, Register{}},
		{"escape in sign", `{"account":"tom","password":"p","mail":"t@x","sign":"a\u001bb"}`, ProtocolError, Register{}},
		{"NUL in picture", `{"account":"tom","password":"p","mail":"t@x","picture":"0\u00000"}`, ProtocolError, Register{}},
		{"long account", `{"account":"` + long(65) + `","password":"p","mail":"t@x"}`, ProtocolError, Register{}},
		{"long name", `{"account":"tom","password":"p","mail":"t@x","name":"` + long(65) + `"}`, ProtocolError, Register{}},
		{"long sex", `{"account":"tom","password":"p","mail":"t@x","sex":"` + long(33) + `"}`, ProtocolError, Register{}},
		{"long birthday", `{"account":"tom","password":"p","mail":"t@x","birthday":"` + long(33) + `"}`, ProtocolError, Register{}},
		{"long sign", `{"account":"tom","password":"p","mail":"t@x","sign":"` + long(513) + `"}`, ProtocolError, Register{}},
		{"long mail", `{"account":"tom","password":"p","mail":"` + long(255) + `"}`, ProtocolError, Register{}},
		{"large picture", `{"account":"tom","password":"p","mail":"t@x","picture":"012345678"}`, ProtocolError, Register{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, code := ParseRegister([]byte(tt.body), limits)
			if code != tt.code || got != tt.want {
				t.Errorf("got %+v, code %d; want %+v, code %d", got, code, tt.want, tt.code)
			}
		})
	}
	if _, code := ParseRegister([]byte(`{"account":"tom","password":"p","mail":"t@x","picture":"0123456789"}`), Limits{}); code != 0 {
		t.Errorf("picture without a limit: code %d, want 0", code)
	}
}

func TestParseProfileUpdate(t *testing.T) {
	t.Parallel()
	s := func(v string) *string { return &v }
	me := Auth{ID: "61", Token: "2ab3"}
	for _, tt := range []struct {
		name, body string
		code       Code
		want       ProfileUpdate
	}{
		{"nothing", `{"id":"61","token":"2ab3"}`, 0, ProfileUpdate{Auth: me}},
		{"nulls", `{"id":"61","token":"2ab3","password":null,"name":null,"picture":null,"sex":null,"birthday":null,"sign":null,"mail":null}`, 0,
			ProfileUpdate{Auth: me}},
		{"all", `{"id":" 61 ","token":" 2ab3 ","password":" q ","name":" T ","picture":"01","sex":"m","birthday":"b","sign":"a\nb","mail":" u@x "}`, 0,
			ProfileUpdate{me, s(" q "), s("T"), s("01"), s("m"), s("b"), s("a\nb"), s("u@x")}},
		{"cleared", `{"id":"61","token":"2ab3","name":" ","picture":"","sex":"","birthday":"","sign":" "}`, 0,
			ProfileUpdate{Auth: me, Name: s(""), Picture: s(""), Sex: s(""), Birthday: s(""), Sign: s("")}},

		{"no token", `{"sign":"x"}`, AuthEmpty, ProfileUpdate{Sign: s("x")}},
		{"no id", `{"token":"2ab3","id":" "}`, AccountIDEmpty, ProfileUpdate{Auth: Auth{Token: "2ab3"}}},

		{"empty password", `{"id":"61","token":"2ab3","password":""}`, ProtocolError, ProfileUpdate{}},
		{"white mail", `{"id":"61","token":"2ab3","mail":" "}`, ProtocolError, ProfileUpdate{}},
		{"malformed before empty", `{"name":7}`, ProtocolError, ProfileUpdate{}},
		{"number for id", `{"id":61,"token":"2ab3"}`, ProtocolError, ProfileUpdate{}},
		{"two tokens", `{"id":"61","token":"2ab3","token":"2ab3"}`, ProtocolError, ProfileUpdate{}},
		{"control in token", `{"id":"61","token":"2\u00003"}`, ProtocolError, ProfileUpdate{}},
		{"long name", `{"id":"61","token":"2ab3","name":"` + strings.Repeat("x", 65) + `"}`, ProtocolError, ProfileUpdate{}},
		{"large picture", `{"id":"61","token":"2ab3","picture":"012345678"}`, ProtocolError, ProfileUpdate{}},
		{"an array", `[]`, ProtocolError, ProfileUpdate{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, code := ParseProfileUpdate([]byte(tt.body), Limits{Picture: 8})
			if code != tt.code || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, code %d; want %+v, code %d", got, code, tt.want, tt.code)
			}
			// By NATS the same body is the same call, except that id and token are ignored.
			got, code = ParseProfileJSON([]byte(tt.body), Limits{Picture: 8})
			tt.want.Auth = Auth{}
			strict := tt.code == ProtocolError && !strings.Contains(tt.name, "token") && !strings.Contains(tt.name, "id")
			if strict != (code == ProtocolError) || code == 0 && tt.code != ProtocolError && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("by NATS: got %+v, code %d; want %+v", got, code, tt.want)
			}
		})
	}
}

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

		{"", WrongCredentials, LoginQuery{}},
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
	} {
		got, code := ParseLogin(tt.query)
		if code != tt.code || got != tt.want {
			t.Errorf("%s: got %+v, code %d; want %+v, code %d", tt.query, got, code, tt.want, tt.code)
		}
		if code == 0 && got.ByToken() != (tt.want.Token != "") {
			t.Errorf("%s: ByToken() = %t", tt.query, got.ByToken())
		}
	}
}

// TestLoginAcceptsEveryPassword checks that a password survives the encoding of a query, for all characters.
func TestLoginAcceptsEveryPassword(t *testing.T) {
	t.Parallel()
	for r := rune(0); r < 0x300; r++ {
		password := " " + string(r) + "&=+%;# "
		got, code := ParseLogin(url.Values{"account": {"tom"}, "password": {password}}.Encode())
		if code != 0 || got.Password != password {
			t.Errorf("password %q parsed as %q, code %d", password, got.Password, code)
		}
	}
}
