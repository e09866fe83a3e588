package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// calls are the calls below /im/friends/ with valid fields, for tests of the checks of id and token.
var calls = map[string][]string{
	"found": {"name", "nobody at all"}, "request": {"to", strings.Repeat("0", 32)},
	"add": {"from", strings.Repeat("0", 32), "name", "x"}, "remove": {"to", strings.Repeat("0", 32)},
}

// testCallChecks checks that id and token are checked in a fixed order, before the other fields.
func testCallChecks(t *testing.T, w *world) {
	two := w.newMembers(t, 2)
	me, other := two[0], two[1]
	never := strings.Repeat("0", 32)
	for call, own := range calls {
		for _, fields := range [][]string{own, nil} { // the other fields are checked last
			for _, row := range []struct {
				what  string
				query string
				want  int
			}{
				{"nothing", query(), 514},
				{"no token", query("id", me.id), 514},
				{"empty token", query("id", me.id, "token", ""), 514},
				{"blank token", query("id", me.id, "token", " \t"), 514},
				{"token before id", query("id", "", "token", ""), 514},
				{"Token", query("id", me.id, "Token", me.token), 514},
				{"no id", query("token", me.token), 517},
				{"empty id", query("id", "", "token", me.token), 517},
				{"blank id", query("id", "  ", "token", me.token), 517},
				{"id before a wrong token", query("id", "", "token", "wrong"), 517},
				{"wrong token", query("id", me.id, "token", never), 515},
				{"a token that is none", query("id", me.id, "token", "*"), 515},
				{"another's token", query("id", me.id, "token", other.token), 515},
				{"another's id", query("id", other.id, "token", me.token), 515},
				{"an id of nobody's", query("id", never, "token", me.token), 515},
				{"an id that is none", query("id", ">", "token", me.token), 515},
				{"id in capitals", query("id", strings.ToUpper(me.id)+"A", "token", me.token), 515},
				{"malformed escape", query("id", me.id, "token", me.token) + "&x=%zz", 403},
				{"malformed before empty", query("id", "") + "&x=%", 403},
				{"semicolon", query("id", me.id, "token", me.token) + ";x=1", 403},
				{"not UTF-8", query("id", me.id, "token", me.token) + "&x=%ff", 403},
				{"id twice", query("id", me.id, "id", me.id, "token", me.token), 403},
				{"token twice", query("id", me.id, "token", me.token, "token", me.token), 403},
				{"control character in id", query("id", me.id+"\x00", "token", me.token), 403},
			} {
				q := row.query
				if fields != nil {
					q += "&" + query(fields...)
				}
				w.do(t, me.n, http.MethodGet, "/im/friends/"+call+"?"+q, "").want(t, call+", "+row.what, replyBody(row.want))
			}
		}
		trimmed := query(append([]string{"id", " " + me.id + " ", "token", "\t" + me.token, "unknown", "x"}, own...)...)
		if got := w.do(t, me.n, http.MethodGet, "/im/friends/"+call+"?"+trimmed, "").code(); got == 515 || got == 403 {
			t.Errorf("%s: id and token with spaces: got code %d", call, got)
		}
		posted := query(append([]string{"id", me.id, "token", me.token}, own...)...)
		w.do(t, me.n, http.MethodPost, "/im/friends/"+call+"?"+posted, "").want(t, "POST "+call, replyBody(403))
	}
}

// testCallFields checks the fields of each call, in the documented order.
func testCallFields(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	never := strings.Repeat("0", 32)
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, row := range []struct {
		call   string
		fields []string
		want   int
	}{
		{"found", nil, 516}, {"found", []string{"name", ""}, 516}, {"found", []string{"name", " \t"}, 516}, {"found", []string{"Name", "x"}, 516},
		{"found", []string{"name", long(65)}, 403}, {"found", []string{"name", "a\x01b"}, 403}, {"found", []string{"name", "a", "name", "b"}, 403},

		{"request", nil, 519}, {"request", []string{"to", ""}, 519}, {"request", []string{"to", "  "}, 519}, {"request", []string{"note", "x"}, 519},
		{"request", []string{"to", b.id}, 522}, {"request", []string{"to", " " + b.id + " "}, 522},
		{"request", []string{"to", a.id}, 523}, {"request", []string{"to", never}, 523}, {"request", []string{"to", "nobody"}, 523}, {"request", []string{"to", ">"}, 523},
		{"request", []string{"to", never, "note", long(513)}, 403}, {"request", []string{"to", never, "to", never}, 403}, {"request", []string{"to", never, "note", "a\x00"}, 403},
		{"request", []string{"to", strings.ToUpper("f") + b.id[1:]}, 523},

		{"add", nil, 519}, {"add", []string{"from", " "}, 519}, {"add", []string{"name", "x"}, 519}, {"add", []string{"from", "", "name", ""}, 519},
		{"add", []string{"from", b.id}, 521}, {"add", []string{"from", b.id, "name", ""}, 521}, {"add", []string{"from", never, "name", " "}, 521},
		{"add", []string{"from", b.id, "name", "x"}, 522},
		{"add", []string{"from", never, "name", "x"}, 523}, {"add", []string{"from", a.id, "name", "x"}, 523}, {"add", []string{"from", "nobody", "name", "x"}, 523},
		{"add", []string{"from", b.id, "name", long(65)}, 403}, {"add", []string{"from", b.id, "name", "a\nb"}, 403}, {"add", []string{"from", b.id, "name", "a", "name", "a"}, 403},

		{"remove", nil, 519}, {"remove", []string{"to", ""}, 519}, {"remove", []string{"to", "\t"}, 519},
		{"remove", []string{"to", never}, 512}, {"remove", []string{"to", a.id}, 512}, {"remove", []string{"to", "nobody"}, 512},
		{"remove", []string{"to", b.id, "to", b.id}, 403},
	} {
		a.call(t, row.call, row.fields...).want(t, fmt.Sprintf("%s %q", row.call, row.fields), replyBody(row.want))
	}
	if code := a.talk(t, b, "after all that"); code != 200 {
		t.Errorf("dialogue after the refused calls: got code %d, want 200", code)
	}
}

