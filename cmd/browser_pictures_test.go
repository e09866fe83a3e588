package cmd

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"path/filepath"
	"testing"
)

// picturesDir is the directory that gets a picture of each view of the page.
var picturesDir = flag.String("pictures", "", "write pictures of the views of the page into this `directory`")

// pageDir has the page for tests of its looks, so that a change needs no build.
var pageDir = flag.String("page", "", "serve the page from this `directory`, such as ../bridge/www/v1")

// pageURL returns the address of the page of a server, or with -page of one that has the files of that directory.
func (w *world) pageURL(t testing.TB) string {
	t.Helper()
	if *pageDir == "" {
		return w.base(0) + pagePath
	}
	target, err := url.Parse(w.base(0))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(target))
	mux.Handle(path.Dir(pagePath)+"/", http.StripPrefix(path.Dir(pagePath), http.FileServer(http.Dir(*pageDir))))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + pagePath
}

// views are the states of the page of which there are pictures, and in which nothing may overflow. Each follows the one
// before it. A view that needs a wide or a narrow screen sets it.
var views = []struct {
	name string
	show func(d *demo, b *tab)
}{
	{"sign-in", func(_ *demo, b *tab) {
		b.until("count('.sign form') === 1 && document.querySelector('.rule').innerText.trim() !== ''")
	}},
	{"register", func(_ *demo, b *tab) {
		b.click(".toregister button")
		b.until("count('.sign [type=email]') === 1")
	}},
	{"list", func(d *demo, b *tab) {
		b.click(".sheet .other:not(.toregister) button")
		b.until("count('.sign [type=email]') === 0")
		b.hook("document.querySelector('[name=account]').value = " + quote(d.ann.account) +
			"; document.querySelector('[name=password]').value = " + quote(d.ann.password) + "; document.querySelector('.sign form').requestSubmit()")
		b.until("count('nav .row') > 5")
	}},
	{"talk", func(d *demo, b *tab) {
		b.hook("location.hash = " + quote(d.people["Maya Okafor"].id))
		b.until("has('.talk', 'long rope') && count('.composer .iconic') >= 3 && !document.querySelector('.details:not([hidden]):empty')?.checkVisibility()")
	}},
	{"menu", func(_ *demo, b *tab) { b.click(".talk header [aria-haspopup=menu]") }},
	{"about", func(_ *demo, b *tab) {
		b.hook("document.querySelector('.menu:popover-open').hidePopover(); if (!document.querySelector('.details')?.checkVisibility()) document.querySelector('.who').click()")
		b.until("count('dialog, .details:not([hidden])') >= 1")
	}},
	{"requests", func(_ *demo, b *tab) {
		b.closeAll()
		b.hook("location.hash = ''")
		b.click("[data-key=requests]")
		b.until("count('dialog li') === 2")
	}},
	{"profile", func(_ *demo, b *tab) {
		b.closeAll()
		b.click(".self")
		b.until("count('dialog .picture') === 1")
	}},
	{"settings", func(_ *demo, b *tab) {
		b.closeAll()
		b.click(".side header [aria-haspopup=menu]")
		b.hook("document.querySelectorAll('.menu:popover-open button')[2].click()")
		b.until("count('.settings') === 1")
	}},
	{"appearance", func(_ *demo, b *tab) { b.section(0, ".segments") }},
	{"notifications", func(_ *demo, b *tab) { b.section(1, "[role=switch]") }},
	{"devices", func(_ *demo, b *tab) { b.section(4, ".session") }},
	{"credentials", func(_ *demo, b *tab) { b.section(5, "[type=email]") }},
	{"data", func(_ *demo, b *tab) { b.section(6, ".buttons") }},
	{"delete", func(_ *demo, b *tab) { b.section(7, "[type=password]") }},
	{"quotes", func(d *demo, b *tab) {
		b.closeAll()
		b.hook("location.hash = " + quote(d.people["Sofia Lindqvist"].id))
		b.until("count('.audio') >= 1")
		b.until("(document.querySelector('.stage .scroll').scrollTop = 0, count('.stage .quote') > 0 && count('.reactions') >= 1)")
	}},
	{"long", func(_ *demo, b *tab) {
		b.until("(document.querySelector('.bubble > .plain') ?? [...document.querySelectorAll('.dialogue')].at(-1)).scrollIntoView({block: 'center'}) ?? count('.bubble > .plain') === 1")
	}},
	{"files", func(_ *demo, b *tab) {
		b.until("(document.querySelector('.stage .scroll').scrollTop = 1e9, has('.text', 'Rehearsal') && count('.audio') >= 1)")
	}},
	{"reply", func(_ *demo, b *tab) {
		b.action("Rehearsal", "reply")
		b.until("count('.banner') === 1")
	}},
	{"tray", func(_ *demo, b *tab) {
		b.hook("document.querySelector('.banner button').click()")
		b.hook("const input = document.querySelector('.composer input[type=file]'); input.files = " + transfer(
			pngOf(b.t, "poster.png", 60, 40), pageFile{"A list of all the chairs that we have, with the rooms they are in.txt", "text/plain", []byte("chairs")}) +
			".files; input.dispatchEvent(new Event('change'))")
		b.until("count('.tray li') === 2 && count('.tray img') === 1")
	}},
	{"actions", func(_ *demo, b *tab) {
		b.hook("document.querySelectorAll('.tray li button').forEach((one) => one.click())")
		b.until("count('.tray') === 0")
		b.action("Rehearsal", "")
	}},
	{"reactions", func(_ *demo, b *tab) {
		b.click(".actions .strip .iconic")
		b.until("count('.actions .emojis') === 1")
	}},
	{"sheet", func(_ *demo, b *tab) {
		b.hook("dispatchEvent(new Event('blur')); window.matches = matchMedia; matchMedia = () => ({matches: true})")
		b.action("Rehearsal", "")
		b.until("count('.actions.bottom') === 1")
	}},
	{"forward", func(_ *demo, b *tab) {
		b.hook("matchMedia = matches; dispatchEvent(new Event('blur'))")
		b.action("Rehearsal", "forward")
		b.until("count('dialog .choices li') > 5")
	}},
	{"viewer", func(_ *demo, b *tab) {
		b.closeAll()
		b.until("((document.querySelector('.frame') ?? document.querySelector('.dialogue')).scrollIntoView({block: 'center'}), count('.frame img') === 1)")
		b.click(".frame")
		b.until("count('.viewer .picture-stage img') === 1")
	}},
	{"compare", func(_ *demo, b *tab) {
		b.closeAll()
		b.hook("const shown = document.querySelector('.details:not([hidden])'); if (!shown?.checkVisibility()) document.querySelector('.who').click()")
		b.until("count('dialog .buttons, .details .buttons') >= 1")
		b.hook("[...document.querySelectorAll('dialog .buttons button, .details .buttons button')].at(0).click()")
		b.until("count('dialog .code') === 1")
	}},
	{"search", func(_ *demo, b *tab) {
		b.closeAll()
		b.hook("location.hash = ''; const field = document.querySelector('.side [type=search]'); field.value = 'ma'; field.dispatchEvent(new Event('input'))")
		b.until("count('nav .row mark') >= 1 && count('nav .section') >= 2")
	}},
	{"archived", func(_ *demo, b *tab) {
		b.hook("const field = document.querySelector('.side [type=search]'); field.value = ''; field.dispatchEvent(new Event('input'))")
		b.until("count('.chips button') === 3")
		b.hook("[...document.querySelectorAll('.chips button')].at(-1).click()")
		b.until("has('nav .row', 'Tom Baker') && count('nav .row') === 1")
	}},
	{"own-code", func(_ *demo, b *tab) {
		b.hook("document.querySelector('.chips button').click()")
		b.click(".side header [aria-haspopup=menu]")
		b.hook("document.querySelectorAll('.menu:popover-open button')[0].click()")
		b.until("count('.qr svg') === 1")
	}},
	{"sign-out", func(_ *demo, b *tab) {
		b.closeAll()
		b.click(".side header [aria-haspopup=menu]")
		b.hook("document.querySelectorAll('.menu:popover-open button')[3].click()")
		b.until("count('dialog .danger') === 1")
	}},
}

