// Where a user writes: text, emoji and the draft.

import {tell} from './dialogs.js';
import {h, icon, iconButton, later, onPhone, popup} from './dom.js';
import {fits} from './protocol.js';

const EMOJI = '😀 😂 😉 😊 😍 😘 🤔 😎 😢 😭 😡 😱 🥳 👍 👎 👋 🙏 👏 💪 👌 ❤️ 💔 🔥 ✨ 🎉 🎂 ☕ 🌞 🚀 ✅'.split(' ');

/** element is the form. tray, above the text, is hidden while it is empty. */
export function composer({app, id}) {
	const {store, session} = app;
	const text = h('textarea', {rows: 1, dir: 'auto', label: 'write', value: store.talks.get(id)?.draft ?? ''});
	const send = h('button.send', {type: 'submit', label: 'send'}, icon('send'));
	const emoji = h('.emojis', {role: 'group', label: 'emoji'}, EMOJI.map((one) => h('button', {onclick: () => put(one)}, one)));
	const tray = h('.tray', {hidden: true});
	const element = h('form.composer', {onsubmit: submit}, tray, popup(iconButton('smile', 'emoji'), emoji, 6, true), text, send);
	const keepDraft = later(() => session.keepDraft(id, text.value), 400);

	function put(one) {
		text.setRangeText(one, text.selectionStart, text.selectionEnd, 'end');
		changed();
	}
	function changed() {
		text.style.height = 0;
		text.style.height = `${text.scrollHeight + 2}px`;
		send.disabled = !text.value.trim();
		keepDraft();
	}
	text.addEventListener('input', () => {
		changed();
		if (text.value) session.typing(id);
	});
	text.addEventListener('keydown', (event) => {
		// Input methods also use Enter, and phones have no other key for a new line.
		if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !onPhone()) submit(event);
	});

	function submit(event) {
		event.preventDefault();
		const words = text.value.replace(/^\n+|\s+$/g, '');
		if (!words.trim()) return;
		if (!fits(words)) {
			tell('tooLong');
			return;
		}
		session.send(id, words);
		text.value = '';
		changed();
		keepDraft.cancel();
		text.focus();
	}

	return {
		element,
		text,
		tray,
		changed,
		leave() {
			keepDraft.cancel();
			session.keepDraft(id, text.value);
		},
	};
}
