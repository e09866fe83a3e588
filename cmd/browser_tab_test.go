package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// tab is the page of one user, in its own browser context: it shares neither storage nor sessions with other tabs.
type tab struct {
	t    testing.TB
	who  string
	page webPage
	mu   sync.Mutex // guards said
	said []string   // errors in the console
}

type screen struct {
	width, height int64
	dark          bool
}

var (
	desk  = screen{1180, 760, false}
	phone = screen{390, 780, false}
)

// openTab opens the page for a user. The console may have errors about lost connections, but no others.
func openTab(t testing.TB, browser webBrowser, who, url string, as screen) *tab {
	t.Helper()
	return newTab(t, browser.page, who, url, as)
}

// beside opens the page in another tab of the same browser context.
func (b *tab) beside(url string) *tab {
	b.t.Helper()
	return newTab(b.t, b.page.beside, b.who+" beside", url, desk)
}

func newTab(t testing.TB, open func(context.Context, func(string)) (webPage, error), who, url string, as screen) *tab {
	t.Helper()
	b := &tab{t: t, who: who}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	var err error
	b.page, err = open(ctx, func(what string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.said = append(b.said, what)
	})
	if err != nil {
		t.Fatalf("open a page for %s: %v", who, err)
	}
	t.Cleanup(func() {
		if err := b.page.close(); err != nil {
			t.Errorf("close the page of %s: %v", who, err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.said {
			t.Errorf("%s's console: %s", who, s)
		}
	})
	b.look(as)
	b.navigate(url)
	return b
}

// stepTimeout is the most that a step on a page takes, while other browsers and servers keep the machine busy.
const stepTimeout = 2 * waitTimeout

// try does a step, and fails the test if the step fails or takes longer than stepTimeout.
func (b *tab) try(what string, step func(context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), stepTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		b.fail(what, err)
	}
}

// fail fails the test with the text of the page.
func (b *tab) fail(what string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	text := "nothing: it does not answer"
	if v, err := b.page.evaluate(ctx, "document.title + '\\n' + location + '\\n' + document.body.innerText"); err == nil {
		if err := json.Unmarshal(v, &text); err != nil {
			text = string(v)
		}
	}
	b.t.Fatalf("%s: %s: %v\nthe page shows:\n%s", b.who, what, err, text)
}

// look sets the size and theme of the tab.
func (b *tab) look(as screen) {
	b.t.Helper()
	b.try("look", func(ctx context.Context) error { return b.page.look(ctx, as) })
}

// navigate opens another address in the tab, and waits for it to be loaded.
func (b *tab) navigate(url string) {
	b.t.Helper()
	b.try("navigate to "+url, func(ctx context.Context) error { return b.page.navigate(ctx, url) })
}

// reload loads the page again, and waits for it.
func (b *tab) reload() {
	b.t.Helper()
	b.try("reload", b.page.reload)
}

// ask evaluates an expression in the page, and awaits a promise.
func ask[T any](b *tab, expression string) (v T) {
	b.t.Helper()
	b.try(expression, func(ctx context.Context) error {
		text, err := b.page.evaluate(ctx, expression)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("the value is %.200q: %w", text, err)
		}
		return nil
	})
	return v
}

// finders are what the expressions of tests may use: `shown` tells what a person can see, `named` finds by the name
// that a screen reader would say, in the dialog if one is open.
const finders = `
const shown = (e) => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length > 0;
const root = () => [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
const label = (e) => (e.getAttribute('aria-label') ?? e.labels?.[0]?.innerText ?? e.innerText).replace(/[\u2066-\u2069]/g, '').replace(/\s+/g, ' ').trim();
const named = (css, name) => [...root().querySelectorAll(css)].filter(shown).find((e) => label(e) === name || label(e).startsWith(name + ' '));
const has = (css, text) => [...document.querySelectorAll(css)].filter(shown).some((e) => e.innerText.replace(/[\u2066-\u2069]/g, '').includes(text));
const count = (css) => [...document.querySelectorAll(css)].filter(shown).length;
`

