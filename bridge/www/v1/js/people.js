// The sidebar: the own profile, the search, pending requests, and conversations.

import {avatar, distinguish, tag} from './avatar.js';
import {aboutDialog, addMeDialog, askDialog, confirmDialog, open, profileDialog, requestsDialog, settingsDialog} from './dialogs.js';
import {button, fill, h, icon, iconButton, later, menu, onPhone} from './dom.js';
import {load} from './load.js';
import {markItems, withMenu} from './marks.js';
import {asked, people as searchPeople} from './protocol.js';
import {keyOf} from './store.js';
import {brief, explain, onNewDay, t} from './words.js';
import {folded, oneLine, snippet} from './text.js';
import {go} from './where.js';
import {windowed} from './windowed.js';

const ROW = 60; // as in home.css
const TITLE = 40;
const NEAR = 600; // pixels from the end of the list: get the next page of the search
const FEW = 6; // conversations that need no filter

export function people(app) {
	const {store, session} = app;
	const life = new AbortController();
	const {signal} = life;
	let found = []; // the server's results
	let listed = []; // friends, and others with conversations
	let next = ''; // cursor of the next page of results
	let more = false; // it is on its way
	let status = ''; // shown below the results
	let tab = ''; // key of the row in the tab order
	let messages = null; // of later/search.js
	let filter = 'all'; // or unread, archived

	const search = h('input', {
		type: 'search', dir: 'auto', label: 'searchPeople', autocomplete: 'off', spellcheck: 'false', maxlength: 64,
	});
	const body = h('ul', {role: 'list'});
	const scroller = h('.scroll', {tabindex: -1}, body);
	const self = h('button.self', {title: t('yourProfile'), onclick: () => profileDialog(app)});
	const chips = h('.chips', {role: 'group', label: 'filter', hidden: true});
	const announced = h('p.hidden', {role: 'status'});
	const element = h('nav.side', {label: 'friends'},
		h('header', self, iconButton('join', 'findPeople', () => search.focus()), menu(() => [
			[t('addMe'), () => addMeDialog(app)],
			[t('yourProfile'), () => profileDialog(app)],
			[t('settings'), () => settingsDialog(app)],
			[t('signOut'), () => signOutDialog(session)],
		])),
		h('label.search', icon('search'), search), chips, announced, scroller);

	const sought = () => folded(search.value.trim());

	function items() {
		listed = store.people();
		const rows = listed.map((person) => ({kind: 'person', key: person.id, person}));
		if (sought()) {
			const account = found.find((person) => person.account && folded(person.account) === sought())?.id;
			const friends = rows.filter(({person: {id, name, friend}}) => id === account || folded(`${name}\n${friend?.own ?? ''}`).includes(sought()));
			const others = found.filter(({id}) => !store.friends.has(id)).map((person) => ({kind: 'found', key: `f${person.id}`, person}));
			const titled = (key, list) => (list.length ? [{kind: 'title', key, text: t(key)}, ...list] : []);
			const all = [...titled('friends', friends), ...titled('otherPeople', others), ...titled('dialogues', messages?.rows() ?? [])];
			const progress = messages?.progress();
			if (progress) all.push({kind: 'note', key: 'progress', text: t('searchingOlder', progress)});
			const text = status || (all.length ? '' : t('nobodyFound'));
			return text ? [...all, {kind: 'note', key: 'note', text}] : all;
		}
		const archived = rows.filter(({person}) => person.talk?.archived);
		if (filter === 'archived') return orNone(archived);
		if (filter === 'unread') return orNone(rows.filter(({person: {talk}}) => talk?.unread > 0 && !talk.archived));
		if (!rows.length) rows.push({kind: 'welcome', key: 'welcome'});
		else if (archived.length) {
			rows.splice(0, rows.length, ...rows.filter((row) => !archived.includes(row)), {kind: 'archive', key: 'archive', n: archived.length});
		}
		if (store.asked.size) {
			rows.push({kind: 'title', key: 'sent', text: t('sentRequests')});
			for (const person of store.asked.values()) rows.push({kind: 'sent', key: `s${person.id}`, person});
		}
		if (!session.keepsHere && !store.kept) rows.push({kind: 'note', key: 'here', text: t('nothingKept')});
		const {size} = store.requests;
		return size ? [{kind: 'requests', key: 'requests', names: [...store.requests.values()].slice(0, 5).map(({name}) => name).join(', '), size}, ...rows] : rows;
	}

	const orNone = (rows) => (rows.length ? rows : [{kind: 'note', key: 'note', text: t('noneUnread')}]);

	function setFilter(name) {
		filter = name;
		scroller.scrollTop = 0;
		update();
		chips.querySelector('[aria-pressed=true]')?.focus();
	}

	function drawChips() {
		const all = store.people();
		const n = all.filter(({talk}) => talk?.archived).length;
		if (filter === 'archived' && !n) filter = 'all';
		chips.hidden = Boolean(sought()) || (filter === 'all' && all.length <= FEW);
		const focused = chips.contains(document.activeElement);
		fill(chips, chips.hidden ? [] : ['all', 'unread', n && 'archived'].filter(Boolean).map((name) => h('button', {
			'aria-pressed': String(filter === name), onclick: () => setFilter(name),
		}, name === 'archived' ? t('archivedCount', {n}) : t(name === 'all' ? 'filterAll' : 'filterUnread'))));
		if (focused) (chips.querySelector('[aria-pressed=true]') ?? search).focus();
	}

	const isRow = ({kind}) => ['person', 'found', 'sent', 'requests', 'archive', 'hit', 'more'].includes(kind);
	const current = ({key}) => key === store.current;
	const standing = ({id}) => (store.requests.has(id) ? 'asksYou' : store.asked.has(id) ? 'asked' : 'ask');

	function stamp(item) {
		const {person = {}} = item;
		return JSON.stringify([item.text, item.hit?.text, item.sought, item.n, item.names, item.size, person, person.at > 0 && brief(person.at / 1000), tag(person)?.textContent, standing(person), current(item), item.key === tab]);
	}

	const row = (item, onclick, ...children) => h('li', h('button.row', {
		'data-key': item.key, tabindex: item.key === tab ? 0 : -1, 'aria-current': current(item) && 'page', onclick,
	}, children));
	const words = (name, tagged, aside, sub, count, hidden, muted) => h('span.words', h('span.line', h('span.name', h('b', {dir: 'auto'}, name), tagged), aside),
		(sub || count > 0) && h('span.line.sub', h('span', {dir: 'auto'}, sub), count > 0 && h(muted ? 'span.count.quiet' : 'span.count', String(count), hidden && h('span.hidden', t('unread')))));

	const mark = (talk, name) => talk?.[name] && h(`span.mark`, {title: t(name)}, icon(name), h('span.hidden', t(name)));

	const nameOf = ({name}) => name || t('nobody');
	const factsOf = ({account, common, sign}) => [account && `@${account}`, common && t('commonFriends', {n: common}), sign].filter(Boolean).join(' · ');

	const drawing = {
		title: ({text}) => h('li.section', h('h2', text)),
		note: ({text}) => h('li.note', text),
		welcome() {
			const steps = h('div'); // for a phone, which does not show the pane beside the list
			load('start').then(({start}) => fill(steps, start(app)), () => {});
			return h('li.welcome', h('h2', t('noFriendsYet')), h('p', t('noFriendsHelp')), button('findPeople', () => search.focus(), '.main'), steps);
		},
		requests: (item) => row(item, () => requestsDialog(app),
			h('span.avatar', icon('person')), words(t('requests'), '', '', item.names, item.size)),
		archive: ({key, n}) => row({key}, () => setFilter('archived'), h('span.avatar.shelf', {'aria-hidden': 'true'}, icon('archive')), words(t('archivedCount', {n}))),
		found: (item) => row(item, () => ({asksYou: requestsDialog, asked: aboutDialog, ask: askDialog})[standing(item.person)](app, item.person), avatar(item.person), words(item.person.name, tag(item.person), '', factsOf(item.person)),
			h(`span.tag.${standing(item.person)}`, t(standing(item.person)))),
		sent: (item) => h('li.sent', row(item, () => aboutDialog(app, item.person), avatar(item.person),
			words(nameOf(item.person), tag(item.person), '', t('askedAt', {time: item.person.at ? brief(new Date(item.person.at)) : '–'}))).firstChild,
		button('takeBack', () => confirmDialog('takeBack', () => session.takeBack(item.person.id), {name: nameOf(item.person)}), '.plain')),
		person(item) {
			const {id, name, friend, talk, at} = item.person;
			const last = talk?.draft.trim() && store.current !== id ? [h('em', t('draft')), oneLine(talk.draft)]
				: at ? [talk.mine && t('you'), oneLine(talk.text) || t('deletedDialogue')] : friend?.sign;
			return row(item, () => go(id), avatar({...friend, id, name}),
				words(name, tag(item.person), [friend?.online && h('span.hidden', t('online')), mark(talk, 'muted'), mark(talk, 'pinned'), at > 0 && h('time', brief(at / 1000))], last, talk?.unread, true, talk?.muted));
		},
	};

	Object.assign(drawing, {
		hit(item) {
			const {hit: one, sought: mark} = item;
			return row(item, () => show(one, mark), avatar({...store.friends.get(one.friend), id: one.friend, name: store.nameOf(one.friend)}),
				words(store.nameOf(one.friend), tag({id: one.friend}), h('time', brief(item.at)), [one.mine && t('you'), snippet(one.text, mark)]));
		},
		more: (item) => row(item, () => messages.more(item.friend), h('span.words', t('moreHits', {n: item.n, name: store.nameOf(item.friend)}))),
	});

	/** Opens the conversation at a dialogue. */
	function show(one, sought) {
		store.aim = {friend: one.friend, n: keyOf(one), sought};
		if (store.current === one.friend) store.emit('aim');
		else go(one.friend);
	}

	const list = windowed({
		scroller, body, stamp, signal, key: ({key}) => key, draw: (item) => drawing[item.kind](item), guess: (item) => (isRow(item) ? ROW : TITLE),
	});

	function update() {
		if (!store.me) return;
		drawChips();
		fill(self, avatar({...store.me}, '.small'), h('span', {dir: 'auto'}, store.me.name));
		const all = items();
		const others = [...store.requests.values(), ...store.asked.values(), ...found, store.me].filter(({id, name}) => name && !store.friends.has(id));
		if (distinguish([...others, ...listed])) store.emit('tags');
		const rows = all.filter(isRow);
		tab = (rows.find(({key}) => key === tab) ?? rows.find(current) ?? rows[0])?.key;
		list.set(all);
	}

	/** Gets a page of the search: the first one, or with a cursor the next one. */
	async function look(after) {
		const name = search.value.trim();
		if (!name) return;
		let message = '';
		const page = await session.as((auth) => searchPeople(auth, name, after)).catch((error) => {
			message = explain(error);
			return {};
		});
		if (name !== search.value.trim() || signal.aborted) return;
		const known = new Set(after ? found.map(({id}) => id) : []);
		found = [...(after ? found : []), ...(page.people ?? []).filter(({id}) => !known.has(id))];
		[next, more, status] = [page.next ?? '', false, message];
		announced.textContent = message || t(next ? 'foundSome' : 'foundCount', {n: found.length});
		update();
		scrolled();
	}
	const ask = later(() => look(''), 250);

	function scrolled() {
		if (!next || more || scroller.scrollTop + scroller.clientHeight < scroller.scrollHeight - NEAR) return;
		more = true;
		status = t('searching');
		update();
		look(next);
	}
	scroller.addEventListener('scroll', scrolled, {passive: true});

	const seek = later(async () => {
		if (!messages && sought()) messages = (await load('search').catch(() => null))?.searchAll(app, soon);
		if (!signal.aborted) messages?.start(sought());
	}, 200);

	search.addEventListener('input', () => {
		[next, more] = ['', false];
		messages?.start('');
		seek();
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

	withMenu(body, (row) => (store.friends.has(row.dataset.key) || store.talks.has(row.dataset.key)) && markItems(app, row.dataset.key));

	const soon = later(update, 0);
	const minute = setInterval(update, 60_000); // times such as "yesterday" change
	onNewDay(update, signal);
	for (const topic of ['me', 'friends', 'requests', 'talks']) store.on(topic, soon, signal);
	update();

	/** Gets the own pending requests, after each login. */
	function refresh() {
		session.as(asked).then((all) => {
			if (signal.aborted) return;
			store.asked = new Map(all.map((person) => [person.id, person]));
			store.emit('requests');
		}, () => setTimeout(() => signal.aborted || refresh(), 30_000));
	}
	store.on('me', refresh, signal);
	refresh();

	return {
		element,
		update,
		focus: (key) => (key ? move(list.items.filter(isRow).findIndex((item) => item.key === key)) : (onPhone() ? scroller : search).focus()),
		leave() {
			clearInterval(minute);
			messages?.stop();
			life.abort();
		},
	};
}

/** Users who do not stay signed in leave nothing behind, unless they choose to. */
function signOutDialog(session) {
	const erase = h('input', {type: 'checkbox', checked: !session.stays()});
	open('signOut', [h('p', t('signOutHelp')), session.keepsHere && h('label.check', erase, t('eraseHere'))], {
		label: 'signOut', danger: '.danger', action: () => session.signOut(erase.checked),
	});
}
