package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"imctl/bridge/wire"
)

var testLimits = wire.Limits{Picture: 8}

func callNamed(t testing.TB, name string) Call {
	t.Helper()
	calls := Calls()
	i := slices.IndexFunc(calls, func(c Call) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no call %s", name)
	}
	return calls[i]
}

// parseHTTP parses a call as HTTP does, and returns its fields that are not empty and the code that it gets before it
// is done.
func (c Call) parseHTTP(in string) (map[string]string, wire.Code) {
	parse := func() (wire.Values, wire.Code) { return wire.ParseBody([]byte(in), c.httpFields(), testLimits) }
	if c.Method == http.MethodGet {
		parse = func() (wire.Values, wire.Code) { return wire.ParseQuery(in, c.httpFields(), testLimits) }
	}
	v, code := parse()
	if code == 0 && c.Auth {
		_, code = v.Auth()
	}
	if code == 0 {
		code = v.Check()
	}
	return c.fields(v, c.httpFields()), code
}

// parseNATS parses a call as the NATS server does.
func (c Call) parseNATS(in string) (map[string]string, wire.Code) {
	v, code := wire.ParseBody([]byte(in), c.Fields, testLimits)
	if code == 0 {
		code = v.Check()
	}
	return c.fields(v, c.Fields), code
}

func (c Call) fields(v wire.Values, fields []wire.Field) map[string]string {
	all := make(map[string]string)
	for _, f := range fields {
		if s := v.Get(f.Name); s != "" {
			all[f.Name] = s
		}
	}
	return all
}

type fields = map[string]string

func TestFriendCalls(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("ä", n) }
	for _, row := range []struct {
		call     string
		in, want fields // besides id and token
		code     wire.Code
	}{
		{"found", fields{"name": " Min "}, fields{"name": "Min"}, 0},
		{"found", fields{"name": long(64)}, fields{"name": long(64)}, 0},
		{"found", fields{"name": long(65)}, fields{}, wire.ProtocolError},
		{"found", fields{}, fields{}, wire.NameEmpty},
		{"found", fields{"name": " \u3000", "Name": "Min"}, fields{}, wire.NameEmpty},
		{"request", fields{"to": " f6 ", "note": " Hello,\nJohn "}, fields{"to": "f6", "note": "Hello,\nJohn"}, 0},
		{"request", fields{"to": "f6"}, fields{"to": "f6"}, 0},
		{"request", fields{"to": "f6", "note": long(512)}, fields{"to": "f6", "note": long(512)}, 0},
		{"request", fields{"to": "f6", "note": long(513)}, fields{}, wire.ProtocolError},
		{"request", fields{"to": "f6", "note": "a\x1bb"}, fields{}, wire.ProtocolError},
		{"request", fields{"to": " ", "note": "x"}, fields{"note": "x"}, wire.FriendEmpty},
		{"add", fields{"from": " f6 ", "name": " Tom "}, fields{"from": "f6", "name": "Tom"}, 0},
		{"add", fields{"from": "f6", "name": long(64)}, fields{"from": "f6", "name": long(64)}, 0},
		{"add", fields{"from": "f6", "name": long(65)}, fields{}, wire.ProtocolError},
		{"add", fields{"from": "f6"}, fields{"from": "f6"}, wire.AliasEmpty},
		{"add", fields{"name": "Tom"}, fields{"name": "Tom"}, wire.FriendEmpty},
		{"add", fields{}, fields{}, wire.FriendEmpty},
		{"remove", fields{"to": " f6 ", "from": "x"}, fields{"to": "f6"}, 0},
		{"remove", fields{}, fields{}, wire.FriendEmpty},
	} {
		c := callNamed(t, row.call)
		if got, code := c.parseNATS(marshal(t, row.in)); code != row.code || !maps.Equal(got, row.want) {
			t.Errorf("%s %v by NATS: got %v, code %d, want %v, code %d", row.call, row.in, got, code, row.want, row.code)
		}
		query := url.Values{"id": {"61"}, "token": {"2ab3"}}
		for name, value := range row.in {
			query.Set(name, value)
		}
		want := maps.Clone(row.want)
		if row.code != wire.ProtocolError {
			want["id"], want["token"] = "61", "2ab3"
		}
		if got, code := c.parseHTTP(query.Encode()); code != row.code || !maps.Equal(got, want) {
			t.Errorf("%s %v: got %v, code %d, want %v, code %d", row.call, row.in, got, code, want, row.code)
		}
	}
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAuthBeforeFields: a call without a token gets that code before the one without an id, and both before its own
// fields.
func TestAuthBeforeFields(t *testing.T) {
	t.Parallel()
	for _, c := range Calls() {
		if !c.Auth || c.Method != http.MethodGet {
			continue
		}
		for query, want := range map[string]wire.Code{
			"":                  wire.AuthEmpty,
			"id=61":             wire.AuthEmpty,
			"id=61&token=+":     wire.AuthEmpty,
			"ID=61&TOKEN=2ab3":  wire.AuthEmpty,
			"token=2ab3":        wire.AccountIDEmpty,
			"token=2ab3&id=%0A": wire.AccountIDEmpty,
		} {
			if _, code := c.parseHTTP(query); code != want {
				t.Errorf("%s?%s: code %d, want %d", c.Name, query, code, want)
			}
		}
	}
}

