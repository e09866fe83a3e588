package cmd

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// signInBriefly signs a user in who does not stay signed in.
func (b *tab) signInBriefly(name, password string) {
	b.t.Helper()
	b.press("Stay signed in")
	b.signIn(name, password)
}

// headerMenu opens the menu of the conversation on the screen.
func (b *tab) headerMenu() {
	b.t.Helper()
	b.pressOn("[...document.querySelectorAll('.pane header .iconic')].at(-1)")
	b.until("count('.menu') === 1")
}

// TestPageBackForward leaves the page for another one, and comes back: meanwhile the user is offline and loses nothing.
func TestPageBackForward(t *testing.T) { eachBrowser(t, "en-US", testPageBackForward) }

func testPageBackForward(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	c.until("document.querySelector('header .dot')")
	ask[bool](b, "window.alive = true")
	b.navigate(f.base(0) + "/im/registration")
	c.until("!document.querySelector('header .dot')")
	c.say("While you are away")
	c.state("While you are away", "kept")
	c.sees("Offline: 1 to be delivered later")
	ask[bool](b, "history.back(), true")
	b.hears("While you are away")
	c.state("While you are away", "read")
	c.until("document.querySelector('header .dot')")
	b.say("Back")
	c.hears("Back")
	t.Logf("the page came from the back/forward cache: %t", ask[bool](b, "window.alive === true"))
}

// silence makes the page's connection dead without a sign: nothing arrives any more, and new connections hang.
const silence = `sockets.at(-1).onmessage = () => {}, sockets.at(-1).send = () => {}, window.RealSocket = WebSocket,
	window.hung = 0, window.WebSocket = class { static OPEN = 1; constructor() { hung++; } close() {} }, true`

// TestPageNoticesSilence checks that a visible page notices a connection that died silently, by events of the network and
// by its own heartbeat, says so, and shows no friend as online.
func TestPageNoticesSilence(t *testing.T) { eachBrowser(t, "en-US", testPageNoticesSilence) }

func testPageNoticesSilence(t *testing.T, browser webBrowser) {
	for _, keep := range []time.Duration{0, 30 * 24 * time.Hour} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Keep = keep }))
			bob, cleo := w.newFriends(t)
			bob.tunnel.close(t)
			cleo.tunnel.close(t)
			c := openTab(t, browser, "cleo", w.base(0)+pagePath, desk)
			c.signIn(cleo.account, cleo.password)
			c.open("alias of " + bob.account)
			b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
			ask[bool](b, watchSockets)
			b.signIn(bob.account, bob.password)
			b.open("alias of " + cleo.account)
			signs := []string{
				"dispatchEvent(new Event('offline'))",
				"dispatchEvent(new Event('online'))",
				"document.dispatchEvent(new Event('visibilitychange'))",
				"((now) => { Date.now = () => now() + 24_000; })(Date.now)", // most of the time to the next heartbeat
			}
			for i, sign := range signs {
				b.until("document.querySelector('header .dot') && has('header small', 'online') && count('nav .dot') === 1")
				ask[bool](b, silence)
				ask[bool](b, sign+", true")
				b.until("hung > 0 && has('.linkbar', 'Connecting')")
				b.until("count('.dot') === 0 && has('.talk header small', 'Connecting')")
				ask[bool](b, "window.WebSocket = RealSocket, dispatchEvent(new Event('online')), true")
				b.until("count('.linkbar') === 0")
				b.say(fmt.Sprint("Back again ", i))
				c.hears(fmt.Sprint("Back again ", i))
				b.state(fmt.Sprint("Back again ", i), "delivered")
			}
			before := ask[int](b, "sockets.length")
			ask[bool](b, "dispatchEvent(new Event('online')), sockets.at(-1).addEventListener('message', ({data}) => { window.heard = data; }), true")
			b.until("window.heard?.includes('pong')")
			if after := ask[int](b, "sockets.length"); after != before {
				t.Errorf("%d connections after a ping was answered, want %d", after, before)
			}
		})
	}
}

