package cmd

import (
	"bufio"
	"context"
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
// run and updates. Pages in the background run as fast as the others, a mouse can hover, and nothing moves. A microphone
// is at hand, which hears a tone. No page loads its icon, since a page that is still loading stays out of the
// back/forward cache.
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
user_pref("media.autoplay.default", 0);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.navigator.streams.fake", true);
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
	ctx, cancel := context.WithTimeout(context.Background(), browserStart)
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

// alwaysInFront lets several pages of a test have the focus at once, though Firefox has one window in front: a page does
// not see that another window comes to the front. An element that loses the focus to another one is not the active one.
const alwaysInFront = `() => {
	Document.prototype.hasFocus = () => true;
	for (const type of ['focus', 'blur', 'focusout']) {
		addEventListener(type, (event) => {
			const {target} = event;
			const around = target === window || target === document || type !== 'focus' && target === document.activeElement;
			if (event.isTrusted && around) event.stopImmediatePropagation();
		}, true);
	}
}`

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
	_, err := b.call(ctx, "script.addPreloadScript", map[string]any{"functionDeclaration": alwaysInFront, "userContexts": user})
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

// consoleError returns the text of a log entry, empty if it is no error or is about what the network did not give.
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
	if entry.Level != "error" || notLoaded(entry.Text) {
		return ""
	}
	return fmt.Sprintf("%s: %s %v", entry.Type, entry.Text, entry.StackTrace.CallFrames)
}

// notLoaded reports whether an error in the console is about a lost connection, about a module that the server does not
// have (the answer has the type of a text), or about a request that the service worker answers while the page reloads.
func notLoaded(text string) bool {
	for _, part := range []string{"establish a connection to the server at ws", "The connection to ws", "Loading module from", "A ServiceWorker intercepted the request"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
