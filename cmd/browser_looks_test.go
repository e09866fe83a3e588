package cmd

import (
	"fmt"
	"testing"
)

// overflows lists what is wider than its place, what leaves the screen, buttons that clip their text, and words of the
// page that are broken although the text has its usual size.
const overflows = `(() => {
	const found = [], root = document.documentElement, limit = innerWidth + 1;
	const name = (e) => e.tagName.toLowerCase() + '.' + (e.getAttribute('class') ?? '') + ' "' + (e.innerText ?? '').slice(0, 30).replace(/\s+/g, ' ') + '"';
	if (root.scrollWidth > root.clientWidth) found.push('the page is ' + root.scrollWidth + ' wide');
	const seen = (e) => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !e.closest('.hidden');
	for (const e of document.querySelectorAll('body *')) {
		if (!seen(e) || e.closest('svg') && e.tagName !== 'svg' || e.parentElement.closest('pre, .sub')) continue; // code scrolls, and a preview is cut
		const {left, right, width, height} = e.getBoundingClientRect(), style = getComputedStyle(e);
		if (!width || !height) continue;
		if (left < -1 || right > limit) found.push(name(e) + ' is at ' + left + '..' + right);
		const scrolls = /auto|scroll/.test(style.overflowX), cut = style.textOverflow === 'ellipsis', input = /^(INPUT|SELECT|TEXTAREA|CANVAS|svg)$/.test(e.tagName);
		if (e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !scrolls && !cut && !input) found.push(name(e) + ' has ' + e.scrollWidth + ' in ' + e.clientWidth);
		if (e.tagName === 'BUTTON' && e.scrollHeight > e.clientHeight + 2) found.push(name(e) + ' has a height of ' + e.scrollHeight + ' in ' + e.clientHeight);
	}
	if (parseFloat(getComputedStyle(root).fontSize) > 16) return found.join('\n');
	for (const e of document.querySelectorAll('button, h1, h2, h3, label, legend, summary, p')) {
		if (!seen(e) || e.querySelector('[dir=auto]') || e.closest('[dir=auto], .lead')) continue;
		const walker = document.createTreeWalker(e, NodeFilter.SHOW_TEXT), range = new Range();
		for (let node; (node = walker.nextNode());) {
			for (const {0: word, index} of node.data.matchAll(/[a-zà-ÿß]+/gi)) {
				range.setStart(node, index);
				range.setEnd(node, index + word.length);
				if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) found.push(name(e) + ' breaks ' + word);
			}
		}
	}
	return found.join('\n');
})()`

// TestPageFits opens all views in all languages, in both writing directions, on screens of all widths, with text of the
// usual and of twice the usual size: nothing is wider than its place, and no word is broken.
func TestPageFits(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	address := d.pageURL(t)
	for language, direction := range map[string]string{"en-US": "ltr", "de-DE": "ltr", "zh-CN": "ltr", "en-GB": "rtl"} {
		t.Run(language+" "+direction, func(t *testing.T) {
			browser := chromium(t, language)
			b := openTab(t, browser, language, address, desk)
			fits := func(view string) {
				b.hook("document.documentElement.dir = " + quote(direction))
				for _, width := range []int64{320, 390, 768, 1280, 1920} {
					b.look(screen{width, 800, false})
					for _, size := range []string{"100%", "200%"} {
						b.textSize(size)
						b.until("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
						if found := ask[string](b, overflows); found != "" {
							t.Errorf("%s, %d pixels, text %s:\n%s", view, width, size, found)
						}
					}
				}
				b.look(desk)
				b.textSize("")
			}
			for _, v := range views {
				v.show(d, b)
				fits(v.name)
			}
			b = openTab(t, browser, "new", address, desk)
			b.newcomer("New " + language)
			fits("empty")
		})
	}
}

// newcomer registers in any language.
func (b *tab) newcomer(name string) {
	b.t.Helper()
	b.click(".toregister button")
	b.until("count('.sign [type=email]') === 1")
	b.hook(fmt.Sprintf(`const of = (css) => document.querySelector('.sign ' + css);
		of('[name=account]').value = %q; of('[name=password]').value = %q; of('[type=email]').value = 'new@example.org';
		of('form').requestSubmit()`, name, passwordOf(name)))
	b.until("count('.welcome') === 1")
}
