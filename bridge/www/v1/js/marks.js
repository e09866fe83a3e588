// Pinned, archived and muted conversations.

import {load} from './load.js';
import {t} from './words.js';

const LONG = 500; // of a press, in ms

/** The items of a menu for a conversation, as menu() of dom.js takes them. */
export function markItems({store, session}, id) {
	const talk = store.talks.get(id);
	const item = (mark, on, off) => [t(talk?.[mark] ? off : on), () => session.mark(id, {[mark]: !talk?.[mark]}).catch(failed)];
	return [item('pinned', 'pin', 'unpin'), talk?.at > 0 && item('archived', 'archive', 'unarchive'), item('muted', 'mute', 'unmute')].filter(Boolean);
}

const failed = async (error) => (await load('rowmenu')).failed(error);

/** Opens a menu on a right click, a long press, and the keys for it. items(row) returns its items, or null. */
export function withMenu(list, items) {
	let timer = 0;
	let pressed = false; // by a finger, long enough: what follows is no click
	async function open(event, row) {
		const all = row && items(row);
		if (!all) return;
		event.preventDefault();
		const {left, bottom, width} = row.getBoundingClientRect();
		const pointed = event.clientX || event.clientY;
		(await load('rowmenu')).rowMenu(row, all, pointed ? event.clientX : left + width / 3, pointed ? event.clientY : bottom - 8);
	}
	const rowOf = ({target}) => target.closest('.row');
	list.addEventListener('contextmenu', (event) => {
		clearTimeout(timer);
		if (!pressed) open(event, rowOf(event));
		else event.preventDefault();
	});
	list.addEventListener('pointerdown', (event) => {
		clearTimeout(timer);
		pressed = false;
		if (event.pointerType !== 'touch') return;
		timer = setTimeout(() => {
			pressed = true;
			open(event, rowOf(event));
		}, LONG);
	});
	for (const end of ['pointerup', 'pointercancel', 'pointermove']) {
		list.addEventListener(end, (event) => { if (end !== 'pointermove' || Math.hypot(event.movementX, event.movementY) > 4) clearTimeout(timer); });
	}
	list.addEventListener('click', (event) => {
		if (!pressed) return;
		pressed = false;
		event.preventDefault();
		event.stopPropagation();
	}, true);
}