// action opens the menu of the newest dialogue with a text, in any language, and chooses the item with an icon if it is
// named.
func (b *tab) action(text, icon string) {
	b.t.Helper()
	b.hook("document.querySelectorAll('.actions').forEach((one) => one.remove())")
	b.until("Boolean(" + rowOf(text) + ")")
	b.hook(rowOf(text) + ".querySelector('.act').click()")
	b.until("count('.actions:popover-open') === 1")
	if icon != "" {
		b.hook("document.querySelector('.actions .i-" + icon + "').closest('button').click()")
	}
}

// click clicks on the first element of a selector, in any language.
func (b *tab) click(css string) {
	b.t.Helper()
	b.until("document.querySelector(" + quote(css) + ")?.checkVisibility()")
	b.hook("document.querySelector(" + quote(css) + ").click()")
}

// section opens the n-th section of the settings and waits for an element of it.
func (b *tab) section(n int, css string) {
	b.t.Helper()
	b.hook("document.querySelectorAll('.settings nav .item')[" + quote(string(rune('1'+n))) + "].click()")
	b.until("document.querySelector('.settings section')?.querySelector(" + quote(css) + ")?.checkVisibility()")
}

// textSize sets the size that the browser gives text, and makes the page apply it.
func (b *tab) textSize(size string) {
	b.t.Helper()
	b.hook("document.documentElement.style.fontSize = " + quote(size) + "; dispatchEvent(new Event('look'))")
}

