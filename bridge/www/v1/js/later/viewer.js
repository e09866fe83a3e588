// Shows the pictures of a conversation, one at a time.

import {announce, fill, h, icon, iconButton} from '../dom.js';
import {captionOf, kindOf, sizeOf} from '../files.js';
import {load} from '../load.js';
import {Refused} from '../protocol.js';
import {keyOf, timeOf} from '../store.js';
import {explain, full, t} from '../words.js';

/** bytes(dialogue, signal) resolves to the bytes of a picture. */
export function view({store, session}, friend, first, bytes) {
	const life = new AbortController();
	const {signal} = life;
	const stage = h('.picture-stage', {tabindex: -1});
	const title = h('h2', {dir: 'auto'});
	const when = h('small');
	const caption = h('p.caption', {dir: 'auto'});
	const previous = iconButton('previous', 'previousPicture', () => go(-1), '.previous');
	const next = iconButton('next', 'nextPicture', () => go(1), '.next');
	const actual = iconButton('zoom', 'actualSize', () => zoom(!stage.classList.contains('actual')));
	const dialog = h('dialog.viewer', {label: 'viewPictures', onclose() {
		life.abort();
		show.stop?.();
		dialog.remove();
	}}, h('header', h('span.words', title, when), actual, iconButton('download', 'saveFile', save), iconButton('close', 'close', () => dialog.close())),
	stage, previous, next, caption);
	let key = first.n ?? first.key;
	let blob = null;
	let moved = false; // a drag is no click

	const isOne = (other) => keyOf(other) === key || other.n === key;
	const all = () => (store.dialogues.get(friend) ?? []).filter(({file, deleted, n, blob: own}) => file && !deleted && (n || own) && kindOf(file) === 'picture');
	const place = () => all().findIndex(isOne);

	function zoom(yes) {
		stage.classList.toggle('actual', yes);
		actual.setAttribute('aria-pressed', yes);
	}

	function go(by) {
		const to = all()[place() + by];
		if (!to) return;
		key = keyOf(to);
		show();
		const at = place();
		announce(t('pictureOf', {n: at + 1, of: all().length}));
	}

	function arrows() {
		const at = place();
		previous.disabled = at <= 0;
		next.disabled = at < 0 || at === all().length - 1;
		if (at === 0) session.older(friend); // there may be more
	}

	async function show() {
		show.stop?.();
		const dialogue = all().find(isOne) ?? first;
		const {file, mine} = dialogue;
		const stop = new AbortController();
		let url = '';
		show.stop = () => {
			stop.abort();
			if (url) URL.revokeObjectURL(url);
		};
		blob = null;
		zoom(false);
		title.textContent = mine ? t('you').replace(/[:：]\s*$/, '') : store.nameOf(friend);
		when.textContent = `${full(timeOf(dialogue))} · ${sizeOf(file.size)}`;
		caption.textContent = captionOf(dialogue);
		stage.dataset.name = file.name;
		arrows();
		fill(stage, h('.spin'));
		try {
			const got = await bytes(dialogue, stop.signal);
			if (stop.signal.aborted) return;
			blob = got;
			url = URL.createObjectURL(blob);
			const image = h('img', {src: url, alt: captionOf(dialogue) || t('picture'), draggable: 'false'});
			await image.decode();
			if (!stop.signal.aborted) fill(stage, image);
		} catch (error) {
			if (!stop.signal.aborted) fill(stage, h('p.fault', {role: 'alert'}, icon('fail'), error instanceof Refused ? explain(error) : t('fileBroken')));
		}
	}

	async function save() {
		if (blob) (await load('media')).save(blob, stage.dataset.name);
	}

	stage.addEventListener('click', ({target}) => {
		if (moved) return;
		if (target === stage) dialog.close();
		else zoom(!stage.classList.contains('actual'));
	});
	stage.addEventListener('pointerdown', () => { moved = false; });
	stage.addEventListener('pointermove', ({buttons, pointerType, movementX, movementY}) => {
		if (!buttons || pointerType === 'touch' || !stage.classList.contains('actual')) return;
		if (Math.abs(movementX) + Math.abs(movementY) > 1) moved = true;
		stage.scrollBy(-movementX, -movementY);
	});
	dialog.addEventListener('keydown', ({key: pressed}) => {
		const end = getComputedStyle(dialog).direction === 'rtl' ? 'ArrowLeft' : 'ArrowRight';
		if (stage.classList.contains('actual')) return; // the keys scroll
		if (pressed === 'ArrowLeft' || pressed === 'ArrowRight') go(pressed === end ? 1 : -1);
	});
	store.on(friend, arrows, signal);
	document.body.append(dialog);
	dialog.showModal();
	stage.focus();
	show();
}
