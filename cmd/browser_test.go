package cmd

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const pagePath = "/im/www/v1/chat.html"

// signUp registers a user with the form of the page, which also signs the user in.
func (b *tab) signUp(name string) {
	b.t.Helper()
	b.press("Create account")
	b.fill("Account", name)
	b.fill("Password", passwordOf(name))
	b.fill("Mail address", strings.ToLower(name)+"@example.org")
	b.press("Create account")
	b.until("count('nav') === 1 || count('main') === 1 && !document.querySelector('.sign')")
}

func passwordOf(name string) string { return "a long secret of " + name }

func (b *tab) signIn(name, password string) {
	b.t.Helper()
	b.fill("Account", name)
	b.fill("Password", password)
	b.press("Sign in")
}

// row returns the expression that tells whether the list shows this name.
func row(name string) string { return fmt.Sprintf("has('nav .row', %s)", quote(name)) }

func (b *tab) open(name string) {
	b.t.Helper()
	b.pressOn(fmt.Sprintf("[...document.querySelectorAll('nav .row')].find((e) => e.innerText.includes(%s))", quote(name)))
}

func (b *tab) say(text string) {
	b.t.Helper()
	b.fill("Write a message", text)
	b.key("\r")
}

// hears waits for a friend's dialogue to be on the screen.
func (b *tab) hears(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("has('.theirs .text', %s)", quote(text)))
}

// sees waits for words anywhere on the screen.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("has('body', %s)", quote(text)))
}

// state waits for an own dialogue to be in a state.
func (b *tab) state(text, state string) {
	b.t.Helper()
	b.until(fmt.Sprintf("[...document.querySelectorAll('.mine')].some((e) => e.querySelector('.text')?.innerText.includes(%s) && e.querySelector('.state.%s'))", quote(text), state))
}

// befriend lets one find and ask another, who accepts under an alias.
func befriend(asker *tab, name string, other *tab, alias string) {
	asker.t.Helper()
	asker.press("Find people")
	asker.fill("Search friends and people", name)
	asker.open(name)
	asker.fill("Note", "It is me, "+asker.who)
	asker.press("Add")
	asker.until("has('nav .row', 'Requested')")
	other.press("Friend requests")
	other.sees("It is me, " + asker.who)
	other.press("Accept")
	other.fill("Name for this friend", alias)
	other.press("Accept")
	other.until("named('textarea', 'Write a message')")
	asker.fill("Search friends and people", "")
	asker.until(row(name))
}

// TestPageTalk needs no kept conversations: the page keeps the history, and offers to send dialogues again.
func TestPageTalk(t *testing.T) { eachBrowser(t, "en-US", testPageTalk) }

func testPageTalk(t *testing.T, browser webBrowser) {
	s := start(t, func(c *Config) { c.Dialogues.Keep = 0 })
	url := s.app.URL() + pagePath
	ann := openTab(t, browser, "ann", url, desk)
	bob := openTab(t, browser, "bob", url, phone)
	ann.signUp("Ann")
	bob.signUp("Bob")
	befriend(ann, "Bob", bob, "Annie")

	ann.open("Bob")
	ann.say("Good morning!\nHow are you?")
	bob.hears("How are you?")
	bob.say("Fine, and you? 😀")
	ann.hears("Fine, and you? 😀")
	ann.state("Good morning!", "delivered")
	bob.until("has('header', 'Annie')")

	// Gone and back: said in words, and sent again at the press of a button.
	bob.press("Back")
	bob.until(row("Annie")) // the talk has a menu, too
	bob.press("Menu")
	bob.press("Sign out")
	bob.press("Sign out")
	bob.sees("Welcome back")
	ann.say("Are you there?")
	ann.state("Are you there?", "offline")
	ann.sees("Not delivered: friend is offline.")
	bob.signIn("Bob", passwordOf("Bob"))
	bob.until(row("Annie"))
	ann.press("Try again")
	ann.state("Are you there?", "delivered")
	bob.until("has('nav .row .count', '1')")
	bob.until("document.title.startsWith('(1)')")
	bob.open("Annie")
	bob.hears("Are you there?")
	bob.until("!document.title.startsWith('(')")

	// An end at both ends.
	bob.press("Menu")
	bob.press("Remove friend")
	bob.press("Remove friend")
	bob.sees("You are no longer friends.")
	ann.sees("You are no longer friends.")
}

func TestPageForms(t *testing.T) { anyBrowser(t, "en-US", testPageForms) }

func testPageForms(t *testing.T, browser webBrowser) {
	s := start(t)
	url := s.app.URL() + pagePath
	ann := openTab(t, browser, "ann", url, desk)
	ann.signIn("nobody", "nothing")
	ann.sees("Account or password is wrong.")
	ann.press("Create account")
	ann.fill("Account", "")
	ann.press("Create account")
	ann.sees("Please enter your account.")
	ann.fill("Account", "Ann")
	ann.press("Create account")
	ann.sees("Please enter a password.")
	ann.fill("Password", passwordOf("Ann"))
	ann.press("Create account")
	ann.sees("Please enter a mail address.")
	ann.fill("Mail address", "ann@example.org")
	ann.press("Create account")
	ann.sees("No friends yet")

	other := openTab(t, browser, "other", url, phone)
	other.press("Create account")
	other.fill("Account", "ANN ")
	other.fill("Password", passwordOf("other"))
	other.fill("Mail address", "a@example.org")
	other.press("Create account")
	other.sees("This account is already taken.")
}

