// One conversation.

import {avatar} from './avatar.js';
import {aboutDialog, blockDialog, confirmDialog, messageDialog, openFinder, renameDialog, reportDialog, tell} from './dialogs.js';
import {button, fill, h, icon, iconButton, later, menu, onPhone, popup} from './dom.js';
import {clock, day, full, t, tCode} from './words.js';
import {markItems} from './marks.js';
import {isSettled} from './outbox.js';
import {Code, fits} from './protocol.js';
import {isChange, keyOf, timeOf} from './store.js';
import {isEmoji, oneLine, rich} from './text.js';
import {leave} from './where.js';
import {windowed} from './windowed.js';

const TOGETHER = 5 * 60_000;
const NEAR = 400; // pixels from the top: load older dialogues
const MARKS = {queued: 'wait', sending: 'wait', kept: 'done', delivered: 'twice', read: 'twice', offline: 'fail', failed: 'fail'};
const EMOJI = '😀 😂 😉 😊 😍 😘 🤔 😎 😢 😭 😡 😱 🥳 👍 👎 👋 🙏 👏 💪 👌 ❤️ 💔 🔥 ✨ 🎉 🎂 ☕ 🌞 🚀 ✅'.split(' ');

export function talk(app, id) {
	const {store, session} = app;
	const life = new AbortController();
	const {signal} = life;
	let opening = {...store.talks.get(id)}; // what was unread when it was opened
	let unread = 0; // at the last look
	let newFrom; // key of the first unread dialogue
	let sought = ''; // folded
	let hit = 0; // key of the dialogue found
	let count = 0;

	const friend = () => store.friends.get(id);
	const about = () => ({...friend(), id, name: store.nameOf(id)});
	const name = () => ({name: store.nameOf(id)});
	const blocked = () => Boolean(store.talks.get(id)?.blocked);
	const setBlocked = (yes) => blockDialog(app, about(), yes);
	const evidence = () => store.dialogues.get(id)?.findLast(({mine}) => !mine)?.text;

	// ---- the header

	const who = h('button.who', {onclick: () => aboutDialog(app, about())});
	const head = h('header', iconButton('back', 'back', leave, '.back'), who,
		iconButton('search', 'searchTalk', () => showFinder(finder.hidden)),
		menu(() => [
			[t('about'), () => aboutDialog(app, about())],
			friend() && [t('rename'), () => renameDialog(app, about())],
			...markItems(app, id),
			[t('forgetTalk'), () => confirmDialog('forgetTalk', () => session.forget(id), name())],
			blocked() ? [t('unblock'), () => setBlocked(false)] : [t('block'), () => setBlocked(true)],
			[t('report'), () => reportDialog(app, about(), evidence())],
			friend() && [t('removeFriend'), () => confirmDialog('removeFriend', () => session.part(id), name()), true],
		].filter(Boolean)));

	function drawFrame() {
		if (signal.aborted) return;
		const {online, sign} = about();
		fill(who, avatar(about()), h('span.words', h('b', {dir: 'auto'}, store.nameOf(id)),
			h('small', {dir: 'auto'}, !friend() ? '' : friend().typing ? t('typing') : online ? t('online') : sign || t(online === null ? 'linkConnecting' : 'offline'))));
		const focused = parted.contains(document.activeElement);
		composer.hidden = !friend() || blocked();
		parted.hidden = !composer.hidden;
		if (focused && parted.hidden) text.focus();
		const why = blocked() ? 'blockedHelp' : 'noFriendHelp';
		if (parted.dataset.why === why) return;
		parted.dataset.why = why;
		fill(parted, t(why), blocked() && [' ', button('unblock', () => setBlocked(false), '.plain')]);
	}

	// ---- the dialogues

	const rows = h('ol.dialogues', {role: 'list'});
	const scroller = h('.scroll', {tabindex: 0, role: 'region', label: 'dialogues'}, rows);
	const empty = h('p.empty', {hidden: true}, t('sayHello'));
	const toEnd = iconButton('down', 'toNewest', () => list.toEnd(), '.toend');
	const list = windowed({scroller, body: rows, stick: true, signal, key: ({key}) => key, stamp: ({stamp}) => stamp, draw, guess});

	function guess({dialogue, first}, width) {
		if (!dialogue) return 44;
		const line = Math.max(12, Math.min(width * 0.72, 560) / 8);
		return 40 + 23 * Math.floor(dialogue.text.length / line) + (first ? 9 : 0);
	}

	function items() {
		const all = [];
		let before;
		let today;
		let late = 0;
		let run = null; // of dialogues that failed for one reason, which is told once
		for (const dialogue of shown()) {
			const {mine, code, text, edited, reactions, quoted} = dialogue;
			const [key, at, state] = [keyOf, timeOf, stateOf].map((f) => f(dialogue));
			const on = new Date(at).toDateString();
			if (on !== today) all.push({key: on, stamp: day(at)});
			if (key === newFrom) all.push({key: 'new', stamp: t('newDialogues')});
			const first = on !== today || key === newFrom || before.mine !== mine || at - timeOf(before) > TOGETHER;
			const found = hit === key;
			const lost = mine && (state === 'offline' || state === 'failed');
			if (lost && run && run.at(-1) === before && before.state === state && before.code === code) {
				const last = all.findLast(({dialogue: one}) => one === before);
				last.run = null;
				last.stamp += ',told later';
				run = [...run, dialogue];
			} else run = lost ? [dialogue] : null;
			all.push({key, dialogue, first, found, run, stamp: [state, code, first, found, sought, blocked(), edited, reactions, quoted, text, run?.length].join()});
			if (mine && (state === 'kept' || (dialogue.key && !isSettled(state)))) late++;
			before = dialogue;
			today = on;
		}
		if (late && friend()?.online === false) all.push({key: 'late', stamp: t('late', {n: late})});
		return all;
	}

	const shown = () => (store.dialogues.get(id) ?? []).filter((one) => !isChange(one));

	function stateOf({state, n}) {
		const {peerGot, peerRead} = store.talk(id);
		return state !== 'kept' ? state : n <= peerRead ? 'read' : n <= peerGot ? 'delivered' : state;
	}

	function draw({key, stamp, dialogue, first, found, run}) {
		if (!dialogue) return h(key === 'new' ? 'li.day.new' : 'li.day', h('span', stamp));
		const {mine, text, n, deletes, deleted, edited, reactions, quoted} = dialogue;
		const [at, state] = [timeOf, stateOf].map((f) => f(dialogue));
		return h(`li.dialogue.${mine ? 'mine' : 'theirs'}${first ? '.first' : ''}${found ? '.hit' : ''}`,
			h(isEmoji(text) ? '.bubble.emoji' : '.bubble', {dir: 'auto'},
				h('bdi.hidden', mine ? t('you') : `${store.nameOf(id)}: `),
				quoted && h('p.quote', {dir: 'auto'}, oneLine(quoted)),
				deleted || deletes ? h('em', t('deletedDialogue')) : h('span.text', rich(text, sought)),
				h('bdi.meta', edited && !deleted && h('span', t('edited')), h('time', {title: full(at)}, clock(at)),
					mine && h(`span.state.${state}${state === 'read' ? '.delivered' : ''}`, {title: t(state)}, icon(MARKS[state]), h('span.hidden', t(state))))),
			reactions && h('.reactions', reactions),
			n && dialogue.state === 'kept' && !deleted && friend() && iconButton('more', 'dialogueMenu', () => messageDialog(app, dialogue), '.act'),
			run && h(`.failed.${state}`, icon('fail'), failure(dialogue, run.length), button('tryAgain', () => run.forEach(session.resend), '.plain')));
	}

	function failure({state, code}, n) {
		if (state === 'offline') return n > 1 ? t('notThereMany', {n}) : t('notThere');
		if (code === Code.notFriends && blocked()) return t('notDelivered', {why: t('blockedHelp')});
		return code === Code.unreachable ? t('notKnown') : t('notDelivered', {why: tCode(code)});
	}

	function update() {
		if (signal.aborted) return;
		const dialogues = store.dialogues.get(id);
		if (!dialogues) return;
		const now = opening ?? store.talk(id);
		opening = null;
		if (!unread && now.unread) newFrom = now.fresh ? now.fresh[0] : keyOf(dialogues.at(-now.unread) ?? {});
		const last = dialogues.at(-1);
		// Scroll to a dialogue that the user sends.
		if (dialogues.length > count && last.mine && !isSettled(last.state)) {
			list.pinned = true;
			newFrom = undefined;
		}
		count = dialogues.length;
		list.set(items());
		empty.hidden = count > 0;
		scrolled();
		seen();
	}

	function scrolled() {
		toEnd.hidden = store.atEnd = list.pinned;
		const {unread: n} = store.talk(id);
		fill(toEnd, icon('down'), n > 0 && h('span.count', String(n), h('span.hidden', t('unread'))));
		if (list.pinned && n) seen();
		if (scroller.scrollTop < NEAR) session.older(id);
	}
	scroller.addEventListener('scroll', scrolled, {passive: true});

	function seen() {
		if (!document.hidden && document.hasFocus() && list.pinned) session.read(id);
		({unread} = store.talk(id));
	}

	// ---- the search, see later/finder.js

	const finder = h('.finder', {hidden: true, role: 'search'});
	const showFinder = (open) => (open ? openFinder(finder, {
		dialogues: shown,
		mark(words, n) {
			[sought, hit] = [words, n];
			list.set(items());
			if (n) list.reveal(n, true);
			scrolled();
		},
		onclose: () => (composer.hidden ? scroller : text).focus(),
	}) : finder.close());

	// ---- the composer

	const text = h('textarea', {rows: 1, dir: 'auto', label: 'write', value: store.talks.get(id)?.draft ?? ''});
	const send = h('button.send', {type: 'submit', label: 'send'}, icon('send'));
	const emoji = h('.emojis', {role: 'group', label: 'emoji'}, EMOJI.map((one) => h('button', {onclick: () => put(one)}, one)));
	const composer = h('form.composer', {onsubmit: submit}, popup(iconButton('smile', 'emoji'), emoji, 6, true), text, send);
	const parted = h('p.parted');
	const storeDraft = () => session.keepDraft(id, text.value);
	const keepDraft = later(storeDraft, 400);

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

	const element = h('section.talk', head, finder, h('.stage', scroller, empty, toEnd), composer, parted);
	element.addEventListener('keydown', (event) => {
		if (event.key === 'f' && (event.ctrlKey || event.metaKey)) showFinder(true);
		else if (event.key === 'Escape' && !finder.hidden) showFinder(false);
		else return;
		event.preventDefault();
	});

	const frameSoon = later(drawFrame, 0);
	store.on('friends', frameSoon, signal);
	store.on(id, frameSoon, signal);
	const updateSoon = later(update, 0);
	store.on('friends', updateSoon, signal);
	store.on(id, updateSoon, signal);
	addEventListener('focus', seen, {signal});
	addEventListener('pagehide', () => session.keepDraft(id, text.value, true), {signal});
	document.addEventListener('visibilitychange', storeDraft, {signal});
	document.addEventListener('visibilitychange', seen, {signal});
	drawFrame();

	return {
		element,
		shown() {
			changed();
			session.load(id);
			update();
			(!composer.hidden && !onPhone() ? text : scroller).focus();
		},
		leave() {
			keepDraft.cancel();
			storeDraft();
			store.atEnd = true;
			life.abort();
		},
	};
}
