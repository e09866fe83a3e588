package cmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// compose writes with an input method into the field with the focus: it shows the texts one after the other, and commits
// the last one by the Enter key, with the order of events of the browser: the key comes while it composes.
func (b *tab) compose(texts ...string) {
	b.t.Helper()
	b.try("compose", func(ctx context.Context) error { return b.page.compose(ctx, texts, true) })
}

// composeAsSafari is like compose, with the order of events of Safari: the key comes when the composition has ended, with
// the code 229.
func (b *tab) composeAsSafari(texts ...string) {
	b.t.Helper()
	b.try("compose", func(ctx context.Context) error { return b.page.compose(ctx, texts, false) })
	ask[bool](b, `(() => {
		const field = document.activeElement, key = {key: 'Enter', code: 'Enter', bubbles: true, cancelable: true};
		field.dispatchEvent(new KeyboardEvent('keydown', {...key, keyCode: 229}));
		field.dispatchEvent(new KeyboardEvent('keyup', {...key, keyCode: 13}));
		return true;
	})()`)
}

// leave opens another address of the server, so that the page may go to the back/forward cache.
func (b *tab) leave(url string) {
	b.t.Helper()
	ask[bool](b, "sessionStorage.leftAt = location.href, window.leftHere = true")
	b.navigate(url)
}

// back returns to the page that leave left, and reports whether it came from the back/forward cache.
func (b *tab) back() bool {
	b.t.Helper()
	ask[bool](b, "setTimeout(() => history.back()), true")
	b.until("location.href === sessionStorage.leftAt && document.readyState === 'complete'")
	return ask[bool](b, "window.leftHere === true")
}

// offline tells the tab that there is no network, or that it is back. For a network that is lost without a word, open
// the page through a lossyProxy.
func (b *tab) offline(is bool) {
	b.t.Helper()
	b.try("offline", func(ctx context.Context) error { return b.page.offline(ctx, is) })
}

// zone sets the time zone of the tab, such as Asia/Tokyo.
func (b *tab) zone(name string) {
	b.t.Helper()
	b.try("time zone", func(ctx context.Context) error { return b.page.zone(ctx, name) })
}

// clock lets the clock of the page show a time, and go on from there, until the page is loaded again. Timers are left
// alone.
func (b *tab) clock(at time.Time) {
	b.t.Helper()
	ask[bool](b, fmt.Sprintf(`(() => {
		const Real = window.RealDate ??= Date, by = %d - Real.now();
		window.Date = class extends Real {
			constructor(...of) { of.length ? super(...of) : super(Real.now() + by); }
			static now() { return Real.now() + by; }
		};
		return true;
	})()`, at.UnixMilli()))
}

// lossyProxy forwards connections to a server until lose: then it forwards nothing more, without an end of a connection,
// as a network does that loses packets. After deliver it forwards what it held back.
type lossyProxy struct {
	url      string
	to       string
	listener net.Listener

	mu     sync.Mutex // guards what follows
	lossy  chan struct{}
	conns  []net.Conn
	closed bool
}

// newLossyProxy returns a proxy of the server at a URL, which ends with the test.
func newLossyProxy(t testing.TB, url string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	p := &lossyProxy{url: "http://" + l.Addr().String() + "/" + path, to: host, listener: l, lossy: make(chan struct{})}
	close(p.lossy)
	var all sync.WaitGroup
	all.Go(func() { p.accept(&all) })
	t.Cleanup(func() {
		p.end()
		all.Wait()
	})
	return p
}

func (p *lossyProxy) accept(all *sync.WaitGroup) {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = from.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, from, to)
		closed := p.closed
		p.mu.Unlock()
		if closed {
			p.end()
		}
		all.Go(func() { p.forward(from, to) })
		all.Go(func() { p.forward(to, from) })
	}
}

func (p *lossyProxy) forward(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		lossy := p.lossy
		p.mu.Unlock()
		<-lossy
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (p *lossyProxy) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lossy = make(chan struct{})
}

func (p *lossyProxy) deliver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.lossy:
	default:
		close(p.lossy)
	}
}

// cut ends all connections. New ones are forwarded.
func (p *lossyProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // it may be closed
	}
	p.conns = nil
}

