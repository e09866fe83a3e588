// The dialogues of one conversation: rows, days and states.

import {button, h, icon, iconButton} from './dom.js';
import {messageDialog} from './dialogs.js';
import {isSettled} from './outbox.js';
import {Code} from './protocol.js';
import {isChange, keyOf, timeOf} from './store.js';
import {isEmoji, oneLine, rich} from './text.js';
import {windowed} from './windowed.js';
import {clock, day, full, t, tCode} from './words.js';

const TOGETHER = 5 * 60_000;
const NEAR = 400; // pixels from the top: load older dialogues
const MARKS = {queued: 'wait', sending: 'wait', kept: 'done', delivered: 'twice', read: 'twice', offline: 'fail', failed: 'fail'};

/** The part of a conversation that scrolls. friend() and blocked() tell of the other person. */
export function dialogues({app, id, signal, friend, blocked}) {
	const {store, session} = app;
	const {unread, fresh} = store.talks.get(id) ?? {};
	let newFrom; // key of the first unread dialogue
	let sought = ''; // folded
	let hit = 0; // key of the dialogue found
	let count = 0;

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
		for (const dialogue of shown()) {
			const {mine, code, text, edited, reactions, quoted} = dialogue;
			const [key, at, state] = [keyOf, timeOf, stateOf].map((f) => f(dialogue));
			const on = new Date(at).toDateString();
			if (on !== today) all.push({key: on, stamp: day(at)});
			if (key === newFrom) all.push({key: 'new', stamp: t('newDialogues')});
			const first = on !== today || key === newFrom || before.mine !== mine || at - timeOf(before) > TOGETHER;
			const found = hit === key;
			all.push({key, dialogue, first, found, stamp: [state, code, first, found, sought, blocked(), edited, reactions, quoted, text].join()});
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

	function draw({key, stamp, dialogue, first, found}) {
		if (!dialogue) return h(key === 'new' ? 'li.day.new' : 'li.day', h('span', stamp));
		const {mine, text, n, deletes, deleted, edited, reactions, quoted} = dialogue;
		const [at, state] = [timeOf, stateOf].map((f) => f(dialogue));
		const failed = mine && (state === 'offline' || state === 'failed');
		return h(`li.dialogue.${mine ? 'mine' : 'theirs'}${first ? '.first' : ''}${found ? '.hit' : ''}`,
			h(isEmoji(text) ? '.bubble.emoji' : '.bubble', {dir: 'auto'},
				h('bdi.hidden', mine ? t('you') : `${store.nameOf(id)}: `),
				quoted && h('p.quote', {dir: 'auto'}, oneLine(quoted)),
				deleted || deletes ? h('em', t('deletedDialogue')) : h('span.text', rich(text, sought)),
				h('bdi.meta', edited && !deleted && h('span', t('edited')), h('time', {title: full(at)}, clock(at)),
					mine && h(`span.state.${state}${state === 'read' ? '.delivered' : ''}`, {title: t(state)}, icon(MARKS[state]), h('span.hidden', t(state))))),
			reactions && h('.reactions', reactions),
			n && dialogue.state === 'kept' && !deleted && friend() && iconButton('more', 'dialogueMenu', () => messageDialog(app, dialogue), '.act'),
			failed && h('.failed', icon('fail'), failure(dialogue), button('tryAgain', () => session.resend(dialogue), '.plain')));
	}

	function failure({state, code}) {
		if (state === 'offline') return t('notThere');
		if (code === Code.notFriends && blocked()) return t('notDelivered', {why: t('blockedHelp')});
		return code === Code.unreachable ? t('notKnown') : t('notDelivered', {why: tCode(code)});
	}

	function update() {
		if (signal.aborted) return;
		const all = store.dialogues.get(id);
		if (!all) return;
		if (unread) newFrom ??= fresh ? fresh[0] : keyOf(all.at(-unread) ?? {});
		const last = all.at(-1);
		// Scroll to a dialogue that the user sends.
		if (all.length > count && last.mine && !isSettled(last.state)) list.pinned = true;
		count = all.length;
		list.set(items());
		empty.hidden = count > 0;
		scrolled();
	}

	function scrolled() {
		toEnd.hidden = list.pinned;
		if (scroller.scrollTop < NEAR) session.older(id);
	}
	scroller.addEventListener('scroll', scrolled, {passive: true});

	return {
		element: h('.stage', scroller, empty, toEnd),
		update,
		shown,
		focus: () => scroller.focus(),
		/** Marks the matches of `words` (folded), and scrolls to the dialogue with this key. */
		mark(words, key) {
			[sought, hit] = [words, key];
			list.set(items());
			if (key) list.reveal(key, true);
			scrolled();
		},
	};
}
