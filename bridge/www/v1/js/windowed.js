// A virtual list: only the visible rows are in the document.

const MARGIN = 600; // pixels around the visible part that are drawn too
const NEAR = 48;

/** Redraws a row when its stamp changes. guess(item, width) is its height until measured. stick: stay at the end. */
export function windowed({scroller, body, key, stamp, draw, guess, stick = false, signal}) {
	let items = [];
	let indexes = new Map();
	let tops = [0];
	let width = 0;
	const heights = new Map(); // key → measured pixels
	const rows = new Map(); // key → {element, mark}
	const list = {set, reveal, toEnd, top, items, pinned: stick};

	scroller.addEventListener('scroll', () => {
		atEnd();
		show();
	}, {passive: true});
	const observer = new ResizeObserver(() => {
		const anchor = anchored();
		if (scroller.clientWidth !== width) {
			width = scroller.clientWidth;
			heights.clear(); // lines wrap differently now
			place();
		}
		show(anchor);
	});
	observer.observe(scroller);

	// A click needs one element for the press and the release, so that a pressed row is redrawn afterwards.
	let pressed = null;
	body.addEventListener('pointerdown', ({target, button}) => { if (!button) pressed = target; });
	for (const event of ['pointerup', 'pointercancel']) {
		addEventListener(event, () => {
			if (pressed) setTimeout(() => { pressed = null; show(); });
		}, {signal});
	}

	signal.addEventListener('abort', () => observer.disconnect());

	function set(all) {
		const anchor = anchored();
		list.items = items = all;
		indexes = new Map(all.map((item, index) => [key(item), index]));
		place();
		show(anchor);
	}

	function toEnd() {
		list.pinned = true;
		show();
	}

	/** Scrolls an item into view, or to the middle. */
	function reveal(name, middle) {
		const index = indexes.get(name);
		list.pinned = false;
		// Twice, since the first pass replaces guessed heights by measured ones.
		for (let turn = 0; turn < 2; turn++) {
			const [top, bottom] = [tops[index], tops[index + 1]];
			const room = scroller.clientHeight;
			scroller.scrollTop = middle ? (top + bottom - room) / 2 : Math.max(bottom - room, Math.min(top, scroller.scrollTop));
			show();
		}
		atEnd();
		return rows.get(name)?.element;
	}

	function atEnd() {
		list.pinned = stick && scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - NEAR;
	}

	/** The first item in view, and the pixels of it that are above. */
	function top() {
		const index = indexAt(scroller.scrollTop);
		return {item: items[index], index, above: scroller.scrollTop - tops[index]};
	}

	/** The first row in view, which stays in place. */
	function anchored() {
		if (!stick || list.pinned || !items.length) return null;
		const index = indexAt(scroller.scrollTop);
		return {name: key(items[index]), offset: tops[index] - scroller.scrollTop};
	}

	function place() {
		tops = new Float64Array(items.length + 1);
		items.forEach((item, i) => { tops[i + 1] = tops[i] + (heights.get(key(item)) ?? guess(item, width)); });
	}

	function indexAt(y) {
		let low = 0;
		let high = items.length - 1;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if (tops[middle] <= y) low = middle;
			else high = middle - 1;
		}
		return low;
	}

	function show(anchor) {
		if (!scroller.clientHeight) return; // not visible: drawn when resized
		const at = anchor ?? anchored();
		// Measuring rows moves others, so repeat until stable.
		for (let turn = 0; turn < 4; turn++) {
			const total = tops[items.length];
			body.style.height = `${total}px`;
			const index = indexes.get(at?.name);
			if (list.pinned) scroller.scrollTop = total;
			else if (index !== undefined && (anchor || turn)) scroller.scrollTop = tops[index] - at.offset;
			const y = scroller.scrollTop;
			const start = indexAt(y - MARGIN);
			const shown = items.slice(start, indexAt(y + scroller.clientHeight + MARGIN) + 1);
			body.style.paddingTop = `${tops[start]}px`;
			fillIn(shown, start);
			if (!measure(shown, start)) break;
		}
	}

	function fillIn(shown, start) {
		const keep = new Set(shown.map(key));
		const focused = document.activeElement;
		for (const [name, {element}] of rows) {
			if (keep.has(name)) continue;
			if (element.contains(focused)) scroller.focus({preventScroll: true});
			element.remove();
			rows.delete(name);
		}
		let next = body.firstChild;
		shown.forEach((item, i) => {
			const name = key(item);
			const mark = stamp(item);
			const old = rows.get(name);
			let element = old?.element;
			if (old?.mark !== mark && !old?.element.contains(pressed)) {
				element = draw(item);
				rows.set(name, {element, mark});
				if (old) {
					if (next === old.element) next = element;
					const had = old.element.contains(focused) && [...old.element.querySelectorAll('button')].indexOf(focused);
					old.element.replaceWith(element);
					if (had !== false) ([...element.querySelectorAll('button')].at(had) ?? scroller).focus({preventScroll: true});
				}
			}
			element.setAttribute('aria-setsize', items.length);
			element.setAttribute('aria-posinset', start + i + 1);
			if (element === next) next = next.nextSibling;
			else body.insertBefore(element, next);
		});
	}

	/** Returns whether a height changed. */
	function measure(shown, start) {
		let changed = false;
		shown.forEach((item, i) => {
			const {height} = rows.get(key(item)).element.getBoundingClientRect();
			changed ||= Math.abs(height - tops[start + i + 1] + tops[start + i]) >= 0.5;
			heights.set(key(item), height);
		});
		if (changed) place();
		return changed;
	}

	return list;
}
