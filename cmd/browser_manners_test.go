package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// axe is the source of axe-core, which looks for what keeps people out, in the version that
// testdata/axe/package-lock.json names: as it was installed there, or as npm brings it.
func axe(t testing.TB) string {
	t.Helper()
	source := filepath.Join("testdata", "axe")
	script := filepath.Join("node_modules", "axe-core", "axe.min.js")
	b, err := os.ReadFile(filepath.Join(source, script))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(filepath.Join(npm(t, source), script))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// accessible runs axe on the page: with all rules on a desktop in light mode and on a phone in dark mode, and in the
// other two with the rules of contrast, mirrored for languages that are written from right to left.
func (b *tab) accessible(source, view string) {
	b.t.Helper()
	for i, as := range []screen{desk, {320, 640, true}, {desk.width, desk.height, true}, {320, 640, false}} {
		b.look(as)
		rest, dir := ", runOnly: ['color-contrast', 'target-size']", "rtl"
		if i < 2 {
			rest, dir = "", ""
		}
		found := ask[string](b, `(async () => {
			document.documentElement.dir = '`+dir+`';
			if (!window.axe) { `+source+` }
			const {violations} = await axe.run(document, {resultTypes: ['violations']`+rest+`});
			return violations.map((v) => v.id + ' (' + v.impact + '): ' + v.nodes.map((n) => n.target + ' ' + n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join('\n    ')).join('\n');
		})()`)
		if found != "" {
			b.t.Errorf("%s, %d pixels wide, dark %t, direction %q:\n%s", view, as.width, as.dark, dir, found)
		}
		if wide := ask[bool](b, "document.documentElement.scrollWidth > innerWidth"); wide {
			b.t.Errorf("%s is wider than a screen of %d pixels, direction %q", view, as.width, dir)
		}
	}
	ask[bool](b, "document.documentElement.removeAttribute('dir'), true")
	b.look(desk)
}

func TestPageAccessible(t *testing.T) {
	t.Parallel()
	source := axe(t)
	browser := chromium(t, "en-US")
	w := newWorld(t, start(t))
	url := w.base(0) + pagePath
	bob, cleo := w.newMember(t, 0), w.newMember(t, 0)
	bob.login(t)
	cleo.login(t)

	ann := openTab(t, browser, "ann", url, desk)
	ann.sees("Welcome back")
	ann.accessible(source, "sign in")
	ann.press("Forgot your password?")
	ann.until("count('dialog') === 1")
	ann.accessible(source, "forgotten password")
	ann.press("Close")
	ann.press("Create account")
	ann.press("More about you")
	ann.until("named('input', 'Birthday')")
	ann.accessible(source, "registration")
	ann.press("Sign in")
	ann.signUp("Ann")
	ann.accessible(source, "nobody yet")

	ann.fill("Search friends and people", bob.account)
	ann.until(row(bob.account))
	ann.accessible(source, "search")
	ann.open(bob.account)
	ann.until("count('dialog') === 1")
	ann.accessible(source, "ask")
	ann.press("Add")
	ann.fill("Search friends and people", "")
	me := findByName(t, bob, "Ann")
	bob.call(t, "add", "from", me, "name", "Ann").want(t, "add", replyBody(200))
	cleo.call(t, "request", "to", me, "note", "May I?").want(t, "request", replyBody(200))
	ann.until(row("Friend requests"))
	ann.open("Friend requests")
	ann.until("count('dialog') === 1")
	ann.accessible(source, "requests")
	ann.press("Accept")
	ann.until("named('input', 'Name for this friend')")
	ann.accessible(source, "answer")
	ann.press("Cancel")

	ann.open(bob.account)
	bob.tunnel.send(t, dialogue(`"1"`, me, quote("Look at https://example.org/, please")))
	ann.hears("please")
	ann.say("Yes")
	ann.state("Yes", "delivered")
	bob.tunnel.close(t)
	ann.until("has('header small', 'offline')")
	ann.say("Gone?")
	ann.state("Gone?", "kept")
	ann.sees("Offline: 1 to be delivered later")
	ann.accessible(source, "talk")
	ann.pressOn("document.querySelector('.mine .act')")
	ann.until("count('.actions') === 1")
	ann.accessible(source, "message")
	ann.press("Edit")
	ann.until("named('textarea', 'Write a message')")
	ann.accessible(source, "edit")
	ann.press("Cancel")
	ann.press("Search in this conversation")
	ann.fill("Search in this conversation", "please")
	ann.until("count('mark') === 1")
	ann.accessible(source, "search in a talk")
	ann.key("\x1b")
	ann.press("Emoji")
	ann.accessible(source, "emoji")
	ann.key("\x1b")
	for _, item := range []string{"About", "Rename", "Block", "Report…", "Remove friend"} {
		ann.pressOn("[...document.querySelectorAll('.pane header .iconic')].at(-1)")
		ann.until("count('.menu') === 1")
		if item == "About" {
			ann.accessible(source, "menu")
		}
		ann.press(item)
		ann.until("count('dialog') === 1")
		ann.accessible(source, item)
		ann.press("Close")
	}
	for _, item := range []string{"Your profile", "Settings", "Sign out"} {
		ann.press("Menu")
		ann.press(item)
		ann.until("count('dialog') === 1")
		ann.accessible(source, item)
		ann.press("Close")
	}
	bob.call(t, "remove", "to", me).want(t, "remove", replyBody(200))
	ann.until("has('.parted', 'no longer friends')")
	ann.pressOn("[...document.querySelectorAll('.pane header .iconic')].at(-1)")
	ann.press("Block")
	ann.press("Block")
	ann.until("has('.parted', 'You have blocked this person.')")
	ann.accessible(source, "blocked")
	for item, words := range map[string]string{"Blocked people": "Unblock", "Devices": "this browser", "Delete account…": "This cannot be undone."} {
		ann.press("Menu")
		ann.press("Settings")
		ann.press(item)
		ann.until("has('dialog', " + quote(words) + ")")
		ann.accessible(source, item)
		ann.press("Close")
	}
}

// findByName returns the id of the user with this name.
func findByName(t testing.TB, p *member, name string) string {
	t.Helper()
	var a struct{ Found []profileEntry }
	r := p.call(t, "found", "name", name)
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || len(a.Found) != 1 {
		t.Fatalf("found %s: %s", name, r.body)
	}
	return a.Found[0].ID
}

func TestPageByKeyboard(t *testing.T) { eachBrowser(t, "en-US", testPageByKeyboard) }

func testPageByKeyboard(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newMember(t, 0), w.newMember(t, 0)
	bob.login(t)
	cleo.login(t)
	bob.befriend(t, cleo)
	b := openTab(t, browser, "keyboard", w.base(0)+pagePath, desk)
	b.until("document.activeElement.name === 'account'")
	b.key(bob.account + "\t" + bob.password + "\r")
	b.until("document.activeElement.type === 'search'")
	b.key("\u0301") // ArrowDown
	b.until("document.activeElement.classList.contains('row')")
	b.key("\r")
	b.until("document.activeElement.tagName === 'TEXTAREA'")
	b.key("All by keys\r")
	b.state("All by keys", "delivered")
	if got := cleo.tunnel.next(t); !strings.Contains(got, "All by keys") {
		t.Errorf("the friend received %s", got)
	}
}

func TestPageSpeaks(t *testing.T) {
	t.Parallel()
	s := start(t)
	for language, words := range map[string][]string{
		"de-AT": {"Willkommen zurück", "Konto anlegen", "Passwort vergessen?"},
		"zh-CN": {"欢迎回来", "创建账号", "忘记密码？"},
		"fr":    {"Welcome back", "Create account", "Forgot your password?"},
	} {
		t.Run(language, func(t *testing.T) {
			eachBrowser(t, language, func(t *testing.T, browser webBrowser) {
				b := openTab(t, browser, language, s.app.URL()+pagePath, phone)
				for _, word := range words {
					b.sees(word)
				}
				if language != "fr" {
					b.until(fmt.Sprintf("document.documentElement.lang === %q", language))
				}
			})
		})
	}
}

// TestPageRightToLeft checks that a right-to-left language mirrors the layout, and that nothing leaves the screen.
func TestPageRightToLeft(t *testing.T) { eachBrowser(t, "en-US", testPageRightToLeft) }

func testPageRightToLeft(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	for _, as := range []screen{desk, {320, 640, false}} {
		b := openTab(t, browser, "right to left", w.base(0)+pagePath, as)
		b.signIn(bob.account, bob.password)
		b.until(row("alias of " + cleo.account))
		ask[bool](b, "document.documentElement.dir = 'rtl', true")
		b.open("alias of " + cleo.account)
		cleo.tunnel.send(t, dialogue(`"1"`, bob.id, quote("مرحبا بالعالم! Hello שלום")))
		b.hears("مرحبا")
		b.say("שלום")
		b.until("count('.mine') > 0")
		b.until("document.querySelector('.mine .bubble').getBoundingClientRect().left < innerWidth / 4")
		b.until("document.querySelector('.theirs .bubble').getBoundingClientRect().right > innerWidth / 2")
		b.until("document.documentElement.scrollWidth <= innerWidth")
	}
}

// TestPageForgetsNothing checks what the browser stores: talks, drafts, unread counts, export and removal.
func TestPageForgetsNothing(t *testing.T) { eachBrowser(t, "en-US", testPageForgetsNothing) }

func testPageForgetsNothing(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	dora := w.newMember(t, 0)
	dora.login(t)
	dora.befriend(t, bob)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.open("alias of " + cleo.account)
	b.say("Before the reload")
	b.state("Before the reload", "delivered")
	b.fill("Write a message", "A draft")
	b.open("alias of " + dora.account)
	b.until("has('nav .row', 'Draft: A draft')")
	b.until("named('textarea', 'Write a message')?.value === ''")
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, quote("While you look elsewhere")))
	b.until("has('nav .row .count', '1')")
	b.reload()
	b.until("has('nav .row .count', '1') && has('nav .row', 'A draft')")
	b.open("alias of " + cleo.account)
	b.hears("While you look elsewhere")
	b.until("has('.day.new', 'New') && has('.day', 'Today')")
	b.until("named('textarea', 'Write a message')?.value === 'A draft'")
	b.state("Before the reload", "delivered")
	b.until("!has('nav .row .count', '1')")

	// The export as a file.
	dir := t.TempDir()
	download(b, dir)
	b.press("Menu")
	b.press("Settings")
	b.press("Conversations")
	b.sees("The server keeps messages for a time")
	b.press("Export")
	var kept struct {
		Dialogues []struct{ Text, State string }
	}
	eventually(t, "the export is on the disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		if len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && json.Unmarshal(text, &kept) == nil
	})
	if len(kept.Dialogues) != 2 || kept.Dialogues[0].Text != "Before the reload" || kept.Dialogues[0].State != "kept" {
		t.Errorf("exported %+v", kept)
	}
	b.press("Delete history")
	b.press("Delete history")
	b.until("count('.dialogue') === 0")
	b.sees("Say hello!")
	b.reload()
	b.open("alias of " + cleo.account)
	b.sees("Say hello!")

	// Another user in this browser does not see it.
	b.press("Menu")
	b.press("Sign out")
	b.press("Sign out")
	b.signIn(dora.account, dora.password)
	b.until(row("alias of " + bob.account))
	b.until("count('nav .row') === 1")
}

