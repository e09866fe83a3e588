package wire

import (
	"strings"
	"testing"
)

func TestPasswordCalls(t *testing.T) {
	t.Parallel()
	if c, code := ParseForgot([]byte(`{"account":" tom ","mail":"\tt@example.org","more":[1]}`)); code != 0 || c != (Forgot{"tom", "t@example.org"}) {
		t.Errorf("%+v, %d", c, code)
	}
	if c, code := ParseReset([]byte(`{"account":" tom ","code":" abcd-efgh ","password":" p\u0000 "}`)); code != 0 || c != (Reset{"tom", "abcd-efgh", " p\x00 "}) {
		t.Errorf("%+v, %d", c, code)
	}
	for _, body := range []string{
		``, `[]`, `{}`, `{"account":"a"}`, `{"mail":"m"}`, `{"account":" ","mail":"m"}`, `{"account":"a","mail":" "}`,
		`{"account":"a","mail":null}`, `{"account":"a","mail":7}`, `{"account":"a","account":"a","mail":"m"}`, `{"account":"a","mail":"m\n"`,
		`{"account":"a\u0000","mail":"m"}`, `{"account":"a","mail":"m\r\nBcc: x"}`, "{\"account\":\"\xff\",\"mail\":\"m\"}",
		`{"account":"` + strings.Repeat("a", 65) + `","mail":"m"}`, `{"account":"a","mail":"` + strings.Repeat("m", 255) + `"}`,
	} {
		if c, code := ParseForgot([]byte(body)); code != ProtocolError || c != (Forgot{}) {
			t.Errorf("ParseForgot(%s) = %+v, %d", body, c, code)
		}
	}
	for _, body := range []string{
		``, `{}`, `{"account":"a","code":"c"}`, `{"account":"a","password":"p"}`, `{"code":"c","password":"p"}`,
		`{"account":"a","code":"c","password":""}`, `{"account":"a","code":" ","password":"p"}`, `{"account":"","code":"c","password":"p"}`,
		`{"account":"a","code":7,"password":"p"}`, `{"account":"a","code":"c","password":["p"]}`, `{"account":"a","code":"c","password":"p","code":"c"}`,
		`{"account":"a","code":"` + strings.Repeat("c", 33) + `","password":"p"}`,
	} {
		if c, code := ParseReset([]byte(body)); code != ProtocolError || c != (Reset{}) {
			t.Errorf("ParseReset(%s) = %+v, %d", body, c, code)
		}
	}
}

func FuzzParsePassword(f *testing.F) {
	addAll(f,
		[]byte(`{"account":"tom","mail":"t@x"}`),
		[]byte(`{"account":" t\u00e4m ","code":"abcd efgh","password":"\ud83d\ude42","x":[{}]}`),
		[]byte(`{"account":"t\u0000m","code":"","mail":7}`),
	)
	f.Fuzz(func(t *testing.T, body []byte) {
		members, _, ok := decode(body)
		forgot, code := ParseForgot(body)
		oneOf(t, code, 0, ProtocolError)
		if code == 0 && (!ok || forgot.Account == "" || forgot.Mail == "") {
			t.Fatalf("accepted %+v", forgot)
		}
		checkField(t, "account", forgot.Account, MaxAccount, false)
		checkField(t, "mail", forgot.Mail, MaxMail, false)
		reset, code := ParseReset(body)
		oneOf(t, code, 0, ProtocolError)
		checkField(t, "account", reset.Account, MaxAccount, false)
		checkField(t, "code", reset.Code, MaxResetCode, false)
		if code != 0 {
			return
		}
		password, _ := oneString(members, "password")
		if !ok || reset.Account == "" || reset.Code == "" || reset.Password == "" || reset.Password != meaning(t, password) {
			t.Fatalf("accepted %+v", reset)
		}
	})
}
