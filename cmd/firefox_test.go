package cmd

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// firefox returns a Firefox, whose pages have a language. WebDriver BiDi drives it.
func firefox(t testing.TB, language string) webBrowser {
	t.Helper()
	b := sharedBrowser(t, []string{"firefox-esr", "firefox"}, "",
		"no Firefox in the path: the tests of the page need it (Debian: apt install firefox-esr; macOS: brew install --cask firefox)", startFirefox)
	return &firefoxIn{b.(*firefoxBrowser), language}
}

type firefoxBrowser struct {
	*bidi
	process *exec.Cmd
	exited  chan error
	profile string

	mu    sync.Mutex // guards front, and keeps the window in front while keys are pressed
	front string     // the browsing context in the window in front
}

// firefoxPrefs are settings beside those that Firefox makes when a driver connects, which switch off telemetry, first
// run and updates. Pages in the background run as fast as the others, a mouse can hover, and nothing moves. No page loads
// its icon, since a page that is still loading stays out of the back/forward cache.
const firefoxPrefs = `
user_pref("app.normandy.enabled", false);
user_pref("app.shield.optoutstudies.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.chrome.site_icons", false);
user_pref("browser.download.alwaysOpenPanel", false);
user_pref("browser.startup.page", 0);
user_pref("browser.uidensity", 0);
user_pref("dom.min_background_timeout_value", 4);
user_pref("dom.timeout.background_throttling_max_budget", -1);
user_pref("dom.timeout.enable_budget_timer_throttling", false);
user_pref("dom.timeout.throttling_delay", 2147483647);
user_pref("network.proxy.type", 0);
user_pref("network.websocket.delay-failed-reconnects", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("ui.allPointerCapabilities", 6);
user_pref("ui.prefersReducedMotion", 1);
user_pref("ui.primaryPointerCapabilities", 6);
`

func startFirefox(path, _ string) (webBrowser, error) {
	profile, err := os.MkdirTemp("", "imctl-firefox-")
	if err != nil {
		return nil, err
	}
	b := &firefoxBrowser{exited: make(chan error, 1), profile: profile}
	if err := b.start(path); err != nil {
		return nil, errors.Join(err, removeProfile(profile))
	}
	return b, nil
}

