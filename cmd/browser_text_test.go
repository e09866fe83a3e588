package cmd

import (
	"fmt"
	"strings"
	"testing"
)

// TestPageLinks checks where links end: before other scripts and punctuation, but not within a host or a path.
func TestPageLinks(t *testing.T) { anyBrowser(t, "en-US", testPageLinks) }

func testPageLinks(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	for i, l := range []struct{ text, links string }{
		{"看https://example.com/a，很好", "https://example.com/a"},
		{"https://example.com很好。", "https://example.com"},
		{"打开https://example.com/a/看看", "https://example.com/a/"},
		{"见 https://zh.example.org/wiki/北京 吧", "https://zh.example.org/wiki/北京"},
		{"日本語は https://日本語.example/パス。", "https://日本語.example/パス"},
		{"https://bücher.example/straße_(x)?q=%E5%8C%97#a.", "https://bücher.example/straße_(x)?q=%E5%8C%97#a"},
		{"(see www.example.com), or write to me@example.org!", "www.example.com me@example.org"},
		{"写信给a.b+c@example.org吧", "a.b+c@example.org"},
		{"https://bank.example@evil.example or http://a:b@evil.example/", ""},
		{"see *https://example.com/a_b_c* and 2*3*4", "https://example.com/a_b_c"},
		{"a@b, x.y, http://, www., 10:30", ""},
	} {
		c.say(fmt.Sprint(i, ". ", l.text))
		b.hears(fmt.Sprint(i, ". "))
		if got := ask[string](b, "[...[...document.querySelectorAll('.theirs')].at(-1).querySelectorAll('a')].map((e) => e.textContent).join(' ')"); got != l.links {
			t.Errorf("%q has the links %q, want %q", l.text, got, l.links)
		}
	}
	for _, href := range []string{"https://www.example.com/", "mailto:me@example.org"} {
		b.until(fmt.Sprintf("document.querySelector('.text a[href=%s]')", quote(href)))
	}
}

// TestPageFormats checks what is formatted, what is not, and that the list, the search and the field for edits have the
// text.
func TestPageFormats(t *testing.T) { anyBrowser(t, "en-US", testPageFormats) }

func testPageFormats(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	last := "[...document.querySelectorAll('.theirs')].at(-1)"
	for i, m := range []struct{ text, shown string }{
		{"*so* _and_ **more** ~~less~~ `a*b*c`", "em:so em:and strong:more s:less code:a*b*c"},
		{"snake_case_name 2*3*4 a * b * c *.go,*.js __init__ (*_*)", ""},
		{"这是*重点*吧", "em:重点"},
		{"**_both_**", "strong:both em:both"},
		{"`not *this*` but *this*", "code:not *this* em:this"},
		{"f(*a, *b) and f(*a,*b)", ""},
	} {
		start := fmt.Sprintf("Text %d: ", i) // which is in no other text
		c.say(start + m.text)
		b.hears(start)
		got := ask[string](b, "[..."+last+".querySelector('.text').querySelectorAll('*')].map((e) => e.localName + ':' + e.textContent).join(' ')")
		if got != m.shown {
			t.Errorf("%q is shown as %q, want %q", m.text, got, m.shown)
		}
	}
	c.say("> quoted *so*\n> twice\nanswer\n```go\nx := *p // *no*\n```\nend *now*")
	b.hears("end now")
	b.until("has('.theirs blockquote', 'quoted so') && has('.theirs pre', 'x := *p // *no*') && !has('.theirs pre', 'go')")
	b.until(row("quoted so twice answer x := *p"))

	c.say(strings.Repeat("A long story. ", 400) + "The end.")
	b.until("has('.theirs', 'Show all') && !has('.text', 'The end.')")
	b.press("Show all")
	b.hears("The end.")
	c.until("document.querySelector('.composer textarea').value.trim() === ''")
}

// TestPageCopies copies one message as it was written, and several with their time and writer.
func TestPageCopies(t *testing.T) { eachBrowser(t, "en-US", testPageCopies) }

func testPageCopies(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.say("My *first*")
	c.say("Yours")
	b.hears("Yours")
	b.state("My first", "read")
	copied := `(() => {
		const event = new ClipboardEvent('copy', {clipboardData: new DataTransfer(), bubbles: true, cancelable: true});
		document.querySelector('.dialogue .text').dispatchEvent(event);
		return event.defaultPrevented ? event.clipboardData.getData('text/plain') : '(the browser copies)';
	})()`
	ask[bool](b, "getSelection().selectAllChildren(document.querySelector('.mine')), true")
	if got := ask[string](b, copied); got != "My *first*" {
		t.Errorf("copied %q, want the text as written", got)
	}
	ask[bool](b, "getSelection().selectAllChildren(document.querySelector('.dialogues')), true")
	b.until("/^\\[[^\\]]*\\d:\\d\\d[^\\]]*\\] You: My \\*first\\*\\n\\[[^\\]]+\\] alias of [^:]+: Yours$/.test(" + copied + ")")
	ask[bool](b, "(() => { const text = document.querySelector('.theirs .text').firstChild; getSelection().setBaseAndExtent(text, 1, text, 4); return true; })()")
	if got := ask[string](b, copied); got != "our" {
		t.Errorf("copied %q, want the selected part", got)
	}
	b.actions("Yours")
	ask[bool](b, "document.addEventListener('copy', (event) => { window.copied = event.clipboardData.getData('text/plain'); }), Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}}), true")
	b.press("Copy")
	b.until("window.copied === 'Yours'")
}

