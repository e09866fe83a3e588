// A list that keeps only the rows on the screen in the document, whatever their heights.

const MARGIN = 600; // pixels above and below the screen that are kept ready
const NEAR = 48; // so near the end counts as being at the end

/**
 * Options: scroller, body (the rows' parent in it), key(item), stamp(item) (a row whose stamp changed is drawn anew), draw(item),
 * guess(item, width) → a height until the row was measured, stick: keep to the end while there, and otherwise keep what is in view where it is.
 */
export class Windowed {
	items = [];
	pinned; // at the end, to be kept there
	#options;
	#indexes = new Map();
	#heights = new Map(); // key → measured pixels
	#tops = [0];
	#rows = new Map(); // key → {element, stamp}
	#width = 0;
	#observer = new ResizeObserver(() => this.#resized());

	constructor(options) {
		this.#options = options;
		this.pinned = Boolean(options.stick);
		options.scroller.addEventListener('scroll', () => {
			this.#atEnd();
			this.#draw();
		}, {passive: true});
		this.#observer.observe(options.scroller);
	}

	stop() { this.#observer.disconnect(); }

	set(items) {
		const anchor = this.#anchor();
		this.items = items;
		this.#indexes = new Map(items.map((item, index) => [this.#options.key(item), index]));
		this.#place();
		this.#draw(anchor);
	}

	toEnd() {
		this.pinned = true;
		this.#draw();
	}

	/** Brings an item into view, or into its middle, and returns its element. */
	reveal(name, middle) {
		const {scroller} = this.#options;
		const index = this.#indexes.get(name);
		if (index === undefined) return undefined;
		this.pinned = false;
		// Twice: the first drawing measures what a guess had put elsewhere.
		for (let turn = 0; turn < 2; turn++) {
			const [top, bottom] = [this.#tops[index], this.#tops[index + 1]];
			const room = scroller.clientHeight;
			if (middle) scroller.scrollTop = (top + bottom - room) / 2;
			else scroller.scrollTop = Math.max(bottom - room, Math.min(top, scroller.scrollTop));
			this.#draw();
		}
		this.#atEnd();
		return this.#rows.get(name)?.element;
	}

	#atEnd() {
		const {scroller, stick} = this.#options;
		this.pinned = stick && scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - NEAR;
	}

	#resized() {
		const {clientWidth} = this.#options.scroller;
		const anchor = this.#anchor();
		if (clientWidth !== this.#width) {
			this.#width = clientWidth;
			this.#heights.clear(); // lines break elsewhere now
			this.#place();
		}
		this.#draw(anchor);
	}

	/** The first row in view, and how far it lies from the top: what must not move when others do. */
	#anchor() {
		const {scroller, stick, key} = this.#options;
		if (!stick || this.pinned || !this.items.length) return null;
		const index = this.#at(scroller.scrollTop);
		return {name: key(this.items[index]), offset: this.#tops[index] - scroller.scrollTop};
	}

	#place() {
		const {key, guess} = this.#options;
		const tops = new Float64Array(this.items.length + 1);
		this.items.forEach((item, i) => {
			tops[i + 1] = tops[i] + (this.#heights.get(key(item)) ?? guess(item, this.#width));
		});
		this.#tops = tops;
	}

	/** The index of the item at a height. */
	#at(y) {
		let low = 0;
		let high = this.items.length - 1;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if (this.#tops[middle] <= y) low = middle;
			else high = middle - 1;
		}
		return low;
	}

	#draw(anchor) {
		const {scroller, body} = this.#options;
		if (!scroller.clientHeight) return; // not on the screen: resizing will draw
		let at = anchor ?? this.#anchor();
		// Measuring rows moves others; a few turns settle it.
		for (let turn = 0; turn < 4; turn++) {
			const count = this.items.length;
			body.style.height = `${this.#tops[count]}px`;
			const index = at && this.#indexes.get(at.name);
			if (this.pinned) scroller.scrollTop = this.#tops[count];
			else if (index != null && (anchor || turn)) scroller.scrollTop = this.#tops[index] - at.offset;
			const y = scroller.scrollTop;
			const start = this.#at(y - MARGIN);
			const end = Math.min(count, this.#at(y + scroller.clientHeight + MARGIN) + 1);
			this.#fill(start, end);
			if (!this.#measure(start, end)) break;
			at ??= this.#anchor();
		}
	}

	#fill(start, end) {
		const {scroller, body, key, stamp, draw} = this.#options;
		body.style.paddingTop = `${this.#tops[start]}px`;
		const wanted = this.items.slice(start, end);
		const keep = new Set(wanted.map(key));
		const focused = document.activeElement;
		for (const [name, {element}] of this.#rows) {
			if (keep.has(name)) continue;
			if (element.contains(focused)) scroller.focus({preventScroll: true});
			element.remove();
			this.#rows.delete(name);
		}
		let next = body.firstChild;
		wanted.forEach((item, i) => {
			const name = key(item);
			const old = this.#rows.get(name);
			let row = old;
			if (old?.stamp !== stamp(item)) {
				row = {element: draw(item), stamp: stamp(item)};
				this.#rows.set(name, row);
				this.#heights.delete(name);
				if (old) {
					const had = old.element.contains(focused);
					if (next === old.element) next = row.element;
					old.element.replaceWith(row.element);
					if (had) (row.element.querySelector('button') ?? scroller).focus({preventScroll: true});
				}
			}
			row.element.setAttribute('aria-setsize', this.items.length);
			row.element.setAttribute('aria-posinset', start + i + 1);
			if (row.element === next) next = next.nextSibling;
			else body.insertBefore(row.element, next);
		});
	}

	/** True when a height was not what it was taken for. */
	#measure(start, end) {
		let changed = false;
		for (let i = start; i < end; i++) {
			const name = this.#options.key(this.items[i]);
			const {height} = this.#rows.get(name).element.getBoundingClientRect();
			changed ||= Math.abs(height - this.#tops[i + 1] + this.#tops[i]) >= 0.5;
			this.#heights.set(name, height);
		}
		if (changed) this.#place();
		return changed;
	}
}