func (b *firefoxBrowser) start(path string) error {
	if err := os.WriteFile(filepath.Join(b.profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		return err
	}
	// The system access is for the colour scheme of a page, which WebDriver BiDi cannot set.
	b.process = exec.Command(path, "--headless", "--no-remote", "--remote-debugging-port=0", "--remote-allow-system-access", "--profile", b.profile)
	b.process.Env = append(os.Environ(), "MOZ_CRASHREPORTER_DISABLE=1", "MOZ_REMOTE_SETTINGS_DEVTOOLS=1")
	endsWithTests(b.process)
	output, err := b.process.StderrPipe()
	if err != nil {
		return err
	}
	if err := b.process.Start(); err != nil {
		return err
	}
	said, url := "", ""
	for lines := bufio.NewScanner(output); url == "" && lines.Scan(); {
		said += lines.Text() + "\n"
		_, url, _ = strings.Cut(lines.Text(), "WebDriver BiDi listening on ")
	}
	go func() {
		_, _ = io.Copy(io.Discard, output) // until the process ends
		b.exited <- b.process.Wait()
	}()
	if url == "" {
		return errors.Join(fmt.Errorf("it does not listen: %s", said), b.kill())
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	b.bidi, err = dialBidi(ctx, url, map[string]any{"unhandledPromptBehavior": map[string]any{"default": "ignore"}})
	if err == nil {
		_, err = b.call(ctx, "session.subscribe", map[string]any{"events": []string{"log.entryAdded", "browsingContext.navigationCommitted"}})
	}
	if err != nil {
		return errors.Join(err, b.kill())
	}
	return nil
}

func (b *firefoxBrowser) kill() error {
	err := b.process.Process.Kill()
	<-b.exited
	return err
}

func (b *firefoxBrowser) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	_, err := b.call(ctx, "browser.close", struct{}{})
	select {
	case <-b.exited:
	case <-ctx.Done():
		err = errors.Join(err, errors.New("it does not end"), b.kill())
	}
	return errors.Join(err, b.conn.Close(), removeProfile(b.profile))
}

func (b *firefoxBrowser) page(context.Context, func(string)) (webPage, error) {
	return nil, errors.New("a page needs a language")
}

// firefoxIn is Firefox with the language of new pages.
type firefoxIn struct {
	*firefoxBrowser
	language string
}

func (b *firefoxIn) page(ctx context.Context, heard func(string)) (webPage, error) {
	var made struct{ UserContext string }
	if err := b.result(ctx, &made, "browser.createUserContext", struct{}{}); err != nil {
		return nil, err
	}
	user := []string{made.UserContext}
	// Several pages of a test have the focus at once, though Firefox has one window in front.
	_, err := b.call(ctx, "script.addPreloadScript", map[string]any{
		"functionDeclaration": "() => { Document.prototype.hasFocus = () => true; }", "userContexts": user,
	})
	if err == nil {
		_, err = b.call(ctx, "emulation.setLocaleOverride", map[string]any{"locale": b.language, "userContexts": user})
	}
	if err != nil {
		return nil, err
	}
	return b.window(ctx, made.UserContext, true, heard)
}

// result makes a command and decodes its result.
func (b *firefoxBrowser) result(ctx context.Context, into any, method string, params any) error {
	result, err := b.call(ctx, method, params)
	if err != nil {
		return err
	}
	return json.Unmarshal(result, into)
}

// window opens a window, since only the front tab of a window is visible.
func (b *firefoxBrowser) window(ctx context.Context, user string, owner bool, heard func(string)) (webPage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var made struct{ Context string }
	err := b.result(ctx, &made, "browsingContext.create", map[string]any{"type": "window", "userContext": user})
	if err != nil {
		return nil, err
	}
	b.front = made.Context
	p := &firefoxPage{b: b, id: made.Context, user: user, owner: owner, next: make(chan struct{})}
	b.on(p.id, func(method string, params json.RawMessage) {
		if method == "browsingContext.navigationCommitted" {
			p.mu.Lock()
			defer p.mu.Unlock()
			close(p.next)
			p.next = make(chan struct{})
			return
		}
		if what := consoleError(params); what != "" {
			heard(what)
		}
	})
	return p, nil
}

// consoleError returns the text of a log entry, empty if it is no error or is about a lost connection.
func consoleError(params json.RawMessage) string {
	var entry struct {
		Type, Level, Text string
		StackTrace        struct {
			CallFrames []struct {
				URL        string
				LineNumber int
			}
		}
	}
	if err := json.Unmarshal(params, &entry); err != nil {
		return err.Error()
	}
	if entry.Level != "error" || lostConnection(entry.Text) {
		return ""
	}
	return fmt.Sprintf("%s: %s %v", entry.Type, entry.Text, entry.StackTrace.CallFrames)
}

// lostConnection reports whether an error in the console is about a connection.
func lostConnection(text string) bool {
	return strings.Contains(text, "establish a connection to the server at ws") || strings.Contains(text, "The connection to ws")
}

type firefoxPage struct {
	b        *firefoxBrowser
	id, user string // of the browsing context and of its user context
	owner    bool   // whether the page was the first one in the user context
	chrome   string // the browsing context of the window, once look has found it

	mu   sync.Mutex    // guards next
	next chan struct{} // closed when another document takes the place of this one
}

func (p *firefoxPage) beside(ctx context.Context, heard func(string)) (webPage, error) {
	return p.b.window(ctx, p.user, false, heard)
}

func (p *firefoxPage) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.b.front = "" // another window comes to the front
	var err error
	if p.owner {
		_, err = p.b.call(ctx, "browser.removeUserContext", map[string]any{"userContext": p.user})
	} else {
		_, err = p.call(ctx, "browsingContext.close", nil)
	}
	p.b.on(p.id, nil) // events came before the result
	return err
}

// call makes a command for this page.
func (p *firefoxPage) call(ctx context.Context, method string, params map[string]any) (json.RawMessage, error) {
	all := map[string]any{"context": p.id}
	for k, v := range params {
		all[k] = v
	}
	return p.b.call(ctx, method, all)
}

