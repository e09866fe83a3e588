package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPageSettingsLook: theme, text size and language apply at once, in all tabs of the browser, and survive a reload.
func TestPageSettingsLook(t *testing.T) { eachBrowser(t, "en-US", testPageSettingsLook) }

func testPageSettingsLook(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	url := w.base(0) + pagePath
	b := openTab(t, browser, "bob", url, desk)
	other := b.beside(url)
	other.sees("Welcome back")
	b.signIn(bob.account, bob.password)
	b.until(row("alias of " + cleo.account))
	background := func(b *tab) string { return ask[string](b, "getComputedStyle(document.body).backgroundColor") }
	light := background(b)

	b.press("Menu")
	b.press("Settings")
	b.press("Dark")
	for _, one := range []*tab{b, other} {
		one.until("getComputedStyle(document.body).backgroundColor !== " + quote(light))
	}
	b.press("Largest")
	for _, one := range []*tab{b, other} {
		one.until("getComputedStyle(document.documentElement).fontSize === '24px'")
	}
	dark := background(b)
	b.reload()
	b.until(row("alias of " + cleo.account))
	if got := background(b); got != dark {
		t.Errorf("after a reload the background is %s, want %s", got, dark)
	}
	b.until("getComputedStyle(document.documentElement).fontSize === '24px'")
	// The theme of the system does not matter now.
	b.look(screen{1180, 760, true})
	b.press("Menu")
	b.press("Settings")
	b.press("Light")
	b.until("getComputedStyle(document.body).backgroundColor === " + quote(light))
	b.press("Normal")
	b.until("getComputedStyle(document.documentElement).fontSize === '16px'")

	b.press("Deutsch")
	b.until("document.documentElement?.lang === 'de' && named('input', 'Freunde und Leute suchen')")
	b.reload()
	b.until("document.documentElement?.lang === 'de' && named('input', 'Freunde und Leute suchen')")
	b.press("Menü")
	b.press("Einstellungen")
	b.press("English")
	b.until("document.documentElement?.lang === 'en' && " + row("alias of "+cleo.account))
}

// TestPageSettingsPages: a phone shows the list of the sections, and then one of them.
func TestPageSettingsPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	bob, _ := w.newFriends(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, phone)
	b.signIn(bob.account, bob.password)
	b.press("Menu")
	b.press("Settings")
	b.until("named('button', 'Privacy') && count('.settings section') === 0")
	for _, name := range []string{"Appearance", "Notifications", "Privacy", "Blocked people", "Devices", "Mail and password", "Conversations", "Delete account…"} {
		b.press(name)
		b.until("has('.settings section h2', " + quote(name) + ") && count('.settings nav') === 0 && document.activeElement.title === 'Back'")
		b.press("Back")
		b.until("count('.settings section') === 0 && document.activeElement.innerText === " + quote(name))
	}
	b.key("\x1b")
	b.until("count('dialog') === 0 && document.activeElement.title === 'Menu'")
}

// TestPageReceipts: a user without read marks tells friends neither what is read nor that the user types, only what has
// arrived.
func TestPageReceipts(t *testing.T) { anyBrowser(t, "en-US", testPageReceipts) }

func testPageReceipts(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.page(t, f.bob, desk)
	b.until(row("alias of " + f.cleo.account))
	b.settings("Privacy")
	b.press("Send read marks")
	b.until("!document.querySelector('[role=switch]').checked")
	b.press("Close")
	b.hook("window.sent = []; const send = WebSocket.prototype.send; WebSocket.prototype.send = function (text) { sent.push(text); send.call(this, text); }")
	c := f.talk(t, f.cleo, f.bob)
	b.open("alias of " + f.cleo.account)
	c.say("Have you read this?")
	b.hears("Have you read this?")
	b.until("sent.some((one) => JSON.parse(one).got === 1)")
	c.state("Have you read this?", "delivered")
	b.say("Perhaps")
	c.hears("Perhaps")
	if told := ask[bool](b, "sent.some((one) => 'read' in JSON.parse(one) || 'typing' in JSON.parse(one))"); told {
		t.Errorf("the page sent %s", ask[string](b, "sent.join(' ')"))
	}
	if n := ask[int](c, "document.querySelectorAll('.state.read').length"); n != 0 {
		t.Errorf("%d dialogues are shown as read", n)
	}

	b.settings("Privacy")
	b.press("Send read marks")
	b.until("document.querySelector('[role=switch]').checked")
	b.reload()
	c.state("Have you read this?", "read")
}

// TestPageExport: the file has the profile, the friends and all dialogues, also those that this browser has never seen.
func TestPageExport(t *testing.T) { anyBrowser(t, "en-US", testPageExport) }

func testPageExport(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	const n = 450 // more than two answers have
	session, _ := f.cleo.keeps(t)
	for i := range n {
		session.send(t, dialogue(fmt.Sprintf(`"%d"`, i), f.bob.id, fmt.Sprintf(`"Line %d"`, i)))
		for !strings.Contains(session.next(t), `"code":202`) {
		}
	}
	b := f.page(t, f.bob, desk)
	b.until(row("alias of " + f.cleo.account))
	dir := t.TempDir()
	download(b, dir)
	b.settings("Conversations")
	b.press("Export")
	b.sees("The file is in your downloads.")
	var file struct {
		Me        struct{ ID string }
		Friends   []struct{ ID, Name string }
		Dialogues []struct {
			Friend, Text, State string
			N                   int
			Mine                bool
		}
	}
	eventually(t, "the file is on the disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		if len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && json.Unmarshal(text, &file) == nil
	})
	if file.Me.ID != f.bob.id || len(file.Friends) != 1 || file.Friends[0].ID != f.cleo.id {
		t.Errorf("the file has the user %+v and the friends %+v", file.Me, file.Friends)
	}
	if len(file.Dialogues) != n {
		t.Fatalf("the file has %d dialogues, want %d", len(file.Dialogues), n)
	}
	for i, one := range file.Dialogues {
		if one.Text != fmt.Sprintf("Line %d", i) || one.N != i+1 || one.Mine || one.Friend != f.cleo.id || one.State != "kept" {
			t.Fatalf("dialogue %d is %+v", i, one)
		}
	}
}

// TestPageDetails: a wide screen shows the friend beside the conversation, until the user closes that, and a narrower
// one shows a dialog.
func TestPageDetails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	b := openTab(t, chromium(t, "en-US"), "bob", w.base(0)+pagePath, screen{1500, 800, false})
	b.signIn(bob.account, bob.password)
	b.until(row("alias of " + cleo.account))
	b.until("count('.details') === 0")
	b.open("alias of " + cleo.account)
	b.until("has('.details', " + quote(cleo.id) + ")")
	b.press("Rename")
	b.fill("Name for this friend", "Cleopatra")
	b.press("Save")
	b.until("has('.details', 'Cleopatra') && count('dialog') === 0")
	b.press("Close")
	b.until("count('.details') === 0 && document.activeElement.classList.contains('who')")
	b.reload()
	b.until("has('header', 'Cleopatra') && count('.composer') === 1 && count('.details') === 0")
	b.click(".who")
	b.until("has('.details', 'Cleopatra')")
	b.look(desk)
	b.until("count('.details') === 0")
	b.click(".who")
	b.until("has('dialog', 'Cleopatra')")
}
