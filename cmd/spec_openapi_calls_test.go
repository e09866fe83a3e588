package cmd

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imctl/bridge/api"
	"imctl/kv"
)

// fields returns a JSON object. A repeated key replaces the value.
func fields(pairs ...string) string {
	m := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return jsonOf(m)
}

func (a *openAPI) atWork(t *testing.T) {
	w := newWorld(t, start(t, func(c *Config) {
		c.Passwords.MaxLength, c.Push.Subject = 32, "https://example.org"
		c.Files.MaxSize, c.Files.Quota = 2*MiB, MiB
	}))
	s := w.deployment.(*server)
	me, friend := w.newFriends(t)
	three := w.newMembers(t, 3)
	other, asks, gone := three[0], three[1], three[2]
	a.try(t, w, exchange{path: "/im/account/delete", body: fields("id", gone.id, "token", gone.token, "password", gone.password), code: 200})
	for _, x := range slices.Concat(a.registrations(t, w, me), a.posts(me), a.sessions(me), a.reports(me, other), a.people(me, friend, other), a.conversations(me, friend), a.pushes(me), a.gets(me, friend, other, asks), pages(t, w), pictureExchanges(t, w), fileExchanges(t, me, friend, other)) {
		a.try(t, w, x)
	}
	for _, path := range []string{"/im/login", "/im/login/im/login"} {
		a.logins(t, w, me, path)
	}
	a.tickets(t, w, me)

	// Where there are too many.
	full := *s.app.config
	full.Limits.Registrations, full.Limits.Friends, full.Limits.Requests = Rate{1, time.Hour}, 1, 1
	s.app.Reload(t.Context(), &full)
	body := func() string { return fields("account", fresh("a"), "password", "p", "mail", "m") }
	get := func(p *member, name string, code, status int, pairs ...string) exchange {
		return exchange{path: p.get(name, pairs...), code: code, status: status}
	}
	for _, x := range []exchange{
		{path: "/im/register", body: body(), code: 200}, {path: "/im/register", body: body(), code: 403, status: 429},
		{path: "/im/registration", code: 200}, {path: "/im/registration?a=%zz", code: 403, beyond: true},
		get(other, "request", 200, 0, "to", friend.id), get(other, "request", 403, 429, "to", asks.id), get(friend, "add", 403, 429, "from", other.id, "name", "n"),
	} {
		a.try(t, w, x)
	}
	for i := range kv.MaxBlocked {
		if _, err := s.app.backend.store.Rosters.Block(t.Context(), other.id, fmt.Sprintf("%032x", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	a.try(t, w, get(other, "block", 403, 429, "to", me.id))
	for i := range kv.MaxReportsByUser {
		if _, _, err := s.app.backend.store.Reports.Add(t.Context(), kv.Report{By: other.id, User: fmt.Sprintf("%032x", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	a.try(t, w, exchange{path: "/im/report", body: fields("id", other.id, "token", other.token, "user", me.id), code: 403, status: 429})
	if err := s.app.bridge.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/im/login", "/im/login/im/login"} {
		a.handshake(t, w, path+"?"+query("account", me.account, "password", me.password), http.StatusServiceUnavailable, 500)
	}
	a.try(t, w, exchange{path: "/im/session", body: fields("id", me.id, "token", me.token), code: 500, status: http.StatusServiceUnavailable})
}

// get returns the path of a call with the id and token of p. pairs can replace them.
func (p *member) get(name string, pairs ...string) string {
	all := []string{}
	for _, own := range [][2]string{{"id", p.id}, {"token", p.token}} {
		if !slices.Contains(pairs, own[0]) {
			all = append(all, own[0], own[1])
		}
	}
	return "/im/friends/" + name + "?" + query(append(all, pairs...)...)
}

func (a *openAPI) registrations(t *testing.T, w *world, taken *member) []exchange {
	w.secret("p4ssw0rd")
	with := func(pairs ...string) string {
		return fields(append([]string{"account", fresh("account "), "password", "p4ssw0rd", "mail", "m@example.org"}, pairs...)...)
	}
	const path = "/im/register"
	row := func(body string, code int) exchange { return exchange{path: path, body: body, code: code} }
	long := strings.Repeat("ä", 65)
	return []exchange{
		row(with(), 200), row(with("name", "n", "picture", "iVBO\r\nRw0=", "sex", "s", "birthday", "b", "sign", "a\n\tb"), 200),
		row(`{"account":"`+fresh("x")+`","password":"p4ssw0rd","mail":"m","name":null,"sign":null,"more":[1]}`, 200),
		row(with("account", long[2:]), 200), row(with("name", ""), 200), row(with("mail", strings.Repeat("m", 254)), 200),
		row(with("account", long), 403), row(with("name", long), 403), row(with("sex", long), 403), row(with("birthday", long[:66]), 403),
		row(with("sign", strings.Repeat("s", 513)), 403), row(with("mail", strings.Repeat("m", 255)), 403), row(with("name", "a\x00b"), 403), row(with("sign", "a\x00b"), 403),
		row(with("sex", "a\nb"), 403), row(`[]`, 403), row(`{"account":1,"password":"p","mail":"m"}`, 403),
		{path: path, body: `{"account":"a","account":"a","password":"p","mail":"m"}`, code: 403, beyond: true},
		{path: path, body: with("password", strings.Repeat("x", 33)), code: 403, beyond: true},
		{path: path, body: with("picture", strings.Repeat("A", 64<<10+1)), code: 403, beyond: true},
		{path: path, body: with("more", strings.Repeat("A", 256<<10)), code: 403, status: 413},
		row(with("account", ""), 501), row(with("account", "  "), 501), row(with("account", "\u00a0"), 501), row(`{}`, 501), row(`{"account":null}`, 501),
		row(with("password", ""), 502), row(`{"account":"a","password":null,"mail":"m"}`, 502), row(with("mail", " "), 503), row(`{"account":"a","password":"p"}`, 503),
		row(with("account", taken.account), 504),
	}
}

// posts are the POST calls of a registered user.
func (a *openAPI) posts(me *member) (all []exchange) {
	never := strings.Repeat("0", 32)
	for path, code := range map[string]int{"/im/profile/update": 200, "/im/logout": 515, "/im/sessions/end": 200, "/im/account/delete": 515} {
		token := never // a logout and a deletion that succeed come at the end
		if code == 200 {
			token = me.token
		}
		row := func(body string, code int) exchange { return exchange{path: path, body: body, code: code} }
		all = append(all, row(fields("id", me.id, "token", token), code), row(fields("id", me.id, "token", never), 515), row(`[]`, 403), row(`{"id":1,"token":"t"}`, 403),
			row(fields("id", me.id), 514), row(fields("id", me.id, "token", " "), 514), row(fields("token", never), 517), row(fields("id", "", "token", never), 517),
			exchange{path: path, body: fields("id", me.id, "token", never, "more", strings.Repeat("A", 256<<10)), code: 403, status: 413})
	}
	update := func(code int, name, value string) exchange {
		return exchange{path: "/im/profile/update", code: code, body: `{"id":"` + me.id + `","token":"` + me.token + `","` + name + `":` + value + `}`}
	}
	for _, field := range []string{"password", "name", "picture", "sex", "birthday", "sign", "mail"} {
		empty := 200
		if field == "password" || field == "mail" {
			empty = 403
		}
		all = append(all, update(200, field, `null`), update(empty, field, `""`), update(403, field, `7`))
		if field != "password" {
			all = append(all, update(403, field, `"a\u0000b"`))
		}
	}
	for field, value := range map[string]string{"password": "x", "mail": "other@example.org"} {
		all = append(all, exchange{path: "/im/profile/update", body: fields("id", me.id, "token", me.token, field, value, "old_password", "wrong"), code: 505})
	}
	for _, session := range []string{strings.Repeat("x", 33), "", "a\x00b"} {
		all = append(all, exchange{path: "/im/sessions/end", body: fields("id", me.id, "token", me.token, "session", session), code: 403})
	}
	all = append(all, exchange{path: "/im/sessions/end", body: fields("id", me.id, "token", me.token, "session", "0123456789abcdef"), code: 200},
		exchange{path: "/im/account/delete", body: fields("id", me.id, "token", me.token, "password", "wrong"), code: 505})
	return append(all, update(200, "password", jsonOf(me.password)), update(200, "sign", `"two\nlines"`))
}

// sessions returns the calls for the list of sessions of a user.
func (a *openAPI) sessions(me *member) []exchange {
	row := func(code int, pairs ...string) exchange {
		return exchange{path: "/im/sessions?" + query(pairs...), code: code}
	}
	return []exchange{
		row(200, "id", me.id, "token", me.token), row(403, "id", "a\x00b", "token", me.token), row(514, "id", me.id), row(517, "token", me.token),
		row(515, "id", me.id, "token", strings.Repeat("0", 32)),
	}
}

func (a *openAPI) gets(me, friend, other, asks *member) (all []exchange) {
	row := func(p *member, name string, code int, pairs ...string) {
		all = append(all, exchange{path: p.get(name, pairs...), code: code})
	}
	nobody := strings.Repeat("0", 32)
	for name, own := range map[string][]string{"found": {"name", "x"}, "request": {"to", other.id}, "add": {"from", other.id, "name", "x"}, "remove": {"to", other.id},
		"block": {"to", other.id}, "unblock": {"to", other.id}, "blocked": {}} {
		with := func(pairs ...string) []string { return append(pairs, own...) }
		row(me, name, 514, with("token", "")...)
		row(me, name, 517, with("id", " ")...)
		row(me, name, 515, with("token", nobody)...)
		row(me, name, 515, with("id", "nobody")...)
		row(me, name, 403, with("id", "a\x00b")...)
		all = append(all, exchange{path: me.get(name, own...) + "&id=x", code: 403, beyond: true}, exchange{path: "/im/friends/" + name + "?" + query(own...), code: 514})
	}
	long := strings.Repeat("x", 65)
	row(me, "found", 200, "name", fresh("nobody"))
	row(me, "found", 200, "name", " somebody")
	row(me, "found", 516, "name", "")
	row(me, "found", 516)
	row(me, "found", 403, "name", long)

	row(me, "request", 200, "to", other.id, "note", "two\nlines, "+strings.Repeat("é", 490))
	row(me, "request", 200, "to", other.id, "note", "")
	row(me, "request", 200, "to", other.id)
	row(me, "request", 403, "to", other.id, "note", strings.Repeat("x", 513))
	row(me, "request", 403, "to", other.id, "note", "a\x00b")
	row(me, "request", 519, "note", "x")
	row(me, "request", 522, "to", friend.id)
	row(me, "request", 523, "to", me.id)
	row(me, "request", 523, "to", nobody)

	row(asks, "request", 200, "to", me.id)
	row(me, "add", 519, "name", "x")
	row(me, "add", 521, "from", asks.id)
	row(me, "add", 403, "from", asks.id, "name", long)
	row(me, "add", 523, "from", nobody, "name", "x")
	row(me, "add", 200, "from", asks.id, "name", "é&+ x")
	row(me, "add", 522, "from", asks.id, "name", "x")

	for _, name := range []string{"block", "unblock"} {
		row(me, name, 519)
		row(me, name, 523, "to", "nobody")
		row(me, name, 200, "to", other.id)
		row(me, name, 200, "to", other.id)
		row(me, "blocked", 200)
	}
	row(me, "block", 523, "to", me.id)

	row(me, "remove", 519)
	row(me, "remove", 512, "to", nobody)
	row(me, "remove", 512, "to", other.id)
	row(me, "remove", 200, "to", asks.id)
	return all
}

// people are the calls about people, and about one's own requests.
func (a *openAPI) people(me, friend, other *member) (all []exchange) {
	nobody := strings.Repeat("0", 32)
	for path, own := range map[string][]string{"/im/people": {"q", "x"}, "/im/people/one": {"of", friend.id}, "/im/friends/asked": {}} {
		row := func(code int, pairs ...string) {
			all = append(all, exchange{path: path + "?" + query(append(pairs, own...)...), code: code})
		}
		row(200, "id", me.id, "token", me.token)
		row(514, "id", me.id)
		row(515, "id", me.id, "token", nobody)
		row(517, "token", me.token)
		row(403, "id", "a\x00b", "token", me.token)
	}
	row := func(path string, code int, pairs ...string) {
		all = append(all, exchange{path: "/im/" + path + "?" + query(append([]string{"id", me.id, "token", me.token}, pairs...)...), code: code})
	}
	row("people", 200, "q", friend.account, "limit", "50", "after", "1-9z")
	row("people", 200, "q", friend.account, "after", "")
	row("people", 516)
	row("people", 403, "q", strings.Repeat("x", 65))
	row("people", 403, "q", "x", "limit", "51")
	row("people", 403, "q", "x", "after", strings.Repeat("1", 33))
	row("people/one", 519)
	row("people/one", 523, "of", me.id)
	row("people/one", 523, "of", nobody)
	post := func(code int, pairs ...string) {
		all = append(all, exchange{path: "/im/friends/cancel", body: fields(append([]string{"id", me.id, "token", me.token}, pairs...)...), code: code})
	}
	row("friends/request", 200, "to", other.id)
	row("friends/asked", 200)
	post(200, "to", other.id)
	post(523, "to", other.id)
	post(522, "to", friend.id)
	post(519)
	post(403, "to", "a\x00b")
	post(514, "token", "", "to", other.id)
	post(515, "token", nobody, "to", other.id)
	post(517, "id", " ", "to", other.id)
	return append(all, exchange{path: "/im/friends/cancel", body: fields("id", me.id, "token", me.token, "to", other.id, "more", strings.Repeat("A", 256<<10)), code: 403, status: 413},
		exchange{path: "/im/people?" + query("id", me.id, "token", me.token, "q", "x", "after", "nonsense"), code: 403, beyond: true})
}

func (a *openAPI) reports(me, other *member) (all []exchange) {
	row := func(code int, pairs ...string) {
		body := fields(append([]string{"id", me.id, "token", me.token}, pairs...)...)
		all = append(all, exchange{path: "/im/report", body: body, code: code})
	}
	row(200, "user", other.id, "text", "two\nlines, "+strings.Repeat("é", 980), "dialogue", strings.Repeat("x", 4<<10))
	row(200, "user", other.id)
	row(403, "user", other.id, "text", strings.Repeat("é", 1001))
	row(403, "user", other.id, "text", "a\x00b")
	row(403, "user", other.id, "dialogue", strings.Repeat("x", 4<<10+1))
	row(514, "token", "")
	row(515, "token", strings.Repeat("0", 32), "user", other.id)
	row(517, "id", " ")
	row(519)
	row(519, "user", " ")
	row(523, "user", "nobody")
	row(523, "user", me.id)
	return append(all, exchange{path: "/im/report", body: fields("id", me.id, "token", me.token, "user", other.id, "more", strings.Repeat("A", 256<<10)), code: 403, status: 413},
		exchange{path: "/im/report", body: fields("id", me.id, "token", me.token, "user", other.id, "dialogue", strings.Repeat("é", 2<<10+1)), code: 403, beyond: true})
}

func pages(t *testing.T, w *world) []exchange {
	tag := w.do(t, 0, http.MethodGet, "/im/www/v1/chat.html", "").header.Get("ETag")
	all := []exchange{{path: "/", status: http.StatusFound}, {path: "/im/www/v1/none.html", status: http.StatusNotFound},
		{path: "/im/www/v1/chat.html", status: http.StatusNotModified, header: http.Header{"If-None-Match": {tag}}}}
	for _, file := range []string{"chat.html", "chat.css", "icon.svg", "icon.png", "manifest.webmanifest"} {
		all = append(all, exchange{path: "/im/www/v1/" + file})
	}
	return all
}

func pictureExchanges(t *testing.T, w *world) []exchange {
	p := w.withPicture(t, pngPicture)
	_, answer := p.openTunnel(t, "push", "1")
	path := answer.Profile.Picture
	tag := w.do(t, 0, http.MethodGet, path, "").header.Get("ETag")
	return []exchange{{path: path}, {path: path, status: http.StatusNotModified, header: http.Header{"If-None-Match": {tag}}},
		{path: "/im/pictures/0/0", status: http.StatusNotFound}}
}

// fileExchanges are the calls for files. The first one uses up a part of the quota that the last upload needs.
func fileExchanges(t *testing.T, me, friend, stranger *member) []exchange {
	f, _ := me.sendsFile(t, friend, "n", strings.NewReader("x"))
	upload := func(code int, more ...string) exchange {
		return exchange{path: "/im/files?" + query(more...), body: "x", code: code, beyond: true}
	}
	auth := []string{"id", me.id, "token", me.token}
	with := func(pairs ...string) []string { return slices.Concat(auth, pairs) }
	full := upload(526, with("with", friend.id, "name", "n")...)
	full.body = strings.Repeat("x", int(MiB))
	return []exchange{
		upload(200, with("with", friend.id, "name", "n", "type", "image/png", "width", "1", "height", "2", "seconds", "0.5")...), full,
		upload(512, with("with", stranger.id, "name", "n")...), {path: "/im/files?" + query(with("name", "n", "with", "")...), body: "x", code: 519}, upload(514, "id", me.id, "with", friend.id, "name", "n"),
		{path: "/im/files?" + query("token", me.token, "with", friend.id, "name", "n"), body: "x", code: 517},
		upload(515, "id", me.id, "token", "0", "with", friend.id, "name", "n"), {path: "/im/files?" + query(with("with", friend.id, "name", "n", "width", "0")...), body: "x", code: 403},
		{path: "/im/files/" + f.id() + "?" + query(auth...)},
	}
}

// logins makes the documented logins.
// leastExchange makes a call with its required fields only.
func leastExchange(c api.Call, me *member) exchange {
	pairs := []string{"id", me.id, "token", me.token}
	if !c.Auth {
		pairs = nil
	}
	for _, f := range c.Fields {
		if f.Empty != 0 {
			pairs = append(pairs, f.Name, "x")
		}
	}
	if c.Method == http.MethodGet {
		return exchange{path: c.Path + "?" + query(pairs...)}
	}
	return exchange{path: c.Path, body: fields(pairs...)}
}

func (a *openAPI) logins(t *testing.T, w *world, me *member, path string) {
	byPassword := path + "?" + query("account", me.account, "password", me.password)
	for _, x := range []exchange{
		{path: byPassword, code: 403, beyond: true},
		{path: byPassword + "&push=2", code: 403},
		{path: byPassword + "&keep=2", code: 403},
		{path: path + "?" + query("account", "", "password", "x"), code: 403},
		{path: path + "?" + query("id", me.id, "token", me.token, "push", "1"), code: 403, beyond: true, header: http.Header{"Origin": {"https://evil.example.org"}}},
		{path: byPassword, code: 403, status: http.StatusUpgradeRequired, header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"8"}}},
		{path: byPassword, code: 403, status: http.StatusBadRequest, header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}}},
	} {
		a.try(t, w, x)
	}
	for _, q := range []string{byPassword, byPassword + "&push=0", byPassword + "&keep=1", path + "?" + query("id", me.id, "token", me.token, "push", "1"), path + "?" + query("account", me.account, "password", "wrong")} {
		a.handshake(t, w, q, http.StatusSwitchingProtocols, 0)
	}
}

// tickets asks for tickets, and logs in with one.
func (a *openAPI) tickets(t *testing.T, w *world, me *member) {
	const path = "/im/session"
	never := strings.Repeat("0", 32)
	row := func(code int, body string) exchange { return exchange{path: path, body: body, code: code} }
	password := []string{"account", me.account, "password", me.password}
	for _, x := range []exchange{
		row(200, fields(append(password, "push", "1")...)), row(200, `{"id":"`+me.id+`","token":"`+me.token+`","keep":1}`),
		row(505, fields("account", me.account, "password", "wrong")), row(505, `{}`),
		row(514, fields("id", me.id)), row(517, fields("token", never)), row(515, fields("id", me.id, "token", never)),
		row(403, `{"push":2}`), row(403, `[]`),
		{path: path, body: fields(append(password, "id", me.id, "token", me.token)...), code: 403, beyond: true},
		{path: path, body: fields(append(password, "more", strings.Repeat("A", 64<<10))...), code: 403, status: http.StatusRequestEntityTooLarge},
		{path: "/im/info", code: 200}, {path: "/im/info?a=%zz", code: 403, beyond: true},
	} {
		a.try(t, w, x)
	}
	text := firstGroup(w.do(t, 0, http.MethodPost, path, fields(password...)).body, `"ticket":"([^"]*)"`)
	w.secret(text)
	a.handshake(t, w, "/im/login?"+query("ticket", text), http.StatusSwitchingProtocols, 0)
}

func (a *openAPI) handshake(t *testing.T, w *world, pathAndQuery string, status, code int) {
	t.Helper()
	q := exchange{path: pathAndQuery}.request(t, w)
	if ok, errs := a.requests.ValidateHttpRequestSync(q); !ok {
		t.Errorf("a login:%s", faults(errs))
	}
	c, err := w.tryDial(t.Context(), w.dialer(), 0, pathAndQuery, nil)
	if c.response == nil || c.response.StatusCode != status {
		t.Fatalf("handshake: %+v, %v", c.response, err)
	}
	if err == nil {
		w.secretOf(c.next(t))
		c.ws.Close()
	}
	a.answered(t, q, c.response, code)
}

// secretOf notes the token of a login's answer.
func (w *world) secretOf(frame string) {
	if token := firstGroup(frame, `"token":"([^"]*)"`); token != "" {
		w.secret(token)
	}
}

// mailAndFailure resets passwords with and without a mail server, and makes every call while nothing can be stored.
func (a *openAPI) mailAndFailure(t *testing.T) {
	there, mailServer := startExternalNATS(t), startMailServer(t)
	plain := &world{deployment: start(t, there.attached), http: http.DefaultClient}
	s := start(t, there.attached, mailServer.configure, unlimited, func(c *Config) { c.Push.Subject = "https://example.org" })
	plain.deployment.(*server).mayLog, s.mayLog = []string{"NATS", "event log"}, []string{"NATS", "event log", "call failed"}
	w := newWorld(t, s)
	me, friend := w.newFriends(t)
	forgot, reset := fields("account", me.account, "mail", me.address(t)), func(code string) string {
		return fields("account", me.account, "code", code, "password", me.password)
	}
	large := strings.TrimSuffix(reset("x"), "}") + `,"mail":"m","more":"` + strings.Repeat("A", 256<<10) + `"}`
	for path, body := range map[string]string{"/im/password/forgot": forgot, "/im/password/reset": reset("x")} {
		a.try(t, plain, exchange{path: path, body: body, status: http.StatusNotFound})
		for _, bad := range []string{`{}`, `[]`, `{"account":"","mail":"","code":"","password":""}`, `{"account":"a\u0000","mail":"m","code":"c","password":"p"}`} {
			a.try(t, w, exchange{path: path, body: bad, code: 403})
		}
		a.try(t, w, exchange{path: path, body: large, code: 403, status: 413})
	}
	a.mailCalls(t, w, plain, me, mailServer)
	a.try(t, w, exchange{path: "/im/password/forgot", body: forgot, code: 200})
	code := me.mailedCode(t, mailServer, me.address(t), 3)
	a.try(t, w, exchange{path: "/im/password/reset", body: reset("AAAA-BBBB"), code: 505})
	a.try(t, w, exchange{path: "/im/password/reset", body: reset(" " + strings.ToLower(code)), code: 200})
	me.login(t)
	out := exchange{path: "/im/logout", body: fields("id", me.id, "token", me.token), code: 200}
	a.try(t, w, out)
	me.login(t)

	limits := *s.app.config
	limits.Limits.Forgotten, limits.Limits.LoginFailures = Rate{1, time.Hour}, Rate{1, time.Hour}
	s.app.Reload(t.Context(), &limits)
	for path, codes := range map[string][2]int{"/im/password/forgot": {200, 403}, "/im/password/reset": {505, 403}} {
		body := fields("account", fresh("nobody"), "mail", "m", "code", "AAAABBBB", "password", "p")
		a.try(t, w, exchange{path: path, body: body, code: codes[0]})
		a.try(t, w, exchange{path: path, body: body, code: codes[1], status: http.StatusTooManyRequests})
	}
	limits.Limits.Passwords = Rate{1, time.Hour}
	s.app.Reload(t.Context(), &limits)
	a.try(t, w, exchange{path: "/im/profile/update", body: fields("id", me.id, "token", me.token, "old_password", me.password), code: 200})
	for path, field := range map[string]string{"/im/profile/update": "old_password", "/im/account/delete": "password"} {
		a.try(t, w, exchange{path: path, body: fields("id", me.id, "token", me.token, field, me.password), code: 403, status: http.StatusTooManyRequests})
	}
	limits.Limits.LoginFailures, limits.Limits.Passwords = Rate{}, Rate{}
	limits.Limits.HTTP = Rate{1, time.Hour}
	s.app.Reload(t.Context(), &limits)
	w.do(t, 0, http.MethodGet, "/", "")
	for _, c := range api.Calls() {
		if c.Path == "" {
			continue // only NATS clients may call it
		}
		x := leastExchange(c, me)
		x.code, x.status = 403, http.StatusTooManyRequests
		a.try(t, w, x)
		x.status, x.header = http.StatusMisdirectedRequest, http.Header{"Host": {"evil.example.org"}}
		a.try(t, w, x)
	}
	limits.Limits.HTTP = Rate{}
	s.app.Reload(t.Context(), &limits)

	// What is stored is out of reach, and each call hears so at once.
	if err := there.ns.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	out.body, out.code = fields("id", me.id, "token", me.token), 500
	for _, x := range []exchange{
		{path: "/im/register", body: fields("account", fresh("a"), "password", "p", "mail", "m"), code: 500}, out, {path: "/im/profile/update", body: out.body, code: 500},
		{path: "/im/sessions?" + query("id", me.id, "token", me.token), code: 500}, {path: "/im/sessions/end", body: out.body, code: 500},
		{path: "/im/account/delete", body: out.body, code: 500}, {path: "/im/mail/send", body: out.body, code: 500},
		{path: "/im/mail/verify", body: fields("id", me.id, "token", me.token, "code", "AAAABBBB"), code: 500},
		{path: "/im/password/reset", body: reset("AAAABBBB"), code: 500}, {path: me.get("found", "name", "x"), code: 500},
		{path: me.get("request", "to", friend.id), code: 500}, {path: me.get("add", "from", friend.id, "name", "x"), code: 500}, {path: me.get("remove", "to", friend.id), code: 500},
		{path: me.get("block", "to", friend.id), code: 500}, {path: me.get("unblock", "to", friend.id), code: 500}, {path: me.get("blocked"), code: 500},
		{path: "/im/report", body: fields("id", me.id, "token", me.token, "user", friend.id), code: 500},
		{path: "/im/people?" + query("id", me.id, "token", me.token, "q", "x"), code: 500}, {path: "/im/people/one?" + query("id", me.id, "token", me.token, "of", friend.id), code: 500},
		{path: me.get("asked"), code: 500}, {path: "/im/friends/cancel", body: fields("id", me.id, "token", me.token, "to", friend.id), code: 500},
		{path: "/im/dialogues?" + query("id", me.id, "token", me.token, "with", friend.id), code: 500},
		{path: "/im/files?" + query("id", me.id, "token", me.token, "with", friend.id, "name", "n"), body: "x", code: 500},
		{path: "/im/dialogues/remove", body: fields("id", me.id, "token", me.token, "with", friend.id), code: 500},
		{path: "/im/dialogues/mark", body: fields("id", me.id, "token", me.token, "with", friend.id), code: 500},
		{path: "/im/push?" + query("id", me.id, "token", me.token), code: 500}, {path: "/im/push/add", body: pushFields(me.id, me.token), code: 500},
		{path: "/im/push/remove", body: fields("id", me.id, "token", me.token, "endpoint", "https://push.example.org/"), code: 500},
		{path: "/im/session", body: fields("id", me.id, "token", me.token), code: 500},
	} {
		all.Go(func() { a.try(t, w, x) })
	}
	all.Wait()
	there.stop()
	there.start(t)
}

// mailCalls verifies the address of me, which gets two mails. plain is a server that sends no mail.
func (a *openAPI) mailCalls(t *testing.T, w, plain *world, me *member, mailServer *smtpServer) {
	never := strings.Repeat("0", 32)
	for _, path := range []string{"/im/mail/send", "/im/mail/verify"} {
		body := func(id, token string) string { return fields("id", id, "token", token, "code", "AAAA-BBBB") }
		large := strings.TrimSuffix(body(me.id, me.token), "}") + `,"more":"` + strings.Repeat("A", 256<<10) + `"}`
		a.try(t, plain, exchange{path: path, body: body(me.id, me.token), status: http.StatusNotFound})
		for _, x := range []exchange{
			{path: path, body: `[]`, code: 403}, {path: path, body: large, code: 403, status: http.StatusRequestEntityTooLarge}, {path: path, body: body(me.id, " "), code: 514},
			{path: path, body: body(" ", me.token), code: 517}, {path: path, body: body(me.id, never), code: 515},
		} {
			a.try(t, w, x)
		}
	}
	verify := func(code string, want int) {
		t.Helper()
		a.try(t, w, exchange{path: "/im/mail/verify", body: fields("id", me.id, "token", me.token, "code", code), code: want})
	}
	verify(" ", 403)
	verify("AAAA-BBBB", 505)
	me.mailedCode(t, mailServer, me.address(t), 1)
	a.try(t, w, exchange{path: "/im/mail/send", body: fields("id", me.id, "token", me.token), code: 200})
	verify(me.mailedCode(t, mailServer, me.address(t), 2), 200)
}
