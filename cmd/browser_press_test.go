package cmd

import "testing"

// TestPageKeepsPressedRow checks that a row which changes while the mouse is down on it stays in the document until the
// release: otherwise the browser sends no click.
func TestPageKeepsPressedRow(t *testing.T) { anyBrowser(t, "en-US", testPageKeepsPressedRow) }

func testPageKeepsPressedRow(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	c, b := f.talk(t, f.cleo, f.bob), f.page(t, f.bob, desk)
	b.until("count('nav .row') === 1 && count('nav .row .dot') === 1")
	mouse := func(event string) {
		ask[bool](b, "(window.pressed ??= document.querySelector('nav .row'), pressed.dispatchEvent(new PointerEvent("+quote(event)+", {bubbles: true})))")
	}
	mouse("pointerdown")
	c.say("While you press")
	c.state("While you press", "delivered")
	b.until("document.title.startsWith('(1)')")
	if !ask[bool](b, "pressed.isConnected") {
		t.Error("the row under the mouse was replaced")
	}
	mouse("pointerup")
	b.until("has('nav .row .count', '1') && !pressed.isConnected")
}
