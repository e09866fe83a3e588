package cmd

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/serviceworker"
	targets "github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// workerReady waits until the service worker serves the page.
func (b *tab) workerReady() {
	b.t.Helper()
	b.until("navigator.serviceWorker.controller?.state === 'activated'")
}

// TestPageOffline: a page that was shown once is shown without its server, with what it loads on first use.
func TestPageOffline(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := openTab(t, chromium(t, "en-US"), "bob", s.base(0)+pagePath, desk)
	b.signUp("Bob")
	b.workerReady()
	if n := ask[int](b, "caches.keys().then((names) => names.length)"); n != 1 {
		t.Errorf("%d caches, want 1", n)
	}
	s.close(t)
	b.reload()
	b.until("document.title === 'imctl' && count('#app > *') > 0")
	if !ask[bool](b, "import(new URL('later/passwords.js', document.querySelector('script[type=module]').src)).then(() => true)") {
		t.Error("a module that was not loaded before cannot be loaded")
	}
	if n := ask[int](b, "caches.keys().then(async ([name]) => (await (await caches.open(name)).keys()).filter(({url}) => !new URL(url).pathname.startsWith('/im/www/v1/')).length)"); n != 0 {
		t.Errorf("the cache has %d files that are not the page's", n)
	}
}

// pushWorker delivers push messages to the service worker of a tab.
type pushWorker struct {
	*tab
	origin string
	id     serviceworker.RegistrationID
}

func newPushWorker(t *testing.T, b *tab, origin string) *pushWorker {
	t.Helper()
	b.workerReady()
	ctx, cancel := context.WithTimeout(b.devTools().ctx, waitTimeout)
	defer cancel()
	found := make(chan serviceworker.RegistrationID, 16)
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*serviceworker.EventWorkerRegistrationUpdated); ok {
			for _, r := range e.Registrations {
				select {
				case found <- r.RegistrationID:
				default:
				}
			}
		}
	})
	if err != nil {
		b.fail("listen", err)
	}
	call(b, serviceworker.Enable, cdp.Empty{})
	select {
	case id := <-found:
		return &pushWorker{b, origin, id}
	case <-ctx.Done():
		b.fail("look for the service worker", ctx.Err())
		return nil
	}
}

func (p *pushWorker) deliver(message string) {
	p.t.Helper()
	call(p.tab, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{Origin: p.origin, RegistrationID: p.id, Data: message})
}

// inWorker evaluates an expression in the service worker.
func (p *pushWorker) inWorker(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.devTools().ctx, waitTimeout)
	defer cancel()
	all, err := chromedp.CallBrowser(ctx, targets.GetTargets, targets.GetTargetsParams{})
	if err != nil {
		p.fail("list the targets", err)
	}
	for _, info := range all.TargetInfos {
		if info.Type != "service_worker" || !strings.HasPrefix(info.URL, p.origin) { // the browser has workers of other tests
			continue
		}
		worker, end := chromedp.NewContext(p.devTools().ctx, chromedp.WithTargetID(info.TargetID))
		defer end()
		limited, cancel := context.WithTimeout(worker, waitTimeout)
		defer cancel()
		if _, err := chromedp.Run(limited, chromedp.Evaluate[bool](expression, chromedp.EvalAwaitPromise)); err != nil {
			p.fail("in the service worker", err)
		}
		return
	}
	p.t.Fatal("there is no service worker")
}

// notifications is an expression for the notifications that the worker shows.
const notifications = "(await (await navigator.serviceWorker.ready).getNotifications())"