func (p *lossyProxy) end() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.deliver()
	p.cut()
}

// TestBrowserSimulations checks what the tests of the page rely on: input methods, the back/forward cache, networks and
// clocks.
func TestBrowserSimulations(t *testing.T) { eachBrowser(t, "de-DE", testBrowserSimulations) }

func testBrowserSimulations(t *testing.T, browser webBrowser) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><title>t</title><label>Words <textarea></textarea></label><button>Press</button>`)
	}))
	t.Cleanup(server.Close)
	through := newLossyProxy(t, server.URL)
	b := openTab(t, browser, "simulator", through.url, screen{900, 600, true})
	other := openTab(t, browser, "other", server.URL, desk) // which is in front now
	if got, want := ask[string](b, "[navigator.language, innerWidth, document.hasFocus(), matchMedia('(prefers-color-scheme: dark)').matches, matchMedia('(prefers-reduced-motion: reduce)').matches].join()"), "de-DE,900,true,true,true"; got != want {
		t.Errorf("the page finds %s, want %s", got, want)
	}
	if ask[bool](other, "matchMedia('(prefers-color-scheme: dark)').matches") {
		t.Error("the dark theme of a tab is that of another one")
	}
	b.simulateInputMethods()
	b.simulateClock()

	if b.leave(through.url + "next"); !b.back() {
		t.Error("the page was loaded again")
	}
	ask[bool](b, "window.events = [], ['offline', 'online'].forEach((e) => addEventListener(e, () => events.push(e))), true")
	b.offline(true)
	b.until("events.join() === 'offline' && !navigator.onLine")
	b.offline(false)
	b.until("events.join() === 'offline,online' && navigator.onLine")

	through.lose()
	ask[bool](b, "fetch('/', {cache: 'no-store'}).then(() => events.push('answer'), () => events.push('end')), true")
	if got := ask[int](other, "fetch('/').then((r) => r.status)"); got != 200 {
		t.Errorf("the other tab, which is not behind the proxy, gets %d", got)
	}
	if got := ask[string](b, "events.join()"); got != "offline,online" {
		t.Errorf("the proxy that loses all gave %s", got)
	}
	through.deliver()
	b.until("events.join() === 'offline,online,answer'")
}

func (b *tab) simulateInputMethods() {
	b.t.Helper()
	ask[bool](b, `window.order = [], ['keydown', 'compositionstart', 'compositionend'].forEach((e) => addEventListener(e, ({type, keyCode, isComposing}) => order.push(type === 'keydown' ? [type, keyCode, isComposing].join(' ') : type))),
		addEventListener('click', () => order.push('click')), true`)
	b.fill("Words", "some")
	b.key("\x1b")
	b.until("order.join() === 'keydown 27 false'")
	for _, safari := range []bool{false, true} {
		b.fill("Words", " ")
		ask[bool](b, "order = [], true")
		want, compose := "keydown 229 true,compositionend", b.compose
		if safari {
			want, compose = "compositionend,keydown 229 false", b.composeAsSafari
		}
		compose("あ", "あい", "愛")
		b.until("document.querySelector('textarea').value.trim() === '愛' && order.includes('compositionend')")
		if got := ask[string](b, "order.join()"); got != "keydown 229 false,compositionstart,keydown 229 true,keydown 229 true,"+want {
			b.t.Errorf("the events of an input method end otherwise than with %s: %s", want, got)
		}
	}
	ask[bool](b, "order = [], document.querySelector('button').focus(), true")
	b.key("\r")
	b.until("order.join() === 'keydown 13 false,click'")
}

func (b *tab) simulateClock() {
	b.t.Helper()
	b.zone("Asia/Tokyo")
	b.clock(time.Date(2030, 12, 31, 14, 59, 59, 0, time.UTC))
	if got := ask[string](b, "new Date().toString().slice(0, 21) + Intl.DateTimeFormat().resolvedOptions().timeZone + (new Date(5) - 0)"); !strings.HasPrefix(got, "Tue Dec 31 2030 23:59") || !strings.HasSuffix(got, "Asia/Tokyo5") {
		b.t.Errorf("the clock shows %s", got)
	}
	b.until("new Date().getFullYear() === 2031")
}
