package cmd

import (
	"fmt"
	"image"
	"image/color"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"imctl/kv"
)

// strangers creates users that never sign in.
func (s *server) strangers(t testing.TB, n int, name string) (all []kv.User) {
	t.Helper()
	for i := range n {
		u, err := s.app.backend.store.Users.Create(t.Context(), kv.User{Account: fresh("stranger"), Profile: kv.Profile{Name: name, Sign: fmt.Sprint("Number ", i)}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// TestPageTellsApart: ten strangers of one name have tags, which are the same in the results, the dialogs and the list
// of own requests. A person is found by the account, with common friends, and a request is taken back.
func TestPageTellsApart(t *testing.T) { inChromium(t, testPageTellsApart) }

func testPageTellsApart(t *testing.T, browser webBrowser) {
	s := start(t)
	w := newWorld(t, s)
	bob, cleo := w.newFriends(t)
	dora := w.newMembers(t, 1)[0]
	dora.befriend(t, cleo)
	same := s.strangers(t, 10, "Robin Smith")
	bob.tunnel.close(t)
	b := openTab(t, browser, "bob", s.app.URL()+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.until(row("alias of " + cleo.account))
	b.until("count('.idtag') === 0") // one of each name
	b.fill("Search friends and people", "robin")
	b.until("new Set([...document.querySelectorAll('nav .row .idtag')].map((e) => e.lastChild.textContent)).size === 10")
	tag := same[6].ID[:4]
	of := fmt.Sprintf("[...document.querySelectorAll('nav .row')].find((e) => e.innerText.includes('Number 6') && e.querySelector('.idtag')?.lastChild.textContent.startsWith(%s))", quote(tag))
	b.pressOn(of)
	b.until("has('dialog .idtag', " + quote(tag) + ") && has('dialog dd', 'Today') && has('dialog dd', " + quote(same[6].ID) + ")")
	b.press("Add")
	b.until("has('nav .row', 'Requested')")

	// The request is in the list, also after a reload.
	b.fill("Search friends and people", "")
	b.until("has('nav .section', 'Requests you sent') && has('nav .sent', 'Robin Smith') && count('.idtag') === 0")
	b.hook("location.reload()")
	b.until("has('nav .sent', 'Robin Smith')")
	b.open("Robin Smith")
	b.until("has('dialog', 'About') && named('dialog button', 'Take back')")
	b.press("Close")
	b.press("Take back")
	b.until("has('dialog', 'Take back your request to Robin Smith?')")
	b.press("Take back")
	b.until("count('nav .sent') === 0 && !has('nav', 'Requests you sent')")
	if r, _, err := s.app.backend.store.Rosters.Get(t.Context(), same[6].ID); err != nil || len(r.Requests) != 0 {
		t.Errorf("the request is still there: %+v, %v", r.Requests, err)
	}

	// By the account, which only an exact search shows.
	b.fill("Search friends and people", strings.ToUpper(same[3].Account))
	b.until("has('nav .row', " + quote("@"+same[3].Account) + ")")
	b.fill("Search friends and people", dora.account)
	b.until("has('nav .row', 'Common friends: 1')")
	b.fill("Search friends and people", same[3].Account[:len(same[3].Account)-1])
	b.until("has('nav', 'No name begins with this.') || !has('nav .row', '@')")
}

// TestPageTwoOfOneName: friends and requests of one name have the same tags in the list, the header and the requests,
// and a request shows the facts that the server tells.
func TestPageTwoOfOneName(t *testing.T) { anyBrowser(t, "en-US", testPageTwoOfOneName) }

func testPageTwoOfOneName(t *testing.T, browser webBrowser) {
	s := start(t, func(c *Config) { c.People.Accounts = "shown" })
	w := newWorld(t, s)
	three := w.newMembers(t, 3)
	bob, one, two := three[0], three[1], three[2]
	other := w.newMembers(t, 1)[0]
	for _, p := range []*member{one, two} {
		p.update(t, `"name":"Robin"`).want(t, "a name", replyBody(200))
	}
	other.befriend(t, bob)
	other.befriend(t, two)
	one.call(t, "request", "to", bob.id).want(t, "request", replyBody(200))
	bob.call(t, "add", "from", one.id, "name", "Robin").want(t, "add", replyBody(200))
	two.call(t, "request", "to", bob.id, "note", "It is me").want(t, "request", replyBody(200))
	bob.tunnel.close(t)
	b := openTab(t, browser, "bob", s.app.URL()+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.pressOn("document.querySelector('nav .row[data-key=\"" + one.id + "\"]')")
	b.until("has('nav .row .idtag', " + quote(one.id[:4]) + ") && has('.talk header .idtag', " + quote(one.id[:4]) + ")")
	b.press("Friend requests")
	b.until("has('dialog .idtag', " + quote(two.id[:4]) + ") && has('dialog dl', 'Common friends\\n1') && has('dialog dl', 'Today') && has('dialog dd', " + quote(two.account) + ")")
	for _, name := range []string{"Accept", "Decline", "Block", "Report…"} {
		b.until("named('dialog button', " + quote(name) + ")")
	}
	b.press("Decline")
	b.press("Decline")
	b.until("count('dialog') === 0 && count('.idtag') === 0")
}

// TestPageFindsAll: a search loads the next page as the list is scrolled, until all are there.
func TestPageFindsAll(t *testing.T) { anyBrowser(t, "en-US", testPageFindsAll) }

func testPageFindsAll(t *testing.T, browser webBrowser) {
	s := start(t)
	bob := newWorld(t, s).newMember(t, 0)
	s.strangers(t, 130, "Alex Meyer")
	b := openTab(t, browser, "bob", s.app.URL()+pagePath, phone)
	b.signIn(bob.account, bob.password)
	b.sees("No friends yet")
	b.countCalls("/im/people?")
	b.fill("Search friends and people", "alex")
	b.until("has('nav .row', 'Alex Meyer')")
	if n := ask[int](b, "calls"); n > 2 {
		t.Errorf("%d pages were loaded without scrolling", n)
	}
	b.until(`(() => { const s = document.querySelector('nav .scroll'); s.scrollTop = s.scrollHeight; return has('[role=status]', 'People found: 130'); })()`)
	b.until("calls === 5 && [...document.querySelectorAll('nav li[aria-setsize=\"131\"]')].length > 0") // with the title
}

// TestPageAddLink: the own link and its QR code lead to the dialog that sends a request, whether the
// visitor is signed in or not.
func TestPageAddLink(t *testing.T) { anyBrowser(t, "en-US", testPageAddLink) }

func testPageAddLink(t *testing.T, browser webBrowser) {
	s := start(t)
	w := newWorld(t, s)
	ann := w.newMembers(t, 1)[0]
	ann.update(t, `"name":"Ann Lee"`).want(t, "a name", replyBody(200))
	ann.tunnel.close(t)
	page := s.app.URL() + pagePath
	a := openTab(t, browser, "ann", page, desk)
	a.signIn(ann.account, ann.password)
	a.sees("No friends yet")
	a.press("Menu")
	a.press("Add me")
	a.until("document.querySelector('.qr svg')")
	link := ask[string](a, "document.querySelector('dialog input').value")
	if want := page + "#add=" + ann.id; link != want {
		t.Errorf("the link is %s, want %s", link, want)
	}
	if got := decodeQR(t, rowsOf(t, ask[string](a, "document.querySelector('.qr path').getAttribute('d')"))); got != link {
		t.Errorf("the QR code is %q, want %q", got, link)
	}
	a.press("Close")

	// Signed out, with a new account.
	b := openTab(t, browser, "bob", link, phone)
	b.sees("you can add the person of this link")
	b.signUp("Bob")
	b.until("has('dialog', 'Ann Lee') && has('dialog', 'Here since')")
	b.fill("Note", "From the link")
	b.press("Add")
	b.until("has('nav .sent', 'Ann Lee') && location.hash === ''")
	a.press("Friend requests")
	a.sees("From the link")

	// Signed in: the request is pending, then they are friends.
	b.hook("location.hash = 'add=" + ann.id + "'")
	b.until("has('dialog', 'About') && named('dialog button', 'Take back')")
	b.press("Close")
	a.press("Accept")
	a.press("Accept")
	b.until(row("Ann Lee") + " && count('nav .sent') === 0")
	b.hook("location.hash = 'add=" + ann.id + "'")
	b.until("named('textarea', 'Write a message') && location.hash === '#" + ann.id + "'")
	b.hook("location.hash = 'add=" + strings.Repeat("0", 32) + "'")
	b.until("has('dialog', 'This person or request no longer exists.')")
	b.press("Close")
	a.hook("location.hash = 'add=" + ann.id + "'")
	a.until("document.querySelector('.qr svg')")
}

// TestPageAddLinkOfInvite: where an account needs an invite, the page tells that this is another link.
func TestPageAddLinkOfInvite(t *testing.T) { anyBrowser(t, "en-US", testPageAddLinkOfInvite) }

func testPageAddLinkOfInvite(t *testing.T, browser webBrowser) {
	s := start(t)
	ann := newWorld(t, s).newMember(t, 0)
	c := *s.app.config
	c.Registration = "invite"
	s.app.Reload(t.Context(), &c)
	a := openTab(t, browser, "ann", s.app.URL()+pagePath, phone)
	a.signIn(ann.account, ann.password)
	a.until("has('.start', 'they also need an invite of this server')")
	a.press("QR code of your link")
	a.until("has('dialog', 'they also need an invite of this server')")
	if ask[bool](a, "!!navigator.clipboard") {
		a.press("Copy link")
		a.until("has('dialog [role=status]', 'Copied.') || has('dialog [role=status]', 'Copy the marked text by hand.')")
	}
}

// TestPageCompares: both friends see the same safety code, which depends on both.
func TestPageCompares(t *testing.T) { anyBrowser(t, "en-US", testPageCompares) }

func testPageCompares(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	third := f.newMembers(t, 1)[0]
	third.befriend(t, f.bob)
	code := func(b *tab, with *member) string {
		b.open("alias of " + with.account)
		b.pressOn("document.querySelector('.talk .who')")
		b.press("Compare codes")
		b.until("document.querySelectorAll('.code span').length === 8")
		got := ask[string](b, "document.querySelector('.code').textContent.trim()")
		if !regexp.MustCompile(`^\d{4}( \d{4}){7}$`).MatchString(got) {
			t.Errorf("the code is %q", got)
		}
		b.press("Close")
		b.press("Close")
		return got
	}
	b, c := f.page(t, f.bob, desk), f.page(t, f.cleo, desk)
	b.until("count('nav .row .dot') === 2") // nothing is redrawn any more
	c.until("count('nav .row .dot') === 1")
	ofBob, ofCleo, another := code(b, f.cleo), code(c, f.bob), code(b, third)
	if ofBob != ofCleo || ofBob == another {
		t.Errorf("bob sees %s, cleo %s; with another friend %s", ofBob, ofCleo, another)
	}
}

// TestPageQR decodes the codes of texts of many lengths, in all versions, with a decoder that others wrote.
func TestPageQR(t *testing.T) { anyBrowser(t, "en-US", testPageQR) }

func testPageQR(t *testing.T, browser webBrowser) {
	s := start(t)
	b := openTab(t, browser, "ann", s.app.URL()+pagePath, desk)
	versions := make(map[int]bool)
	for n := 1; n <= 412; n += 1 + n/12 {
		text := strings.Repeat("https://im.example.org/#é", 1+n/26)[:n]
		text = strings.ToValidUTF8(text, "?")
		rows := ask[[]string](b, `import('/im/www/v1/js/later/qr.js').then(({encode}) => encode(`+quote(text)+`).map((row) => row.map(Number).join('')))`)
		versions[len(rows)] = true
		if got := decodeQR(t, rows); got != text {
			t.Fatalf("%d bytes, version %d: decoded %q, want %q", n, (len(rows)-17)/4, got, text)
		}
	}
	if len(versions) != 15 {
		t.Errorf("the texts used %d versions, want 15", len(versions))
	}
	if !ask[bool](b, `import('/im/www/v1/js/later/qr.js').then(({encode}) => { try { encode('x'.repeat(413)); } catch (error) { return error instanceof RangeError; } })`) {
		t.Error("a text that is too long is encoded")
	}
}

// TestPageOfOldVersion: after an upgrade a page that is still open finds no modules of its version. It says so, and
// reloads on request.
func TestPageOfOldVersion(t *testing.T) { eachBrowser(t, "en-US", testPageOfOldVersion) }

func testPageOfOldVersion(t *testing.T, browser webBrowser) {
	s := start(t)
	bob := newWorld(t, s).newMember(t, 0)
	target, err := url.Parse(s.app.URL())
	if err != nil {
		t.Fatal(err)
	}
	var upgraded atomic.Bool
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if upgraded.Load() && strings.Contains(r.URL.Path, "/js/") {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	b := openTab(t, browser, "bob", front.URL+pagePath, phone)
	b.signIn(bob.account, bob.password)
	b.sees("No friends yet")
	upgraded.Store(true)
	b.press("Menu")
	b.press("Settings")
	b.until("has('dialog', 'A new version of this page is there.') && named('dialog button', 'Reload')")
	upgraded.Store(false)
	ask[bool](b, "window.old = true")
	b.press("Reload")
	b.until("!window.old && has('nav', 'No friends yet') && count('dialog') === 0")
	b.press("Menu")
	b.press("Settings")
	b.until("has('dialog h2', 'Settings')")
}

// rowsOf reads the path of a QR code's image.
func rowsOf(t testing.TB, path string) (rows []string) {
	t.Helper()
	dark := make(map[[2]int]bool)
	side := 0
	for _, m := range regexp.MustCompile(`M(\d+) (\d+)h1v1h-1z`).FindAllStringSubmatch(path, -1) {
		var x, y int
		if _, err := fmt.Sscan(m[1], &x); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(m[2], &y); err != nil {
			t.Fatal(err)
		}
		dark[[2]int{x - 4, y - 4}] = true
		side = max(side, x-3, y-3)
	}
	for y := range side {
		var line strings.Builder
		for x := range side {
			line.WriteByte("01"[map[bool]int{true: 1}[dark[[2]int{x, y}]]])
		}
		rows = append(rows, line.String())
	}
	return rows
}

// decodeQR decodes a QR code: 1 is a dark module.
func decodeQR(t testing.TB, rows []string) string {
	t.Helper()
	const scale, edge = 4, 4
	side := (len(rows) + 2*edge) * scale
	picture := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			picture.SetGray(x, y, color.Gray{Y: 255})
			i, j := x/scale-edge, y/scale-edge
			if i >= 0 && j >= 0 && i < len(rows) && j < len(rows) && rows[j][i] == '1' {
				picture.SetGray(x, y, color.Gray{})
			}
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		t.Fatalf("decode a QR code of %d modules: %v", len(rows), err)
	}
	return result.GetText()
}