// named registers a user with a name.
func (w *world) named(t testing.TB, name string) *member {
	t.Helper()
	p := &member{w: w, account: fresh("named"), password: "pw-named"}
	body, _ := json.Marshal(map[string]string{"account": p.account, "password": p.password, "mail": "m", "name": name,
		"picture": "p/" + p.account, "sex": "s", "birthday": "b", "sign": "<" + p.account + ">"})
	w.register(t, 0, string(body)).want(t, name, replyBody(200))
	p.login(t)
	return p
}

// names searches for a name and returns the ids that were found.
func (p *member) names(t testing.TB, name string) []string {
	t.Helper()
	r := p.call(t, "found", "name", name)
	var a struct {
		Code  int
		Found []profileEntry
	}
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || a.Code != 200 {
		t.Fatalf("search for %q: %s, %v", name, r.body, err)
	}
	ids := make([]string, len(a.Found))
	for i, f := range a.Found {
		ids[i] = f.ID
	}
	return ids
}

// testFound checks the search for a name or a prefix. It ignores case and never finds the caller.
func testFound(t *testing.T, w *world) {
	k := fresh("k")
	longer, whole, other, odd := w.named(t, "Minami "+k+" the Second"), w.named(t, "MINAMI "+k), w.named(t, "Sunny "+k), w.named(t, ".*> "+k+" Straße é%/\"")
	me := w.named(t, "Minami "+k)
	entry := func(p *member, name string) string {
		return `{"id":"` + p.id + `","name":"` + name + `","picture":"p/` + p.account + `","sex":"s","birthday":"b","sign":"<` + p.account + `>"}`
	}
	want := `{"code":200,"found":[` + entry(whole, "MINAMI "+k) + `,` + entry(longer, "Minami "+k+" the Second") + `],"message":"Success","ok":true}`
	me.call(t, "found", "name", " minami "+k+" ").want(t, "whole names first", want)
	for name, found := range map[string][]string{
		"Minami " + k + " T":            {longer.id},
		"mInAmI " + k + " the second":   {longer.id},
		"Minami " + k + " the Second's": {},
		"inami " + k:                    {},
		k:                               {},
		"Sunny " + k:                    {other.id},
		"sunny " + k[:len(k)-1] + "*":   {},
		"*":                             {},
		".*> " + k:                      {odd.id},
		".*> " + k + " STRASSE E\u0301": {odd.id},
	} {
		if got := me.names(t, name); !slices.Equal(got, found) {
			t.Errorf("search for %q: got %q, want %q", name, got, found)
		}
	}
	me.call(t, "found", "name", fresh("nobody")).want(t, "nobody", `{"code":200,"found":null,"message":"Success","ok":true}`)
	if got := whole.names(t, "minami "+k); !slices.Equal(got, []string{me.id, longer.id}) {
		t.Errorf("the caller was found: %q", got)
	}
}

// testFoundFifty checks that a search finds at most 50 users, with exact matches before prefix matches.
func testFoundFifty(t *testing.T, w *world) {
	k := fresh("fifty")
	me := w.newMembers(t, 1)[0]
	for i := range 52 {
		body := fmt.Sprintf(`{"account":"%s-%d","password":"pw-named","mail":"m","name":"%s %d"}`, k, i, k, i)
		w.register(t, 0, body).want(t, body, replyBody(200))
	}
	last := w.named(t, k)
	got := me.names(t, k)
	if len(got) != 50 || got[0] != last.id {
		t.Errorf("found %d users, the first is %s; want 50, with the exact match first", len(got), got[0])
	}
	slices.Sort(got)
	if distinct := slices.Compact(got); len(distinct) != 50 {
		t.Errorf("only %d of 50 results are distinct", len(distinct))
	}
}
