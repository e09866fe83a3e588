package cmd

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// contractDayFile has the lines of a day of contract clients, as a server recorded them that knew of no kept
// conversations.
const contractDayFile = "testdata/contract-day.txt"

// recordWith is the environment variable with the path of the binary that records contractDayFile anew. That binary does
// not know the settings of kept conversations.
const recordWith = "CONTRACT_DAY_BINARY"

// TestContractDay checks that clients which know only the contract see the same bytes as before conversations were kept,
// whether the server keeps them or not.
func TestContractDay(t *testing.T) {
	t.Parallel()
	if binary := os.Getenv(recordWith); binary != "" {
		lines := contractDay(t, false, exec.Command("env", "-u", "IMCTL_LIMITS_HISTORY", binary, "serve"))
		for _, line := range lines {
			if strings.Contains(line, " < unexpected: ") || strings.Contains(line, " < nothing") {
				t.Errorf("the scenario does not expect: %s", line)
			}
		}
		if err := os.WriteFile(contractDayFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	recorded, err := os.ReadFile(contractDayFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []string{"30d", "0"} {
		t.Run("keep "+keep, func(t *testing.T) {
			t.Parallel()
			got := contractDay(t, keep != "0", exec.Command("imctl", "serve"), "IMCTL_DIALOGUES_KEEP="+keep, "IMCTL_FILES_MAX_SIZE=0")
			sameLines(t, strings.Split(strings.TrimSuffix(string(recorded), "\n"), "\n"), got)
		})
	}
}

// sameLines compares lines, and shows the first differences with the lines before them.
func sameLines(t *testing.T, want, got []string) {
	t.Helper()
	faults := 0
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w == g {
			continue
		}
		t.Errorf("line %d, after\n%s\n got %s\nwant %s", i+1, strings.Join(want[max(0, min(i, len(want))-3):min(i, len(want))], "\n"), g, w)
		if faults++; faults == 5 {
			return
		}
	}
}

// contractDay records the day on a server that cmd starts.
func contractDay(t *testing.T, kept bool, cmd *exec.Cmd, env ...string) []string {
	t.Helper()
	log := new(logBuffer)
	s := startCommand(t, cmd, filepath.Join(t.TempDir(), "data"), log, append(env, "IMCTL_NATS_SYNC=1m",
		"IMCTL_SESSIONS_PER_USER=3", "IMCTL_SESSIONS_MAX_FRAME=8KiB", "IMCTL_PASSWORDS_MAX_LENGTH=40")...)
	logOnFailure(t, log)
	r := &recorder{t: t, url: s.url, nats: s.nats, kept: kept, names: make(map[string]string), headers: make(map[string]string)}
	r.people()
	s.stop(t)
	s.sound(t)
	return r.lines
}

// people records the day of all users.
func (r *recorder) people() {
	ann, bob := &dayUser{r: r, account: "Ann", password: "the secret of Ann"}, &dayUser{r: r, account: "Bob", password: "the secret of Bob"}
	cleo, dora := &dayUser{r: r, account: "Cleo", password: "the secret of Cleo"}, &dayUser{r: r, account: "Dora", password: "the secret of Dora"}
	eve := &dayUser{r: r, account: "Eve", password: "the secret of Eve"}
	r.registrations(ann, bob, cleo, dora, eve)
	a, b, c := r.logins(ann, bob, cleo)
	r.requests(ann, bob, cleo, a, b, c)
	r.dialogues(ann, bob, cleo, a, b, c)
	b = r.offline(ann, bob, a, b)
	a = r.devices(ann, bob, a, b)
	r.news(ann, bob, a, b)
	r.blocks(ann, bob, a, b)
	r.program(ann, dora, bob, eve, a)
	r.ends(ann, bob, cleo, a, b, c)
}

func (r *recorder) registrations(people ...*dayUser) {
	r.part("Registrations")
	r.get("/im/registration")
	for _, body := range []string{
		``, `x`, `[]`, `{}`, `{"account":1}`, `{"account":"","password":"","mail":""}`, `{"account":"Ann","mail":"a@example.org"}`,
		`{"account":"Ann","password":"x"}`, `{"account":"Ann","password":"x","mail":""}`, `{"account":"a\u0000","password":"x","mail":"m"}`,
		`{"account":"` + strings.Repeat("x", 65) + `","password":"x","mail":"m"}`,
		`{"account":"Ann","password":"` + strings.Repeat("x", 41) + `","mail":"m"}`,
	} {
		r.call(http.MethodPost, "/im/register", body)
	}
	for _, p := range people {
		r.call(http.MethodPost, "/im/register", `{"account":`+quote(p.account)+`,"password":`+quote(p.password)+`,"mail":"`+strings.ToLower(p.account)+
			`@example.org","name":null,"sex":"f","sign":"I am \"`+p.account+`\"","birthday":"1937-07-07","picture":"img/base64:0101"}`)
	}
	for _, account := range []string{"Ann", " aNN ", "Аnn"} { // the last one begins with a Cyrillic letter
		r.call(http.MethodPost, "/im/register", `{"account":"`+account+`","password":"x","mail":"m"}`)
	}
	r.get("/im/register", "account", "x")
	r.call(http.MethodPut, "/im/register", `{}`)
	r.get("/im/unknown")
	r.call(http.MethodPost, "/im/www/v1/chat.html", "")
}

func (r *recorder) logins(ann, bob, cleo *dayUser) (a, b, c *window) {
	r.part("Logins")
	never := strings.Repeat("0", 32)
	refused := func(pairs ...string) {
		w, _ := r.dial("a stranger", pairs...)
		w.ends()
	}
	refused()
	refused("account", "Ann")
	refused("account", "Ann", "password", "wrong")
	refused("account", "No One", "password", "wrong")
	refused("account", "Ann", "password", ann.password, "id", never, "token", never)
	refused("account", "Ann", "password", ann.password, "push", "2")
	refused("id", never)
	refused("token", never)
	refused("id", never, "token", never)
	r.get("/im/login", "account", "Ann", "password", ann.password)
	a, b, c = ann.login("Ann"), bob.login("Bob"), cleo.login("Cleo")
	again, _ := r.dial("Ann by token", "id", ann.id, "token", ann.token)
	r.quiet(a, b, c, again)
	again.closes()
	refused("id", ann.id, "token", bob.token)
	w, _ := r.dial("Ann, the longer path", "account", "aNn", "password", ann.password, "push", "0", "unknown", "x")
	w.closes()
	r.quiet(a, b, c)
	return a, b, c
}

func (r *recorder) requests(ann, bob, cleo *dayUser, windows ...*window) {
	r.part("Friends")
	never := strings.Repeat("0", 32)
	for _, call := range []string{"found", "request", "add", "remove", "block", "unblock", "blocked"} {
		path := "/im/friends/" + call
		r.get(path)
		r.get(path, "token", ann.token)
		r.get(path, "id", ann.id)
		r.get(path, "id", ann.id, "token", never)
		r.get(path, "id", ann.id, "token", bob.token)
		if call != "blocked" {
			ann.friends(call)
			ann.friends(call, "to", " ", "from", " ", "name", " ")
		}
		r.call(http.MethodPost, path, `{}`)
	}
	for _, name := range []string{"Bob", "b", "BOB", "ob", "Ann", "No One", strings.Repeat("x", 65)} {
		ann.friends("found", "name", name)
	}
	ann.friends("request", "to", never, "note", "x")
	ann.friends("request", "to", ann.id)
	ann.friends("request", "to", bob.id, "note", strings.Repeat("é", 513))
	ann.friends("add", "from", bob.id, "name", "Bobby")
	ann.friends("add", "from", bob.id)
	ann.friends("remove", "to", bob.id)
	ann.friends("request", "to", bob.id, "note", `I am "Ann" & <you>?`)
	ann.friends("request", "to", bob.id, "note", "Again")
	cleo.friends("request", "to", bob.id, "note", "")
	w := bob.login("Bob, again")
	w.closes()
	bob.friends("add", "from", ann.id, "name", "Annie 😀")
	bob.friends("add", "from", ann.id, "name", "Twice")
	bob.friends("request", "to", ann.id)
	ann.friends("add", "from", bob.id, "name", "\u202e")
	ann.friends("add", "from", bob.id, "name", "Bobby")
	ann.friends("add", "from", bob.id, "name", "Twice")
	bob.friends("remove", "to", cleo.id)
	cleo.friends("add", "from", bob.id, "name", "B")
	r.quiet(windows...)
	w = ann.login("Ann, again")
	w.closes()
}

func (r *recorder) dialogues(ann, bob, cleo *dayUser, a, b, c *window) {
	r.part("Dialogues")
	a.says("1", bob, `"How are you ?"`, b)
	b.says("1", ann, `"Fine, and you?"`, a)
	a.says("1", bob, `"The same id again"`, b)
	a.says("1", bob, `"The same id again"`, b)
	for i, payload := range []string{
		`" "`, `"\u0041\u00e9\uD83D\ude00"`, `"é😀日本語\u2028<script>&amp;</script>"`, `"\"\\\/\b\f\n\r\t"`, `"\u0000"`, `"\ud800"`, `"{\"code\":200}"`,
		`"` + strings.Repeat("long é ", 1000) + `"`,
	} {
		a.says(fmt.Sprint("text ", i), bob, payload, b)
	}
	for _, id := range []string{`\u0041\"`, strings.Repeat("i", 200), "-1", "😀"} {
		a.sends(dialogue(`"`+id+`"`, bob.id, `"x"`))
		b.sees(1)
		a.sees(1)
	}
	a.sends(` { "payload" : "Fine", "toFriend" : " ` + bob.id + ` ", "more" : [{"id":1}], "id" : "spaces" } `)
	b.sees(1)
	a.sees(1)
	// The fields of kept conversations mean nothing here.
	a.sends(`{"id":"fields","toFriend":"` + bob.id + `","payload":"x","re":99,"reacts":"x","edits":-1,"deletes":[],"with":1,"n":{}}`)
	b.sees(1)
	a.sees(1)
	never := strings.Repeat("0", 32)
	for _, frame := range []string{
		``, `hello`, `{"id":"1"`, `["1"]`, `"1"`, `null`, `{}{}`, `{"id":"1",}`, `{}`,
		`{"got":1,"with":"` + bob.id + `"}`, `{"read":1,"with":"` + bob.id + `"}`, `{"typing":true,"with":"` + bob.id + `"}`, `{"ping":"x"}`,
		`{"id":1,"toFriend":"` + bob.id + `","payload":"p"}`, `{"id":"1","toFriend":1,"payload":"p"}`, `{"id":"1","toFriend":"` + bob.id + `","payload":{}}`,
		`{"id":"1","id":"2","toFriend":"` + bob.id + `","payload":"p"}`, `{"id":"1","payload":"p"}`, `{"id":"1","toFriend":" ","payload":"p"}`,
		`{"id":"1","toFriend":"` + bob.id + `"}`, `{"id":"1","toFriend":"` + bob.id + `","payload":""}`, `{"id":"1","toFriend":"` + bob.id + `","payload":null}`,
		`{"id":"1","toFriend":"` + bob.id + `","deletes":1}`, `{"id":"1","toFriend":"` + bob.id + `","payload":"","deletes":1}`,
		dialogue(`"1"`, cleo.id, `"p"`), dialogue(`"1"`, never, `"p"`), dialogue(`"1"`, ann.id, `"p"`), dialogue(`"1"`, "*", `"p"`), dialogue(`""`, cleo.id, `"p"`),
		`{"toFriend":"` + bob.id + `","payload":"p"}`, dialogue(`null`, bob.id, `"p"`), dialogue(`" "`, bob.id, `"p"`),
		"{\"id\":\"1\",\"toFriend\":\"" + bob.id + "\",\"payload\":\"a\nb\"}",
	} {
		a.sends(frame)
		a.sees(1)
	}
	r.quiet(a, b, c)
	// Dialogues that are sent without waiting arrive in order.
	for i := range 40 {
		a.sends(dialogue(fmt.Sprintf(`"%d"`, i), bob.id, `"one of many"`))
	}
	for range 40 {
		b.sees(1)
	}
	a.sees(40)
	r.quiet(a, b, c)

	// Some frames end the session.
	for _, bad := range []struct {
		kind  int
		frame string
	}{
		{websocket.BinaryMessage, dialogue(`"1"`, bob.id, `"p"`)}, {websocket.TextMessage, "{\"id\":\"\xff\"}"},
		{websocket.TextMessage, dialogue(`"1"`, bob.id, `"`+strings.Repeat("x", 9<<10)+`"`)},
	} {
		w, _ := r.dial("Ann by token", "id", ann.id, "token", ann.token)
		w.sendsKind(bad.kind, bad.frame)
		w.ends()
	}
	r.quiet(a, b, c)
}

func (r *recorder) offline(ann, bob *dayUser, a, b *window) *window {
	r.part("Offline")
	b.closes()
	for i := range 3 {
		a.says(fmt.Sprint("to nobody ", i), bob, `"Are you there?"`)
	}
	w := ann.login("Ann, again")
	w.closes()
	b = bob.login("Bob")
	r.quiet(a, b)
	a.says("back", bob, `"Welcome back"`, b)
	b.says("back", ann, `"Thank you"`, a)
	// A login shows no dialogue again that was delivered.
	b.closes()
	b = bob.login("Bob")
	r.quiet(a, b)
	return b
}

func (r *recorder) devices(ann, bob *dayUser, a, b *window) *window {
	r.part("Devices")
	token := ann.token
	second := ann.login("Ann's second")
	third, _ := r.dial("Ann's third", "id", ann.id, "token", token)
	b.says("1", ann, `"To all three"`, a, second, third)
	second.says("2", bob, `"From the second"`, b)
	r.quiet(a, b, second, third)
	fourth := ann.login("Ann's fourth")
	a.ends() // the oldest
	b.says("3", ann, `"To the other three"`, second, third, fourth)
	third.closes()
	b.says("4", ann, `"To two"`, second, fourth)
	r.quiet(b, second, fourth)
	ann.post("/im/profile/update", `,"sign":"New"`)
	r.get("/im/sessions", "id", ann.id, "token", ann.token)
	r.call(http.MethodPost, "/im/logout", `{"id":"`+ann.id+`","token":"`+token+`"}`)
	r.call(http.MethodPost, "/im/logout", `{"id":"`+ann.id+`","token":"`+token+`"}`)
	second.closes()
	r.quiet(b, fourth)
	return fourth
}

func (r *recorder) news(ann, bob *dayUser, a, b *window) {
	r.part("News")
	annPush, bobPush := ann.login("Ann with push", "push", "1"), bob.login("Bob with push", "push", "1")
	r.quiet(a, b, annPush, bobPush)
	ann.post("/im/profile/update", `,"sign":"Newer","name":"Anna","picture":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="`)
	picture := regexp.MustCompile(`/im/pictures/[^"]*`).FindString(bobPush.sees(1)[0])
	r.get(picture)
	r.get(picture[:len(picture)-32] + strings.Repeat("0", 32))
	ann.post("/im/profile/update", `,"picture":""`)
	bobPush.sees(1)
	// Each device with push sees what the others send.
	a.sends(dialogue(`"echo"`, bob.id, `"From the device without news"`))
	b.sees(1)
	bobPush.sees(1)
	a.sees(1)
	annPush.sees(1)
	annPush.sends(dialogue(`"echo \u0032"`, bob.id, `"\u0041"`))
	b.sees(1)
	bobPush.sees(1)
	annPush.sees(1)
	b.says("no echo", &dayUser{id: strings.Repeat("0", 32)}, `"To nobody"`)
	r.quiet(a, b, annPush, bobPush)

	b.closes()
	bobPush.closes()
	annPush.sees(1)
	a.says("offline", bob, `"Nobody there"`)
	bobPush = bob.login("Bob with push", "push", "1")
	annPush.sees(1)
	bobPush.says("hello", ann, `"I am back"`, a, annPush)
	r.quiet(a, annPush, bobPush)

	ann.friends("remove", "to", bob.id)
	annPush.sees(1)
	bobPush.sees(1)
	a.says("parted", bob, `"x"`)
	bobPush.says("parted", ann, `"x"`)
	bob.friends("request", "to", ann.id, "note", "Please")
	annPush.sees(1)
	bobPush.says("asked", ann, `"x"`)
	ann.friends("add", "from", bob.id, "name", "Bobby")
	annPush.sees(1)
	bobPush.sees(1)
	bobPush.says("again", ann, `"Friends again"`, a, annPush)
	r.quiet(a, annPush, bobPush)
	bobPush.closes()
	annPush.sees(1)
	annPush.closes()
}

func (r *recorder) blocks(ann, bob *dayUser, a, _ *window) {
	r.part("Blocks")
	b, push := bob.login("Bob"), bob.login("Bob with push", "push", "1")
	ann.friends("block", "to", strings.Repeat("0", 32))
	ann.friends("block", "to", bob.id)
	push.sees(1)
	ann.friends("blocked")
	b.says("blocked", ann, `"Do you hear me?"`)
	push.says("blocked", ann, `"Do you hear me?"`)
	a.says("blocked", bob, `"I do not"`)
	w := bob.login("Bob, again")
	w.closes()
	w = ann.login("Ann, again")
	w.closes()
	ann.post("/im/report", `,"user":"`+bob.id+`","text":"He shouts","dialogue":"Do you hear me?"`)
	ann.friends("unblock", "to", bob.id)
	push.sees(1)
	b.says("free", ann, `"And now?"`, a)
	push.sees(1)
	a.says("free", bob, `"Now I do"`, b, push)
	r.quiet(a, b, push)
	b.closes()
	push.closes()
	w = ann.login("Ann, again")
	w.closes()
}

func (r *recorder) ends(ann, bob, cleo *dayUser, a, _, c *window) {
	r.part("Ends")
	b := bob.login("Bob with push", "push", "1")
	ann.post("/im/profile/update", `,"password":"another secret"`)
	a.ends()
	b.sees(1)
	ann.post("/im/profile/update", `,"password":"another secret","old_password":"wrong"`)
	old, _ := r.dial("Ann, the old password", "account", ann.account, "password", ann.password)
	old.ends()
	ann.password = "another secret"
	w := ann.login("Ann, the new password")
	b.sees(1)
	r.quiet(b, c, w)
	ann.post("/im/logout", "")
	w.ends()
	b.sees(1)
	ann.friends("found", "name", "Bob")
	r.quiet(b, c)
	w = ann.login("Ann")
	b.sees(1)
	w.closes()
	b.sees(1)
	ann.post("/im/account/delete", `,"password":"wrong"`)
	ann.post("/im/account/delete", `,"password":"another secret"`)
	b.sees(1)
	b.says("deleted", ann, `"x"`)
	old, _ = r.dial("Ann, deleted", "account", ann.account, "password", ann.password)
	old.ends()
	bob.friends("found", "name", "Ann")
	cleo.friends("request", "to", ann.id)
	r.quiet(b, c)
	b.closes()
	c.closes()
}
