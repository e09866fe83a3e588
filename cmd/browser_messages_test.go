package cmd

import (
	"fmt"
	"testing"
)

// rowOf is the expression of the newest dialogue on the screen that contains a text.
func rowOf(text string) string {
	return fmt.Sprintf("[...document.querySelectorAll('.dialogue')].findLast((e) => e.querySelector('.text')?.innerText.includes(%s))", quote(text))
}

// actions opens the menu of a dialogue by its button. By the keyboard, since rows move while dialogues arrive.
func (b *tab) actions(text string) {
	b.t.Helper()
	b.until("(" + rowOf(text) + "?.querySelector('.act')?.focus(), document.activeElement === " + rowOf(text) + "?.querySelector('.act'))")
	b.key("\r")
	b.until("count('.actions:popover-open') === 1")
}

// TestPageReplies checks replies, from the menu and by keyboard, and that the quote leads to the message, which may be
// pages away.
func TestPageReplies(t *testing.T) { anyBrowser(t, "en-US", testPageReplies) }

func testPageReplies(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.say("The very first")
	c.hears("The very first")
	b.seed(140, "'Line ' + i")
	b.state("Line 140", "read")

	c.actions("Line 140")
	c.press("Reply")
	c.until("has('.banner', 'Line 140')")
	c.key("\x1b")
	c.until("count('.banner') === 0")
	c.say("No reply")
	b.hears("No reply")
	b.until("count('.theirs .quote') === 0")
	c.actions("Line 140")
	c.press("Reply")
	c.until("has('.banner', 'Line 140')")
	c.say("And a reply")
	b.until("has('.theirs .quote', 'Line 140') && has('.theirs .quote', 'You')")
	c.until("count('.banner') === 0")

	// A reply to the first one, written by a client that has all of them: the page gets the text and the way there.
	again := f.talk(t, f.cleo, f.bob)
	ask[bool](c, fmt.Sprintf("sockets[0].send(JSON.stringify({id: 'far', toFriend: %q, payload: 'So it began', re: 1})), true", f.bob.id))
	again.until("has('.mine .quote', 'The very first')")
	again.until("!has('.text', 'The very first')")
	again.pressOn("[...document.querySelectorAll('.mine .quote')].at(-1)")
	again.until("has('.hit .text', 'The very first') && shown(document.querySelector('.hit'))")
	again.until("(() => { const r = document.querySelector('.dialogue').getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight; })()")
}

// TestPageReacts checks that reactions are counted, that the user's own is marked, and that another press takes it back.
func TestPageReacts(t *testing.T) { anyBrowser(t, "en-US", testPageReacts) }

func testPageReacts(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.say("Good news")
	c.hears("Good news")
	c.actions("Good news")
	c.press("👍")
	b.until("has('.mine .reactions button[aria-pressed=false]', '👍')")
	c.until("has('.theirs .reactions button[aria-pressed=true]', '👍')")
	b.pressOn("document.querySelector('.reactions button')")
	for _, at := range []*tab{b, c, f.talk(t, f.cleo, f.bob)} {
		at.until("document.querySelector('.reactions button[aria-pressed=true]')?.innerText.replace(/\\s/g, '') === '👍2'")
	}
	c.pressOn("document.querySelector('.reactions button')")
	c.until("has('.reactions button[aria-pressed=false]', '👍')")
	b.until("document.querySelector('.reactions button[aria-pressed=true]')?.innerText === '👍'")
	b.pressOn("document.querySelector('.reactions button')")
	for _, at := range []*tab{b, c, f.talk(t, f.bob, f.cleo)} {
		at.until("count('.dialogue') === 1 && count('.reactions') === 0")
	}
	// The list still shows the message, not what changed it, and more reactions are at hand.
	c.until("has('nav .row', 'Good news')")
	c.actions("Good news")
	c.press("More")
	c.press("🚀")
	b.until("has('.reactions', '🚀')")
}

// TestPageEdits checks the way to edit by the keyboard, that Escape gives the draft back, and what the friend sees.
func TestPageEdits(t *testing.T) { anyBrowser(t, "en-US", testPageEdits) }

func testPageEdits(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.say("I am writting *this*")
	c.say("I see")
	b.hears("I see")
	b.until("document.activeElement.tagName === 'TEXTAREA'")
	b.key("\u0304") // ArrowUp
	b.until("document.querySelector('.composer textarea').value === 'I am writting *this*' && has('.banner', 'Edit message')")
	b.key("\x1b")
	b.until("document.querySelector('.composer textarea').value.trim() === '' && count('.banner') === 0")
	b.fill("Write a message", "A draft")
	b.actions("writting")
	b.press("Edit")
	b.fill("Write a message", "I am writing *this*")
	b.key("\r")
	b.until("document.querySelector('.composer textarea').value.trim() === 'A draft'")
	c.hears("I am writing this")
	c.until("has('.theirs .meta', 'edited')")
	c.actions("I am writing")
	c.until("!named('button', 'Edit') && !named('button', 'Delete') && named('button', 'Reply')")
	c.key("\x1b")
	c.until("count('.actions') === 0")

	b.actions("I am writing")
	b.press("Delete")
	b.press("Delete")
	for _, at := range []*tab{b, c, f.talk(t, f.cleo, f.bob)} {
		at.until("has('.dialogue em', 'Message deleted') && !has('.text', 'writing') && count('.dialogue') === 2")
	}
}

