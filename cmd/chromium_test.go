package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// chromium starts a browser with an empty profile that ends with the test. Where there is none, the test is skipped,
// but not in CI: there a missing browser is a fault.
func chromium(t testing.TB, language string) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const how = "no Chromium in the path: the tests of the page need one (Debian, Ubuntu: apt install chromium; macOS: brew install --cask chromium)"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	// Not t.TempDir: the browser's helpers may still write while they end, which would fail its removal.
	profile, err := os.MkdirTemp("", "imctl-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("lang", language), chromedp.Flag("accept-lang", language))
	t.Cleanup(func() {
		cancel()
		eventually(t, "the browser's profile is gone", func() bool { return os.RemoveAll(profile) == nil })
	})
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })
	return ctx
}

// tab is the page of one user, in its own browser context: it shares neither storage nor sessions with other tabs.
type tab struct {
	t    testing.TB
	who  string
	ctx  context.Context
	mu   sync.Mutex // guards said
	said []string   // errors and warnings in the console
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
func openTab(t testing.TB, browser context.Context, who, url string, as screen) *tab {
	t.Helper()
	return newTab(t, browser, who, url, as, chromedp.WithNewBrowserContext())
}

// beside opens the page in another tab of the same browser context.
func (b *tab) beside(url string) *tab {
	b.t.Helper()
	return newTab(b.t, b.ctx, b.who+" beside", url, desk)
}

func newTab(t testing.TB, parent context.Context, who, url string, as screen, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	b := &tab{t: t, who: who, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	messages := chromedp.Console(ctx)
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError && m.Source != "network" && !strings.HasPrefix(m.Text, "WebSocket connection") {
				b.mu.Lock()
				b.said = append(b.said, fmt.Sprintf("%s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line+1))
				b.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.said {
			t.Errorf("%s's console: %s", who, s)
		}
	})
	b.look(as)
	b.do(chromedp.Navigate(url))
	return b
}

// look sets the size and theme of the tab, gives it the focus, and stops animations.
func (b *tab) look(as screen) {
	b.t.Helper()
	theme := "light"
	if as.dark {
		theme = "dark"
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: as.width, Height: as.height, DeviceScaleFactor: 1, Mobile: as.width < 700,
	})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
}

func call[P, R any](b *tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		b.fail(cmd.Method, err)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail("browser", err)
	}
}

// fail fails the test with the text of the page.
func (b *tab) fail(what string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.title + '\\n' + location + '\\n' + document.body.innerText"))
	b.t.Fatalf("%s: %s: %v\nthe page shows:\n%s", b.who, what, err, text)
}

// ask evaluates an expression in the page, and awaits a promise.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(expression, err)
	}
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
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	look := chromedp.Evaluate[bool](`new Promise((resolve) => {`+finders+`
		const look = () => { if (!(`+condition+`)) return; clearInterval(timer); observer.disconnect(); resolve(true); };
		const observer = new MutationObserver(look);
		observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
		const timer = setInterval(look, 50); // not everything that is waited for shows in the document
		look();
	})`, chromedp.EvalAwaitPromise)
	_, err := chromedp.Run(ctx, look)
	for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "Inspected target navigated") {
		_, err = chromedp.Run(ctx, look)
	}
	if err != nil {
		b.fail("until "+condition, err)
	}
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
	b.do(chromedp.MouseClickXY(at[0], at[1]))
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
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

func (b *tab) key(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

func quote(s string) string {
	b, _ := json.Marshal(s) // encoding a string cannot fail
	return string(b)
}

// download allows the tab to download files to a directory.
func download(b *tab, dir string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir, BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	if err != nil {
		b.fail("download", err)
	}
}
