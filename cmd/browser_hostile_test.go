package cmd

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// tricks are texts that try to make the page run a script, load a resource or break its layout. A script calls pwn().
var tricks = []string{
	`<script>pwn()</script>`,
	`"><script>pwn()</script>`,
	`'><script>pwn()</script>`,
	`</title><script>pwn()</script>`,
	`</textarea><script>pwn()</script>`,
	`<img src=x onerror=pwn()>`,
	`"><img src=x onerror=pwn()>`,
	`<img src=x onerror="pwn()">`,
	`<svg onload=pwn()>`,
	`<svg><script>pwn()</script></svg>`,
	`<svg><animate onbegin=pwn() attributeName=x dur=1s>`,
	`<body onload=pwn()>`,
	`<iframe srcdoc="<script>parent.pwn()</script>"></iframe>`,
	`<iframe src="javascript:parent.pwn()"></iframe>`,
	`<object data="javascript:pwn()"></object>`,
	`<embed src="javascript:pwn()">`,
	`<a href="javascript:pwn()">click</a>`,
	`<form action="javascript:pwn()"><button>ok</button></form>`,
	`<input autofocus onfocus=pwn()>`,
	`<details open ontoggle=pwn()>`,
	`<video><source onerror=pwn()></video>`,
	`<math><mtext></form><form><mglyph><style></math><img src onerror=pwn()>`,
	`<noscript><p title="</noscript><img src=x onerror=pwn()>">`,
	`<template><script>pwn()</script></template>`,
	`<style>@import "https://evil.example/x.css"; *{display:none!important}</style>`,
	`<link rel=stylesheet href=https://evil.example/x.css>`,
	`<base href="https://evil.example/">`,
	`<meta http-equiv=refresh content="0;url=https://evil.example/">`,
	`javascript:pwn()`,
	`JaVaScRiPt:pwn()//https://example.org/`,
	`https://example.org/"onmouseover="pwn()`,
	`https://example.org/'><img src=x onerror=pwn()>`,
	`https://user:secret@evil.example/`,
	`https://example.org@evil.example/login`,
	`data:text/html,<script>pwn()</script>`,
	`data:text/html;base64,PHNjcmlwdD5wd24oKTwvc2NyaXB0Pg==`,
	`vbscript:pwn()`,
	`https://evil.example/` + "\u202e" + `gpj.exe`,
	"\u202e\u202d\u2066 turned around \u202e",
	"\u2067\u2067\u2067\u2067 unclosed isolates",
	`{{constructor.constructor('pwn()')()}}`,
	`${pwn()}`,
	`<%= pwn() %>`,
	`__proto__`,
	`constructor`,
	`&lt;script&gt;pwn()&lt;/script&gt;`,
	`&#60;script&#62;pwn()&#60;/script&#62;`,
	`\u003cscript\u003epwn()\u003c/script\u003e`,
	`'-pwn()-'`,
	`";pwn();//`,
	`--><!-- <script>pwn()</script> -->`,
	`]]><script>pwn()</script><![CDATA[`,
	`<x onclick=pwn() style="position:fixed;inset:0;z-index:9999">`,
	strings.Repeat("W", 400),
	strings.Repeat("\u0e49\u0e49\u0e49\u0e49", 100),
	"Z" + strings.Repeat("\u0301\u0322\u0327\u0353", 90) + "algo",
	strings.Repeat("🏳️‍🌈👩‍👩‍👧‍👦", 20),
	strings.Repeat("http://a.example/", 40),
	strings.Repeat("(", 300) + strings.Repeat(")", 300),
	"\u200b\u200b\u200b",
	"\ufdfd\ufdfd\ufdfd\U0001242b\U0001242b",
	"a\r\nb\tc",
}

