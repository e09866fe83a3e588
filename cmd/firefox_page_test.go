package cmd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/chromedp/chromedp/kb"
)

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
	for tries := 3; ; tries-- {
		_, err := p.call(ctx, "input.performActions", map[string]any{"actions": []any{source}})
		// Firefox sometimes fails so while it brings another window to the front.
		if err == nil || tries == 1 || !strings.Contains(err.Error(), "NS_ERROR_FAILURE") {
			return err
		}
	}
}

func (p *firefoxPage) click(ctx context.Context, x, y float64, right bool) error {
	button := 0
	if right {
		button = 2
	}
	return p.act(ctx, map[string]any{"type": "pointer", "id": "mouse"},
		map[string]any{"type": "pointerMove", "x": int(x), "y": int(y)},
		map[string]any{"type": "pointerDown", "button": button},
		map[string]any{"type": "pointerUp", "button": button})
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
