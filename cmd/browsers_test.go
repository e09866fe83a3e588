package cmd

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// webBrowser is a running browser, which all tests of the binary share. Tests see nothing of each other: each tab of
// openTab has its own storage and sessions.
type webBrowser interface {
	// page opens an empty page with empty storage. It reports errors in the console to heard.
	page(ctx context.Context, heard func(string)) (webPage, error)
	// close ends the browser and removes its profile.
	close() error
}

// webPage is a page in a browser. The methods of tab, which tests call, use it.
type webPage interface {
	beside(ctx context.Context, heard func(string)) (webPage, error) // with the same storage
	navigate(ctx context.Context, url string) error
	reload(ctx context.Context) error
	evaluate(ctx context.Context, expression string) (json.RawMessage, error)
	click(ctx context.Context, x, y float64, right bool) error // with the left or right mouse button
	keys(ctx context.Context, keys string) error               // key by key, as kb.Encode of chromedp names them
	insert(ctx context.Context, text string) error             // into the focused field, without keys
	look(ctx context.Context, as screen) error
	upload(ctx context.Context, css string, files []string) error
	download(ctx context.Context, dir string) error
	screenshot(ctx context.Context) ([]byte, error) // as PNG
	// compose shows the texts one after the other in the focused field, as an input method does, and commits the last one
	// by the Enter key or otherwise.
	compose(ctx context.Context, texts []string, enter bool) error
	zone(ctx context.Context, name string) error
	offline(ctx context.Context, is bool) error
	moved(err error) bool // whether the expression did not end because another page took the place of this one
	close() error         // after all errors in the console were heard
}

// eachBrowser runs a test in Chromium and in Firefox, as parallel subtests. A test for one browser starts with
// `browser := chromium(t, "en-US")` or firefox.
func eachBrowser(t *testing.T, language string, test func(t *testing.T, browser webBrowser)) {
	t.Helper()
	t.Parallel()
	t.Run("chromium", func(t *testing.T) {
		t.Parallel()
		test(t, chromium(t, language))
	})
	t.Run("firefox", func(t *testing.T) {
		t.Parallel()
		firefoxTurn.Lock()
		defer firefoxTurn.Unlock()
		test(t, firefox(t, language))
	})
}

// anyBrowser runs a test for which one browser is enough: its subject is an answer of the server, or the page's own logic.
// It runs in Chromium, and with the build tag soak in both. What browsers do in ways of their own, such as layout, focus,
// keys, input methods, storage, history, notifications, uploads and connections, is for eachBrowser.
func anyBrowser(t *testing.T, language string, test func(t *testing.T, browser webBrowser)) {
	t.Helper()
	if bothBrowsers {
		eachBrowser(t, language, test)
		return
	}
	t.Parallel()
	test(t, chromium(t, language))
}

// firefoxTurn lets one test at a time use Firefox: in a window that is not in front, menus close and presses are lost.
var firefoxTurn sync.Mutex

// inChromium runs a test in Chromium only: it has several windows whose menus are open in turn, or holds a button, which
// fails in Firefox now and then because its windows change places.
func inChromium(t *testing.T, test func(t *testing.T, browser webBrowser)) {
	t.Helper()
	t.Parallel()
	test(t, chromium(t, "en-US"))
}

// browserStart is the most that the start of a browser takes, several times that of a busy machine: what waits for it is
// every test that uses the browser.
const browserStart = 3 * time.Minute

// running are the browsers that tests started, by name and language. closeBrowsers ends them.
var running = struct {
	sync.Mutex
	browsers map[string]webBrowser
}{browsers: map[string]webBrowser{}}

// sharedBrowser returns the running browser of this name and language, and starts it first if no test did. Where the
// browser is not installed, the test is skipped, but not in CI: there a missing browser is a fault.
func sharedBrowser(t testing.TB, programs []string, language, how string, start func(path, language string) (webBrowser, error)) webBrowser {
	t.Helper()
	var path string
	for _, name := range programs {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	running.Lock()
	defer running.Unlock()
	key := programs[0] + " " + language
	if running.browsers[key] == nil {
		b, err := start(path, language)
		if err != nil {
			t.Fatalf("start %s: %v", path, err)
		}
		running.browsers[key] = b
	}
	return running.browsers[key]
}

// thenCloseBrowsers runs the tests, closes the browsers that they shared, and removes their shared directories.
type thenCloseBrowsers struct{ *testing.M }

func (m thenCloseBrowsers) Run() int {
	code := m.M.Run()
	for _, dir := range sharedDirectories.all {
		if err := os.RemoveAll(dir); err != nil {
			os.Stderr.WriteString("remove " + dir + ": " + err.Error() + "\n")
			code = max(code, 1)
		}
	}
	running.Lock()
	defer running.Unlock()
	for name, b := range running.browsers {
		if err := b.close(); err != nil {
			os.Stderr.WriteString("close " + name + ": " + err.Error() + "\n")
			code = max(code, 1)
		}
	}
	return code
}

// removeProfile removes the profile of a browser that ended. Its helper processes may still write for a moment.
func removeProfile(dir string) error {
	deadline, tick := time.After(waitTimeout), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}
