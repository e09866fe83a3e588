package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// traffic sends numbered dialogues from a session with keep=1 until stop is called, which returns how many were answered
// 202.
func traffic(t *testing.T, from, to *member) (stop func() int) {
	t.Helper()
	c, _ := from.keeps(t)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan int, 1)
	go func() {
		n := 0
		defer func() { sent <- n }()
		for ctx.Err() == nil {
			if err := c.trySend(dialogue(fmt.Sprintf(`"traffic %d"`, n+1), to.id, fmt.Sprintf(`"traffic %d."`, n+1))); err != nil {
				t.Error(err)
				return
			}
			for code := 0; code != 202; {
				frame, err := c.tryNext()
				if err != nil {
					t.Error(err)
					return
				}
				if code = (reply{body: frame}).code(); code >= 400 {
					t.Errorf("answer %s", frame)
					return
				}
			}
			n++
			time.Sleep(5 * time.Millisecond) // a friend who writes fast
		}
	}()
	return func() int { cancel(); return <-sent }
}

// heard returns the friend's dialogues, of all the page can show, in their order on the screen.
func (b *tab) heard() (texts []string) {
	b.t.Helper()
	list := ask[string](b, `(async () => {
		const scroller = document.querySelector('.stage .scroll'), seen = [];
		const wait = () => new Promise((done) => setTimeout(done, 150)); // the page loads and draws what is in view
		for (let still = 0, before = ''; still < 5;) { // to the first dialogue
			scroller.scrollTop = 0;
			await wait();
			const now = scroller.scrollHeight + ' ' + document.querySelector('.theirs .text')?.innerText;
			still = now === before ? still + 1 : 0;
			before = now;
		}
		for (let end = false; !end;) {
			end = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 2;
			const here = [...document.querySelectorAll('.theirs .text')].map((e) => e.innerText);
			const known = here.indexOf(seen.at(-1)); // snapshots overlap
			seen.push(...here.slice(known + 1));
			scroller.scrollTop += scroller.clientHeight / 2;
			await wait();
		}
		return JSON.stringify(seen);
	})()`)
	if err := json.Unmarshal([]byte(list), &texts); err != nil {
		b.t.Fatal(err)
	}
	return texts
}

// TestPageUnderTraffic reloads the page, and leaves it and comes back, while a friend writes. Every dialogue that was
// answered 202 is on the screen in the end, once and in order.
func TestPageUnderTraffic(t *testing.T) {
	t.Parallel()
	f := newKeptFriends(t, chromium(t, "en-US"))
	b := f.talk(t, f.bob, f.cleo)
	stop := traffic(t, f.cleo, f.bob)
	for i := range pageReloads {
		b.until("count('.theirs') > 0")
		if i%3 != 2 {
			b.reload()
		} else {
			b.navigate(f.base(0) + "/im/registration") // the page may wait in the back/forward cache
			b.until("document.body.innerText.includes('registration')")
			ask[bool](b, "setTimeout(() => history.back()), true") // a page from the cache is not loaded again
		}
		b.until("named('textarea', 'Write a message') || document.querySelector('nav .row')")
		b.open("alias of " + f.cleo.account)
	}
	n := stop()
	b.hears(fmt.Sprintf("traffic %d.", n))
	got := b.heard()
	for i, text := range got {
		if want := fmt.Sprintf("traffic %d.", i+1); text != want {
			t.Fatalf("dialogue %d on the screen is %q, want %q", i+1, text, want)
		}
	}
	if len(got) != n {
		t.Errorf("%d dialogues are on the screen, %d were answered 202", len(got), n)
	}
	t.Logf("%d dialogues", n)
}
