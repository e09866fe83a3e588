package cmd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"imctl/kv"
)

// settings opens a dialog of the settings.
func (b *tab) settings(item string) {
	b.t.Helper()
	b.press("Menu")
	b.press("Settings")
	b.press(item)
	b.until("has('dialog h2', " + quote(item) + ")")
}

// allowNotifications switches the notifications of the open page on.
func (b *tab) allowNotifications() {
	b.t.Helper()
	b.settings("Notifications")
	b.press("Show notifications")
	b.until("named('input', 'Show notifications').checked")
	b.press("Close")
}

// choose presses an item in the menu of the conversation, which opens a dialog.
func (b *tab) choose(item string) {
	b.t.Helper()
	b.pressOn("[...document.querySelectorAll('.pane header .iconic')].at(-1)")
	b.press(item)
	b.until("count('dialog') === 1")
}

// hook runs a script in the page.
func (b *tab) hook(script string) {
	b.t.Helper()
	ask[bool](b, "(() => {"+script+"; return true; })()")
}

// countCalls counts the calls that contain a path in the variable calls.
func (b *tab) countCalls(path string) {
	b.t.Helper()
	b.hook("window.calls = 0; const f = window.fetch; window.fetch = (url, ...more) => { if (String(url).includes(" + quote(path) + ")) calls++; return f(url, ...more); }")
}

// TestPagePasswords: the page refuses weak passwords before it sends them, and shows the server's rule in words.
func TestPagePasswords(t *testing.T) { anyBrowser(t, "en-US", testPagePasswords) }

func testPagePasswords(t *testing.T, browser webBrowser) {
	s := start(t, func(c *Config) { c.Passwords.MinLength = 12 })
	b := openTab(t, browser, "ann", s.app.URL()+pagePath, phone)
	b.countCalls("/im/register")
	b.press("Create account")
	b.fill("Account", "Annabella")
	b.fill("Mail address", "ann@example.org")
	for _, weak := range []struct{ password, words string }{
		{"séven77", "Please use at least 8 characters."},
		{"PassWord123", "This password is one of the most common ones."},
		{"zzzzzzzzzzz", "This password is one of the most common ones."},
		{"annabella", "Please choose a password that differs from the account."},
		{"AnnabellaANNABELLA", "Please choose a password that differs from the account."},
	} {
		b.fill("Password", weak.password)
		b.until("!document.querySelector('.wrong')")
		b.press("Create account")
		b.until("has('.wrong .hint', " + quote(weak.words) + ") && document.activeElement.name === 'password'")
	}
	if n := ask[int](b, "calls"); n != 0 {
		t.Errorf("the page sent %d weak passwords", n)
	}
	b.fill("Password", "Zk8#fu1w")
	b.press("Create account")
	b.until("has('.wrong .hint', 'It may require a longer password.')")
	b.fill("Password", passwordOf("Annabella"))
	b.press("Create account")
	b.sees("No friends yet")
}

// TestPageNewPassword changes the password soon after a login and later, when the page needs the current one.
func TestPageNewPassword(t *testing.T) { anyBrowser(t, "en-US", testPageNewPassword) }