// TestPageShowsPush: the worker shows push messages by conversation, while no page is visible, and a click opens the
// conversation. Signing out closes them.
func TestPageShowsPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	bob.tunnel.close(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, desk)
	ctx, cancel := context.WithTimeout(b.devTools().ctx, waitTimeout)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: "notifications"},
		Setting: browser.PermissionSettingGranted, Origin: w.base(0), BrowserContextID: chromedp.FromContext(b.devTools().ctx).BrowserContextID})
	if err != nil {
		t.Fatal(err)
	}
	b.signIn(bob.account, bob.password)
	p := newPushWorker(t, b, w.base(0))
	p.deliver(`{"with":"` + cleo.id + `","name":"Cleo","text":"while the page is visible","n":1}`)
	b.navigate("about:blank")
	p.deliver(`{"with":"` + cleo.id + `","name":"Cleo","text":"one","n":2}`)
	p.deliver(`{"with":"` + cleo.id + `","name":"Cleo","text":"two","n":3}`)
	p.deliver(`{"with":"` + cleo.id + `","name":"Cleo","text":"two","n":3}`) // a retry
	p.deliver(`{"with":"` + bob.id + `","n":1,"language":"de"}`)
	p.deliver(`{"with":"` + bob.id + `","n":0,"request":true,"name":"$& <b>","language":"zh"}`)
	p.inWorker("(async () => { while ((await registration.getNotifications()).length < 3) await new Promise((done) => { setTimeout(done, 20); }); return true; })()")
	b.navigate(w.base(0) + pagePath)
	b.until("has('nav', 'alias of')")
	b.until("window.asking ??= setInterval(async () => { window.shownNow = " + notifications + ".length; }, 20), window.shownNow === 3")
	want := `["Cleo|one\ntwo|` + cleo.id + `","imctl|$& <b> 想加你为好友|asks ` + bob.id + `","imctl|Neue Nachricht|` + bob.id + `"]`
	if got := ask[string](b, "(async () => JSON.stringify("+notifications+".map(({title, body, tag}) => [title, body, tag].join('|')).sort()))()"); got != want {
		t.Errorf("notifications %s, want %s", got, want)
	}
	p.inWorker(`(async () => {
		const [notification] = await registration.getNotifications({tag: '` + cleo.id + `'});
		dispatchEvent(new NotificationEvent('notificationclick', {notification}));
		return true; })()`)
	b.until("location.hash === '#" + cleo.id + "' && named('textarea', 'Write a message')")
	b.until("window.shownNow === 2")
	b.press("Menu")
	b.press("Sign out")
	b.until("document.querySelector('dialog[open]')")
	b.press("Sign out")
	b.until("named('button', 'Sign in')")
	b.until("window.shownNow === 0")
}

// stubPush replaces the push service of the browser, which no test can reach.
const stubPush = `(() => {
	const bytes = (n, first) => Uint8Array.from({length: n}, (_, i) => i ? i : first).buffer;
	let made = null;
	class Fake {
		constructor(key) { this.key = key; }
		endpoint = 'https://push.example.org/' + Math.random();
		get options() { return {applicationServerKey: Uint8Array.from(atob(this.key.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0)).buffer}; }
		getKey(name) { return name === 'auth' ? bytes(16, 1) : window.point; }
		async unsubscribe() { made = null; return true; }
	}
	PushManager.prototype.subscribe = async ({applicationServerKey}) => (made = new Fake(applicationServerKey));
	PushManager.prototype.getSubscription = async () => made;
	Notification.requestPermission = async () => 'granted';
	return crypto.subtle.generateKey({name: 'ECDH', namedCurve: 'P-256'}, true, ['deriveBits'])
		.then(({publicKey}) => crypto.subtle.exportKey('raw', publicKey)).then((raw) => { window.point = raw; return true; });
})()`

// TestPageSubscribes makes a subscription, changes it, and ends it.
func TestPageSubscribes(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.Push.Subject = "mailto:admin@example.org" })
	w := newWorld(t, s)
	bob := w.newMembers(t, 1)[0]
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, desk)
	ask[bool](b, stubPush)
	b.signIn(bob.account, bob.password)
	b.workerReady()
	do := func(what string) string {
		t.Helper()
		return ask[string](b, `(async () => {
			const push = await import(new URL('later/push.js', document.querySelector('script[type=module]').src));
			const {id, token} = JSON.parse(sessionStorage.getItem('imctl.login'));
			const session = {as: (call) => call({id, token})};
			return JSON.stringify(await push.`+what+`);
		})()`)
	}
	stored := func(want int) (texts bool) {
		t.Helper()
		all, err := s.app.backend.store.Push.List(t.Context(), bob.id)
		if err != nil || len(all) != want {
			t.Fatalf("%d subscriptions, %v, want %d", len(all), err, want)
		}
		return want > 0 && all[0].Text && all[0].Language == "en-US"
	}
	const off, on = `{"supported":true,"allowed":true,"on":false,"text":false}`, `{"supported":true,"allowed":true,"on":true,"text":`
	for _, row := range []struct {
		what, want string
		stored     int
		text       bool
	}{
		{"pushState(session)", off, 0, false}, {"subscribe(session)", on + "false}", 1, false}, {"subscribe(session, {text: true})", on + "true}", 1, true},
		{"pushState(session)", on + "true}", 1, true}, {"unsubscribe(session)", off, 0, false},
	} {
		if got := do(row.what); got != row.want {
			t.Errorf("%s: %s, want %s", row.what, got, row.want)
		}
		if stored(row.stored) != row.text {
			t.Errorf("%s: the subscription has another text or language", row.what)
		}
	}
}
