package cmd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"imctl/bridge/admin"
)

// readEntries returns the entries of texts in a format, each text as a file.
func readEntries(t *testing.T, format string, texts ...string) (all []importEntry) {
	t.Helper()
	s := &importSource{format: format, most: 10_000, token: 1 << 20}
	for n, text := range texts {
		s.files = append(s.files, importFile{fmt.Sprint("f", n), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
	}
	if err := s.each(t.Context(), func(e *importEntry) error { all = append(all, *e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// wantEntries compares entries, written as the line with the account and its friends, or the reason.
func wantEntries(t *testing.T, entries []importEntry, want ...string) {
	t.Helper()
	var got []string
	for _, e := range entries {
		s := fmt.Sprint(e.at.line, " ", e.Account)
		for _, f := range e.Friends {
			s += "+" + f.Account
		}
		if e.err != nil {
			s = fmt.Sprint(e.at.line, " ", e.err)
		}
		got = append(got, s)
	}
	ok := len(got) == len(want)
	for n := range min(len(got), len(want)) {
		ok = ok && strings.HasPrefix(got[n], want[n])
	}
	if !ok {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestImportCSV(t *testing.T) {
	t.Parallel()
	all := readEntries(t, formatCSV, "\ufeffUsername,Email,hash,Friends,disabled,created,sign\r\n"+
		"ann,ann@example.org,$2b$x,bob;carol,no,2020-01-02,\"two\r\nlines, \"\"quoted\"\"\"\r\n"+
		"bob,\"b,ob\",,,TRUE,,\r\n"+
		"\r\n"+
		"carol,caf\xe9,,,,,\r\n"+
		"dave,too few\r\n"+
		"e\"ve,,,,,,\r\n"+
		"frank,,,,perhaps,,\r\n"+
		"grace,,,,,yesterday,\r\n"+
		"last,,,ann | bob ,,,")
	wantEntries(t, all, "2 ann+bob+carol", "4 bob", "6 not valid UTF-8", "7 not as many fields as the header, which has 7", "8 line 8: bare \"",
		"9 disabled must be", "10 created must be", "11 last+ann+bob")
	if a := all[0]; a.Mail != "ann@example.org" || a.PasswordHash != "$2b$x" || a.Created.Year() != 2020 || a.Sign != "two\nlines, \"quoted\"" {
		t.Errorf("%+v", a)
	}
	if !all[1].Disabled || all[1].Mail != "b,ob" {
		t.Errorf("%+v", all[1])
	}
	wantEntries(t, readEntries(t, formatCSV, "account;name\nann;Ann, B.\n"), "2 ann")
	wantEntries(t, readEntries(t, formatCSV, "account\tpassword\nann\tx\n"), "2 ann")
	wantEntries(t, readEntries(t, formatCSV, ""))

	// A missing quote does not read the whole file into memory.
	all = readEntries(t, formatCSV, "account,sign\nann,x\nbob,\"y\n"+strings.Repeat("more,z\n", 10_000))
	if len(all) != 2 || all[1].err == nil || !strings.Contains(all[1].err.Error(), "a quote is missing") {
		t.Errorf("%d entries: %v", len(all), all[1].err)
	}
	for text, why := range map[string]string{
		"account,nmae\n":  `unknown column: "nmae"`,
		"name\n":          "no column account",
		"account,login\n": "account twice",
		"ann,$2b$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG\n": "an unknown column",
		"\"acc\n": "header",
	} {
		s := &importSource{format: formatCSV, most: 10_000, files: []importFile{{"", func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}}}
		if err := s.each(t.Context(), func(*importEntry) error { return nil }); err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "dXJ3") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestImportJSONL(t *testing.T) {
	t.Parallel()
	all := readEntries(t, formatJSONL, "\ufeff"+`{"account":"ann","password":"secret","friends":["bob",{"account":"carol","alias":"C"},{"id":"x"}],"requests":["dave"]}`+"\r\n\r\n"+
		`{"account":"bob","friends":[{"acount":"ann"}]}`+"\n"+`{"account":"bob","friends":[{}]}`+"\n"+`{"account":"bob","friends":[5]}`+"\n"+`{"account":"bob","friends":"ann"}`)
	wantEntries(t, all, "1 ann+bob+carol+", "3 unknown field \"acount\"", "4 friends and requests must have", "5 ", "6 friends must be of type")
	if a := all[0]; a.Password != "secret" || a.Friends[1].Alias != "C" || a.Friends[2].ID != "x" || a.Requests[0].Account != "dave" {
		t.Errorf("%+v", a)
	}
}

func TestImportMattermost(t *testing.T) {
	t.Parallel()
	all := readEntries(t, formatMattermost, `{"type":"version","version":1,"info":{"generator":"mattermost-server"}}
{"type":"team","team":{"name":"t"}}
{"type":"user","user":{"username":"ann","email":"a@example.org","nickname":"","first_name":"Ann","last_name":"B.","roles":"system_user","teams":[{"name":"t"}]}}
{"type":"user","user":{"username":"bob","nickname":"Bobby","delete_at":1600000000000,"password":"secret"}}
{"type":"user"}
{"type":"direct_channel","direct_channel":{"members":["ann","bob"],"header":""}}
{"type":"direct_channel","direct_channel":{"participants":[{"username":"bob"},{"username":"ann"}]}}
{"type":"direct_channel","direct_channel":{"members":["ann","bob","carol"]}}
{"type":"direct_channel","direct_channel":{"members":["ann","ann"]}}
{"type":"post","post":{"message":"`+strings.Repeat("x", 20_000)+`"}}
{"type":"post","post":{"message":5}}
{"type":"user","user":{"username":7}}
`)
	wantEntries(t, all, "2 ", "3 ann", "4 bob", "5 type without", "6 ann+bob", "7 bob+ann", "8 ", "9 ", "10 ", "11 ", "12 user.username must be of type string")
	if a, b := all[1], all[2]; a.Name != "Ann B." || a.Mail != "a@example.org" || a.Disabled || b.Name != "Bobby" || !b.Disabled || b.Password != "secret" {
		t.Errorf("%+v, %+v", a, b)
	}
	skipped := make(map[string]int)
	for _, e := range all {
		for what, n := range e.skipped {
			skipped[what] += n
		}
		if e.bonds != (e.at.line == 6 || e.at.line == 7) {
			t.Errorf("line %d has only friendships: %t", e.at.line, e.bonds)
		}
	}
	if fmt.Sprint(skipped) != "map[direct channel of more or fewer than two users:2 long line:1 post:1 team:1]" {
		t.Errorf("skipped %v", skipped)
	}
	wantEntries(t, readEntries(t, formatMattermost, `{"type":"user","user":{"username":"ann"}}`), "1 the first line must have the type version")
}

func TestImportXEP0227(t *testing.T) {
	t.Parallel()
	const head, foot = "<?xml version='1.0'?>\n<server-data xmlns='urn:xmpp:pie:0'>\n<host jid='example.org'>\n", "</host></server-data>"
	all := readEntries(t, formatXEP0227, head+`<user name='o\27neil\40x' password='a&amp;b'><query xmlns='jabber:iq:roster'>
<item jid='bob@EXAMPLE.org/x' subscription='both' name='Bob'><group>g</group></item><item jid='eve@other.example' subscription='both'/>
<item jid='carol@example.org' subscription='none' ask='subscribe'/><item jid='dave@example.org' subscription='from'/></query>
<presence xmlns='jabber:client' type='subscribe' from='zoe@example.org'/><offline-messages><message xmlns='jabber:client'><body>hi</body></message></offline-messages>
<vCard xmlns='vcard-temp'><FN>Full</FN><EMAIL><HOME/><USERID>o@example.org</USERID></EMAIL><PHOTO><BINVAL>`+strings.Repeat("A", 50_000)+`</BINVAL></PHOTO></vCard></user>
<user name='bob'><scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-1'><iter-count>x</iter-count></scram-credentials></user>
`+"</host><host jid='other.example'><user name='eve'/></host></server-data>")
	wantEntries(t, all, `4 o'neil@x+bob`, "9 password_hash: iter-count is not a number", "10 ")
	u := all[0]
	if u.Password != "a&b" || u.Name != "Full" || u.Mail != "o@example.org" || u.Friends[0].Alias != "Bob" || u.Asked[0].Account != "carol" || u.Requests[0].Account != "zoe" ||
		fmt.Sprint(u.skipped) != "map[contact in one direction:1 contact on another server:1 offline-messages:1]" {
		t.Errorf("%+v, skipped %v", u.Record, u.skipped)
	}

	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>`
	for text, why := range map[string]string{
		bomb + head + "<user name='&b;'/>" + foot:                "document type",
		"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + head + foot: "document type",
		head + "<user name='&b;'/>" + foot:                       "not valid XML: invalid character entity &b;",
		head + "<user name='caf\xe9'/>" + foot:                   "not valid XML: invalid UTF-8",
		head + "<user name='a'>":                                 "not valid XML: unexpected EOF",
		head + strings.Repeat("<a>", 100):                        "elements inside each other",
		"<html></html>":                                          "element html",
		"<server-data xmlns='urn:xmpp:pie:0'><xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='x.xml'/></server-data>": "import the directory",
		head + "<user name='a'><vCard xmlns='vcard-temp'><FN>" + strings.Repeat("x", 20_000):                                      "too long",
		head + "<user name='" + strings.Repeat("x", 2<<20):                                                                        "too long",
	} {
		all := readEntries(t, formatXEP0227, text)
		if len(all) == 0 || all[len(all)-1].err == nil || !strings.Contains(all[len(all)-1].err.Error(), why) {
			t.Errorf("%.80q: %d entries, want %q: %v", text, len(all), why, all)
		}
	}
}

func TestDetectFormat(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": formatJSONL, "\ufeff\n <?xml version='1.0'?>": formatXEP0227, `{"type":"version","version":1}`: formatMattermost, `{"account":"x"}`: formatJSONL,
		`{"v":1,"id":"x"}`: formatJSONL, "\ufeffaccount,name": formatCSV, "[{}]": "array", "\xff\xfea\x00": "UTF-16", "{": formatJSONL,
	} {
		got, err := detectFormat(strings.NewReader(text))
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestReadExports reads the exports that ejabberd and Prosody wrote. testdata/import/README.md tells how.
func TestReadExports(t *testing.T) {
	t.Parallel()
	for _, name := range exportsOfServers {
		files, err := importDirectory("testdata/import/"+name, name)
		if err != nil {
			t.Fatal(err)
		}
		s := &importSource{format: formatXEP0227, most: 100_000, files: files}
		users := make(map[string]admin.Record)
		if err := s.each(t.Context(), func(e *importEntry) error {
			users[e.Account] = e.Record
			return e.err
		}); err != nil {
			t.Error(name, err)
		}
		var friends []string
		for _, f := range users["ann"].Friends {
			friends = append(friends, f.Account+"="+f.Alias)
		}
		slices.Sort(friends)
		if len(users) != 4 || fmt.Sprint(friends) != "[bob=Bobby o'neil=Neil]" {
			t.Errorf("%s: %d users, friends of ann %v", name, len(users), friends)
		}
	}
}

// exportsOfServers are the directories of testdata/import.
var exportsOfServers = []string{"ejabberd-plain", "ejabberd-sha1", "ejabberd-sha256", "ejabberd-sha512", "prosody-plain", "prosody-sha1", "prosody-sha256"}

// TestImportPlace checks that the name of a file, which another server has chosen, does not control the terminal.
func TestImportPlace(t *testing.T) {
	t.Parallel()
	if got, want := (place{"a\x1b[31m.xml", 7}).String(), "a\ufffd[31m.xml:7"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
