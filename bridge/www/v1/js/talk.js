// One conversation: its dialogues, a search in them, and the line to write in.

import {avatar} from './avatar.js';
import {aboutDialog, confirmDialog, renameDialog, tell} from './dialogs.js';
import {fill, h, icon, iconButton, later, menu, once, popup} from './dom.js';
import {clock, day, full, t, tCode} from './i18n.js';
import {isSettled} from './outbox.js';
import {Code, fits} from './protocol.js';
import {folded, isEmoji, rich} from './text.js';
import {Windowed} from './windowed.js';

const TOGETHER = 5 * 60 * 1e6; // microseconds: dialogues of one side within it stand together
const MARKS = {queued: 'wait', sending: 'wait', delivered: 'done', offline: 'fail', failed: 'fail'};
const EMOJI = '😀 😂 😉 😊 😍 😘 🤔 😎 😢 😭 😡 😱 🥳 😴 🙈 👍 👎 👋 🙏 👏 💪 🤝 ✌️ 👌 ❤️ 💔 🔥 ✨ 🎉 🎂 ☕ 🍻 🌞 🌧️ 🚀 ✅'.split(' ');

export function talk(app, id) {
	const {store, session} = app;
	const unread = store.talks.get(id)?.unread;
	let newFrom; // the number of the first dialogue that was new when the talk was opened
	let sought = '';
	let hits = []; // numbers of the dialogues found
	let hit = 0;
	let count = 0;

	const friend = () => store.friends.get(id);
	const about = () => ({...friend(), id, name: store.nameOf(id)});
	const name = () => ({name: store.nameOf(id)});

	// ---- the head

	const who = h('button.who', {onclick: () => aboutDialog(app, about())});
	const head = h('header', null, iconButton('back', t('back'), () => { location.hash = ''; }, '.back'), who,
		iconButton('search', t('searchTalk'), () => look(finder.hidden)),
		menu(t('menu'), () => [
			[t('about'), () => aboutDialog(app, about())],
			friend() && [t('rename'), () => renameDialog(app, about())],
			[t('forgetTalk'), () => confirmDialog(t('forgetTalkQuestion', name()), t('delete'), () => session.forget(id))],
			friend() && [t('removeFriend'), () => confirmDialog(t('removeQuestion', name()), t('removeFriend'), () => session.part(id)), true],
		].filter(Boolean)));

	function drawFrame() {
		const {online, sign} = about();
		fill(who, avatar(about()), h('span.words', null, h('b', {dir: 'auto'}, store.nameOf(id)),
			h('small', {dir: 'auto'}, friend() ? online ? t('online') : sign || t('offline') : t('noFriend'))));
		composer.hidden = !friend();
		parted.hidden = !composer.hidden;
	}

	// ---- the dialogues

	const rows = h('ol.dialogues', {role: 'list'});
	const scroller = h('.scroll', {tabindex: 0, role: 'region', 'aria-label': t('dialogues')}, rows);
	const empty = h('p.empty', {hidden: true}, t('sayHello'));
	const toEnd = iconButton('down', t('toNewest'), () => list.toEnd(), '.toend');
	const list = new Windowed({scroller, body: rows, stick: true, key: ({key}) => key, stamp: ({stamp}) => stamp, draw, guess});

	function guess({dialogue, first}, width) {
		if (!dialogue) return 44;
		const line = Math.max(12, Math.min(width * 0.72, 560) / 8);
		return 40 + 23 * Math.floor(dialogue.text.length / line) + (first ? 9 : 0);
	}

	/** Dialogues, and the lines between days and before what is new. */
	function items() {
		const all = [];
		let before;
		let today;
		for (const dialogue of store.dialogues.get(id) ?? []) {
			const {n, mine, state, code} = dialogue;
			const on = new Date(n / 1000).toDateString();
			if (on !== today) all.push({key: on, stamp: day(n / 1000)});
			if (n === newFrom) all.push({key: 'new', stamp: t('newDialogues')});
			const first = on !== today || n === newFrom || before.mine !== mine || n - before.n > TOGETHER;
			const found = sought && hits[hit] === n;
			all.push({key: n, dialogue, first, found, stamp: [state, code, first, found, sought].join()});
			before = dialogue;
			today = on;
		}
		return all;
	}

	function draw({key, stamp, dialogue, first, found}) {
		if (!dialogue) return h(key === 'new' ? 'li.day.new' : 'li.day', null, h('span', null, stamp));
		const {mine, text, n, state} = dialogue;
		const failed = mine && (state === 'offline' || state === 'failed');
		return h(`li.dialogue.${mine ? 'mine' : 'theirs'}${first ? '.first' : ''}${found ? '.hit' : ''}`, null,
			h(isEmoji(text) ? '.bubble.emoji' : '.bubble', {dir: 'auto'},
				h('bdi.hidden', null, mine ? t('you') : `${store.nameOf(id)}: `),
				h('span.text', null, rich(text, sought)),
				h('bdi.meta', null, h('time', {title: full(n / 1000)}, clock(n / 1000)),
					mine && h(`span.state.${state}`, {title: t(state)}, icon(MARKS[state]), h('span.hidden', null, t(state))))),
			failed && h('.failed', null, icon('fail'), failure(dialogue), h('button.plain', {onclick: () => session.sayAgain(dialogue)}, t('tryAgain'))));
	}

	function failure({state, code}) {
		if (state === 'offline') return t('notThere');
		return code === Code.unreachable ? t('notKnown') : t('notDelivered', {why: tCode(code)});
	}

	function update() {
		const dialogues = store.dialogues.get(id);
		if (!store.me || !dialogues) return;
		if (unread) newFrom ??= dialogues.at(-unread)?.n;
		const last = dialogues.at(-1);
		// What one writes is shown, wherever one had scrolled to.
		if (dialogues.length > count && last.mine && !isSettled(last.state)) list.pinned = true;
		count = dialogues.length;
		list.set(items());
		empty.hidden = count > 0;
		scrolled();
		seen();
	}

	function scrolled() { toEnd.hidden = list.pinned; }
	scroller.addEventListener('scroll', scrolled, {passive: true});

	function seen() {
		if (!document.hidden && document.hasFocus()) session.read(id);
	}

	// ---- the search

	const findInput = h('input', {type: 'search', dir: 'auto', placeholder: t('searchTalk'), 'aria-label': t('searchTalk')});
	const findCount = h('span', {role: 'status'});
	const finder = h('.finder', {hidden: true, role: 'search'}, h('label.search', null, icon('search'), findInput), findCount,
		iconButton('up', t('previous'), () => step(-1)), iconButton('down', t('next'), () => step(1)), iconButton('close', t('close'), () => look(false)));

	/** Opens or closes the search. */
	function look(open) {
		finder.hidden = !open;
		findInput.value = '';
		seek();
		(open ? findInput : text).focus();
	}
	function seek() {
		sought = folded(findInput.value.trim());
		hits = sought ? (store.dialogues.get(id) ?? []).filter((d) => folded(d.text).includes(sought)).map(({n}) => n) : [];
		hit = 0;
		step(-1); // the newest first
	}
	function step(by) {
		hit = hits.length && (hit + by + hits.length) % hits.length;
		findCount.textContent = hits.length ? t('hitOf', {n: hit + 1, of: hits.length}) : sought && t('nothingFound');
		list.set(items());
		if (hits.length) list.reveal(hits[hit], true);
		scrolled();
	}
	const seekSoon = later(seek, 120);
	findInput.addEventListener('input', seekSoon);
	findInput.addEventListener('keydown', (event) => {
		if (event.key === 'Enter') step(event.shiftKey ? 1 : -1);
	});

	// ---- the line to write in

	const text = h('textarea', {rows: 1, dir: 'auto', placeholder: t('write'), 'aria-label': t('write'), value: store.talks.get(id)?.draft ?? ''});
	const send = h('button.send', {type: 'submit', 'aria-label': t('send'), title: t('send')}, icon('send'));
	const emoji = h('.emojis', {role: 'group', 'aria-label': t('emoji')}, EMOJI.map((one) => h('button', {onclick: () => put(one)}, one)));
	const composer = h('form.composer', {onsubmit: say}, popup(iconButton('smile', t('emoji')), emoji, 6, true), text, send);
	const parted = h('p.parted', null, t('noFriendHelp'));
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
	text.addEventListener('input', changed);
	text.addEventListener('keydown', (event) => {
		// Enter ends a word in many input methods, and makes lines where there is no other key for it.
		if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !matchMedia('(pointer: coarse)').matches) say(event);
	});

	function say(event) {
		event.preventDefault();
		const words = text.value.replace(/^\n+|\s+$/g, '');
		if (!words.trim()) return;
		if (!fits(words)) {
			tell(t('tooLong'));
			return;
		}
		session.say(id, words);
		text.value = '';
		changed();
		keepDraft.cancel();
		text.focus();
	}

	const element = h('section.talk', {'aria-label': t('talk')}, head, finder, h('.stage', null, scroller, empty, toEnd), composer, parted);
	element.addEventListener('keydown', (event) => {
		if (event.key === 'f' && (event.ctrlKey || event.metaKey)) look(true);
		else if (event.key === 'Escape' && !finder.hidden) look(false);
		else return;
		event.preventDefault();
	});

	const frameSoon = once(() => store.me && drawFrame());
	const stops = [store.on('friends', frameSoon), store.on(id, frameSoon), store.on(id, once(update))];
	addEventListener('focus', seen);
	document.addEventListener('visibilitychange', seen);
	drawFrame();

	return {
		element,
		shown() {
			changed();
			session.load(id);
			update();
			(friend() && matchMedia('(pointer: fine)').matches ? text : scroller).focus();
		},
		leave() {
			keepDraft.cancel();
			session.keepDraft(id, text.value);
			seekSoon.cancel();
			list.stop();
			removeEventListener('focus', seen);
			document.removeEventListener('visibilitychange', seen);
			stops.forEach((stop) => stop());
		},
	};
}
