// What a user does with one message.

import {confirmDialog, open, required, tell} from '../dialogs.js';
import {button, field, h} from '../dom.js';
import {fits} from '../protocol.js';
import {oneLine} from '../text.js';

const REACTIONS = ['👍', '❤️', '😂', '😮', '😢', '🎉'];

export function messageDialog({session}, {friend, n, mine, text}) {
	const send = (words, more) => session.send(friend, words, more);
	const quote = h('p.quote', {dir: 'auto'}, oneLine(text));
	let next = null;
	const go = (action) => () => {
		next = action;
		close();
	};

	function write(label, value, more) {
		const box = field('write', {tag: 'textarea', rows: 4, value});
		open(label, [quote, box], {label: 'send', action: () => (fits(required(box)) ? send(box.input.value.trim(), more) : tell('tooLong'))});
	}

	const close = open('dialogueMenu', [
		quote,
		h('.buttons', null, REACTIONS.map((emoji) => h('button.plain', {onclick: go(() => send(emoji, {reacts: n}))}, emoji))),
		h('.buttons', null, button('reply', go(() => write('reply', '', {re: n}))),
			mine && button('edit', go(() => write('edit', text, {edits: n}))),
			mine && button('deleteDialogue', go(() => confirmDialog('deleteDialogue', () => send('', {deletes: n}))), '.danger')),
	], {onclose: () => next?.()});
}