// TestPageRenewsToken checks that an open page outlives its token, and that a user who did not choose to stay signed in
// has no token in the browser's storage. In Chromium only: it waits for three tokens to expire, which last long enough
// for a busy machine, and no browser has a part in it.
func TestPageRenewsToken(t *testing.T) {
	t.Parallel()
	browser := chromium(t, "en-US")
	w := newWorld(t, start(t, func(c *Config) { c.Tokens.TTL = 12 * time.Second }))
	bob, cleo := w.newFriends(t)
	expired := func(login string) {
		t.Helper()
		parts := strings.Split(login, " ")
		eventually(t, "the first token has expired", func() bool {
			return w.do(t, 0, "GET", "/im/sessions?"+url.Values{"id": {parts[0]}, "token": {parts[1]}}.Encode(), "").code() == 515
		})
	}
	token := func(b *tab, storage string) string {
		return ask[string](b, "(({id, token}) => `${id} ${token}`)(JSON.parse("+storage+".getItem('imctl.login')))")
	}
	stay := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	stay.signIn(bob.account, bob.password)
	stay.open("alias of " + cleo.account)
	brief := openTab(t, browser, "cleo", w.base(0)+pagePath, desk)
	brief.signInBriefly(cleo.account, cleo.password)
	brief.until(row("alias of " + bob.account))
	first, other := token(stay, "localStorage"), token(brief, "sessionStorage")
	expired(first)
	expired(other)
	for _, b := range []*tab{stay, brief} {
		b.fill("Search friends and people", "nobody has this name")
		b.sees("No name begins with this.")
	}
	if now := token(stay, "localStorage"); now == first {
		t.Error("the browser's storage has the first token")
	}
	if token(brief, "sessionStorage") == other || ask[bool](brief, "localStorage.getItem('imctl.login') !== null") {
		t.Error("a user who does not stay signed in has a token in the browser's storage, or the first one")
	}

	// Another tab of the account continues with the newest token, although its own has expired.
	beside := stay.beside(w.base(0) + pagePath)
	beside.sees("Your account is open in another tab.")
	old := token(stay, "localStorage")
	expired(old)
	beside.press("Use it here")
	beside.until(row("alias of " + cleo.account))
}

// TestPageMaxAge checks that the page asks for the password once tokens.max_age is over, with words.
func TestPageMaxAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Tokens.MaxAge = 4 * time.Second }))
	bob, _ := w.newFriends(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.until("count('nav') === 1")
	b.until("has('.sign .fault', 'Please sign in again.')")
}

// TestPageResendsInOrder checks that a run of undelivered dialogues has one line and one button.
func TestPageResendsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Keep = 0 }))
	bob, cleo := w.newFriends(t)
	cleo.tunnel.close(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.open("alias of " + cleo.account)
	for i := range 5 {
		b.say(fmt.Sprint("Line ", i))
		b.state(fmt.Sprint("Line ", i), "offline")
	}
	b.until("has('.failed', '5 messages not delivered') && count('.failed') === 1")
	cleo.login(t)
	b.until("document.querySelector('header .dot')")
	b.press("Try again")
	for i := range 5 {
		if got := cleo.tunnel.next(t); !strings.Contains(got, fmt.Sprint("Line ", i)) {
			t.Errorf("the friend gets %s, want Line %d", got, i)
		}
		b.state(fmt.Sprint("Line ", i), "delivered")
	}
	b.until("count('.failed') === 0")
}

// TestPageBack checks the ways back: the arrow and the browser's button do not make the history longer, and go back past
// dialogs.
func TestPageBack(t *testing.T) { eachBrowser(t, "en-US", testPageBack) }

func testPageBack(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.page(t, f.bob, phone)
	name := "alias of " + f.cleo.account
	length := func() int { return ask[int](b, "history.length") }
	list := func() { b.t.Helper(); b.until("count('nav') === 1 && location.hash === ''") }
	inTalk := func() { b.t.Helper(); b.until("count('.talk') === 1 && location.hash.length > 1") }
	back := func() { b.t.Helper(); ask[bool](b, "history.back(), true") }
	about := func() { b.t.Helper(); b.pressOn("document.querySelector('.who')"); b.until("count('dialog') === 1") }
	b.until(row(name))
	n := length()
	for range 3 {
		b.open(name)
		inTalk()
		b.press("Back")
		list()
		b.open(name)
		inTalk()
		back()
		list()
	}
	if now := length(); now > n+1 {
		t.Errorf("the history has %d entries, want at most %d", now, n+1)
	}
	b.open(name)
	inTalk()
	for range 2 {
		about()
		back()
		b.until("count('dialog') === 0")
		inTalk()
		about()
		b.press("Close")
		b.until("count('dialog') === 0")
		inTalk()
	}
	back()
	list()
	b.open(name)
	inTalk()
	about()
	b.press("Close")
	b.press("Back")
	list()
	if now := length(); now > n+2 {
		t.Errorf("the history has %d entries, want at most %d", now, n+2)
	}

	deep := openTab(t, f.browser, "bob by a link", f.base(0)+pagePath+"#"+f.cleo.id, phone)
	deep.signIn(f.bob.account, f.bob.password)
	deep.until("count('.talk') === 1")
	deep.press("Back")
	deep.until("count('nav') === 1 && location.hash === ''")
}

