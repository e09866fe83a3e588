// Where a user writes: text, emoji, the draft, and what a message replies to or edits.

import {tell} from './dialogs.js';
import {h, fill, icon, iconButton, later, onPhone, popup} from './dom.js';
import {summary} from './files.js';
import {load} from './load.js';
import {fits} from './protocol.js';
import {oneLine} from './text.js';
import {t} from './words.js';

export const EMOJI = '😀 😂 😉 😊 😍 😘 🤔 😎 😢 😭 😡 😱 🥳 👍 👎 👋 🙏 👏 💪 👌 ❤️ 💔 🔥 ✨ 🎉 🎂 ☕ 🌞 🚀 ✅'.split(' ');

/** view is that of talk.js. element is the form. */
export function composer({app, id, stage, signal}) {
	const {store, session} = app;
	const text = h('textarea', {rows: 1, dir: 'auto', label: 'write', value: store.talks.get(id)?.draft ?? ''});
	const send = h('button.send', {type: 'submit', label: 'send'}, icon('send'));
	const emoji = h('.emojis', {role: 'group', label: 'emoji'}, EMOJI.map((one) => h('button', {onclick: () => put(one)}, one)));
	const banner = h('.banner', {hidden: true, role: 'status'});
	const element = h('form.composer', {onsubmit: submit}, banner, popup(iconButton('smile', 'emoji'), emoji, 6, true), text, send);
	let about = null; // {kind: 're' or 'edits', dialogue, draft}
	let attached = null; // the files, of later/attach.js
	let composed = false; // an input method has just taken a key

	const draft = () => (about?.kind === 'edits' ? about.draft : text.value);
	const storeDraft = (now) => session.keepDraft(id, draft(), now);
	const keepDraft = later(() => storeDraft(), 400);

	function put(one) {
		text.setRangeText(one, text.selectionStart, text.selectionEnd, 'end');
		changed();
	}
	function changed() {
		text.style.height = 0;
		text.style.height = `${text.scrollHeight + 2}px`;
		send.disabled = !text.value.trim() && !attached?.size;
		keepDraft();
	}
	text.addEventListener('input', () => {
		changed();
		if (text.value) session.typing(id);
	});
	text.addEventListener('compositionend', () => {
		// Safari tells of the key that ends a composition afterwards.
		composed = true;
		setTimeout(() => { composed = false; });
	});
	text.addEventListener('keydown', (event) => {
		if (event.isComposing || composed || event.keyCode === 229) return; // the key belongs to an input method
		// Phones have no other key for a new line.
		if (event.key === 'Enter' && !event.shiftKey && !onPhone()) submit(event);
		else if (event.key === 'ArrowUp' && !text.value.trim() && !about) editLast(event);
	});

	function submit(event) {
		event.preventDefault();
		const words = text.value.replace(/^\n+|\s+$/g, '');
		if (!words.trim() && !attached?.size) return;
		if (!fits(words)) {
			tell('tooLong');
			return;
		}
		const {kind, dialogue} = about ?? {};
		if (kind !== 'edits' && attached?.busy) {
			attached.soon(() => element.requestSubmit());
			return;
		}
		const more = kind && {[kind]: dialogue.n};
		if (kind !== 'edits') attached?.submit(words, more) || session.send(id, words, more);
		else if (!words.trim()) return;
		else if (words !== dialogue.text) session.send(id, words, more);
		if (kind === 'edits') cancel();
		else {
			stage.sent();
			text.value = '';
			if (!cancel()) changed();
			keepDraft.cancel();
		}
		text.focus();
	}

	// ---- replies and edits

	function begin(kind, dialogue) {
		const kept = draft();
		about = {kind, dialogue, draft: kept};
		text.value = kind === 'edits' ? dialogue.text : kept;
		fill(banner, icon(kind === 'edits' ? 'edit' : 'reply'),
			h('span.words', h('b', kind === 'edits' ? t('editing') : t('replyTo', {name: stage.name(dialogue)})), h('span', {dir: 'auto'}, oneLine(summary(dialogue)))),
			iconButton('close', 'cancel', cancel));
		banner.hidden = false;
		changed();
		text.focus();
		text.setSelectionRange(text.value.length, text.value.length);
	}

	/** Returns whether there was a reply or an edit. */
	function cancel() {
		if (!about) return false;
		if (about.kind === 'edits') text.value = about.draft;
		about = null;
		banner.hidden = true;
		changed();
		text.focus();
		return true;
	}

	const editable = (one) => one.mine && !one.file && stage.changeable(one);

	function editLast(event) {
		const last = stage.shown().findLast(editable);
		if (!last) return;
		event.preventDefault();
		begin('edits', last);
	}

	/** Adds the files. place takes those that are dropped on it. */
	async function addFiles(place) {
		try {
			const {attach} = await load('attach');
			attached = await attach(app, {friend: id, composer: element, text, send, element: place, signal, changed, sent: stage.sent, mayAdd: () => !element.hidden && about?.kind !== 'edits'});
			if (!signal.aborted) changed();
		} catch {
			const stop = store.on('link', () => {
				if (store.link.state !== 'on') return;
				stop();
				addFiles(place);
			}, signal);
		}
	}

	return {
		element,
		text,
		addFiles,
		/** now: the page may be ending. */
		storeDraft,
		changed,
		put,
		editable,
		cancel,
		reply: (dialogue) => begin('re', dialogue),
		edit: (dialogue) => begin('edits', dialogue),
		leave() {
			keepDraft.cancel();
			storeDraft();
		},
	};
}
