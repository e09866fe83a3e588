// The search in a conversation.

import {fill, h, icon, iconButton, later} from '../dom.js';
import {keyOf} from '../store.js';
import {folded} from '../text.js';
import {t} from '../words.js';

/** Opens the search in its box. mark(sought, key) marks the hits and shows the dialogue with this key, or none. */
export function openFinder(box, {dialogues, mark, onclose}) {
	let sought = '';
	let hits = []; // keys of the dialogues found
	let hit = 0;
	const input = h('input', {type: 'search', dir: 'auto', label: 'searchTalk'});
	const count = h('span', {role: 'status'});
	const seekSoon = later(seek, 120);

	function seek() {
		sought = folded(input.value.trim());
		hits = sought ? dialogues().filter((one) => folded(one.text).includes(sought)).map(keyOf) : [];
		hit = 0;
		step(-1); // start with the newest
	}
	function step(by) {
		hit = hits.length && (hit + by + hits.length) % hits.length;
		count.textContent = sought && t('hitOf', {n: hits.length && hit + 1, of: hits.length});
		mark(sought, hits[hit]);
	}
	input.addEventListener('input', seekSoon);
	input.addEventListener('keydown', (event) => {
		if (event.key === 'Enter') step(event.shiftKey ? 1 : -1);
	});

	box.close = () => {
		seekSoon.cancel();
		box.hidden = true;
		mark('');
		onclose();
	};
	fill(box, h('label.search', icon('search'), input), count,
		iconButton('up', 'previous', () => step(-1)), iconButton('down', 'next', () => step(1)), iconButton('close', 'close', box.close));
	box.hidden = false;
	input.focus();
}