// pictures are hostile profile pictures.
var pictures = []string{
	`javascript:pwn()`,
	`https://evil.example/track.png`,
	`//evil.example/track.png`,
	`x" onerror="pwn()`,
	`data:text/html;base64,` + base64.StdEncoding.EncodeToString([]byte(`<script>pwn()</script>`)),
	`data:image/svg+xml;base64,` + base64.StdEncoding.EncodeToString([]byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="pwn()"/>`)),
	`img/base64:PHN2ZyBvbmxvYWQ9cHduKCk+`,
	`iVBORw0KGgo=" onerror="pwn()`,
	`iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ`,
	`url(https://evil.example/x)`,
	strings.Repeat("/9j/", 10_000),
}

// upTo returns a text cut to a number of characters. With oneLine it replaces line breaks.
func upTo(s string, characters int, oneLine bool) string {
	if oneLine {
		s = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ").Replace(s)
	}
	if utf8.RuneCountInString(s) > characters {
		s = string([]rune(s)[:characters])
	}
	return strings.TrimSpace(s)
}

// asName returns a text as a name that the server accepts: of 1 to 64 visible characters.
func asName(s string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			return -1
		}
		return r
	}, upTo(s, 64, true))
	return cmp.Or(strings.TrimSpace(name), "nothing visible")
}

