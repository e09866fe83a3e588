package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// fresh returns an account that is not registered.
func fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, serial.Add(1)) }

// entry returns the profile in the answer to a login.
func (w *world) entry(t testing.TB, account, password string) profileEntry {
	t.Helper()
	p := &member{w: w, account: account, password: password}
	w.secret(password)
	return p.login(t).Profile
}

func testRegister(t *testing.T, w *world) {
	rows := []struct {
		what, account, body string // %s is the account
		want                profileEntry
	}{
		{"all fields", "full", `{"account":%s,"password":"pw-full","name":"Sunny Tom","picture":"img/base64:0101+/=","sex":"male","birthday":"1937-07-07","sign":"The \"Strong\" <Tom> & Co 😀","mail":"t@example.org"}`,
			profileEntry{Name: "Sunny Tom", Picture: "img/base64:0101+/=", Sex: "male", Birthday: "1937-07-07", Sign: `The "Strong" <Tom> & Co 😀`}},
		{"what may be null is left out", "min", `{"account":%s,"password":"pw-full","mail":"t@example.org"}`, profileEntry{}},
		{"what may be null is null", "nil", `{"account":%s,"password":"pw-full","mail":"t@example.org","name":null,"picture":null,"sex":null,"birthday":null,"sign":null}`, profileEntry{}},
		{"what may be null is empty", "nul", `{"account":%s,"password":"pw-full","mail":"t@example.org","name":"","picture":"","sex":"","birthday":"","sign":""}`, profileEntry{}},
		{"a name of blanks is none", "bla", `{"account":%s,"password":"pw-full","mail":"t@example.org","name":" \t "}`, profileEntry{}},
		{"trimmed", "tri", `{"account":%s,"password":"pw-full","mail":" t@example.org ","name":"  A  B\u00a0","sex":" x ","sign":"\n two\nlines "}`,
			profileEntry{Name: "A  B", Sex: "x", Sign: "two\nlines"}},
		{"keys of nobody's, white space", "unk", " {\n\"more\" : {\"account\":[1,null,true]} , \"account\":%s,\"password\":\"pw-full\",\"Password\":\"other\",\"mail\":\"m\"} ", profileEntry{}},
		{"escapes", "esc", `{"acc\u006funt":%s,"password":"pw\u002dfull","mail":"m","name":"\u0041\ud83d\ude00\/"}`, profileEntry{Name: "A😀/"}},
	}
	for _, row := range rows {
		account := fresh(row.account)
		quoted, _ := json.Marshal("  " + account + "\u3000")
		w.register(t, 0, fmt.Sprintf(row.body, quoted)).want(t, row.what, replyBody(200))
		got := w.entry(t, account, "pw-full")
		if row.want.Name == "" {
			row.want.Name = account
		}
		row.want.ID = got.ID
		if got != row.want || !hex32.MatchString(got.ID) {
			t.Errorf("%s: profile is %+v", row.what, got)
		}
	}
	// A password keeps its spaces. Its length is counted in characters.
	for _, password := range []string{"   ", " p ", strings.Repeat("é", 32), "\u0001\u0000", "e\u0301"} {
		account := fresh("pw")
		body, _ := json.Marshal(map[string]string{"account": account, "password": password, "mail": "m"})
		w.register(t, 0, string(body)).want(t, fmt.Sprintf("password %q", password), replyBody(200))
		p := &member{w: w, account: account, password: password}
		p.login(t)
		for _, other := range []string{strings.TrimSpace(password), " " + password, "\u00e9"} {
			if other != password {
				c := w.dial(t, 0, "/im/login?"+query("account", account, "password", other))
				c.want(t, replyBody(505))
			}
		}
	}
	// The content type of a request does not matter.
	r, err := w.http.Post(w.base(0)+"/im/register", "application/x-www-form-urlencoded",
		strings.NewReader(`{"account":"`+fresh("form")+`","password":"p","mail":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("content of another type: %s", r.Status)
	}
}

func testRegisterRefusals(t *testing.T, w *world) {
	long := func(n int) string { return strings.Repeat("é", n) }
	rows := []struct {
		what, body string
		want       int
	}{
		{"nothing", ``, 403}, {"half an object", `{"account":"a"`, 403}, {"a list", `[]`, 403}, {"null", `null`, 403}, {"text", `"account"`, 403},
		{"two objects", `{"account":"a","password":"p","mail":"m"}{}`, 403}, {"something after it", `{"account":"a","password":"p","mail":"m"} x`, 403},
		{"a comma too many", `{"account":"a","password":"p","mail":"m",}`, 403}, {"single quotes", `{'account':'a'}`, 403},
		{"account is a number", `{"account":1,"password":"p","mail":"m"}`, 403}, {"password is a list", `{"account":"a","password":["p"],"mail":"m"}`, 403},
		{"mail is true", `{"account":"a","password":"p","mail":true}`, 403}, {"name is an object", `{"account":"a","password":"p","mail":"m","name":{}}`, 403},
		{"account twice", `{"account":"a","account":"b","password":"p","mail":"m"}`, 403},
		{"not UTF-8", "{\"account\":\"a\xff\",\"password\":\"p\",\"mail\":\"m\"}", 403}, {"half a surrogate pair", `{"account":"a\ud800","password":"p","mail":"m"}`, 403},
		{"a raw control character", "{\"account\":\"a\u0001\",\"password\":\"p\",\"mail\":\"m\"}", 403},
		{"NUL in account", `{"account":"a\u0000","password":"p","mail":"m"}`, 403}, {"DEL in account", `{"account":"a\u007fb","password":"p","mail":"m"}`, 403},
		{"new line in account", `{"account":"a\nb","password":"p","mail":"m"}`, 403}, {"control character in name", `{"account":"a","password":"p","mail":"m","name":"\u0085x\u0007y"}`, 403},
		{"account too long", `{"account":"` + long(65) + `","password":"p","mail":"m"}`, 403}, {"name too long", `{"account":"a","password":"p","mail":"m","name":"` + long(65) + `"}`, 403},
		{"sex too long", `{"account":"a","password":"p","mail":"m","sex":"` + long(33) + `"}`, 403}, {"birthday too long", `{"account":"a","password":"p","mail":"m","birthday":"` + long(33) + `"}`, 403},
		{"sign too long", `{"account":"a","password":"p","mail":"m","sign":"` + long(513) + `"}`, 403}, {"mail too long", `{"account":"a","password":"p","mail":"` + long(255) + `"}`, 403},
		{"password too long", `{"account":"` + fresh("long") + `","password":"` + long(33) + `","mail":"m"}`, 403}, {"picture too large", `{"account":"a","password":"p","mail":"m","picture":"` + strings.Repeat("x", 1025) + `"}`, 403},
		{"malformed and empty", `{"account":"","password":1}`, 403},

		{"no field", `{}`, 501}, {"no account", `{"password":"p","mail":"m"}`, 501}, {"account is null", `{"account":null,"password":"p","mail":"m"}`, 501},
		{"account is empty", `{"account":"","password":"p","mail":"m"}`, 501}, {"account is blank", `{"account":" \t\u00a0","password":"p","mail":"m"}`, 501},
		{"account in another case", `{"Account":"a","password":"p","mail":"m"}`, 501},
		{"account before the others", `{"account":" "}`, 501},
		{"no password", `{"account":"a","mail":"m"}`, 502}, {"password is null", `{"account":"a","password":null,"mail":"m"}`, 502}, {"password is empty", `{"account":"a","password":"","mail":"m"}`, 502},
		{"password before mail", `{"account":"a"}`, 502},
		{"no mail", `{"account":"a","password":"p"}`, 503}, {"mail is null", `{"account":"a","password":"p","mail":null}`, 503}, {"mail is empty", `{"account":"a","password":"p","mail":""}`, 503},
		{"mail is blank", `{"account":"a","password":"p","mail":"  "}`, 503},
	}
	for _, row := range rows {
		w.register(t, 0, row.body).want(t, row.what, replyBody(row.want))
	}
	tooLarge := `{"account":"a","password":"p","mail":"m","more":"` + strings.Repeat("x", 1<<20) + `"}`
	w.register(t, 0, tooLarge).wantStatus(t, "a body too large", http.StatusRequestEntityTooLarge, replyBody(403))
	// A refused registration stores nothing, so the account can still be registered.
	account := fresh("free")
	w.register(t, 0, `{"account":"`+account+`","password":"p"}`).want(t, "refused", replyBody(503))
	w.register(t, 0, `{"account":"`+account+`","password":"p","mail":"m"}`).want(t, "again", replyBody(200))
	// The maximum lengths.
	longest := fresh("long")
	longest += strings.Repeat("é", 64-len(longest))
	w.register(t, 0, `{"account":"`+longest+`","password":"`+long(32)+`","mail":"`+long(254)+`","name":"`+long(64)+`","sex":"`+long(32)+
		`","birthday":"`+long(32)+`","sign":"`+long(512)+`","picture":"`+strings.Repeat("x", 1024)+`"}`).want(t, "the longest fields", replyBody(200))
	w.entry(t, longest, long(32))
}

// testRegisterFolding checks that accounts are compared after trimming, normalization and case folding.
func testRegisterFolding(t *testing.T, w *world) {
	k := fresh("")
	for _, same := range [][]string{
		{"Tom" + k, "tom" + k, "TOM" + k, "  tOm" + k + " ", "\u00a0Tom" + k + "\u2003"},
		{"Caf\u00e9" + k, "cafe\u0301" + k, "CAFE\u0301" + k, "CAF\u00c9" + k},
		{"Stra\u00dfe" + k, "STRASSE" + k, "stra\u1e9ee" + k},
		{"\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2" + k, "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3" + k},
	} {
		body := func(account, mail string) string {
			b, _ := json.Marshal(map[string]string{"account": account, "password": "folded", "mail": mail})
			return string(b)
		}
		w.register(t, 0, body(same[0], "m")).want(t, same[0], replyBody(200))
		id := w.entry(t, same[0], "folded").ID
		for _, account := range same {
			w.register(t, 0, body(account, "m")).want(t, account+" again", replyBody(504))
			w.register(t, 0, body(account, " ")).want(t, account+" again, without mail", replyBody(503))
			if got := w.entry(t, account, "folded"); got.ID != id || got.Name != strings.TrimSpace(same[0]) {
				t.Errorf("login as %q: %+v", account, got)
			}
		}
	}
	// These are different accounts.
	for _, account := range []string{"T om" + k, "T0m" + k, "Cafe" + k, "Tom" + k + "."} {
		w.register(t, 0, `{"account":"`+account+`","password":"p","mail":"m"}`).want(t, account, replyBody(200))
	}
}
