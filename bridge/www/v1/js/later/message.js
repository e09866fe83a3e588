// What a user does with one message: the menu, reactions, forwarding.

import {avatar} from '../avatar.js';
import {EMOJI} from '../composer.js';
import {copyText} from '../copying.js';
import {confirmDialog, open, reject} from '../dialogs.js';
import {announce, field, fill, h, icon, iconButton, onPhone, SHAPES} from '../dom.js';
import {notes} from '../changes.js';
import {timeOf} from '../store.js';
import {folded, oneLine} from '../text.js';
import {full, t} from '../words.js';

const REACTIONS = ['👍', '❤️', '😂', '😮', '😢', '🎉'];
const EDGE = 8;

Object.assign(SHAPES, {
	copy: 'M9 9.5a1.5 1.5 0 0 1 1.5-1.5h8a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5h-8A1.5 1.5 0 0 1 9 18.5zM5.5 15.5h-.3A1.2 1.2 0 0 1 4 14.3V5.2A1.2 1.2 0 0 1 5.2 4h9.1a1.2 1.2 0 0 1 1.2 1.2v.3',
	forward: 'M14 6.5l5.5 5.5-5.5 5.5M19 12h-7.5C7 12 5 14 4.5 18',
	trash: 'M5 7h14M9.5 7V4.5h5V7M7 7l.8 12.5h8.4L17 7M10.5 10.5v5.5M13.5 10.5v5.5',
});

/** Opens the menu of a message at a point {x, y}, or beside a button. On a phone it is a sheet. */
export function messageMenu(view, dialogue, at) {
	const {writing, stage} = view;
	const can = stage.changeable(dialogue);
	const items = [
		can && ['reply', 'reply', () => writing.reply(dialogue)],
		writing.editable(dialogue) && ['edit', 'edit', () => writing.edit(dialogue)],
		dialogue.text && ['copy', 'copyText', () => copyText(dialogue.text).then(() => announce(t('copied')))],
		dialogue.text && !dialogue.file && ['forward', 'forward', () => forwardDialog(view.app, dialogue)],
		can && dialogue.mine && ['trash', 'deleteDialogue', () => confirmDialog('deleteDialogue', () => view.app.session.send(view.id, '', {deletes: dialogue.n})), true],
	].filter(Boolean);
	const close = show(at, [
		can && strip(view, dialogue, () => close()),
		h('.menu', {role: 'menu', label: 'dialogueMenu'}, items.map(([shape, label, action, danger]) => h(danger ? 'button.danger' : 'button', {
			role: 'menuitem', onclick() { close(); action(); },
		}, icon(shape), t(label)))),
		h('p.hint', full(timeOf(dialogue))),
	]);
}

/** Opens the reactions of a message beside a button. */
export function reactionMenu(view, dialogue, at) {
	const close = show(at, strip(view, dialogue, () => close()));
}

/** Six reactions, and a button that shows all. */
function strip(view, dialogue, close) {
	const {reactions = []} = notes.get(dialogue) ?? {};
	const one = (emoji) => h('button', {
		'aria-pressed': String(reactions.some((other) => other.emoji === emoji && other.mine)),
		onclick() { close(); view.stage.react(dialogue, emoji); },
	}, emoji);
	const box = h('.strip', {role: 'group', label: 'react'}, REACTIONS.map(one), iconButton('down', 'moreEmoji', () => {
		box.classList.add('emojis');
		fill(box, [...new Set([...REACTIONS, ...EMOJI])].map(one)).firstChild.focus();
		box.dispatchEvent(new Event('resized', {bubbles: true}));
	}));
	return box;
}

/** Shows a popover at a point or beside an element. Returns a function that closes it. */
function show(at, ...content) {
	// Not "auto": the button that opened it is still down, and its release would close it.
	const box = h(onPhone() ? '.actions.bottom' : '.actions', {popover: 'manual'}, content);
	const before = document.activeElement;
	const life = new AbortController();
	const {signal} = life;
	function close() {
		if (signal.aborted) return;
		life.abort();
		const inside = box.contains(document.activeElement);
		box.remove();
		if (inside) before?.focus({preventScroll: true});
	}
	function place() {
		if (onPhone()) return;
		const {width, height} = box.getBoundingClientRect();
		const around = at.getBoundingClientRect?.();
		const x = around ? Math.min(around.left, innerWidth / 2 > around.left ? around.left : around.right - width) : at.x;
		const y = around ? (around.bottom + height + EDGE > innerHeight ? around.top - height - 4 : around.bottom + 4) : at.y;
		box.style.left = `${Math.max(EDGE, Math.min(x, innerWidth - width - EDGE))}px`;
		box.style.top = `${Math.max(EDGE, Math.min(y, innerHeight - height - EDGE))}px`;
	}
	(document.querySelector('.talk') ?? document.body).append(box); // within a landmark
	box.showPopover();
	place();
	box.addEventListener('resized', place);
	box.addEventListener('keydown', (event) => move(event, box, close));
	addEventListener('pointerdown', (event) => { if (!box.contains(event.target)) close(); }, {capture: true, signal});
	for (const event of ['hashchange', 'blur']) addEventListener(event, close, {signal});
	for (const event of ['resize', 'look']) addEventListener(event, place, {signal});
	(box.querySelector('[role=menuitem]') ?? box.querySelector('button')).focus();
	return close;
}

function move(event, box, close) {
	const all = [...box.querySelectorAll('button')];
	const at = all.indexOf(document.activeElement);
	const {parentNode: row} = all[at] ?? {};
	const inRow = row?.classList.contains('strip');
	const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1,
		ArrowDown: inRow && !row.classList.contains('emojis') ? row.children.length : at + (inRow ? 6 : 1),
		ArrowUp: at - (inRow && row.classList.contains('emojis') ? 6 : 1)}[event.key];
	if (event.key === 'Escape' || event.key === 'Tab') close();
	else if (to !== undefined) all.at(to % all.length).focus();
	else return;
	event.preventDefault();
	event.stopPropagation();
}

function forwardDialog({store, session}, dialogue) {
	const chosen = new Set();
	const friends = store.people().filter(({friend, talk}) => friend && !talk?.blocked);
	const search = field('searchFriends', {type: 'search', autocomplete: 'off'});
	const list = h('ul.choices', {role: 'list'});
	function draw() {
		const words = folded(search.input.value.trim());
		fill(list, friends.filter(({name}) => folded(name).includes(words)).slice(0, 50).map(({id, name, friend}) => h('li', h('label.check', avatar({...friend, id, name}, '.small'), h('span', {dir: 'auto'}, name),
			h('input', {type: 'checkbox', checked: chosen.has(id), onchange({target}) { chosen[target.checked ? 'add' : 'delete'](id); search.fault(''); }})))));
	}
	search.input.addEventListener('input', draw);
	draw();
	open('forward', [h('p.quote', {dir: 'auto'}, oneLine(dialogue.text)), search, list], {
		label: 'send',
		action() {
			if (!chosen.size) reject(search, t('chooseFriend'));
			for (const friend of chosen) session.send(friend, dialogue.text);
			announce(t('forwarded', {n: chosen.size}));
		},
	});
}
