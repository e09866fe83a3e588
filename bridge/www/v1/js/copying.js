// What is copied from a conversation: the texts as they were written, without words that only assistive technology reads.

import {timeOf} from './store.js';
import {stamp} from './words.js';

/** find(row) returns a row's dialogue, and name(dialogue) its writer's. */
export function copying(rows, find, name) {
	rows.addEventListener('copy', (event) => {
		const selection = getSelection();
		if (selection.isCollapsed || !selection.rangeCount || event.target.closest?.('input, textarea')) return;
		const range = selection.getRangeAt(0);
		const parts = [];
		for (const row of rows.querySelectorAll('.dialogue')) {
			const box = row.querySelector('.text, em');
			const dialogue = box && range.intersectsNode(box) && find(row);
			const words = dialogue && selected(range, box, dialogue.text);
			if (words) parts.push({dialogue, words});
		}
		if (!parts.length) return;
		event.preventDefault();
		event.clipboardData.setData('text/plain', parts.length === 1 ? parts[0].words
			: parts.map(({dialogue, words}) => `[${stamp(timeOf(dialogue))}] ${name(dialogue)}: ${words}`).join('\n'));
	});
}

/** The selected part of a text. All of it is the raw one, with marks. */
function selected(range, box, text) {
	const all = document.createRange();
	all.selectNodeContents(box);
	const part = all.cloneRange();
	if (range.compareBoundaryPoints(Range.START_TO_START, all) > 0) part.setStart(range.startContainer, range.startOffset);
	if (range.compareBoundaryPoints(Range.END_TO_END, all) < 0) part.setEnd(range.endContainer, range.endOffset);
	return text && part.toString() === all.toString() && all.toString() ? text : part.toString();
}

/** Copies a text, also where the page is not served securely. */
export async function copyText(text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		addEventListener('copy', (event) => {
			event.preventDefault();
			event.stopPropagation();
			event.clipboardData.setData('text/plain', text);
		}, {capture: true, once: true});
		document.execCommand('copy');
	}
}
