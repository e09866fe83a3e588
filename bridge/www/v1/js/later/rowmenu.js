// The menu of a row in the list of conversations.

import {open} from '../dialogs.js';
import {h} from '../dom.js';
import {explain} from '../words.js';

/** Says that a mark could not be set. */
export const failed = (error) => open('notSaved', h('p', {role: 'alert'}, explain(error)));

/** items: [text, action, danger] of each item. */
export function rowMenu(row, items, x, y) {
	const box = h('.menu', {role: 'menu', popover: 'auto', label: 'menu'}, items.map(([text, action, danger]) => h(danger ? 'button.danger' : 'button', {
		role: 'menuitem', tabindex: -1, onclick() { box.hidePopover(); action(); },
	}, text)));
	box.addEventListener('toggle', ({newState}) => {
		if (newState === 'open') box.firstChild.focus();
		else {
			box.remove();
			if (document.activeElement === document.body) row.focus();
		}
	});
	box.addEventListener('keydown', (event) => {
		const all = [...box.children];
		const at = all.indexOf(document.activeElement);
		const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1}[event.key];
		if (to === undefined) return;
		event.preventDefault();
		all.at(to % all.length).focus();
	});
	document.body.append(box);
	box.showPopover();
	const {width, height} = box.getBoundingClientRect();
	box.style.left = `${Math.max(4, Math.min(x, innerWidth - width - 4))}px`;
	box.style.top = `${Math.max(4, Math.min(y, innerHeight - height - 4))}px`;
}