func (p *firefoxPage) navigate(ctx context.Context, url string) error {
	_, err := p.call(ctx, "browsingContext.navigate", map[string]any{"url": url, "wait": "complete"})
	return err
}

func (p *firefoxPage) reload(ctx context.Context) error {
	_, err := p.call(ctx, "browsingContext.reload", map[string]any{"wait": "complete"})
	return err
}

// errMoved is the error of an expression that has no value, since another document took the place of its document.
var errMoved = errors.New("another document took the place of this one")

// evaluate does not wait for a document that is gone: Firefox does not answer then.
func (p *firefoxPage) evaluate(ctx context.Context, expression string) (json.RawMessage, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	next := p.next
	p.mu.Unlock()
	go func() {
		select {
		case <-next:
			cancel(errMoved)
		case <-ctx.Done():
		}
	}()
	return p.b.evaluate(ctx, p.id, expression)
}

func (p *firefoxPage) moved(err error) bool {
	return errors.Is(err, errMoved) || strings.Contains(err.Error(), "no such frame")
}

func (p *firefoxPage) act(ctx context.Context, source map[string]any, actions ...map[string]any) error {
	source["actions"] = actions
	_, err := p.call(ctx, "input.performActions", map[string]any{"actions": []any{source}})
	return err
}

func (p *firefoxPage) click(ctx context.Context, x, y float64) error {
	return p.act(ctx, map[string]any{"type": "pointer", "id": "mouse"},
		map[string]any{"type": "pointerMove", "x": int(x), "y": int(y)},
		map[string]any{"type": "pointerDown", "button": 0},
		map[string]any{"type": "pointerUp", "button": 0})
}

// webDriverKeys are the keys that WebDriver names by characters of its own.
var webDriverKeys = strings.NewReplacer(kb.Enter, "\ue006", "\n", "\ue006", kb.Backspace, "\ue003", kb.Tab, "\ue004", kb.Escape, "\ue00c", kb.Delete, "\ue017",
	kb.ArrowLeft, "\ue012", kb.ArrowUp, "\ue013", kb.ArrowRight, "\ue014", kb.ArrowDown, "\ue015",
	kb.PageUp, "\ue00e", kb.PageDown, "\ue00f", kb.End, "\ue010", kb.Home, "\ue011")

func (p *firefoxPage) keys(ctx context.Context, keys string) error {
	var actions []map[string]any
	for _, key := range webDriverKeys.Replace(keys) {
		for _, what := range []string{"keyDown", "keyUp"} {
			actions = append(actions, map[string]any{"type": what, "value": string(key)})
		}
	}
	return p.inFront(ctx, func() error {
		return p.act(ctx, map[string]any{"type": "key", "id": "keyboard"}, actions...)
	})
}

// inFront does something that works in the window in front only, such as to press a button by a key.
func (p *firefoxPage) inFront(ctx context.Context, act func() error) error {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.b.front != p.id {
		if _, err := p.call(ctx, "browsingContext.activate", nil); err != nil {
			return err
		}
		p.b.front = p.id
	}
	return act()
}

// compose lets the text input processor of Firefox, which its own tests use, act as an input method in the window around
// the page.
func (p *firefoxPage) compose(ctx context.Context, texts []string, enter bool) error {
	steps, err := json.Marshal(texts)
	if err != nil {
		return err
	}
	key := ""
	if enter {
		key = ", new KeyboardEvent('keydown', {key: 'Enter', code: 'Enter', keyCode: 13})"
	}
	return p.inFront(ctx, func() error {
		began, err := p.b.evaluate(ctx, p.chrome, `(() => {
			const processor = Cc['@mozilla.org/text-input-processor;1'].createInstance(Ci.nsITextInputProcessor);
			if (!processor.beginInputTransactionForTests(window)) return false;
			const texts = `+string(steps)+`;
			for (const text of texts) {
				processor.setPendingCompositionString(text);
				processor.appendClauseToPendingComposition(text.length, processor.ATTR_RAW_CLAUSE);
				processor.setCaretInPendingComposition(text.length);
				processor.flushPendingComposition(new KeyboardEvent('keydown', {key: 'a', code: 'KeyA', keyCode: 65}));
			}
			processor.commitCompositionWith(texts.at(-1)`+key+`);
			return true; })()`)
		if err == nil && string(began) != "true" {
			err = errors.New("another input method is at work")
		}
		if err == nil {
			_, err = p.evaluate(ctx, "true") // the page has the events before another window comes to the front
		}
		return err
	})
}

