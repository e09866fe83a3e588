package cmd

import (
	"fmt"
	"testing"
)

// seed lets a page send many dialogues, within the server's limit. The texts are an expression of i.
func (b *tab) seed(n int, text string) {
	b.t.Helper()
	ask[bool](b, fmt.Sprintf(`(async () => {
		const field = document.querySelector('.composer textarea');
		for (let i = 1; i <= %d; i++) {
			field.value = %s;
			document.querySelector('.composer').requestSubmit();
			if (i %% 50 === 0) await new Promise((done) => setTimeout(done, 1000));
		}
		return true;
	})()`, n, text))
}

// TestPageSearchesAll searches all conversations: what the browser holds and what only the server has, in any case and
// width and without spaces, newest first, without what was deleted and with the text that was edited. A press leads to
// the message.
func TestPageSearchesAll(t *testing.T) { anyBrowser(t, "en-US", testPageSearchesAll) }

func testPageSearchesAll(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	dora := f.friendOfCleo(t)
	b, d := f.talk(t, f.bob, f.cleo), f.talk(t, dora, f.cleo)
	b.say("The harbour at dawn")
	b.say("A harbour that is deleted")
	b.state("A harbour that is deleted", "kept")
	b.actions("A harbour that is deleted")
	b.press("Delete")
	b.press("Delete")
	b.say("A harbor that is spelled so")
	b.state("A harbor that is spelled so", "kept")
	b.actions("A harbor that is spelled so")
	b.press("Edit")
	b.fill("Write a message", "A harbour that is edited")
	b.key("\r")
	b.seed(320, "'Line ' + i")
	b.state("Line 320", "kept")
	d.say("今天我们去港口看ＨＡＲＢＯＵＲ吧")
	d.state("今天", "kept")

	c := f.page(t, f.cleo, desk)
	c.until(row("Line 320") + " && " + row("今天"))
	c.countCalls("/im/dialogues")
	c.fill("Search friends and people", "HARBOUR")
	c.until(row("看ＨＡＲＢＯＵＲ吧") + " && " + row("The harbour at dawn") + " && " + row("A harbour that is edited"))
	c.until("!has('nav .note', 'Searching older')")
	c.until("!has('nav .row', 'deleted') && !has('nav .row', 'spelled')")
	c.until("[...document.querySelectorAll('nav .row mark')].map((e) => e.innerText).join() === 'ＨＡＲＢＯＵＲ,harbour,harbour'")
	if n := ask[int](c, "calls"); n > 4 {
		t.Errorf("the search made %d calls for 326 dialogues, want at most 4", n)
	}
	// The cache has it all now.
	ask[bool](c, "calls = 0, true")
	c.fill("Search friends and people", "港口")
	c.until(row("今天我们去港口看"))
	c.fill("Search friends and people", "harbour at")
	c.until(row("The harbour at dawn") + " && !" + row("edited"))
	c.until("!has('nav .note', 'Searching older')")
	if n := ask[int](c, "calls"); n != 0 {
		t.Errorf("the second search made %d calls, want none", n)
	}
	c.open("The harbour at dawn")
	c.until("has('.hit .text', 'The harbour at dawn') && has('.hit mark', 'harbour at')")
	c.fill("Search friends and people", "Line 1")
	c.until("has('nav .row', 'more with')")
	c.open("more with")
	c.until("[...document.querySelectorAll('nav .row')].filter((e) => e.innerText.includes('Line 1')).length > 10")
}

// TestPageSearchStops checks that other words stop a search, and that it waits when the server asks for it.
func TestPageSearchStops(t *testing.T) { anyBrowser(t, "en-US", testPageSearchStops) }

func testPageSearchStops(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.seed(210, "'Line ' + i + (i < 3 ? ' is old' : '')")
	b.state("Line 210", "kept")
	c := f.page(t, f.cleo, desk)
	c.until(row("Line 210"))
	c.hook(`window.asked = 0; const f = window.fetch; window.fetch = (url, ...more) => {
		if (!String(url).includes('/im/dialogues')) return f(url, ...more);
		asked++;
		return asked === 1 ? Promise.resolve(new Response('', {status: 429, headers: {'Retry-After': '1'}})) : new Promise((done) => { window.go = () => done(f(url, ...more)); });
	}`)
	c.fill("Search friends and people", "is old")
	c.until("asked >= 1 && has('nav .note', 'Searching older messages')")
	c.until("asked >= 2")
	c.fill("Search friends and people", "")
	c.until("!has('nav .note', 'Searching older')")
	ask[bool](c, "go(), true")
	c.until(row("Line 210") + " && !has('nav .row', 'is old')")
	if n := ask[int](c, "asked"); n > 3 {
		t.Errorf("a stopped search made %d calls", n)
	}
}