// attack registers a user with the trick as its name, status message and note and with a hostile picture, which sends
// a friend request to victim.
func attack(t *testing.T, w *world, i int, trick, victim string) *member {
	t.Helper()
	p := &member{w: w, account: fmt.Sprintf("attacker %d", i), password: "secret word"}
	body, err := json.Marshal(map[string]string{
		"account": p.account, "password": p.password, "mail": "x@example.org", "name": asName(trick), "sign": upTo(trick, 512, false),
		"picture": pictures[i%len(pictures)], "sex": upTo(trick, 32, true), "birthday": upTo(trick, 32, true),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.register(t, 0, string(body)).want(t, "registration with "+trick, replyBody(200))
	p.login(t)
	p.call(t, "request", "to", victim, "note", upTo(trick, 512, false)).want(t, "request with "+trick, replyBody(200))
	return p
}

// TestPageWithstands makes all attackers friends of a user, and checks that no trick runs a script, loads a resource or
// breaks the page.
func TestPageWithstands(t *testing.T) { eachBrowser(t, "en-US", testPageWithstands) }

func testPageWithstands(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	victim := w.newMember(t, 0)
	victim.login(t)
	b := openTab(t, browser, "victim", w.base(0)+pagePath, desk)
	ask[bool](b, "window.pwned = 0, window.pwn = () => { pwned++; }, true")
	b.signIn(victim.account, victim.password)
	b.sees("No friends yet")

	attackers := make([]*member, len(tricks))
	for i, trick := range tricks {
		attackers[i] = attack(t, w, i, trick, victim.id)
	}
	b.until(fmt.Sprintf("has('nav .row .count', '%d')", len(tricks)))
	b.open("Friend requests")
	b.until(fmt.Sprintf("document.querySelectorAll('dialog li').length === %d", len(tricks)))
	b.unharmed("requests")
	b.press("Close")
	for i, trick := range tricks {
		alias := asName(trick)
		victim.call(t, "add", "from", attackers[i].id, "name", alias).want(t, "add as "+trick, replyBody(200))
	}
	b.until("count('nav .row') > 5 && !has('nav .row', 'Friend requests')")
	b.unharmed("friends")

	for i, trick := range tricks {
		attackers[i].tunnel.send(t, dialogue(quote(trick), victim.id, quote(trick)))
	}
	for i, trick := range tricks {
		b.readsAsText(attackers[i].id, trick)
		if i%8 == 0 {
			b.pressOn("document.querySelector('header .who')")
			b.until("count('dialog') === 1")
			b.unharmed("about " + trick)
			b.press("Close")
		}
	}

	// The attackers also change their profiles and send dialogues.
	for i, p := range attackers {
		body, err := json.Marshal(map[string]string{"id": p.id, "token": p.token, "name": asName(tricks[len(tricks)-1-i]), "picture": pictures[(i+1)%len(pictures)]})
		if err != nil {
			t.Fatal(err)
		}
		w.do(t, 0, http.MethodPost, "/im/profile/update", string(body)).want(t, "update", replyBody(200))
	}
	b.look(phone)
	b.unharmed("phone")
	b.reload()
	b.until("count('header .who') === 1")
	b.fill("Write a message", "Still here")
	b.key("\r")
	b.until("has('.mine', 'Still here')")
	if ask[bool](b, "window.pwned !== undefined && pwned > 0") {
		t.Error("a script of an attacker ran")
	}
}

// readsAsText opens the talk with an attacker and checks that its trick is shown as text.
func (b *tab) readsAsText(id, trick string) {
	b.t.Helper()
	ask[bool](b, fmt.Sprintf("document.querySelector('.talk')?.classList.add('old'), location.hash = %q, true", id))
	b.until("document.querySelectorAll('.talk:not(.old) .theirs .text').length === 1")
	talk := ask[struct {
		Text  string
		Links []string
		Found []string
	}](b, "(async () => ({"+`
		text: document.querySelector('.theirs .text').textContent,
		links: [...document.querySelectorAll('.theirs a')].map((a) => a.href + ' ' + a.rel),
		found: await `+harm+`,
	}))()`)
	if talk.Text != trick {
		b.t.Errorf("%q is shown as %q", trick, talk.Text)
	}
	for _, link := range talk.Links {
		if !strings.HasPrefix(link, "http://a.example/") && !strings.HasPrefix(link, "https://e") || !strings.Contains(link, "noopener noreferrer") || strings.Contains(link, "@") {
			b.t.Errorf("%q made the link %q", trick, link)
		}
	}
	for _, f := range talk.Found {
		b.t.Errorf("talk with %q: %s", trick, f)
	}
}

// unharmed checks that no trick has an effect.
func (b *tab) unharmed(view string) {
	b.t.Helper()
	for _, f := range ask[[]string](b, harm) {
		b.t.Errorf("%s: %s", view, f)
	}
}

// harm is an expression that lists what ran, was loaded from elsewhere, is an element that the page would not make, or
// hangs over an edge.
const harm = `(async () => {
	await new Promise((done) => setTimeout(done, 0)); // let pending events run
	const found = [];
	if (window.pwned) found.push('something ran: ' + pwned);
	const scripts = [...document.querySelectorAll('script')].map(({src}) => src.replace(/^.*\/v1\/_\w+\//, '')).join();
	if (scripts !== 'js/look.js,js/main.js') found.push('the scripts ' + scripts);
	for (const e of document.querySelectorAll('iframe, object, embed, base, style, video, audio, template, svg script, meta[http-equiv], body *')) {
		const strange = !/^(A|ASIDE|B|BDI|BLOCKQUOTE|BUTTON|CANVAS|CODE|DD|DETAILS|DIALOG|DIV|DL|DT|EM|FOOTER|FORM|H1|H2|H3|HEADER|I|IMG|INPUT|LABEL|LI|MAIN|MARK|NAV|NOSCRIPT|OL|P|PRE|S|SECTION|SMALL|SPAN|STRONG|SUMMARY|TEXTAREA|TIME|UL|svg|path)$/.test(e.tagName);
		if (strange) found.push('an element ' + e.tagName);
		for (const {name, value} of e.attributes) {
			if (name.startsWith('on') || /^(href|src|action)$/.test(name) && !/^(https?:\/\/|mailto:[\w.+@-]+$|data:image\/(png|jpeg|gif|webp);base64,|icon\.|\/im\/pictures\/[0-9a-f]{64}\/[0-9a-f]{32}$)/.test(value)) found.push(e.tagName + ' ' + name + '=' + value.slice(0, 80));
		}
	}
	for (const {name} of performance.getEntriesByType('resource')) {
		if (!name.startsWith(location.origin) && !name.startsWith('data:')) found.push('asked for ' + name);
	}
	if (document.documentElement.scrollWidth > innerWidth) found.push('wider than the window');
	for (const e of document.querySelectorAll('.row, header, .bubble, dialog, .day, .person')) {
		const r = e.getBoundingClientRect();
		if (r.width && (r.left < -1 || r.right > innerWidth + 1)) found.push(e.className + ' hangs over the edge');
	}
	for (const e of document.querySelectorAll('.row')) if (![0, 60].includes(e.getBoundingClientRect().height)) found.push('a row of another height: ' + e.getBoundingClientRect().height + ' ' + e.innerText.slice(0, 80));
	for (const e of document.querySelectorAll('.pane header')) if (e.getBoundingClientRect().height > 80) found.push('a header that grew');
	return found;
})()`
