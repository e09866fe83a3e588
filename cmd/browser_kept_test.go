package cmd

import (
	"fmt"
	"testing"
)

// watchSockets lists the WebSockets that the page opens from now on in `sockets`.
const watchSockets = `window.sockets = [], window.WebSocket = class extends WebSocket {
	constructor(...where) { super(...where); sockets.push(this); }
}, true`

// keptFriends is a server with two friends, whose only clients are pages.
type keptFriends struct {
	*world
	browser   webBrowser
	bob, cleo *member
}

func newKeptFriends(t *testing.T, browser webBrowser) *keptFriends {
	t.Helper()
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	bob.tunnel.close(t)
	cleo.tunnel.close(t)
	return &keptFriends{w, browser, bob, cleo}
}

// friendOfCleo returns a new friend of Cleo. Its only clients are pages, too.
func (f *keptFriends) friendOfCleo(t *testing.T) *member {
	t.Helper()
	f.cleo.login(t)
	friend := newFriendsOf(t, f.world, f.cleo, 1)[0]
	f.cleo.tunnel.close(t)
	friend.tunnel.close(t)
	return friend
}

// page signs a user in on a new device. Its sockets are in the list `sockets`.
func (f *keptFriends) page(t *testing.T, who *member, as screen) *tab {
	t.Helper()
	b := openTab(t, f.browser, who.account, f.base(0)+pagePath, as)
	ask[bool](b, watchSockets)
	b.signIn(who.account, who.password)
	return b
}

// talk opens the conversation of a user with another one on a new device.
func (f *keptFriends) talk(t *testing.T, who, with *member) *tab {
	t.Helper()
	b := f.page(t, who, desk)
	b.open("alias of " + with.account)
	b.until("named('textarea', 'Write a message')")
	return b
}

// TestPageKeepsTalks checks the states of a user's own dialogues, the line about an offline friend, and the history on a
// second device, page by page.
func TestPageKeepsTalks(t *testing.T) { anyBrowser(t, "en-US", testPageKeepsTalks) }

func testPageKeepsTalks(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.say("Are you there?")
	b.state("Are you there?", "kept")
	b.sees("Offline: 1 to be delivered later")
	b.say("Hello?")
	b.sees("Offline: 2 to be delivered later")

	c := f.page(t, f.cleo, desk)
	c.until("has('nav .row .count', '2')")
	b.state("Hello?", "delivered")
	b.until("!has('.day', 'Offline') && count('.mine .read') === 0")
	c.open("alias of " + f.bob.account)
	c.hears("Hello?")
	b.state("Are you there?", "read")
	b.state("Hello?", "read")
	c.until("!has('nav .row .count', '2')")

	// More than two pages, and a device that starts with none of them.
	ask[bool](c, `(async () => {
		const field = document.querySelector('.composer textarea');
		for (let i = 1; i <= 120; i++) {
			field.value = 'Line ' + i;
			document.querySelector('.composer').requestSubmit();
		}
		return true;
	})()`)
	b.hears("Line 120")
	c.state("Line 120", "read")
	second := f.talk(t, f.bob, f.cleo)
	second.hears("Line 120")
	if ask[bool](second, "document.querySelector('.dialogues').innerText.includes('Hello?')") {
		t.Error("a new device loaded all pages at once")
	}
	second.until("(document.querySelector('.stage .scroll').scrollTop = 0, has('.text', 'Are you there?'))")
	second.state("Are you there?", "read")
	if n := ask[int](second, "performance.getEntriesByType('resource').filter(({name}) => name.includes('/im/dialogues')).length"); n != 3 {
		t.Errorf("the device made %d calls for 122 dialogues, want 3", n)
	}
	order := ask[[]string](second, `(async () => {
		const request = indexedDB.open('imctl');
		const db = await new Promise((done) => { request.onsuccess = () => done(request.result); });
		const all = db.transaction('kept').objectStore('kept').getAll();
		await new Promise((done) => { all.onsuccess = done; });
		db.close();
		return all.result.map(({n, text}) => n + ' ' + text);
	})()`)
	if len(order) != 122 || order[0] != "1 Are you there?" || order[121] != "122 Line 120" {
		t.Errorf("the second device holds %d dialogues: %.300q", len(order), order)
	}
}

// TestPageRetries checks that a dialogue without an answer is sent again on a new connection, without a duplicate, and
// that a missed frame is fetched.
func TestPageRetries(t *testing.T) { eachBrowser(t, "en-US", testPageRetries) }

func testPageRetries(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	ask[bool](b, "sockets[0].onmessage = () => {}, true") // the answers are lost
	b.say("First")
	b.say("Second")
	c.hears("Second")
	b.until("sockets.length === 2")
	b.state("First", "read")
	b.state("Second", "read")
	b.say("Third")
	c.hears("Third")
	c.until("count('.theirs') === 3")
	b.until("count('.mine') === 3")

	ask[bool](c, "window.heard = sockets[0].onmessage, sockets[0].onmessage = () => {}, true")
	b.say("Missed")
	b.state("Missed", "kept")
	ask[bool](c, "sockets[0].onmessage = heard, true")
	b.say("Fifth")
	c.hears("Fifth")
	c.until("[...document.querySelectorAll('.theirs .text')].map((e) => e.innerText).join() === 'First,Second,Third,Missed,Fifth'")
	b.state("Missed", "read")
}

