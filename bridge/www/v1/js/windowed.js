// A list that keeps only the rows on the screen in the document, whatever their heights.

/** Pixels above and below the screen that are kept ready. */
const MARGIN = 600;
/** So near the end counts as being at the end. */
const NEAR = 48;

/**
 * Options: scroller, body (the rows' parent, inside the scroller), key(item), stamp(item) (a row with another stamp is drawn
 * anew), draw(item, index), guess(item, width) a height until the row was measured, stick: keep to the end when there.
 */
export class Windowed {
  #options;
  #items = [];
  #indexes = new Map();
  #heights = new Map(); // key → measured pixels
  #tops = new Float64Array(1);
  #rows = new Map(); // key → {element, stamp}
  #width = 0;
  #pinned; // at the end, and to be kept there
  #observer;

  constructor(options) {
    this.#options = options;
    this.#pinned = Boolean(options.stick);
    const { scroller } = options;
    scroller.addEventListener('scroll', () => {
      if (options.stick) this.#pinned = this.#atEnd();
      this.#draw();
    }, { passive: true });
    this.#observer = new ResizeObserver(() => this.#resized());
    this.#observer.observe(scroller);
  }

  stop() { this.#observer.disconnect(); }

  get pinned() { return this.#pinned; }

  get items() { return this.#items; }

  set(items) {
    const { key } = this.#options;
    const anchor = this.#anchor();
    this.#items = items;
    this.#indexes = new Map(items.map((item, index) => [key(item), index]));
    this.#place();
    this.#draw(anchor, true);
  }

  toEnd() {
    this.#pinned = true;
    this.#draw(null, true);
  }

  /** Brings an item into view and returns its element. */
  reveal(name, align = 'nearest') {
    const index = this.#indexes.get(name);
    if (index === undefined) return null;
    const { scroller } = this.#options;
    // Twice: the first drawing measures what the guess had put elsewhere.
    for (let turn = 0; turn < 2; turn++) {
      const top = this.#tops[index];
      const bottom = this.#tops[index + 1];
      const room = scroller.clientHeight;
      this.#pinned = false;
      if (align === 'center') scroller.scrollTop = top - (room - (bottom - top)) / 2;
      else if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (bottom > scroller.scrollTop + room) scroller.scrollTop = bottom - room;
      this.#draw();
    }
    if (this.#options.stick) this.#pinned = this.#atEnd();
    return this.#rows.get(name)?.element ?? null;
  }

  element(name) { return this.#rows.get(name)?.element ?? null; }

  #atEnd() {
    const { scroller } = this.#options;
    return scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - NEAR;
  }

  #resized() {
    const { scroller } = this.#options;
    const anchor = this.#anchor();
    if (scroller.clientWidth !== this.#width) {
      this.#width = scroller.clientWidth;
      this.#heights.clear(); // lines break elsewhere now
      this.#place();
    }
    this.#draw(anchor, true);
  }

  /** The first row in view and how far below the scroller's top it lies: what must not move when other rows do. */
  #anchor() {
    if (!this.#options.stick || this.#pinned || !this.#items.length) return null;
    const { scroller, key } = this.#options;
    const index = this.#at(scroller.scrollTop);
    return { name: key(this.#items[index]), offset: this.#tops[index] - scroller.scrollTop };
  }

  #place() {
    const { key, guess } = this.#options;
    const tops = new Float64Array(this.#items.length + 1);
    for (let i = 0; i < this.#items.length; i++) {
      const item = this.#items[i];
      tops[i + 1] = tops[i] + (this.#heights.get(key(item)) ?? guess(item, this.#width));
    }
    this.#tops = tops;
  }

  /** The index of the item at a height. */
  #at(y) {
    let low = 0;
    let high = this.#items.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  #draw(anchor = this.#anchor(), whole = false) {
    const { scroller, body } = this.#options;
    if (!scroller.clientHeight) return; // not on the screen: resizing will draw
    // Measuring rows moves others; a few turns settle it.
    for (let turn = 0; turn < 4; turn++) {
      const count = this.#items.length;
      const total = this.#tops[count];
      body.style.height = `${total}px`;
      if (this.#pinned) {
        scroller.scrollTop = total;
      } else if (anchor && (whole || turn > 0)) {
        const index = this.#indexes.get(anchor.name);
        if (index !== undefined) {
          const to = this.#tops[index] - anchor.offset;
          if (Math.abs(scroller.scrollTop - to) >= 1) scroller.scrollTop = to;
        }
      }
      const y = scroller.scrollTop;
      const start = count ? this.#at(Math.max(0, y - MARGIN)) : 0;
      const end = count ? Math.min(count, this.#at(y + scroller.clientHeight + MARGIN) + 1) : 0;
      this.#fill(start, end);
      if (!this.#measure(start, end)) break;
    }
  }

  #fill(start, end) {
    const { body, key, stamp, draw } = this.#options;
    body.style.paddingTop = `${this.#tops[start]}px`;
    const keep = new Set();
    for (let i = start; i < end; i++) keep.add(key(this.#items[i]));
    for (const [name, row] of this.#rows) {
      if (keep.has(name)) continue;
      if (row.element.contains(document.activeElement)) this.#options.scroller.focus({ preventScroll: true });
      row.element.remove();
      this.#rows.delete(name);
    }
    let next = body.firstChild;
    for (let i = start; i < end; i++) {
      const item = this.#items[i];
      const name = key(item);
      const mark = stamp(item);
      let row = this.#rows.get(name);
      if (!row || row.stamp !== mark) {
        const element = draw(item, i);
        if (row) {
          const focused = row.element.contains(document.activeElement) && document.activeElement;
          if (next === row.element) next = row.element.nextSibling;
          row.element.remove();
          this.#heights.delete(name);
          row = { element, stamp: mark, refocus: focused };
        } else {
          row = { element, stamp: mark };
        }
        this.#rows.set(name, row);
      }
      row.element.setAttribute('aria-setsize', this.#items.length);
      row.element.setAttribute('aria-posinset', i + 1);
      if (row.element === next) next = next.nextSibling;
      else body.insertBefore(row.element, next);
      if (row.refocus) {
        (row.element.querySelector('button, a') ?? this.#options.scroller).focus({ preventScroll: true });
        row.refocus = null;
      }
    }
  }

  /** True when a height was not what it was taken for. */
  #measure(start, end) {
    const { key } = this.#options;
    let changed = false;
    for (let i = start; i < end; i++) {
      const name = key(this.#items[i]);
      const height = this.#rows.get(name).element.getBoundingClientRect().height;
      if (Math.abs(height - (this.#tops[i + 1] - this.#tops[i])) >= 0.5) changed = true;
      this.#heights.set(name, height);
    }
    if (changed) this.#place();
    return changed;
  }
}