// until waits for an expression to hold: it looks whenever the page changes, and goes on where another page takes its
// place.
func (b *tab) until(condition string) {
	b.t.Helper()
	look := `new Promise((resolve) => {` + finders + `
		const end = (found) => { clearInterval(timer); clearTimeout(limit); observer.disconnect(); resolve(found); };
		const look = () => { if (` + condition + `) end(true); };
		const observer = new MutationObserver(look);
		observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
		const timer = setInterval(look, 50); // not everything that is waited for shows in the document
		const limit = setTimeout(end, 5000, false);
		look();
	})`
	b.try("until "+condition, func(ctx context.Context) error {
		for {
			found, err := b.lookOnce(ctx, look)
			if found || ctx.Err() != nil || err != nil && !b.page.moved(err) && !errors.Is(err, context.DeadlineExceeded) {
				return cmp.Or(err, ctx.Err())
			}
		}
	})
}

// lookOnce gives up long after the expression ends by itself: a document that is gone may not answer.
func (b *tab) lookOnce(ctx context.Context, look string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout/2)
	defer cancel()
	found, err := b.page.evaluate(ctx, look)
	return string(found) == "true", err
}

// press clicks with the mouse on what has this name: the middle of it has to be in view, with nothing in front.
func (b *tab) press(name string) {
	b.t.Helper()
	b.pressOn(fmt.Sprintf("named('button, summary, a, input, [role=menuitem]', %s)", quote(name)))
}

func (b *tab) pressOn(element string) {
	b.t.Helper()
	b.until("(() => { const e = " + element + `;
		if (!e || e.disabled) return false;
		e.scrollIntoView({block: 'nearest'});
		const r = e.getBoundingClientRect(), at = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
		return at && (e.contains(at) || at.contains(e)); })()`)
	at := ask[[]float64](b, "(() => {"+finders+"const r = "+element+".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()")
	b.try("press "+element, func(ctx context.Context) error { return b.page.click(ctx, at[0], at[1], false) })
}

// clickAt clicks at a point, with the right mouse button or the left one.
func (b *tab) clickAt(x, y float64, right bool) {
	b.t.Helper()
	b.try("click", func(ctx context.Context) error { return b.page.click(ctx, x, y, right) })
}

// fill replaces the text of the field with this label.
func (b *tab) fill(name, text string) {
	b.t.Helper()
	field := fmt.Sprintf("named('input, textarea', %s)", quote(name))
	b.until(field)
	ask[bool](b, "(() => {"+finders+"const e = "+field+"; e.focus(); e.select(); return true; })()")
	if text == "" {
		b.key("\b")
		return
	}
	b.try("fill "+name, func(ctx context.Context) error { return b.page.insert(ctx, text) })
}

// key presses keys one after the other: characters, and the keys that package kb of chromedp has constants for.
func (b *tab) key(keys string) {
	b.t.Helper()
	b.try("keys "+quote(keys), func(ctx context.Context) error { return b.page.keys(ctx, keys) })
}

func quote(s string) string {
	b, _ := json.Marshal(s) // encoding a string cannot fail
	return string(b)
}

// upload chooses files in the input that the selector finds.
func (b *tab) upload(css string, files ...string) {
	b.t.Helper()
	b.try("upload", func(ctx context.Context) error { return b.page.upload(ctx, css, files) })
}

// download allows the tab to download files to a directory.
func download(b *tab, dir string) {
	b.t.Helper()
	b.try("download", func(ctx context.Context) error { return b.page.download(ctx, dir) })
}

// screenshot writes what the tab shows to a PNG file.
func (b *tab) screenshot(path string) {
	b.t.Helper()
	b.try("screenshot", func(ctx context.Context) error {
		png, err := b.page.screenshot(ctx)
		if err != nil {
			return err
		}
		return os.WriteFile(path, png, 0o644)
	})
}