// TestPageOneTab checks that an account is active in one tab at a time.
func TestPageOneTab(t *testing.T) { eachBrowser(t, "en-US", testPageOneTab) }

func testPageOneTab(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	url := w.base(0) + pagePath
	b := openTab(t, browser, "bob", url, desk)
	b.signIn(bob.account, bob.password)
	b.until(row("alias of " + cleo.account))
	second := b.beside(url)
	second.sees("Your account is open in another tab.")
	second.press("Use it here")
	second.until(row("alias of " + cleo.account))
	b.sees("Your account is open in another tab.")
	b.press("Use another account")
	b.signIn(cleo.account, cleo.password)
	b.until(row("alias of " + bob.account))
	second.until("has('nav .row', 'online') || document.querySelector('nav .dot')")
}

// TestPageTells checks the title, the notifications and the unread counts of a page in the background.
func TestPageTells(t *testing.T) { anyBrowser(t, "en-US", testPageTells) }

func testPageTells(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	ask[bool](b, `window.told = [], window.Notification = class {
		constructor(title, {body}) { told.push(body); }
		static requestPermission() { return Promise.resolve('granted'); }
	}, true`)
	b.signIn(bob.account, bob.password)
	b.open("alias of " + cleo.account)
	b.allowNotifications()
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, quote("Seen at once")))
	b.hears("Seen at once")
	b.until("document.title === 'imctl'")
	ask[bool](b, "document.hasFocus = () => false, true")
	cleo.tunnel.send(t, dialogue(`"2"`, bob.id, quote("Are you away?")))
	b.until("told.length === 1 && told[0].includes('Are you away?')")
	b.until("document.title === '(1) imctl'")
	ask[bool](b, "delete document.hasFocus, dispatchEvent(new Event('focus'))")
	b.until("document.title === 'imctl'")
}