// countPersist counts in the storage how often the page asked for persistent storage.
const countPersist = `navigator.storage.persist = () => {
	localStorage.setItem('test', 1 + Number(localStorage.getItem('test')));
	return Promise.resolve(true);
}, true`

// TestPageKeepsAndErases checks that the page asks once for persistent storage, only of users who stay signed in, and
// that signing out can delete everything that the browser has.
func TestPageKeepsAndErases(t *testing.T) { eachBrowser(t, "en-US", testPageKeepsAndErases) }

func testPageKeepsAndErases(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	const asked = "Number(localStorage.getItem('test'))"
	left := func(b *tab) string {
		t.Helper()
		return ask[string](b, `(async () => {
			const opening = indexedDB.open('imctl');
			const db = await new Promise((done) => { opening.onsuccess = () => done(opening.result); });
			const all = [];
			for (const name of db.objectStoreNames) {
				const request = db.transaction(name).objectStore(name).getAll();
				await new Promise((done) => { request.onsuccess = done; });
				all.push(...request.result.map((one) => name + ' ' + JSON.stringify(one)));
			}
			db.close();
			return all.join('\n');
		})()`)
	}
	name := "alias of " + f.cleo.account

	brief := openTab(t, f.browser, "bob", f.base(0)+pagePath, desk)
	ask[bool](brief, countPersist)
	brief.signInBriefly(f.bob.account, f.bob.password)
	brief.open(name)
	brief.say("On a foreign device")
	brief.state("On a foreign device", "kept")
	brief.fill("Write a message", "A secret draft")
	if n := ask[int](brief, asked); n != 0 {
		t.Errorf("the page asked %d times to keep what a user leaves behind who does not stay", n)
	}
	brief.press("Menu")
	brief.press("Sign out")
	brief.until("named('input', 'Delete conversations and drafts from this browser').checked")
	brief.press("Sign out")
	brief.sees("Welcome back")
	brief.until("!sessionStorage.getItem('imctl.login') && !localStorage.getItem('imctl.login')")
	eventually(t, "the browser has nothing", func() bool { return left(brief) == "" })

	stay := openTab(t, f.browser, "bob at home", f.base(0)+pagePath, desk)
	ask[bool](stay, countPersist)
	stay.signIn(f.bob.account, f.bob.password)
	stay.open(name)
	stay.say("At home")
	stay.state("At home", "kept")
	stay.reload()
	stay.until("named('textarea', 'Write a message')")
	ask[bool](stay, countPersist)
	stay.say("At home again")
	stay.state("At home again", "kept")
	if n := ask[int](stay, asked); n != 1 {
		t.Errorf("the page asked %d times for persistent storage, want once", n)
	}
	stay.press("Menu")
	stay.press("Sign out")
	stay.until("named('input', 'Delete conversations and drafts from this browser').checked === false")
	stay.press("Sign out")
	stay.sees("Welcome back")
	if !strings.Contains(left(stay), "At home again") {
		t.Error("the browser lost what the user wanted to keep")
	}

	// A browser that keeps nothing: its database is of a version that the page cannot open.
	ask[bool](stay, `new Promise((done) => {
		const opening = indexedDB.open('imctl', 99);
		opening.onsuccess = () => { opening.result.close(); done(true); };
	})`)
	stay.reload()
	stay.signIn(f.bob.account, f.bob.password)
	stay.open(name)
	stay.state("At home again", "kept")
	stay.settings("Conversations")
	stay.sees("This browser keeps no copy.")
	stay.press("Close")
	stay.press("Menu")
	stay.press("Sign out")
	stay.until("count('dialog') === 1 && !named('input', 'Delete conversations and drafts from this browser')")
}

