package cmd

import (
	"testing"
)

// TestPageFirstView counts what a browser that has never seen the page loads until it shows the form to sign in.
func TestPageFirstView(t *testing.T) { eachBrowser(t, "en-US", testPageFirstView) }

func testPageFirstView(t *testing.T, browser webBrowser) {
	b := openTab(t, browser, "new", start(t).app.URL()+pagePath, phone)
	b.sees("Welcome back")
	r := ask[struct{ Bytes, Requests, Shown int }](b, `(() => {
		const all = performance.getEntries().filter(({entryType}) => entryType === 'navigation' || entryType === 'resource');
		return {
			bytes: all.reduce((sum, {transferSize}) => sum + transferSize, 0),
			requests: all.length,
			shown: Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0),
		};
	})()`)
	t.Logf("the first view takes %d bytes in %d requests, and shows after %d ms", r.Bytes, r.Requests, r.Shown)
	if r.Bytes > 100_000 || r.Bytes < 10_000 {
		t.Errorf("the first view takes %d bytes, want at most 100,000", r.Bytes)
	}
	if r.Requests > 40 || r.Requests < 2 {
		t.Errorf("the first view takes %d requests, want at most 40", r.Requests)
	}
}

// typing writes into the open talk key by key, and tells how long the browser took until it showed them.
func (b *tab) typing() {
	b.t.Helper()
	b.fill("Write a message", "")
	ask[bool](b, `window.slow = [], window.long = [],
		new PerformanceObserver((l) => slow.push(...l.getEntries().filter(({name}) => /^key|input/.test(name)).map(({duration}) => duration))).observe({type: 'event', durationThreshold: 16}),
		PerformanceObserver.supportedEntryTypes.includes('longtask') && new PerformanceObserver((l) => long.push(...l.getEntries().map(({duration}) => duration))).observe({type: 'longtask'}), true`)
	const text = "The quick brown fox jumps over the lazy dog"
	b.key(text)
	b.until("named('textarea', 'Write a message').value === " + quote(text))
	r := ask[struct{ Slow, Long []float64 }](b, "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done({slow, long}))))")
	b.t.Logf("of %d keys, the events that took 16 ms or more: %v; tasks over 50 ms: %.0f", len(text), r.Slow, r.Long)
	b.fill("Write a message", "")
}

// TestPageScrolls gives the page 2,000 people and a talk of 10,000 dialogues, scrolls through both, and writes. Times
// are logged; what decides is that few rows are in the document and that none of them is blank.
func TestPageScrolls(t *testing.T) { eachBrowser(t, "en-US", testPageScrolls) }

func testPageScrolls(t *testing.T, browser webBrowser) {
	w := newWorld(t, start(t))
	bob, cleo := w.newFriends(t)
	b := openTab(t, browser, "bob", w.base(0)+pagePath, desk)
	b.signIn(bob.account, bob.password)
	b.until(row("alias of " + cleo.account))
	ask[bool](b, `new Promise((resolve, reject) => {
		const request = indexedDB.open('imctl');
		request.onsuccess = () => {
			const of = request.result.transaction(['dialogues', 'talks'], 'readwrite');
			const now = Date.now() * 1000;
			const me = '`+bob.id+`';
			for (let i = 0; i < 2000; i++) {
				of.objectStore('talks').put({me, friend: 'f' + i, name: 'Somebody of old ' + i, text: 'What was said last', at: now - i * 1e9, mine: false, unread: i % 7 ? 0 : 1, draft: '', alias: ''});
			}
			of.objectStore('talks').put({me, friend: '`+cleo.id+`', name: '', text: 'Line 9999', at: now, mine: false, unread: 0, draft: '', alias: ''});
			for (let i = 0; i < 10000; i++) {
				of.objectStore('dialogues').put({me, friend: '`+cleo.id+`', n: now - (10000 - i) * 60e6, id: 'seed' + i, mine: i % 3 === 0, state: 'delivered', code: 0, text: 'Line ' + i + ' ' + 'word '.repeat(i * 7919 % 60)});
			}
			of.oncomplete = () => resolve(true);
			of.onabort = () => reject(of.error);
		};
	})`)
	b.reload()
	b.until(row("alias of "+cleo.account) + " && " + row("Somebody of old"))
	opened := ask[float64](b, `(async () => {
		const from = performance.now();
		location.hash = '`+cleo.id+`';
		while (![...document.querySelectorAll('.text')].some((e) => e.textContent.startsWith('Line 9999 '))) await new Promise(requestAnimationFrame);
		return performance.now() - from;
	})()`)
	t.Logf("the talk of 10,000 is open after %.0f ms", opened)
	b.typing()
	for _, list := range []struct{ name, scroller, row string }{
		{"10,000 dialogues", ".stage .scroll", ".dialogue"},
		{"2,000 people", ".side .scroll", ".row"},
	} {
		// From one end to the other: 240 frames with a jump of several screens each, then as slowly as a finger.
		r := ask[struct{ Median, P95, Worst, Rows, Blank float64 }](b, `(async () => {
			const scroller = document.querySelector('`+list.scroller+`');
			const frame = () => new Promise(requestAnimationFrame);
			const times = [];
			let rows = 0, blank = 0;
			const look = () => {
				rows = Math.max(rows, scroller.querySelectorAll('`+list.row+`').length);
				const {left, top, width, height} = scroller.getBoundingClientRect();
				const hit = document.elementFromPoint(left + width / 2, top + height / 2);
				if (!hit.closest('li')) blank++;
			};
			const end = scroller.scrollTop > 0 ? 0 : scroller.scrollHeight;
			const start = scroller.scrollTop;
			for (let i = 1; i <= 240; i++) {
				const from = performance.now();
				scroller.scrollTop = i <= 180 ? start + (end - start) * i / 180 : scroller.scrollTop + (end > start ? -40 : 40);
				await frame();
				times.push(performance.now() - from);
				look();
			}
			times.sort((a, b) => a - b);
			return {median: times[120], p95: times[228], worst: times[239], rows, blank};
		})()`)
		t.Logf("%s: a frame takes %.1f ms, 95 of 100 take %.1f, the worst %.1f; %.0f rows in the document at most", list.name, r.Median, r.P95, r.Worst, r.Rows)
		if r.Rows > 120 || r.Rows < 5 {
			t.Errorf("%s: %.0f rows in the document", list.name, r.Rows)
		}
		if r.Blank > 2 {
			t.Errorf("%s: %.0f blank frames", list.name, r.Blank)
		}
	}
	// Nothing moved that was not moved: what one reads stays when something arrives, and one is told that there is
	// more below.
	ask[bool](b, "document.querySelector('.side .scroll').scrollTop = 0, document.querySelector('.stage .scroll').scrollTop = 100_000, true")
	b.until("count('.toend') === 1")
	place := `(() => { const s = document.querySelector('.stage .scroll').getBoundingClientRect(); const e = [...document.querySelectorAll('.dialogue')].find((e) => e.getBoundingClientRect().top >= s.top); return e && e.textContent.slice(0, 40) + Math.round(e.getBoundingClientRect().top); })()`
	b.until(place)
	before := ask[string](b, place)
	cleo.tunnel.send(t, dialogue(`"1"`, bob.id, `"The newest of all"`))
	b.until("has('nav .row', 'The newest of all')")
	if after := ask[string](b, place); after != before {
		t.Errorf("the talk moved from %q to %q", before, after)
	}
	b.press("Jump to newest")
	b.hears("The newest of all")
	b.until("count('.toend') === 0")
	b.say("And an answer")
	b.state("And an answer", "delivered")
}