// TestPageBubbles checks that text and time keep a distance in both directions.
func TestPageBubbles(t *testing.T) { eachBrowser(t, "en-US", testPageBubbles) }

func testPageBubbles(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	for _, text := range []string{"שלום", "مرحبا بالعالم", "Hello", "שלום Hello שלום", "Hello שלום", "12:30", "مرحبا\nHello", "Hello\nשלום"} {
		for i, at := range []*tab{b, c} {
			at.say(text)
			other := []*tab{c, b}[i]
			other.until(fmt.Sprintf("[...document.querySelectorAll('.theirs .text')].at(-1)?.innerText === %s", quote(text)))
			gap := ask[float64](other, `(() => {
				const bubble = [...document.querySelectorAll('.theirs .bubble')].at(-1);
				const time = bubble.querySelector('.meta').getBoundingClientRect();
				const range = document.createRange();
				range.selectNodeContents(bubble.querySelector('.text'));
				return Math.min(...[...range.getClientRects()].map((r) => Math.max(time.left - r.right, r.left - time.right, time.top - r.bottom + 8, r.top - time.bottom + 8)));
			})()`)
			if gap < 6 {
				t.Errorf("%q: the time is %.1f pixels from the text", text, gap)
			}
		}
	}
}

// TestPageMidnight checks that the days in a conversation and in the list change with the day.
func TestPageMidnight(t *testing.T) { anyBrowser(t, "en-US", testPageMidnight) }

func testPageMidnight(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.say("Good night")
	b.until("has('.day', 'Today')")
	b.hook(`const D = Date; window.Date = class extends D {
		constructor(...at) { at.length ? super(...at) : super(D.now() + 864e5); }
		static now() { return D.now() + 864e5; }
	}; dispatchEvent(new Event('focus'))`)
	b.until("has('.day', 'Yesterday') && !has('.day', 'Today') && has('nav .row', 'Yesterday')")
}

// TestPageTypesAnywhere checks that typing and pasting with the focus on the messages goes to the composer, and that a
// ring around them shows only after Tab.
func TestPageTypesAnywhere(t *testing.T) { eachBrowser(t, "en-US", testPageTypesAnywhere) }

func testPageTypesAnywhere(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.say("First")
	b.state("First", "kept")
	ask[bool](b, "document.querySelector('.stage .scroll').focus(), true")
	b.until("getComputedStyle(document.querySelector('.stage .scroll')).outlineStyle === 'none' && getComputedStyle(document.querySelector('.stage .scroll')).boxShadow === 'none'")
	b.key("hi there")
	b.until("document.querySelector('.composer textarea').value.trim() === 'hi there' && document.activeElement.tagName === 'TEXTAREA'")
	ask[bool](b, `(() => {
		const scroller = document.querySelector('.stage .scroll');
		scroller.focus();
		const event = new ClipboardEvent('paste', {clipboardData: new DataTransfer(), bubbles: true, cancelable: true});
		event.clipboardData.setData('text/plain', ', you'); // Firefox does not copy what the DataTransfer holds
		return scroller.dispatchEvent(event);
	})()`)
	b.until("document.querySelector('.composer textarea').value.trim() === 'hi there, you'")
	b.press("Search in this conversation")
	b.until("document.activeElement.type === 'search'")
	b.key("x")
	b.until("document.querySelector('.composer textarea').value.trim() === 'hi there, you'")
}

// TestPageComposes checks that a key which belongs to an input method does not send.
func TestPageComposes(t *testing.T) { eachBrowser(t, "en-US", testPageComposes) }

func testPageComposes(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.fill("Write a message", "ni")
	// Chromium and Firefox, Safari, and Safari's older way: the composition ends before the key.
	ask[bool](b, `(() => {
		const field = document.querySelector('.composer textarea');
		const enter = (more) => field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, ...more}));
		enter({isComposing: true});
		enter({keyCode: 229});
		field.dispatchEvent(new CompositionEvent('compositionend', {data: '你'}));
		enter({keyCode: 13});
		return true;
	})()`)
	b.until("document.querySelector('.composer textarea').value === 'ni' && count('.dialogue') === 0")
	b.key("\r")
	b.state("ni", "kept")
}

// TestPageTellsOfNew checks the line above what came while the window had no focus, and the count of what came below.
func TestPageTellsOfNew(t *testing.T) { anyBrowser(t, "en-US", testPageTellsOfNew) }

func testPageTellsOfNew(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	for i := range 30 {
		c.say(fmt.Sprint("Line ", i))
	}
	b.hears("Line 29")
	b.until("count('.day.new') === 0")
	b.hook("document.hasFocus = () => false")
	c.say("While away")
	b.hears("While away")
	b.until("document.querySelector('.day.new')?.nextElementSibling.innerText.includes('While away')")
	b.hook("document.hasFocus = () => true; dispatchEvent(new Event('focus'))")
	c.state("While away", "read")
	c.say("And here")
	b.hears("And here")
	b.until("document.querySelector('.day.new').nextElementSibling.innerText.includes('While away')")

	b.until("document.querySelector('.stage .scroll').scrollTop = 0, count('.toend') === 1")
	c.say("Below")
	c.say("And below")
	b.until("document.querySelector('.toend .count').innerText === '2' && document.querySelector('.toend').getAttribute('aria-label').includes('2')")
	b.until("(document.querySelector('.stage .scroll').scrollTop = 60, has('.floating.on', 'Today'))")
	b.pressOn("document.querySelector('.toend')")
	b.hears("And below")
	b.until("count('.toend') === 0")
}
