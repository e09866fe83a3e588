// The dialogues of one conversation: rows, days and states.

import {isChange, notes} from './changes.js';
import {copying} from './copying.js';
import {messageMenu, reactionMenu, tell} from './dialogs.js';
import {button, h, icon, iconButton, later} from './dom.js';
import {captionOf, summary} from './files.js';
import {gestures} from './gestures.js';
import {load} from './load.js';
import {isSettled} from './client/outbox.js';
import {Code} from './protocol.js';
import {keyOf, timeOf} from './store.js';
import {isEmoji, oneLine, rich} from './text.js';
import {windowed} from './windowed.js';
import {clock, day, full, onNewDay, t, tCode} from './words.js';

const TOGETHER = 5 * 60_000;
const NEAR = 400; // pixels from the top: load older dialogues
const LONG = {letters: 1500, lines: 25}; // longer texts are shown in part
const MARKS = {queued: 'wait', sending: 'wait', kept: 'done', delivered: 'twice', read: 'twice', offline: 'fail', failed: 'fail'};
const isLost = (state) => state === 'offline' || state === 'failed';
const FLASH = 2000;
const FLOAT = 1200; // the day is at the top for so long after scrolling

/** The part of a conversation that scrolls. view is that of talk.js. */
export function dialogues(view) {
	const {app, id, signal, friend, blocked} = view;
	const {store, session} = app;
	let opening = {...store.talks.get(id)}; // what was unread when it was opened
	let unread = 0; // at the last look
	let newFrom; // key of the first unread dialogue
	let sought = ''; // folded
	let hit = 0; // key of the dialogue found
	let timer = 0;
	const wide = new Set(); // keys of long dialogues that are shown in full
	const quoting = new Set(); // numbers asked for

	const rows = h('ol.dialogues', {role: 'list'});
	const scroller = h('.scroll', {tabindex: 0, role: 'region', label: 'dialogues'}, rows);
	const empty = h('p.empty', {hidden: true}, t('sayHello'));
	const floating = h('.day.floating', {'aria-hidden': 'true'}, h('span'));
	const toEnd = iconButton('down', 'toNewest', () => list.toEnd(), '.toend');
	const badge = h('span.count', {hidden: true});
	toEnd.append(badge);
	const list = windowed({scroller, body: rows, stick: true, signal, key: ({key}) => key, stamp: (item) => item.mark ??= stamp(item), draw, guess});

	const shown = () => (store.dialogues.get(id) ?? []).filter((one) => !isChange(one));
	const name = ({mine}) => (mine ? t('me') : store.nameOf(id));

	function guess({dialogue, first}, width) {
		if (!dialogue) return 44;
		const line = Math.max(12, Math.min(width * 0.72, 560) / 8);
		return 30 + 23 * Math.floor(Math.min(dialogue.text.length, LONG.letters) / line) + (first ? 9 : 0) + (dialogue.file?.width ? 240 : 0);
	}

	function items() {
		const all = [];
		const {peerRead} = store.talk(id);
		const offline = friend()?.online === false;
		let before; // the item above
		let run = null; // of dialogues that failed for one reason, which is told once
		let from = 0; // the day of the dialogue above
		let to = 0;
		let late = 0;
		for (const dialogue of shown()) {
			const {mine, state, code, n} = dialogue;
			const [key, at] = [keyOf(dialogue), timeOf(dialogue)];
			let first = !before || key === newFrom || before.dialogue.mine !== mine || at - timeOf(before.dialogue) > TOGETHER;
			if (at < from || at >= to) {
				from = new Date(at).setHours(0, 0, 0, 0);
				to = new Date(from).setHours(24, 0, 0, 0);
				all.push({key: `d${from}`, day: from});
				first = true;
			}
			if (key === newFrom) all.push({key: 'new'});
			if (before) before.last = first;
			const lost = mine && isLost(state);
			if (lost && run && before.run === run && before.dialogue.state === state && before.dialogue.code === code) {
				before.run = null;
				run = [...run, dialogue];
			} else run = lost ? [dialogue] : null;
			before = {key, dialogue, first, last: true, found: hit === key, day: from, run};
			all.push(before);
			if (offline && mine && (state === 'kept' ? n > peerRead && stateOf(dialogue) === 'kept' : dialogue.key && !isSettled(state))) late++;
		}
		if (before) before.newest = true;
		if (late) all.push({key: 'late', late});
		return all;
	}

	function stamp({key, day: on, late, dialogue, first, last, found, newest, run}) {
		if (key === 'new') return t('newDialogues');
		if (!dialogue) return late ? t('late', {n: late}) : day(on);
		const {text, code, edited, deleted, file} = dialogue;
		const {reactions, quoted} = notes.get(dialogue) ?? {};
		return JSON.stringify([stateOf(dialogue), code, run?.length, first, last, found, newest, sought, wide.has(key), blocked(), !friend(), edited, deleted, reactions, quoted?.text, text, Boolean(file && media), file?.id]);
	}

	function stateOf({state, n}) {
		const {peerGot, peerRead} = store.talk(id);
		return state !== 'kept' ? state : n <= peerRead ? 'read' : n <= peerGot ? 'delivered' : state;
	}

	// ---- rows

	/** Whether the server takes replies, reactions, edits and deletions of it. */
	const changeable = ({n, state, deleted}) => Boolean(store.kept && n && state === 'kept' && !deleted && friend() && !blocked());

	function draw({key, mark, dialogue, first, last, found, newest, run}) {
		if (!dialogue) return h(key === 'new' ? 'li.day.new' : 'li.day', h('span', mark));
		const {mine, deletes, deleted} = dialogue;
		const text = media ? captionOf(dialogue) : dialogue.text;
		const state = stateOf(dialogue);
		const failed = mine && isLost(state);
		const gone = deleted || deletes;
		const {reactions} = notes.get(dialogue) ?? {};
		const big = isEmoji(text) && !dialogue.re;
		return h(`li.dialogue.${mine ? 'mine' : 'theirs'}${first ? '.first' : ''}${found ? '.hit' : ''}`, {'data-key': key},
			h('.carrier',
				h(big ? '.bubble.emoji' : '.bubble', {dir: 'auto'},
					h('bdi.hidden', mine ? t('you') : `${store.nameOf(id)}: `),
					quote(dialogue),
					!gone && fileOf(key, dialogue),
					gone ? h('em', t('deletedDialogue')) : words(key, text, found),
					meta(dialogue, state, last || failed || dialogue.edited)),
				!gone && tools(dialogue, newest)),
			reactions && h('.reactions', reactions.map((one) => reaction(dialogue, one))),
			run && h(`.failed.${state}`, icon('fail'), failure(dialogue, run.length), button('tryAgain', () => run.forEach(session.resend), '.plain')));
	}

	function words(key, text, found) {
		const full = found || wide.has(key);
		const end = full ? text.length : Math.min(LONG.letters, text.split('\n', LONG.lines).join('\n').length);
		if (text.length - end < 200) return h('.text', rich(text, sought));
		return [h('.text', rich(text.slice(0, end), sought), '…'), button('showAll', () => { wide.add(key); set(); }, '.plain')];
	}

	function meta(dialogue, state, visible) {
		const at = timeOf(dialogue);
		return h(visible ? '.meta' : '.meta.hidden', dialogue.edited && !dialogue.deleted && h('span', t('edited')), h('time', {title: full(at), dir: 'auto'}, clock(at)),
			dialogue.mine && h(`span.state.${state}${state === 'read' ? '.delivered' : ''}`, {title: t(state)}, icon(MARKS[state]), h('span.hidden', t(state))));
	}

	function quote(dialogue) {
		const {re} = dialogue;
		if (!re) return null;
		const {quoted} = notes.get(dialogue) ?? {};
		if (!quoted && !quoting.has(re)) {
			quoting.add(re);
			session.quote(id, re);
		}
		return h('button.quote', {onclick: () => goTo(re)},
			quoted && h('b', {dir: 'auto'}, name(quoted)), h('span', {dir: 'auto'}, quoted ? oneLine(summary(quoted)) || t('deletedDialogue') : '…'));
	}

	function tools(dialogue, newest) {
		const can = changeable(dialogue);
		const act = iconButton('more', 'dialogueMenu', () => messageMenu(view, dialogue, act), '.act');
		const react = iconButton('smile', 'react', () => reactionMenu(view, dialogue, react));
		act.setAttribute('aria-haspopup', 'menu');
		act.tabIndex = newest ? 0 : -1;
		return h('.tools', can && [react, iconButton('reply', 'reply', () => view.writing.reply(dialogue))].map((one) => Object.assign(one, {tabIndex: -1})), act);
	}

	function reaction(dialogue, {emoji, mine, theirs}) {
		const people = [mine && t('me'), theirs && store.nameOf(id)].filter(Boolean);
		return h('button', {'aria-pressed': String(Boolean(mine)), title: people.join(', '), 'aria-label': `${emoji} ${people.join(', ')}`, disabled: !changeable(dialogue),
			onclick: () => react(dialogue, emoji)}, emoji, people.length > 1 && h('span', people.length));
	}

	/** Reacts with an emoji, or takes that back. */
	function react(dialogue, emoji) {
		const mine = notes.get(dialogue)?.reactions?.find((one) => one.emoji === emoji)?.mine;
		if (!mine) session.send(id, emoji, {reacts: dialogue.n});
		else if (mine > 0) session.send(id, '', {deletes: mine});
	}

	function failure({state, code}, n) {
		if (state === 'offline') return n > 1 ? t('notThereMany', {n}) : t('notThere');
		if (code === Code.notFriends && blocked()) return t('notDelivered', {why: t('blockedHelp')});
		return code === Code.unreachable ? t('notKnown') : t('notDelivered', {why: tCode(code)});
	}

	// ---- files, see later/media.js

	let media = null; // draws files
	let loading = null;

	function fileOf(key, dialogue) {
		if (!dialogue.file) return null;
		if (media) return media(key, dialogue);
		loading ??= load('media').then((module) => {
			media = module.drawer(app, id, {scroller, signal});
			update();
		}, () => { loading = null; });
		return null;
	}

	// ---- what changes

	const set = () => list.set(items());

	function markNew() {
		const now = opening ?? store.talk(id);
		opening = null;
		if (!unread && now.unread) newFrom = now.fresh ? now.fresh[0] : keyOf(shown().at(-now.unread) ?? {});
	}

	function update() {
		if (signal.aborted) return;
		const all = store.dialogues.get(id);
		if (!all) return;
		markNew();
		set();
		empty.hidden = list.items.length > 0;
		scrolled();
	}

	function scrolled() {
		toEnd.hidden = store.atEnd = list.pinned;
		const missed = store.talk(id).unread; // what came while the end was out of view
		badge.hidden = !missed;
		badge.textContent = missed;
		toEnd.setAttribute('aria-label', missed ? `${t('toNewest')} (${missed})` : t('toNewest'));
		if (list.pinned && missed) view.seen();
		if (scroller.scrollTop < NEAR) session.older(id);
	}
	scroller.addEventListener('scroll', () => {
		scrolled();
		float();
	}, {passive: true});

	const sink = later(() => floating.classList.remove('on'), FLOAT);
	/** Shows the day of the first dialogue in view, unless its own line is there. */
	function float() {
		const {item, index, above} = list.top();
		const on = item?.day ?? list.items[index + 1]?.day;
		const visible = on && !list.pinned && (item.dialogue || above > 20);
		floating.classList.toggle('on', Boolean(visible));
		if (visible) floating.firstChild.textContent = day(on);
		sink();
	}
	onNewDay(set, signal);

	// ---- what the user does

	function reveal(key) {
		hit = key;
		set();
		if (!key) return;
		list.reveal(key, true)?.querySelector('.act')?.focus({preventScroll: true});
		scrolled();
	}

	/** Shows the dialogue with this number and marks words (folded), loading older ones until it is there. */
	async function goTo(n, words = '') {
		const exists = () => shown().some((one) => keyOf(one) === n);
		if (!exists()) await session.reach(id, n);
		if (signal.aborted) return;
		if (!exists()) {
			tell('dialogueGone');
			return;
		}
		sought = words;
		reveal(n);
		clearTimeout(timer);
		timer = setTimeout(() => {
			if (hit !== n || sought !== words || signal.aborted) return;
			sought = '';
			reveal(0);
		}, FLASH);
	}

	const find = (key) => list.items.find((item) => String(item.key) === key)?.dialogue;
	const keyAt = (target) => target.closest?.('.dialogue')?.dataset.key;

	rows.addEventListener('keydown', (event) => {
		const by = {ArrowUp: -1, ArrowDown: 1}[event.key];
		const key = event.target.closest('.tools') && keyAt(event.target);
		if (!by || !key) return;
		event.preventDefault();
		let at = list.items.findIndex((item) => String(item.key) === key) + by;
		while (list.items[at] && !list.items[at].dialogue) at += by;
		if (list.items[at]) list.reveal(list.items[at].key)?.querySelector('.act')?.focus({preventScroll: true});
	});
	gestures(rows, {
		menu(target, at) {
			const dialogue = find(keyAt(target));
			if (!dialogue || dialogue.deleted) return false;
			messageMenu(view, dialogue, at ?? target.closest('.dialogue').querySelector('.act'));
			return true;
		},
		reply(target) {
			const dialogue = find(keyAt(target));
			if (dialogue && changeable(dialogue)) view.writing.reply(dialogue);
		},
	});
	copying(rows, (row) => find(row.dataset.key), name);

	return {
		element: h('.stage', scroller, floating, empty, toEnd),
		/** The user has sent something, which is scrolled into view. */
		sent() {
			list.pinned = true;
			newFrom = 0;
			update();
		},
		/** The user has seen what there is. */
		looked() { ({unread} = store.talk(id)); },
		update,
		shown,
		changeable,
		react,
		goTo,
		name,
		focus: () => scroller.focus(),
		/** Marks the matches of `words` (folded), and scrolls to the dialogue with this key. */
		mark(words, key) {
			[sought, hit] = [words, key];
			set();
			if (key) list.reveal(key, true);
			scrolled();
		},
	};
}
