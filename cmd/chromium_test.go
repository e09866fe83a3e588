package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// chromium returns a Chromium in a language, which chromedp drives by the DevTools protocol.
func chromium(t testing.TB, language string) webBrowser {
	t.Helper()
	return sharedBrowser(t, []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}, language,
		"no Chromium in the path: the tests of the page need it (Debian, Ubuntu: apt install chromium; macOS: brew install --cask chromium)", startChromium)
}

type chromiumBrowser struct {
	ctx     context.Context
	cancel  context.CancelFunc
	profile string
}

func startChromium(path, language string) (webBrowser, error) {
	profile, err := os.MkdirTemp("", "imctl-chromium-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(browserStart), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("lang", language), chromedp.Flag("accept-lang", language))
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		return nil, errors.Join(err, removeProfile(profile))
	}
	return &chromiumBrowser{ctx, cancel, profile}, nil
}

func (b *chromiumBrowser) close() error {
	err := chromedp.Cancel(b.ctx)
	b.cancel()
	return errors.Join(err, removeProfile(b.profile))
}

func (b *chromiumBrowser) page(_ context.Context, heard func(string)) (webPage, error) {
	return newChromiumPage(b.ctx, heard, chromedp.WithNewBrowserContext())
}

type chromiumPage struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the console is read
}

func newChromiumPage(parent context.Context, heard func(string), options ...chromedp.ContextOption) (webPage, error) {
	ctx, cancel := chromedp.NewContext(parent, options...)
	p := &chromiumPage{ctx, cancel, make(chan struct{})}
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		return nil, err
	}
	messages := chromedp.Console(ctx)
	go func() {
		defer close(p.done)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError && m.Source != "network" && !strings.HasPrefix(m.Text, "WebSocket connection") {
				heard(fmt.Sprintf("%s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line+1))
			}
		}
	}()
	return p, nil
}

func (p *chromiumPage) beside(_ context.Context, heard func(string)) (webPage, error) {
	return newChromiumPage(p.ctx, heard)
}

func (p *chromiumPage) close() error {
	p.cancel()
	<-p.done
	return nil
}

// within returns the context of the page, with the end of ctx.
func (p *chromiumPage) within(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline()
	return context.WithDeadline(p.ctx, deadline)
}

func (p *chromiumPage) do(ctx context.Context, steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := p.within(ctx)
	defer cancel()
	return chromedp.Do(ctx, steps...)
}

func chromiumCall[P, R any](ctx context.Context, p *chromiumPage, cmd cdp.Command[P, R], params P) error {
	ctx, cancel := p.within(ctx)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		return fmt.Errorf("%s: %w", cmd.Method, err)
	}
	return nil
}

func (p *chromiumPage) navigate(ctx context.Context, url string) error {
	return p.do(ctx, chromedp.Navigate(url))
}

func (p *chromiumPage) reload(ctx context.Context) error { return p.do(ctx, chromedp.Reload()) }

func (p *chromiumPage) evaluate(ctx context.Context, expression string) (json.RawMessage, error) {
	ctx, cancel := p.within(ctx)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
}

func (p *chromiumPage) moved(err error) bool {
	return strings.Contains(err.Error(), "Inspected target navigated")
}

func (p *chromiumPage) click(ctx context.Context, x, y float64, right bool) error {
	if right {
		return p.do(ctx, chromedp.MouseClickXY(x, y, chromedp.ButtonRight))
	}
	return p.do(ctx, chromedp.MouseClickXY(x, y))
}

func (p *chromiumPage) keys(ctx context.Context, keys string) error {
	return p.do(ctx, chromedp.KeyEvent(keys))
}

func (p *chromiumPage) insert(ctx context.Context, text string) error {
	return chromiumCall(ctx, p, input.InsertText, input.InsertTextParams{Text: text})
}

// look also gives the page the focus, since several pages of a test have it at once, and stops animations.
func (p *chromiumPage) look(ctx context.Context, as screen) error {
	theme := "light"
	if as.dark {
		theme = "dark"
	}
	return errors.Join(
		chromiumCall(ctx, p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: as.width, Height: as.height, DeviceScaleFactor: 1, Mobile: as.width < 700,
		}),
		chromiumCall(ctx, p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
		chromiumCall(ctx, p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
}

func (p *chromiumPage) upload(ctx context.Context, css string, files []string) error {
	return p.do(ctx, chromedp.SetUploadFiles(chromedp.CSS(css), files))
}

func (p *chromiumPage) download(ctx context.Context, dir string) error {
	ctx, cancel := p.within(ctx)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
	return err
}

func (p *chromiumPage) screenshot(ctx context.Context) ([]byte, error) {
	ctx, cancel := p.within(ctx)
	defer cancel()
	return chromedp.Run(ctx, chromedp.CaptureScreenshot())
}

func (p *chromiumPage) compose(ctx context.Context, texts []string, enter bool) error {
	for _, text := range texts {
		end := int64(len(utf16.Encode([]rune(text))))
		err := errors.Join(p.process(ctx), chromiumCall(ctx, p, input.ImeSetComposition, input.ImeSetCompositionParams{
			Text: text, SelectionStart: end, SelectionEnd: end,
		}))
		if err != nil {
			return err
		}
	}
	var err error
	if enter {
		err = p.process(ctx)
	}
	return errors.Join(err, p.insert(ctx, texts[len(texts)-1]))
}

// process presses a key that an input method takes.
func (p *chromiumPage) process(ctx context.Context) error {
	return chromiumCall(ctx, p, input.DispatchKeyEvent, input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeRawKeyDown, Key: "Process", WindowsVirtualKeyCode: 229, NativeVirtualKeyCode: 229,
	})
}

func (p *chromiumPage) zone(ctx context.Context, name string) error {
	return chromiumCall(ctx, p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
}

func (p *chromiumPage) offline(ctx context.Context, is bool) error {
	return errors.Join(
		chromiumCall(ctx, p, network.Enable, network.EnableParams{}),
		chromiumCall(ctx, p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}},
		}),
		chromiumCall(ctx, p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}))
}

// devTools returns the page in Chromium. In Firefox, which has no DevTools protocol, it skips the test.
func (b *tab) devTools() *chromiumPage {
	b.t.Helper()
	p, ok := b.page.(*chromiumPage)
	if !ok {
		b.t.Skip("only Chromium has the DevTools protocol")
	}
	return p
}

// call makes a command of the DevTools protocol, in Chromium only.
func call[P, R any](b *tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	p := b.devTools()
	b.try(cmd.Method, func(ctx context.Context) error { return chromiumCall(ctx, p, cmd, params) })
}