// TestPageForwards forwards a message to a friend, found by name.
func TestPageForwards(t *testing.T) { anyBrowser(t, "en-US", testPageForwards) }

func testPageForwards(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	dora := f.friendOfCleo(t)
	b, c, d := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob), f.page(t, dora, desk)
	b.say("Pass *it* on")
	c.hears("Pass it on")
	c.actions("Pass it on")
	c.press("Forward")
	c.press("Send")
	c.sees("Choose at least one friend.")
	c.fill("Search friends", "alias of "+dora.account)
	c.until("count('.choices li') === 1")
	c.pressOn("document.querySelector('.choices input')")
	c.press("Send")
	d.until("has('nav .row', 'Pass it on')")
}

// TestPageActionsByKeyboard reaches every action without a mouse.
func TestPageActionsByKeyboard(t *testing.T) { eachBrowser(t, "en-US", testPageActionsByKeyboard) }

func testPageActionsByKeyboard(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.say("One")
	b.say("Two")
	c.hears("Two")
	ask[bool](c, "document.querySelector('.stage .scroll').focus(), true")
	c.key("\t")
	c.until("document.activeElement.closest('.dialogue')?.innerText.includes('Two')")
	c.key("\u0304") // ArrowUp
	c.until("document.activeElement.closest('.dialogue')?.innerText.includes('One')")
	c.key("\r")
	c.until("document.activeElement.innerText === 'Reply'")
	c.key("\u0304") // ArrowUp: to the strip
	c.until("document.activeElement.closest('.strip')")
	c.key("\x1b")
	c.until("document.activeElement.closest('.dialogue')?.innerText.includes('One')")
	c.key("\r\r")
	c.until("has('.banner', 'One') && document.activeElement.tagName === 'TEXTAREA'")

	// The right button opens the same menu, where it was pressed; a press elsewhere closes it.
	at := ask[[]float64](c, "(() => {"+finders+"const r = "+rowOf("Two")+".querySelector('.text').getBoundingClientRect(); return [r.x + 5, r.y + 5]; })()")
	c.clickAt(at[0], at[1], true)
	c.until("count('.actions') === 1 && named('button', 'Forward')")
	c.clickAt(700, 600, false)
	c.until("count('.actions') === 0")
}

// TestPageMessagesFast measures one more dialogue, and one more key, in a conversation of 10,000. What it wants is far
// from what an idle machine does: it has to hold on a busy one.
func TestPageMessagesFast(t *testing.T) { anyBrowser(t, "en-US", testPageMessagesFast) }

func testPageMessagesFast(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.page(t, f.bob, desk)
	b.until(row("alias of " + f.cleo.account))
	ask[bool](b, `new Promise((resolve, reject) => {
		const request = indexedDB.open('imctl');
		request.onsuccess = () => {
			const of = request.result.transaction(['dialogues'], 'readwrite');
			const now = Date.now() * 1000;
			for (let i = 0; i < 10000; i++) {
				of.objectStore('dialogues').put({me: '`+f.bob.id+`', friend: '`+f.cleo.id+`', n: now - (10000 - i) * 60e6, id: 'seed' + i, mine: i % 3 === 0, state: 'delivered', code: 0, text: 'Line ' + i + ' ' + '*word* '.repeat(i * 7919 % 60)});
			}
			of.oncomplete = () => resolve(true);
			of.onabort = () => reject(of.error);
		};
	})`)
	b.open("alias of " + f.cleo.account)
	b.hears("Line 9998")
	r := ask[struct{ Draw, Key float64 }](b, `(async () => {
		const field = document.querySelector('.composer textarea');
		const median = (all) => all.sort((a, b) => a - b)[all.length >> 1];
		const draws = [], keys = [];
		for (let i = 0; i < 15; i++) {
			field.value = 'Measured ' + i + '.';
			let from = performance.now();
			field.dispatchEvent(new Event('input'));
			keys.push(performance.now() - from);
			from = performance.now();
			document.querySelector('.composer').requestSubmit();
			while (![...document.querySelectorAll('.mine .text')].some((e) => e.textContent === 'Measured ' + i + '.')) await new Promise(requestAnimationFrame);
			draws.push(performance.now() - from);
		}
		return {draw: median(draws), key: median(keys)};
	})()`)
	t.Logf("in 10,000 dialogues, one more is drawn after %.1f ms, and a key takes %.1f ms", r.Draw, r.Key)
	if r.Draw > 4000 || r.Key > 500 {
		t.Error("a long conversation is slow")
	}
}