// TestMalformed: a malformed call is refused before its token is missed, and has no fields.
func TestMalformed(t *testing.T) {
	t.Parallel()
	for call, own := range map[string]string{"found": "name", "request": "to", "add": "from", "remove": "to"} {
		c := callNamed(t, call)
		for _, query := range []string{
			"id=61&id=61&token=2ab3", "token=2ab3&token=2ab3&id=61", own + "=x&" + own + "=x",
			own + "=%zz", own + "=%FF", own + "=a%00b", own + "=a%0Ab", own + "=a%C2%85b",
			"id=a%7Fb", "token=a%1Bb", "a=1;b=2", "x=%C3", "%",
		} {
			if got, code := c.parseHTTP(query); code != wire.ProtocolError || len(got) > 0 {
				t.Errorf("%s?%s: got %v, code %d", call, query, got, code)
			}
		}
		for _, body := range []string{
			``, `x`, `[]`, `null`, `{"` + own + `":7}`, `{"` + own + `":"a","` + own + `":"a"}`,
			`{"` + own + `":"a\u0000b"}`, `{"` + own + `":"a\nb"}`, `{"` + own + `":"\udead"}`,
			"{\"" + own + "\":\"\xff\"}", `{"` + own + `":"a"`,
		} {
			if got, code := c.parseNATS(body); code != wire.ProtocolError || len(got) > 0 {
				t.Errorf("%s by NATS %s: got %v, code %d", call, body, got, code)
			}
		}
		// The subject tells who calls: an id and a token in the body are ignored.
		if got, code := c.parseNATS(`{"id":"other","token":7}`); code == wire.ProtocolError || len(got) > 0 {
			t.Errorf("%s by NATS with id and token: got %v, code %d", call, got, code)
		}
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("ä", n) }
	least := func(more string) string { return `{"account":"tom","password":"p","mail":"t@x"` + more + `}` }
	tom := fields{"account": "tom", "password": "p", "mail": "t@x"}
	c := callNamed(t, "register")
	for name, row := range map[string]struct {
		body string
		code wire.Code
		want fields // of a call without an error
	}{
		"least": {least(""), 0, tom},
		"all": {`{"account":" tom\n","password":" p\n ","name":" Tom T. ","picture":" 01\n23 ","sex":" male ","birthday":" 1937-07-07 ","sign":" a\n\tb ","mail":" t@x "}`, 0,
			fields{"account": "tom", "password": " p\n ", "name": "Tom T.", "picture": "01\n23", "sex": "male", "birthday": "1937-07-07", "sign": "a\n\tb", "mail": "t@x"}},
		"nulls":      {least(`,"name":null,"picture":null,"sex":null,"birthday":null,"sign":null`), 0, tom},
		"white name": {least(`,"name":" ","other":[1]`), 0, tom},
		"password of white space and a NUL": {`{"account":"tom","password":" \u0000","mail":"t@x"}`, 0,
			fields{"account": "tom", "password": " \x00", "mail": "t@x"}},
		"longest": {`{"account":"` + long(64) + `","password":"p","name":"` + long(64) + `","picture":"01234567","sex":"` + long(32) + `","birthday":"` + long(32) +
			`","sign":"` + long(512) + `","mail":"` + long(254) + `"}`, 0,
			fields{"account": long(64), "password": "p", "name": long(64), "picture": "01234567", "sex": long(32), "birthday": long(32), "sign": long(512), "mail": long(254)}},
		"trimmed to the limit": {`{"account":"` + strings.Repeat(" ", 99) + `tom","password":"p","mail":"t@x"}`, 0, tom},

		"nothing":             {`{}`, wire.AccountEmpty, nil},
		"white account":       {`{"account":" \u00a0","password":"","mail":""}`, wire.AccountEmpty, nil},
		"key in another case": {`{"Account":"tom","password":"p","mail":"t@x"}`, wire.AccountEmpty, nil},
		"no password":         {`{"account":"tom","mail":""}`, wire.PasswordEmpty, nil},
		"null password":       {`{"account":"tom","password":null,"mail":"t@x"}`, wire.PasswordEmpty, nil},
		"no mail":             {`{"account":"tom","password":"p"}`, wire.MailEmpty, nil},
		"white mail":          {`{"account":"tom","password":"p","mail":" "}`, wire.MailEmpty, nil},

		"no JSON":                {`account=tom`, wire.ProtocolError, nil},
		"number":                 {`{"account":7,"password":"p","mail":"t@x"}`, wire.ProtocolError, nil},
		"boolean picture":        {least(`,"picture":false`), wire.ProtocolError, nil},
		"twice":                  {least(`,"account":"tom"`), wire.ProtocolError, nil},
		"half a surrogate pair":  {`{"account":"tom","password":"\ud83d","mail":"t@x"}`, wire.ProtocolError, nil},
		"not UTF-8":              {"{\"account\":\"t\xffm\",\"password\":\"p\",\"mail\":\"t@x\"}", wire.ProtocolError, nil},
		"malformed before empty": {`{"account":"","name":7}`, wire.ProtocolError, nil},
		"control in account":     {`{"account":"t\u0000m","password":"p","mail":"t@x"}`, wire.ProtocolError, nil},
		"line break in account":  {`{"account":"t\nm","password":"p","mail":"t@x"}`, wire.ProtocolError, nil},
		"C1 control in name":     {least(`,"name":"a\u009bb"`), wire.ProtocolError, nil},
		"delete in mail":         {`{"account":"tom","password":"p","mail":"t\u007f@x"}`, wire.ProtocolError, nil},
		"line break in sex":      {least(`,"sex":"a\nb"`), wire.ProtocolError, nil},
		"tab in birthday":        {least(`,"birthday":"a\tb"`), wire.ProtocolError, nil},
		"escape in sign":         {least(`,"sign":"a\u001bb"`), wire.ProtocolError, nil},
		"NUL in picture":         {least(`,"picture":"0\u00000"`), wire.ProtocolError, nil},
		"long account":           {`{"account":"` + long(65) + `","password":"p","mail":"t@x"}`, wire.ProtocolError, nil},
		"long name":              {least(`,"name":"` + long(65) + `"`), wire.ProtocolError, nil},
		"long sex":               {least(`,"sex":"` + long(33) + `"`), wire.ProtocolError, nil},
		"long birthday":          {least(`,"birthday":"` + long(33) + `"`), wire.ProtocolError, nil},
		"long sign":              {least(`,"sign":"` + long(513) + `"`), wire.ProtocolError, nil},
		"long mail":              {`{"account":"tom","password":"p","mail":"` + long(255) + `"}`, wire.ProtocolError, nil},
		"picture over the limit": {least(`,"picture":"012345678"`), wire.ProtocolError, nil},
	} {
		got, code := c.parseHTTP(row.body)
		if code != row.code || code == 0 && !maps.Equal(got, row.want) {
			t.Errorf("%s: got %v, code %d, want %v, code %d", name, got, code, row.want, row.code)
		}
	}
	if _, code := wire.ParseBody([]byte(least(`,"picture":"0123456789"`)), c.Fields, wire.Limits{}); code != 0 {
		t.Errorf("a picture without a limit: code %d", code)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	c := callNamed(t, "profile")
	const me = `"id":"61","token":"2ab3"`
	for name, row := range map[string]struct {
		body       string
		code, nats wire.Code
		given      string // fields that the call gives besides id and token, by name
	}{
		"nothing": {`{` + me + `}`, 0, 0, ""},
		"nulls":   {`{` + me + `,"password":null,"name":null,"picture":null,"sex":null,"birthday":null,"sign":null,"mail":null}`, 0, 0, ""},
		"all":     {`{` + me + `,"password":" q ","name":" T ","picture":"01","sex":"m","birthday":"b","sign":"a\nb","mail":" u@x "}`, 0, 0, "birthday mail name password picture sex sign"},
		"emptied": {`{` + me + `,"name":" ","picture":"","sex":"","birthday":"","sign":" "}`, 0, 0, "birthday name picture sex sign"},

		"no token": {`{"sign":"x"}`, wire.AuthEmpty, 0, "sign"},
		"no id":    {`{"token":"2ab3","id":" "}`, wire.AccountIDEmpty, 0, ""},

		"empty password":         {`{` + me + `,"password":""}`, wire.ProtocolError, wire.ProtocolError, ""},
		"white mail":             {`{` + me + `,"mail":" "}`, wire.ProtocolError, wire.ProtocolError, ""},
		"malformed before empty": {`{"name":7}`, wire.ProtocolError, wire.ProtocolError, ""},
		"number for id":          {`{"id":61,"token":"2ab3"}`, wire.ProtocolError, 0, ""},
		"two tokens":             {`{` + me + `,"token":"2ab3"}`, wire.ProtocolError, 0, ""},
		"control in token":       {`{"id":"61","token":"2\u00003"}`, wire.ProtocolError, 0, ""},
		"long name":              {`{` + me + `,"name":"` + strings.Repeat("x", 65) + `"}`, wire.ProtocolError, wire.ProtocolError, ""},
		"large picture":          {`{` + me + `,"picture":"012345678"}`, wire.ProtocolError, wire.ProtocolError, ""},
		"an array":               {`[]`, wire.ProtocolError, wire.ProtocolError, ""},
	} {
		if _, code := c.parseHTTP(row.body); code != row.code {
			t.Errorf("%s: code %d, want %d", name, code, row.code)
		}
		v, code := wire.ParseBody([]byte(row.body), c.Fields, testLimits)
		if code != row.nats {
			t.Errorf("%s by NATS: code %d, want %d", name, code, row.nats)
		}
		var given []string
		for _, f := range c.Fields {
			if _, ok := v.Lookup(f.Name); ok && code == 0 {
				given = append(given, f.Name)
			}
		}
		slices.Sort(given)
		if got := strings.Join(given, " "); got != row.given {
			t.Errorf("%s gives %q, want %q", name, got, row.given)
		}
	}
	v, _ := wire.ParseBody([]byte(`{"name":" T ","sign":""}`), c.Fields, testLimits)
	p := wire.ProfileFields{Name: "Old", Sex: "m", Sign: "s"}
	v.SetProfile(&p)
	if want := (wire.ProfileFields{Name: "T", Sex: "m"}); p != want {
		t.Errorf("the profile is %+v, want %+v", p, want)
	}
}

func TestPasswordCalls(t *testing.T) {
	t.Parallel()
	forgot, reset := callNamed(t, "forgot"), callNamed(t, "reset")
	if got, code := forgot.parseHTTP(`{"account":" tom ","mail":"\tt@example.org","more":[1]}`); code != 0 || !maps.Equal(got, fields{"account": "tom", "mail": "t@example.org"}) {
		t.Errorf("forgot: got %v, code %d", got, code)
	}
	if got, code := reset.parseHTTP(`{"account":" tom ","code":" abcd-efgh ","password":" p\u0000 "}`); code != 0 ||
		!maps.Equal(got, fields{"account": "tom", "code": "abcd-efgh", "password": " p\x00 "}) {
		t.Errorf("reset: got %v, code %d", got, code)
	}
	for _, row := range []struct {
		call   Call
		bodies []string
	}{{forgot, []string{
		``, `[]`, `{}`, `{"account":"a"}`, `{"mail":"m"}`, `{"account":" ","mail":"m"}`, `{"account":"a","mail":" "}`,
		`{"account":"a","mail":null}`, `{"account":"a","mail":7}`, `{"account":"a","account":"a","mail":"m"}`, `{"account":"a","mail":"m\n"`,
		`{"account":"a\u0000","mail":"m"}`, `{"account":"a","mail":"m\r\nBcc: x"}`, "{\"account\":\"\xff\",\"mail\":\"m\"}",
		`{"account":"` + strings.Repeat("a", 65) + `","mail":"m"}`, `{"account":"a","mail":"` + strings.Repeat("m", 255) + `"}`,
	}}, {reset, []string{
		``, `{}`, `{"account":"a","code":"c"}`, `{"account":"a","password":"p"}`, `{"code":"c","password":"p"}`,
		`{"account":"a","code":"c","password":""}`, `{"account":"a","code":" ","password":"p"}`, `{"account":"","code":"c","password":"p"}`,
		`{"account":"a","code":7,"password":"p"}`, `{"account":"a","code":"c","password":["p"]}`, `{"account":"a","code":"c","password":"p","code":"c"}`,
		`{"account":"a","code":"` + strings.Repeat("c", 33) + `","password":"p"}`,
	}}} {
		for _, body := range row.bodies {
			if _, code := row.call.parseHTTP(body); code != wire.ProtocolError {
				t.Errorf("%s %s: code %d, want %d", row.call.Name, body, code, wire.ProtocolError)
			}
		}
	}
}

// FuzzCalls: whatever is not refused as malformed keeps the rules of its declaration.
func FuzzCalls(f *testing.F) {
	for _, in := range []string{
		"id=61&token=2ab3&name=Tom&to=f6&from=f6&note=Hello%0A", "token=2ab3", "id=61", "to=%FF&name=%00&from=%0A", "id=1&id=2", "%", ";", "",
		`{"id":"61","token":"2ab3","name":"Tom","to":"f6","from":"f6","note":"Hello\n"}`, `{"to":7}`, `{"name":"\u0000"}`, `{}`, `[]`,
		`{"account":" t\u00e4m ","password":"\ud83d\ude42","name":null,"picture":"01\n","sex":"m","birthday":"b","sign":"a\tb","mail":"t@x","x":[{}]}`,
		`{"account":" t\u00e4m ","code":"abcd efgh","password":" q ","mail":"t@x"}`,
		`{"with":"f6","before":17,"limit":"200","got":1,"read":0}`, `{"with":"f6","after":-1,"got":[1],"read":true}`, "id=61&token=2ab3&with=f6&after=+5&limit=201",
	} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, c := range Calls() {
			for _, declared := range [][]wire.Field{c.httpFields(), c.Fields} {
				v, code := wire.ParseBody([]byte(in), declared, testLimits)
				checkValues(t, c, declared, v, code)
				if code == 0 && !json.Valid([]byte(in)) {
					t.Fatalf("%s accepts %q", c.Name, in)
				}
				v, code = wire.ParseQuery(in, declared, testLimits)
				checkValues(t, c, declared, v, code)
			}
		}
	})
}

