// The sidebar: the own profile, the search, pending requests, and conversations.

import {avatar} from './avatar.js';
import {aboutDialog, askDialog, confirmDialog, profileDialog, requestsDialog, settingsDialog} from './dialogs.js';
import {button, fill, h, icon, iconButton, later, menu, onPhone} from './dom.js';
import {load} from './load.js';
import {brief, explain, t} from './words.js';
import {folded, oneLine} from './text.js';
import {windowed} from './windowed.js';

const ROW = 60; // as in chat.css
const TITLE = 40;

export function people(app) {
	const {store, session} = app;
	const life = new AbortController();
	const {signal} = life;
	let found = []; // the server's results
	let status = ''; // shown below the results
	let tab = ''; // key of the row in the tab order

	const search = h('input', {
		type: 'search', dir: 'auto', label: 'searchPeople', autocomplete: 'off', spellcheck: 'false', maxlength: 64,
	});
	const body = h('ul', {role: 'list'});
	const scroller = h('.scroll', {tabindex: -1}, body);
	const self = h('button.self', {title: t('yourProfile'), onclick: () => profileDialog(app)});
	const announced = h('p.hidden', {role: 'status'});
	const element = h('nav.side', {label: 'friends'},
		h('header', self, iconButton('join', 'findPeople', () => search.focus()), menu(() => [
			[t('yourProfile'), () => profileDialog(app)],
			[t('settings'), () => settingsDialog(app)],
			[t('signOut'), () => confirmDialog('signOut', session.signOut)],
		])),
		h('label.search', icon('search'), search), announced, scroller);

	const sought = () => folded(search.value.trim());

	function items() {
		const rows = store.people().map((person) => ({kind: 'person', key: person.id, person}));
		if (sought()) {
			const friends = rows.filter(({person: {name, friend}}) => folded(`${name}\n${friend?.own ?? ''}`).includes(sought()));
			const others = found.filter(({id}) => !store.friends.has(id)).map((person) => ({kind: 'found', key: `f${person.id}`, person}));
			const titled = (key, list) => (list.length ? [{kind: 'title', key, text: t(key)}, ...list] : []);
			const all = [...titled('friends', friends), ...titled('otherPeople', others)];
			const text = status || (all.length ? '' : t('nobodyFound'));
			return text ? [...all, {kind: 'note', key: 'note', text}] : all;
		}
		if (!rows.length) rows.push({kind: 'welcome', key: 'welcome'});
		const {size} = store.requests;
		return size ? [{kind: 'requests', key: 'requests', names: [...store.requests.values()].slice(0, 5).map(({name}) => name).join(', '), size}, ...rows] : rows;
	}

	const isRow = ({kind}) => kind === 'person' || kind === 'found' || kind === 'requests';
	const current = ({key}) => key === store.current;
	const standing = ({id}) => (store.requests.has(id) ? 'asksYou' : store.asked.has(id) ? 'asked' : 'ask');

	function stamp(item) {
		const {person = {}} = item;
		return JSON.stringify([item.text, item.names, item.size, person, person.at && brief(person.at / 1000), standing(person), current(item), item.key === tab]);
	}

	const row = (item, onclick, ...children) => h('li', h('button.row', {
		'data-key': item.key, tabindex: item.key === tab ? 0 : -1, 'aria-current': current(item) && 'page', onclick,
	}, children));
	const words = (name, aside, sub, count, hidden) => h('span.words', h('span.line', h('b', {dir: 'auto'}, name), aside),
		(sub || count > 0) && h('span.line.sub', h('span', {dir: 'auto'}, sub), count > 0 && h('span.count', String(count), hidden && h('span.hidden', t('unread')))));

	const drawing = {
		title: ({text}) => h('li.section', h('h2', text)),
		note: ({text}) => h('li.note', text),
		welcome() {
			const steps = h('div'); // for a phone, which does not show the pane beside the list
			load('start').then(({start}) => fill(steps, start(app)), () => {});
			return h('li.welcome', h('h2', t('noFriendsYet')), h('p', t('noFriendsHelp')), button('findPeople', () => search.focus(), '.main'), steps);
		},
		requests: (item) => row(item, () => requestsDialog(app),
			h('span.avatar', icon('person')), words(t('requests'), '', item.names, item.size)),
		found: (item) => row(item, () => ({asksYou: requestsDialog, asked: aboutDialog, ask: askDialog})[standing(item.person)](app, item.person), avatar(item.person), words(item.person.name, '', item.person.sign),
			h(`span.tag.${standing(item.person)}`, t(standing(item.person)))),
		person(item) {
			const {id, name, friend, talk, at} = item.person;
			const last = talk?.draft.trim() && store.current !== id ? [h('em', t('draft')), oneLine(talk.draft)]
				: at ? [talk.mine && t('you'), oneLine(talk.text) || t('deletedDialogue')] : friend?.sign;
			return row(item, () => { location.hash = id; }, avatar({...friend, id, name}),
				words(name, [friend?.online && h('span.hidden', t('online')), at > 0 && h('time', brief(at / 1000))], last, talk?.unread, true));
		},
	};

	const list = windowed({
		scroller, body, stamp, signal, key: ({key}) => key, draw: (item) => drawing[item.kind](item), guess: (item) => (isRow(item) ? ROW : TITLE),
	});

	function update() {
		if (!store.me) return;
		fill(self, avatar({...store.me}, '.small'), h('span', {dir: 'auto'}, store.me.name));
		const all = items();
		const rows = all.filter(isRow);
		tab = (rows.find(({key}) => key === tab) ?? rows.find(current) ?? rows[0])?.key;
		list.set(all);
	}

	const ask = later(async () => {
		const name = search.value.trim();
		if (!name) return;
		let message = '';
		const all = await session.find(name).catch((error) => {
			message = explain(error);
			return [];
		});
		if (name !== search.value.trim()) return;
		found = all;
		status = message;
		announced.textContent = message || t('foundCount', {n: all.length});
		update();
	}, 250);

	search.addEventListener('input', () => {
		if (!sought()) found = [];
		status = found.length ? '' : t('searching');
		scroller.scrollTop = 0;
		update();
		ask();
	});
	search.addEventListener('keydown', (event) => {
		if (event.key === 'ArrowDown') {
			event.preventDefault();
			move(0);
		}
	});

	function move(to) {
		const rows = list.items.filter(isRow);
		if (!rows.length) return;
		tab = rows[Math.min(rows.length - 1, Math.max(0, to))].key;
		list.set(list.items);
		list.reveal(tab)?.querySelector('button').focus();
	}
	body.addEventListener('keydown', (event) => {
		const rows = list.items.filter(isRow);
		const at = rows.findIndex(({key}) => key === event.target.dataset.key);
		const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 8, PageUp: at - 8, Home: 0, End: rows.length}[event.key];
		if (to === undefined) return;
		event.preventDefault();
		if (to === -1) search.focus();
		else move(to);
	});

	const soon = later(update, 0);
	const minute = setInterval(update, 60_000); // times such as "yesterday" change
	for (const topic of ['me', 'friends', 'requests', 'talks']) store.on(topic, soon, signal);
	update();

	return {
		element,
		update,
		focus: (key) => (key ? move(list.items.filter(isRow).findIndex((item) => item.key === key)) : (onPhone() ? scroller : search).focus()),
		leave() {
			clearInterval(minute);
			life.abort();
		},
	};
}