// TestPageReconnects kills the server during a talk. Messages written during the outage are sent later, without a new
// sign-in.
func TestPageReconnects(t *testing.T) { eachBrowser(t, "en-US", testPageReconnects) }

func testPageReconnects(t *testing.T, browser webBrowser) {
	data, log := filepath.Join(t.TempDir(), "data"), new(logBuffer)
	server := startProcess(t, data, log)
	url := server.url + pagePath
	ann := openTab(t, browser, "ann", url, desk)
	bob := openTab(t, browser, "bob", url, phone)
	ann.signUp("Ann")
	bob.signUp("Bob")
	befriend(ann, "Bob", bob, "Ann")
	ann.open("Bob")
	ann.say("Before")
	bob.hears("Before")

	server.kill(t)
	ann.sees("No connection.")
	ann.say("Written without a server")
	ann.state("Written without a server", "queued")
	startProcess(t, data, log, "IMCTL_LISTEN="+strings.TrimPrefix(server.url, "http://"))
	bob.until("count('.linkbar') === 0")
	ann.until("count('.linkbar') === 0")
	bob.hears("Written without a server")
	ann.state("Written without a server", "delivered")
}

// TestPageWakes simulates a sleep of the machine: the clock jumps, and the page reconnects, since its connection may be
// dead.
func TestPageWakes(t *testing.T) { eachBrowser(t, "en-US", testPageWakes) }

func testPageWakes(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	ask[bool](b, `window.sockets = 0, window.WebSocket = class extends WebSocket {
		constructor(...where) { super(...where); sockets++; }
	}, true`)
	b.signIn(bob.account, bob.password)
	b.open("alias of " + cleo.account)
	b.until("sockets === 1")
	ask[bool](b, "(() => { const now = Date.now; Date.now = () => now() + 3_600_000; return true; })()")
	b.until("sockets === 2")
	b.until("document.querySelector('header .dot')")
	b.say("Awake")
	b.state("Awake", "delivered")
	b.until("sockets === 2")
}

// TestPageDevices signs one user in on two devices, which show each other's messages, and on one device too many.
func TestPageDevices(t *testing.T) { anyBrowser(t, "en-US", testPageDevices) }

func testPageDevices(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t, func(c *Config) { c.Sessions.PerUser = 2 }))
	bob, cleo := w.newFriends(t)
	bob.tunnel.close(t)
	url := w.base(0) + pagePath
	var places []*tab
	for i, as := range []screen{desk, phone} {
		b := openTab(t, browser, fmt.Sprintf("bob's place %d", i), url, as)
		b.signIn(bob.account, bob.password)
		b.open("alias of " + cleo.account)
		places = append(places, b)
	}
	places[0].say("From the desk")
	places[1].state("From the desk", "delivered")
	places[1].say("From the phone")
	places[0].state("From the phone", "delivered")
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, `"To both"`))
	for _, b := range places {
		b.hears("To both")
		b.until("count('.dialogue') === 3")
	}
	third := openTab(t, browser, "bob's third place", url, desk)
	third.signIn(bob.account, bob.password)
	third.until(row("alias of " + cleo.account))
	places[0].sees("Your account is signed in on too many devices")
	places[0].press("Use it here")
	places[0].until(row("alias of " + cleo.account))
	places[1].sees("Your account is signed in on too many devices")
}

// TestPageForgotten resets a password on a server with a mail server, and checks that the page otherwise refers to the
// administrator.
func TestPageForgotten(t *testing.T) { anyBrowser(t, "en-US", testPageForgotten) }

func testPageForgotten(t *testing.T, browser webBrowser) {
	mailServer := startMailServer(t)
	url := start(t, mailServer.configure).app.URL() + pagePath
	ann := openTab(t, browser, "ann", url, phone)
	ann.signUp("Ann")
	first := codeInMail.FindStringSubmatch(mailServer.waitForMail(t, "ann@example.org", 1))
	if first == nil {
		t.Fatal("no code in the first mail")
	}
	ann.settings("Mail and password")
	ann.fill("Code from our mail", "AAAA-AAAA")
	ann.press("Save")
	ann.sees("Wrong or expired code.")
	ann.fill("Code from our mail", first[1])
	ann.press("Save")
	ann.until("has('dialog', 'Saved.')")
	ann.press("Close")
	ann.press("Menu")
	ann.press("Sign out")
	ann.press("Sign out")
	ann.press("Forgot your password?")
	ann.until("count('dialog') === 1")
	ann.fill("Account", "ann")
	ann.fill("Mail address", "ann@example.org")
	ann.press("Send a code")
	ann.fill("New password", "another secret")
	ann.fill("Code", "AAAA-AAAA")
	ann.press("Set password")
	ann.sees("Wrong or expired code.")
	code := codeInMail.FindStringSubmatch(mailServer.waitForMail(t, "ann@example.org", 2))
	if code == nil {
		t.Fatal("no code in the mail")
	}
	ann.fill("Code", code[1])
	ann.press("Set password")
	ann.sees("Your new password is set.")
	ann.press("Close")
	ann.signIn("Ann", passwordOf("Ann"))
	ann.sees("Account or password is wrong.")
	ann.signIn("Ann", "another secret")
	ann.sees("No friends yet")

	other := openTab(t, browser, "other", start(t).app.URL()+pagePath, phone)
	other.press("Forgot your password?")
	other.until("count('dialog') === 1")
	other.fill("Account", "ann")
	other.fill("Mail address", "ann@example.org")
	other.press("Send a code")
	other.sees("Please ask its administrator")
}