func checkValues(t *testing.T, c Call, declared []wire.Field, v wire.Values, code wire.Code) {
	t.Helper()
	if code != 0 {
		if code != wire.ProtocolError || len(c.fields(v, declared)) > 0 {
			t.Fatalf("%s is refused with %d and has %v", c.Name, code, c.fields(v, declared))
		}
		return
	}
	wantCode := wire.Code(0)
	for _, f := range declared {
		s, given := v.Lookup(f.Name)
		if s == "" && wantCode == 0 {
			wantCode = f.Empty
		}
		control := strings.ContainsFunc(s, func(r rune) bool {
			return unicode.IsControl(r) && (f.Kind != wire.Lines && f.Kind != wire.Picture || !strings.ContainsRune("\r\n\t", r))
		})
		switch {
		case !utf8.ValidString(s), s != "" && !given, f.Max > 0 && utf8.RuneCountInString(s) > f.Max, f.NotEmpty && given && s == "":
			t.Fatalf("%s: %s is %q", c.Name, f.Name, s)
		case f.Kind != wire.Verbatim && (control || s != strings.TrimSpace(s)):
			t.Fatalf("%s: %s is %q", c.Name, f.Name, s)
		case f.Kind == wire.Number && s != "":
			if n, ok := v.Number(f.Name); !ok || n < f.Least || f.Most > 0 && n > f.Most || strings.Trim(s, "0123456789") != "" {
				t.Fatalf("%s: %s is %q", c.Name, f.Name, s)
			}
		case f.Kind == wire.Picture && len(s) > testLimits.Picture:
			t.Fatalf("%s: %s has %d bytes", c.Name, f.Name, len(s))
		}
	}
	if got := v.Check(); got != wantCode {
		t.Fatalf("%s %v: Check returns %d, want %d", c.Name, c.fields(v, declared), got, wantCode)
	}
}