// TestPageKeepsDrafts checks that a draft survives a page that ends at once.
func TestPageKeepsDrafts(t *testing.T) { eachBrowser(t, "en-US", testPageKeepsDrafts) }

func testPageKeepsDrafts(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	for i := range 3 {
		draft := fmt.Sprint("Half a sentence ", i)
		ask[bool](b, `(() => {
			const field = document.querySelector('.composer textarea');
			field.value = `+quote(draft)+`;
			field.dispatchEvent(new Event('input'));
			setTimeout(() => location.reload()); // the question is answered first
			return window.old = true;
		})()`)
		b.until("!window.old && named('textarea', 'Write a message')?.value === " + quote(draft))
	}
}

// TestPageNotifies checks that each message of a conversation is heard, and what a click on a notification does.
func TestPageNotifies(t *testing.T) { eachBrowser(t, "en-US", testPageNotifies) }

func testPageNotifies(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	c := f.talk(t, f.cleo, f.bob)
	b := f.page(t, f.bob, desk)
	ask[bool](b, `window.told = [], window.Notification = class {
		constructor(title, options) { Object.assign(this, options); told.push(this); }
		close() { this.closed = true; this.onclose?.(); }
		static requestPermission() { return Promise.resolve('granted'); }
	}, true`)
	b.until(row("alias of " + f.cleo.account))
	b.allowNotifications()
	ask[bool](b, "document.hasFocus = () => false, true")
	c.say("One")
	b.until("told.length === 1 && told[0].body.includes('One')")
	c.say("Two")
	b.until("told.length === 2 && told[1].body.includes('Two')")
	b.until("told.every(({tag, renotify}) => renotify && tag === " + quote(f.cleo.id) + ")")
	ask[bool](b, "delete document.hasFocus, window.focused = 0, window.focus = () => { focused++; }, told[1].onclick(), true")
	b.until("focused === 1 && told[1].closed")
	b.hears("Two")
	c.state("Two", "read")
}

// TestPageCountsNew checks the line above new messages in a window without focus, and their count while the user reads
// older ones. They count as read when they are seen.
func TestPageCountsNew(t *testing.T) { anyBrowser(t, "en-US", testPageCountsNew) }

func testPageCountsNew(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	for i := range 30 {
		c.say(fmt.Sprint("Older ", i))
	}
	c.state("Older 29", "read")
	ask[bool](b, "document.hasFocus = () => false, true")
	c.say("In the background")
	b.until("has('.day.new', 'New') && document.querySelector('.day.new').nextSibling.innerText.includes('In the background')")
	c.state("In the background", "delivered")
	ask[bool](b, "delete document.hasFocus, dispatchEvent(new Event('focus')), true")
	c.state("In the background", "read")
	b.say("I see")
	b.until("!has('.day.new', 'New')")
	c.hears("I see")

	b.until("(document.querySelector('.stage .scroll').scrollTop = 0, named('button', 'Jump to newest'))")
	c.say("First below")
	c.say("Second below")
	b.until("has('.toend .count', '2') && has('nav .row .count', '2')")
	c.state("Second below", "delivered")
	b.pressOn("document.querySelector('.toend')")
	b.hears("Second below")
	b.until("count('.toend') === 0 && !has('nav .row .count', '2')")
	b.until("document.querySelector('.day.new').nextSibling.innerText.includes('First below')")
	c.state("Second below", "read")
}

// TestPageAgreesOnReads checks that what was read on one device is not unread on another one that was away.
func TestPageAgreesOnReads(t *testing.T) { anyBrowser(t, "en-US", testPageAgreesOnReads) }

func testPageAgreesOnReads(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	c := f.talk(t, f.cleo, f.bob)
	one, two := f.page(t, f.bob, desk), f.page(t, f.bob, phone)
	one.until(row("alias of " + f.cleo.account))
	two.until(row("alias of " + f.cleo.account))
	c.say("Unread")
	one.until("has('nav .row .count', '1')")
	two.until("has('nav .row .count', '1') && document.title.startsWith('(1)')")
	ask[bool](two, "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
	c.say("Unread as well")
	one.open("alias of " + f.cleo.account)
	one.hears("Unread as well")
	c.state("Unread as well", "read")
	ask[bool](two, "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
	two.until(row("Unread as well"))
	two.until("count('nav .row .count') === 0 && document.title === 'imctl'")
}