func testPageNewPassword(t *testing.T, browser webBrowser) {
	s := start(t)
	w := newWorld(t, s)
	bob := w.newMember(t, 0)
	bob.login(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.sees("No friends yet")
	change := func(password, old string) {
		b.fill("New password", password)
		b.fill("Current password", old)
		b.press("Save")
	}
	b.settings("Mail and password")
	change("12345678", "")
	b.until("has('dialog .wrong .hint', 'This password is one of the most common ones.')")
	change("the first new one", "")
	b.until("has('dialog', 'Saved.')")
	b.press("Close")

	// A token that a login by token issued, as the page has after some time.
	token, err := s.app.backend.store.Tokens.Issue(t.Context(), bob.id, strings.Repeat("0", 32), kv.Origin{Login: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	b.hook("for (const s of [sessionStorage, localStorage]) s['imctl.login'] = JSON.stringify({...JSON.parse(s['imctl.login']), token: " + quote(token) + "})")
	b.reload()
	b.sees("No friends yet")
	b.settings("Mail and password")
	change("the second new one", "")
	b.until("has('dialog .wrong .hint', 'Please enter your current password.')")
	change("the second new one", "a wrong password")
	b.until("has('dialog .wrong .hint', 'This password is wrong.')")
	change("the second new one", "the first new one")
	b.until("has('dialog', 'Saved.')")
	b.press("Close")
	b.until("document.activeElement.title === 'Menu'")
	b.press("Menu")
	b.press("Sign out")
	b.press("Sign out")
	b.signIn(bob.account, "the second new one")
	b.sees("No friends yet")
}

// TestPageBlocks blocks a friend and the sender of a request, and reports both.
func TestPageBlocks(t *testing.T) { anyBrowser(t, "en-US", testPageBlocks) }

func testPageBlocks(t *testing.T, browser webBrowser) {
	s := start(t)
	w := newWorld(t, s)
	bob, cleo := w.newFriends(t)
	dora := w.newMember(t, 0)
	dora.login(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.open("alias of " + cleo.account)
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, `"Buy now!"`))
	b.hears("Buy now!")

	b.choose("Report…")
	b.press("Send report")
	b.until("has('dialog .wrong .hint', 'Please fill in this field.')")
	b.fill("What happened?", "Sends advertisements")
	b.press("Attach what this person wrote")
	b.press("Send report")
	b.sees("Your report was sent.")
	b.press("Close")
	b.until("document.activeElement.title === 'Menu' && document.activeElement.closest('.pane')")
	b.choose("Block")
	b.press("Block")
	b.until("has('.parted', 'You have blocked this person.') && count('.composer') === 0")
	b.reload()
	b.until("has('.parted', 'You have blocked this person.') && count('.composer') === 0")
	cleo.tunnel.want(t, `{"code":200,"message":"Success","ok":true,"id":"1"}`)
	cleo.tunnel.send(t, dialogue(`"2"`, bob.id, `"Hello?"`))
	if got := cleo.tunnel.next(t); !strings.Contains(got, "508") {
		t.Errorf("the blocked friend gets %s", got)
	}

	dora.call(t, "request", "to", bob.id, "note", "Look at my shop").want(t, "request", replyBody(200))
	b.until(row("Friend requests"))
	b.open("Friend requests")
	b.press("Report…")
	b.fill("What happened?", "A shop")
	b.press("Send report")
	b.sees("Your report was sent.")
	b.press("Close")
	b.until("!has('dialog', 'Your report was sent.')")
	b.press("Block")
	b.until("has('dialog', 'will not be told')")
	b.press("Block")
	b.until("count('dialog') === 0 && !" + row("Friend requests"))

	reports, _, err := s.app.backend.store.Reports.List(t.Context(), 0, 10)
	if err != nil || len(reports) != 2 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	if r := reports[0]; r.By != bob.id || r.User != cleo.id || r.Text != "Sends advertisements" || r.Dialogue != "Buy now!" {
		t.Errorf("the first report is %+v", r)
	}
	if r := reports[1]; r.User != dora.id || r.Text != "A shop" || r.Dialogue != "" {
		t.Errorf("the second report is %+v", r)
	}

	b.settings("Blocked people")
	b.until("count('dialog li') === 2")
	b.press("Unblock")
	b.until("count('dialog li') === 1 && document.activeElement.innerText === 'Unblock'")
	b.press("Unblock")
	b.sees("You have not blocked anyone.")
	b.press("Close")
	b.until("document.activeElement.title === 'Menu'")
	b.until("count('.composer') === 1")
	b.say("Again friends")
	b.state("Again friends", "delivered")

	// Blocked from another device: a refused dialogue does not end the friendship on the page.
	bob.call(t, "block", "to", cleo.id).want(t, "block", replyBody(200))
	b.say("Not any more")
	b.until("has('.parted', 'You have blocked this person.')")
	b.sees("Not delivered: You have blocked this person.")
	b.press("Unblock")
	b.press("Unblock")
	b.until("count('dialog') === 0 && count('.composer') === 1 && document.activeElement !== document.body")
}

// TestPageSessions ends sessions of the user's own account, and then the account.
func TestPageSessions(t *testing.T) { anyBrowser(t, "en-US", testPageSessions) }

func testPageSessions(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob := w.newMember(t, 0)
	url := w.base(0) + pagePath
	places := make([]*tab, 4)
	for i := range places {
		places[i] = openTab(t, browser, fmt.Sprintf("bob's place %d", i), url, desk)
		places[i].signIn(bob.account, bob.password)
		places[i].sees("No friends yet")
	}
	b := places[0]
	b.settings("Devices")
	b.until("count('dialog .session') === 4")
	b.until("has('dialog .session:first-child', 'this browser') && has('dialog .session:first-child b', (navigator.userAgent.includes('Firefox') ? 'Firefox' : 'Chrome') + ', Linux') && has('dialog .session', '127.0.0.1 · since ')")
	b.press("Sign out")
	b.until("count('dialog .session') === 3")
	places[3].sees("Please sign in again.")
	b.press("Sign out all others")
	b.press("Sign out all others") // asked again
	b.until("count('dialog .session') === 1 && !named('button', 'Sign out all others')")
	places[1].sees("Please sign in again.")
	places[2].sees("Please sign in again.")
	b.press("Close")

	b.settings("Delete account…")
	b.press("Delete account")
	b.sees("Please fill in this field.")
	b.fill("Password", "a wrong password")
	b.press("Delete account")
	b.until("has('dialog .wrong .hint', 'This password is wrong.')")
	b.fill("Password", bob.password)
	b.press("Delete account")
	b.sees("Your account was deleted.")
	b.press("Close")
	b.until("document.activeElement.name === 'account'")
	b.signIn(bob.account, bob.password)
	b.sees("Account or password is wrong.")
}

// TestPageLoadsLater cuts the page off the modules that it loads on first use: the page says so, and loads them at the
// next attempt.
func TestPageLoadsLater(t *testing.T) {
	t.Parallel()
	browser := chromium(t, "de-DE") // whose DevTools protocol blocks addresses
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	call(b, network.Enable, network.EnableParams{})
	cut := func(pattern string) {
		patterns := []*network.BlockPattern{}
		if pattern != "" {
			patterns = append(patterns, &network.BlockPattern{URLPattern: w.base(0) + pattern, Block: true})
		}
		call(b, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: patterns})
	}
	const notLoaded = "Dieser Teil der Seite ließ sich nicht laden."
	signIn := func() {
		b.fill("Konto", bob.account)
		b.fill("Passwort", bob.password)
		b.press("Anmelden")
	}
	for _, pattern := range []string{"/im/www/v1/*/js/later/*", "/im/www/v1/*/js/later/lang/*"} {
		cut(pattern)
		b.press("Konto anlegen")
		b.until("has('.fault', '" + notLoaded + "')")
		b.press("Anmelden")
		signIn() // which loads the store of conversations
		b.until("has('.fault', 'Der Server ist nicht erreichbar.')")
	}
	cut("/im/www/v1/*/js/later/settings.js*")
	signIn()
	b.until(row("alias of " + cleo.account))
	b.press("Menü")
	b.press("Einstellungen")
	b.until("has('dialog', '" + notLoaded + "')")
	b.press("Jetzt versuchen")
	b.until("has('dialog .fault', '" + notLoaded + "')")
	cut("")
	b.press("Jetzt versuchen")
	b.until("has('dialog', 'Blockierte Leute')")
	b.press("Schließen")
	b.until("count('dialog') === 0 && document.activeElement.title === 'Menü'")
	b.open("alias of " + cleo.account)
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, `"Still here"`))
	b.hears("Still here")
}