func (p *firefoxPage) insert(ctx context.Context, text string) error {
	done, err := p.evaluate(ctx, "document.execCommand('insertText', false, "+quote(text)+")")
	if err == nil && string(done) != "true" {
		err = errors.New("no field has the focus")
	}
	return err
}

func (p *firefoxPage) look(ctx context.Context, as screen) error {
	_, err := p.call(ctx, "browsingContext.setViewport", map[string]any{
		"viewport": map[string]any{"width": as.width, "height": as.height}, "devicePixelRatio": 1,
	})
	if err == nil {
		err = p.scheme(ctx, as.dark)
	}
	return err
}

// windows returns the top browsing context of each window in a tree.
func (b *firefoxBrowser) windows(ctx context.Context, params map[string]any) (map[string]string, error) {
	var tree struct {
		Contexts []struct{ Context, ClientWindow string }
	}
	params["maxDepth"] = 0
	err := b.result(ctx, &tree, "browsingContext.getTree", params)
	of := map[string]string{}
	for _, c := range tree.Contexts {
		of[c.ClientWindow] = c.Context
	}
	return of, err
}

// scheme sets the colour scheme that the page is asked for, by a script in the window around it.
func (p *firefoxPage) scheme(ctx context.Context, dark bool) error {
	if p.chrome == "" {
		mine, err := p.b.windows(ctx, map[string]any{"root": p.id})
		if err != nil {
			return err
		}
		around, err := p.b.windows(ctx, map[string]any{"moz:scope": "chrome"})
		if err != nil {
			return err
		}
		for window := range mine {
			p.chrome = around[window]
		}
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	_, err := p.b.evaluate(ctx, p.chrome, "gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = "+quote(scheme))
	return err
}

func (p *firefoxPage) upload(ctx context.Context, css string, files []string) error {
	var found struct {
		Nodes []struct{ SharedID string }
	}
	result, err := p.call(ctx, "browsingContext.locateNodes", map[string]any{"locator": map[string]any{"type": "css", "value": css}})
	if err == nil {
		err = json.Unmarshal(result, &found)
	}
	if err == nil && len(found.Nodes) != 1 {
		err = fmt.Errorf("%d elements %s", len(found.Nodes), css)
	}
	if err != nil {
		return err
	}
	_, err = p.call(ctx, "input.setFiles", map[string]any{"element": map[string]any{"sharedId": found.Nodes[0].SharedID}, "files": files})
	return err
}

func (p *firefoxPage) download(ctx context.Context, dir string) error {
	_, err := p.b.call(ctx, "browser.setDownloadBehavior", map[string]any{
		"downloadBehavior": map[string]any{"type": "allowed", "destinationFolder": dir}, "userContexts": []string{p.user},
	})
	return err
}

func (p *firefoxPage) screenshot(ctx context.Context) ([]byte, error) {
	result, err := p.call(ctx, "browsingContext.captureScreenshot", nil)
	if err != nil {
		return nil, err
	}
	var shot struct{ Data string }
	if err := json.Unmarshal(result, &shot); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(shot.Data)
}

func (p *firefoxPage) zone(ctx context.Context, name string) error {
	_, err := p.b.call(ctx, "emulation.setTimezoneOverride", map[string]any{"timezone": name, "contexts": []string{p.id}})
	return err
}

func (p *firefoxPage) offline(ctx context.Context, is bool) error {
	var conditions any
	if is {
		conditions = map[string]any{"type": "offline"}
	}
	_, err := p.b.call(ctx, "emulation.setNetworkConditions", map[string]any{"networkConditions": conditions, "contexts": []string{p.id}})
	return err
}