// TestPageReloads reloads pages under traffic: nothing is lost and nothing doubled.
func TestPageReloads(t *testing.T) { eachBrowser(t, "en-US", testPageReloads) }

func testPageReloads(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	ask[bool](b, "sockets[0].send = () => {}, true") // what is sent now gets lost
	b.say("Lost on the way")
	b.say("This too")
	b.until("count('.mine .sending') === 2")
	b.reload()
	c.hears("This too")
	b.state("This too", "read")
	b.until("count('.mine') === 2")

	texts := "[...document.querySelectorAll('.theirs .text')].map((e) => e.innerText).join()"
	want := ""
	for i := range 8 {
		c.say(fmt.Sprint("Traffic ", i))
		if i%2 == 1 {
			b.reload()
		}
		want += fmt.Sprintf(",Traffic %d", i)
	}
	b.until(texts + " === " + quote(want[1:]))
	c.state("Traffic 7", "read")
	b.reload()
	b.until(texts + " === " + quote(want[1:]))
}

// TestPageRests checks that a page in the back/forward cache is offline, and fetches what it missed when it is back.
func TestPageRests(t *testing.T) { eachBrowser(t, "en-US", testPageRests) }

func testPageRests(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	c.until("document.querySelector('header .dot')")
	ask[bool](b, "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
	c.until("!document.querySelector('header .dot')")
	c.say("While you rest")
	c.state("While you rest", "kept")
	c.sees("Offline: 1 to be delivered later")
	ask[bool](b, "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
	b.hears("While you rest")
	c.state("While you rest", "read")

	// The browser says that the network is back, but the connection is dead.
	ask[bool](b, "sockets.at(-1).onmessage = () => {}, window.before = sockets.length, dispatchEvent(new Event('online'))")
	b.until("sockets.length === before + 1")
	c.say("Through a new connection")
	b.hears("Through a new connection")
}

// TestPageAgrees checks that two devices of a user agree on what is unread, and on a deleted conversation.
func TestPageAgrees(t *testing.T) { anyBrowser(t, "en-US", testPageAgrees) }

func testPageAgrees(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	c := f.talk(t, f.cleo, f.bob)
	one, two := f.page(t, f.bob, desk), f.page(t, f.bob, phone)
	one.until(row("alias of " + f.cleo.account))
	two.until(row("alias of " + f.cleo.account))
	c.say("Unread")
	c.say("Unread as well")
	one.until("has('nav .row .count', '2')")
	two.until("has('nav .row .count', '2')")
	c.state("Unread", "delivered")
	one.open("alias of " + f.cleo.account)
	one.hears("Unread as well")
	c.state("Unread", "read")
	two.until("!has('nav .row .count', '2') && !document.title.startsWith('(')")

	one.say("From one")
	two.until(row("You: From one"))
	one.pressOn("[...document.querySelectorAll('.pane header .iconic')].at(-1)")
	one.press("Delete conversation")
	one.press("Delete conversation")
	one.sees("Say hello!")
	c.say("A new start")
	one.hears("A new start")
	one.until("count('.dialogue') === 1")
	two.reload()
	two.open("alias of " + f.cleo.account)
	two.hears("A new start")
	two.until("count('.dialogue') === 1")
	c.until("has('.text', 'Unread') && has('.text', 'From one')")
}

// TestPageChanges checks typing, replies, reactions, edits and deletions.
func TestPageChanges(t *testing.T) { anyBrowser(t, "en-US", testPageChanges) }

func testPageChanges(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	c.fill("Write a message", "I am writ")
	b.until("has('header small', 'typing…')")
	b.until("!has('header small', 'typing…')")
	c.key("ing\r")
	b.hears("I am writing")
	b.say("So I see")
	c.hears("So I see")

	c.actions("I am writing")
	c.press("Edit")
	c.fill("Write a message", "I was writing")
	c.press("Send")
	b.hears("I was writing")
	b.until("has('.theirs .meta', 'edited')")
	c.actions("So I see")
	c.press("Reply")
	c.fill("Write a message", "And now?")
	c.press("Send")
	b.hears("And now?")
	b.until("has('.theirs .quote', 'So I see')")
	c.actions("So I see")
	c.press("👍")
	b.until("has('.mine .reactions', '👍')")
	c.actions("I was writing")
	c.press("Delete")
	c.press("Delete")
	for _, at := range []*tab{b, c, f.talk(t, f.bob, f.cleo)} {
		at.until("has('.dialogue em', 'Message deleted') && !has('.text', 'writing') && has('.quote', 'So I see') && has('.reactions', '👍')")
		at.until("count('.dialogue') === 3")
	}
}
