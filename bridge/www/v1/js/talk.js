// One conversation: its header, its dialogues and where the user writes.

import {avatar, tag} from './avatar.js';
import {composer} from './composer.js';
import {dialogues} from './dialogues.js';
import {aboutDialog, blockDialog, confirmDialog, openFinder, renameDialog, reportDialog} from './dialogs.js';
import {button, fill, h, iconButton, later, menu, onPhone} from './dom.js';
import {markItems} from './marks.js';
import {leave} from './where.js';
import {t} from './words.js';

export function talk(app, id) {
	const {store, session} = app;
	const life = new AbortController();
	const {signal} = life;

	const friend = () => store.friends.get(id);
	const about = () => ({...friend(), id, name: store.nameOf(id)});
	const name = () => ({name: store.nameOf(id)});
	const blocked = () => Boolean(store.talks.get(id)?.blocked);
	const setBlocked = (yes) => blockDialog(app, about(), yes);
	const evidence = () => store.dialogues.get(id)?.findLast(({mine}) => !mine)?.text;

	/** What the parts of the conversation share. */
	const view = {app, id, signal, friend, blocked, seen};
	const stage = view.stage = dialogues(view);
	const writing = view.writing = composer(view);

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
	const parted = h('p.parted');

	function drawFrame() {
		if (signal.aborted) return;
		const {online, sign} = about();
		fill(who, avatar(about()), h('span.words', h('span.line', h('b', {dir: 'auto'}, store.nameOf(id)), tag({id})),
			h('small', {dir: 'auto'}, !friend() ? '' : friend().typing ? t('typing') : online ? t('online') : sign || t(online === null ? 'linkConnecting' : 'offline'))));
		const focused = parted.contains(document.activeElement);
		writing.element.hidden = !friend() || blocked();
		parted.hidden = !writing.element.hidden;
		if (focused && parted.hidden) writing.text.focus();
		const why = blocked() ? 'blockedHelp' : 'noFriendHelp';
		if (parted.dataset.why === why) return;
		parted.dataset.why = why;
		fill(parted, t(why), blocked() && [' ', button('unblock', () => setBlocked(false), '.plain')]);
	}

	function update() {
		if (signal.aborted) return;
		stage.update();
		seen();
	}

	function seen() {
		if (!document.hidden && document.hasFocus() && store.atEnd) session.read(id);
		stage.looked();
	}

	const focus = () => (writing.element.hidden ? stage : writing.text).focus();

	// ---- the search, see later/finder.js

	const finder = h('.finder', {hidden: true, role: 'search'});
	const showFinder = (open) => (open ? openFinder(finder, {dialogues: stage.shown, mark: stage.mark, onclose: focus}) : finder.close());

	const element = h('section.talk', head, finder, stage.element, writing.element, parted);
	element.addEventListener('keydown', (event) => {
		if (event.key === 'f' && (event.ctrlKey || event.metaKey)) showFinder(true);
		else if (event.key === 'Escape' && !finder.hidden) showFinder(false);
		else if (event.key === 'Escape' && writing.cancel());
		else return;
		event.preventDefault();
	});

	// Who looks at the dialogues and types, writes. A space scrolls.
	const writes = (target) => !writing.element.hidden && !document.querySelector('dialog[open], :popover-open')
		&& !target.closest?.('input, textarea, [contenteditable]') && (element.contains(target) || target === document.body);
	document.addEventListener('keydown', ({key, target, ctrlKey, altKey, metaKey}) => {
		if (([...key].length === 1 && key !== ' ') || key === 'Process' || key === 'Dead') {
			if (!ctrlKey && !altKey && !metaKey && writes(target)) writing.text.focus();
		}
	}, {signal});
	document.addEventListener('paste', (event) => {
		const words = event.clipboardData?.getData('text/plain');
		if (event.defaultPrevented || !words || !writes(event.target)) return;
		event.preventDefault();
		writing.text.focus();
		writing.put(words);
	}, {signal});
	// A ring around all dialogues is for those who came there by Tab.
	element.addEventListener('keyup', ({key, target}) => { if (key === 'Tab' && target.matches('.scroll')) target.classList.add('tabbed'); });
	element.addEventListener('focusout', ({target}) => target.classList.remove('tabbed'));

	function aim() {
		const {aim: at} = store;
		if (at?.friend !== id) return;
		store.aim = null;
		Promise.resolve(session.load(id)).then(() => { if (!signal.aborted) stage.goTo(at.n, at.sought); });
	}
	store.on('aim', aim, signal);

	const frameSoon = later(drawFrame, 0);
	const updateSoon = later(update, 0);
	store.on('tags', () => { if (tag({id})?.textContent !== who.querySelector('.idtag')?.textContent) frameSoon(); }, signal);
	for (const topic of ['friends', id]) {
		store.on(topic, frameSoon, signal);
		store.on(topic, updateSoon, signal);
	}
	addEventListener('focus', seen, {signal});
	addEventListener('pagehide', () => writing.storeDraft(true), {signal});
	document.addEventListener('visibilitychange', () => writing.storeDraft(), {signal});
	document.addEventListener('visibilitychange', seen, {signal});
	drawFrame();

	return {
		element,
		shown() {
			writing.changed();
			session.load(id);
			if (store.kept) writing.addFiles(element);
			update();
			if (onPhone()) stage.focus();
			else focus();
			aim();
		},
		leave() {
			writing.leave();
			store.atEnd = true;
			life.abort();
		},
	};
}