// TestPageProfile changes a picture and a name, and checks them on the page of a friend.
func TestPageProfile(t *testing.T) { eachBrowser(t, "en-US", testPageProfile) }

func testPageProfile(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	url := w.base(0) + pagePath
	b, c := openTab(t, browser, "bob", url, desk), openTab(t, browser, "cleo", url, phone)
	b.signIn(bob.account, bob.password)
	c.signIn(cleo.account, cleo.password)
	c.until(row("alias of " + bob.account))
	b.press("Menu")
	b.press("Your profile")
	b.upload("dialog input[type=file]", photo(t))
	b.press("Use picture")
	b.until("document.querySelector('dialog .avatar img')?.naturalWidth === 160")
	b.fill("About you, in one line", "Now with a face")
	b.press("Save")
	b.until("document.querySelector('.self img') !== null && count('dialog') === 0")
	c.until("document.querySelector('nav .row img')?.naturalWidth === 160")
	c.sees("Now with a face")
	if path := ask[string](c, "new URL(document.querySelector('nav .row img').src).pathname"); !strings.HasPrefix(path, "/im/pictures/") {
		t.Errorf("the picture is loaded from %.80s", path)
	}
	c.open("alias of " + bob.account)
	c.press("Menu")
	c.press("Rename")
	c.fill("Name for this friend", "Bobby")
	c.press("Save")
	c.until("has('header', 'Bobby')")
	c.reload()
	c.until("has('header', 'Bobby')")
}

// photo returns a file like that of a camera: large and not square.
func photo(t testing.TB) string {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, 1200, 800))
	for y := range 800 {
		for x := range 1200 {
			im.Set(x, y, color.RGBA{uint8(x / 5), uint8(y / 4), uint8(x * y / 4000), 255})
		}
	}
	path := filepath.Join(t.TempDir(), "photo.png")
	f, err := os.Create(path)
	if err == nil {
		err = png.Encode(f, im)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
