package cmd

import (
	"fmt"
	"testing"
)

// rowMenu opens the menu of a row in the list with the right mouse button, and chooses an item.
func (b *tab) rowMenu(name, item string) {
	b.t.Helper()
	b.until(row(name))
	at := ask[[]float64](b, `(() => {
		const r = [...document.querySelectorAll('nav .row')].find((e) => e.innerText.includes(`+quote(name)+`)).getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2];
	})()`)
	b.clickAt(at[0], at[1], true)
	b.press(item)
	b.until("count('.menu') === 0")
}

// order is the expression for the names in the list, from the top.
const order = "[...document.querySelectorAll('nav .row b')].map((e) => e.innerText).join()"

// newFriendsOf returns more friends of a user, who have tunnels.
func newFriendsOf(t *testing.T, w *world, who *member, n int) []*member {
	t.Helper()
	var all []*member
	for range n {
		m := w.newMember(t, 0)
		m.login(t)
		who.befriend(t, m)
		all = append(all, m)
	}
	return all
}

// TestPageMarks pins, mutes and archives conversations on one device, and looks at another one.
func TestPageMarks(t *testing.T) { inChromium(t, testPageMarks) }

func testPageMarks(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	f.bob.login(t)
	friends := append([]*member{f.cleo}, newFriendsOf(t, f.world, f.bob, 7)...)
	f.bob.tunnel.close(t)
	f.cleo.login(t)
	name := func(i int) string { return "alias of " + friends[i].account }
	say := func(i int, text string) {
		t.Helper()
		friends[i].tunnel.send(t, dialogue(quote(text), f.bob.id, quote(text)))
		friends[i].tunnel.want(t, replyFrame(quote(text), 200))
	}
	one, two := f.page(t, f.bob, desk), f.page(t, f.bob, phone)
	for _, b := range []*tab{one, two} {
		ask[bool](b, `window.told = [], document.hasFocus = () => false, window.Notification = class {
			constructor(title, {body}) { told.push(body); }
			static requestPermission() { return Promise.resolve('granted'); }
		}, true`)
		b.allowNotifications()
	}
	for i := range friends {
		say(i, fmt.Sprint("Hello from ", i))
	}
	for _, b := range []*tab{one, two} {
		b.until(order + ".startsWith(" + quote(name(7)+","+name(6)) + ")")
		b.until("document.title === '(8) imctl' && told.length === 8")
	}

	one.rowMenu(name(2), "Pin")
	one.until(order + ".startsWith(" + quote(name(2)+","+name(7)) + ")") // the rows have moved
	one.rowMenu(name(3), "Mute")
	for _, b := range []*tab{one, two} {
		b.until(order + ".startsWith(" + quote(name(2)+","+name(7)) + ")")
		b.until("document.querySelector('nav .row').innerText.includes('pinned')")
		b.until("count('.count.quiet') === 1 && document.title === '(7) imctl'")
	}
	say(3, "Nobody is told")
	say(4, "Somebody is told")
	for _, b := range []*tab{one, two} {
		b.until("told.at(-1).includes('Somebody is told') && told.length === 9")
		b.until(order + ".startsWith(" + quote(name(2)+","+name(4)+","+name(3)) + ")")
	}

	// Archived: the muted one stays there, the other one comes back.
	for _, i := range []int{3, 5} {
		one.open(name(i))
		one.until("named('textarea', 'Write a message')")
		one.headerMenu()
		one.press("Archive")
		one.until("!(" + row(name(i)) + ")") // the rows below move up
	}
	for _, b := range []*tab{one, two} {
		b.until("has('nav .row', 'Archived (2)')")
		b.until("!(" + row(name(3)) + ") && !(" + row(name(5)) + ")")
	}
	say(3, "Still nobody is told")
	say(5, "Back to the list")
	for _, b := range []*tab{one, two} {
		b.until(order + ".startsWith(" + quote(name(2)+","+name(5)) + ")")
		b.until("has('nav .row', 'Archived (1)') && told.length === 10")
	}
	two.open("Archived (1)")
	two.until(order + " === " + quote(name(3)))
	two.press("Unread")
	two.until(order + ".startsWith(" + quote(name(2)+","+name(5)) + ") && !(" + row(name(3)) + ")")
	two.press("All")

	// What a third device learns by its login, and the keys.
	three := f.page(t, f.bob, desk)
	three.until(order + ".startsWith(" + quote(name(2)+","+name(5)) + ")")
	three.until("has('nav .row', 'Archived (1)')")
	ask[bool](three, "document.querySelector('nav .row').focus(), document.querySelector('nav .row').dispatchEvent(new MouseEvent('contextmenu', {bubbles: true, cancelable: true})), true")
	three.until("document.activeElement.innerText === 'Unpin'")
	three.key("\r")
	for _, b := range []*tab{one, three} {
		b.until(order + ".startsWith(" + quote(name(5)) + ") && count('.mark .i-pinned') === 0")
	}
}

// TestPageMarksStayHere checks that without kept conversations marks stay in the browser.
func TestPageMarksStayHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Keep = 0 }))
	bob, cleo := w.newFriends(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	name := "alias of " + cleo.account
	b.rowMenu(name, "Pin")
	b.until("count('.mark .i-pinned') === 1")
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, `"Hello"`))
	b.until(row("Hello"))
	b.rowMenu(name, "Archive")
	b.until("has('nav .row', 'Archived (1)')")
	b.reload()
	b.until("has('nav .row', 'Archived (1)') && !(" + row(name) + ")")
	cleo.tunnel.send(t, dialogue(`"2"`, bob.id, `"Hello again"`))
	b.until(row("Hello again"))
	b.until("count('.mark .i-pinned') === 1 && !has('nav .row', 'Archived')")
}