// TestPageLimits: the page tells limits and a busy server in words.
func TestPageLimits(t *testing.T) { anyBrowser(t, "en-US", testPageLimits) }

func testPageLimits(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob := w.newMember(t, 0)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, phone)
	b.hook(`window.answer = '{"code":500,"message":"Internal Server Error","ok":false}';
		window.Real = WebSocket;
		window.WebSocket = class extends EventTarget {
			constructor() {
				super();
				setTimeout(() => (answer ? this.onmessage({data: answer}) : this.onclose({code: 1006})));
			}
			close() {}
		}`)
	b.signIn(bob.account, bob.password)
	b.sees("The server is busy. Please try again in a moment.")
	b.hook(`answer = ''`)
	b.press("Sign in")
	b.sees("The server can’t be reached.")
	b.hook(`window.realFetch = fetch; window.seconds = 61;
		window.fetch = () => Promise.resolve(new Response('{"code":403}', {status: 429, headers: {'Retry-After': seconds}}))`)
	b.press("Sign in")
	b.sees("Too many attempts. Try again in 2 minutes.")
	b.hook(`window.WebSocket = Real; window.limited = fetch; window.fetch = realFetch`)
	b.press("Sign in")
	b.sees("No friends yet")
	b.hook(`seconds = 1; window.fetch = limited`)
	b.fill("Search friends and people", "Somebody")
	b.sees("Too many attempts. Try again in 1 second.")
	b.hook(`window.fetch = () => Promise.resolve(new Response('{"code":500}', {headers: {'Retry-After': 5}}))`)
	b.fill("Search friends and people", "Some")
	b.sees("The server is busy. Try again in 5 seconds.")
}