// closeAll closes all dialogs.
func (b *tab) closeAll() {
	b.t.Helper()
	b.hook("document.querySelectorAll('dialog').forEach((one) => one.close())")
	b.until("count('dialog') === 0")
}

// TestPagePictures writes pictures of all views on all kinds of screens, for people to look at. The pictures of the
// README are among them.
func TestPagePictures(t *testing.T) {
	if *picturesDir == "" {
		t.Skip("no -pictures")
	}
	browser := chromium(t, "en-US")
	d := newDemo(t)
	address := d.pageURL(t)
	kinds := map[string]struct {
		screen
		setup string
	}{
		"desk-light":  {screen{1280, 800, false}, ""},
		"desk-dark":   {screen{1280, 800, true}, ""},
		"phone-light": {screen{390, 844, false}, ""},
		"phone-dark":  {screen{390, 844, true}, ""},
		"wide-light":  {screen{1920, 1080, false}, ""},
		"tablet-dark": {screen{820, 1180, true}, ""},
		"land-light":  {screen{844, 390, false}, ""},
		"rtl-light":   {screen{1000, 700, false}, "rtl"},
		"rtl-phone":   {screen{390, 844, true}, "rtl"},
		"twice-phone": {screen{390, 844, false}, "twice"},
		"twice-320":   {screen{320, 700, true}, "twice"},
		"twice-desk":  {screen{1280, 800, false}, "twice"},
	}
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			enter := func(who string) *tab {
				b := openTab(t, browser, who, address, k.screen)
				switch k.setup {
				case "rtl":
					b.hook("document.documentElement.dir = 'rtl'")
				case "twice":
					b.textSize("200%")
				}
				return b
			}
			b := enter(kind)
			for _, v := range views {
				v.show(d, b)
				b.until("[...document.images].every((one) => one.complete)")
				b.screenshot(filepath.Join(*picturesDir, kind+"-"+v.name+".png"))
			}
			b = enter("new")
			b.newcomer("New " + kind)
			b.until("document.querySelector('.start')")
			b.screenshot(filepath.Join(*picturesDir, kind+"-empty.png"))
		})
	}
}
