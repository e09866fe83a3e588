// Friends, requests, and other people.

import {addMeDialog, blockDialog, compareDialog, confirmDialog, head, open, reportDialog, required} from '../dialogs.js';
import {button, field, fill, h, icon, SHAPES} from '../dom.js';
import {Code, person as show} from '../protocol.js';
import {go} from '../where.js';
import {day, explain, t} from '../words.js';

Object.assign(SHAPES, {
	flag: 'M6 21V4.5M6 5c4-2.5 7 2 12 0v8.5c-5 2-8-2.5-12 0',
});

const known = new Map(); // id → promise of what the server tells of a person
let accounts = false; // the server shows accounts

/** What the server tells of a person, as a list. It is asked for when the list comes into view. */
function facts({session}, {id, account}, more = {}) {
	const list = h('dl.facts');
	// What is to come has its place, so that nothing moves under the pointer.
	const put = ({since, common, ...rest}, missing = '…') => {
		accounts ||= Boolean(rest.account);
		const all = {account: rest.account ?? account ?? (accounts && missing), commonFriendsFact: common ?? missing, hereSince: since ? day(new Date(since)) : missing, ...more, userID: id};
		fill(list, Object.entries(all).filter(([, fact]) => fact || fact === 0).map(([key, fact]) => [h('dt', t(key)), h('dd', {dir: 'auto'}, String(fact))]));
	};
	put({});
	const observer = new IntersectionObserver((seen) => {
		if (!seen.some(({isIntersecting}) => isIntersecting)) return;
		observer.disconnect();
		if (!known.has(id)) {
			known.set(id, session.as((auth) => show(auth, id)));
			setTimeout(() => known.delete(id), 60_000);
		}
		known.get(id).then((answer) => put(answer), (error) => {
			known.delete(id);
			put({}, '–');
			list.append(h('dt', t('factsMissing')), h('dd', explain(error)));
		});
	});
	observer.observe(list);
	return list;
}

/** The buttons against a person. */
const against = (app, person, evidence) => [
	button('block', () => blockDialog(app, person, true), '.plain'),
	button('report', () => reportDialog(app, person, evidence), '.plain'),
];

export function askDialog(app, person) {
	const note = field('askNote', {tag: 'textarea', rows: 3, maxlength: 512});
	open('askTitle', [head(person, person.sign), facts(app, person), note, h('.buttons', null, against(app, person))], {
		label: 'ask',
		async action() {
			const {session} = app;
			await session.ask(person, note.input.value.trim()).catch(async (error) => {
				if (error.code === Code.noSuchUser && await session.isBlocked(person.id)) error.words = t('blockedHelp');
				throw error;
			});
		},
	});
}

export function requestsDialog(app) {
	const {store, session} = app;
	const body = h('ul', {role: 'list'});
	const close = open('requests', body, {onclose: () => stop()});
	const card = (request) => h('li', head(request, request.note), facts(app, request), h('.buttons',
		button('accept', () => { close(); answerDialog(app, request); }, '.main'),
		button('decline', () => confirmDialog('decline', () => session.part(request.id), request)),
		against(app, request, request.note)));
	const update = () => (store.requests.size ? fill(body, [...store.requests.values()].map(card)) : close());
	const stop = store.on('requests', update);
	update();
}

const aliasField = (name, hint) => field('alias', {value: name, maxlength: 64, hint});

function answerDialog({session}, request) {
	const alias = aliasField(request.name, 'aliasHint');
	open('answerTitle', [head(request, request.note), alias], {
		label: 'accept',
		async action() {
			await session.answer(request, required(alias));
			go(request.id);
		},
	});
}

export function renameDialog({session}, person) {
	const alias = aliasField(person.name, 'renameHint');
	open('rename', alias, {label: 'save', action: () => session.rename(person.id, required(alias))});
}

/** pane: the element beside the conversation that shows the person instead of a dialog. */
export function aboutDialog(app, person, pane) {
	const {store, session} = app;
	const {name, sign, own, sex, birthday, id} = person;
	const close = open('about', [
		head(person, sign, '.huge'),
		facts(app, person, {ownName: own !== name && own, sex, birthday}),
		h('.buttons', null,
			button('compare', () => compareDialog(app, person)),
			store.friends.has(id) && [
				button('rename', () => { close(); renameDialog(app, person); }),
				button('removeFriend', () => { close(); confirmDialog('removeFriend', () => session.part(id), {name}); }, '.danger')],
			store.asked.has(id) && [
				button('takeBack', () => { close(); confirmDialog('takeBack', () => session.takeBack(id), {name}); }),
				!pane && against(app, person)]),
		pane && [h('hr'), actions(app, person)],
	], {pane});
}

/** What a user may do about the person of the conversation. */
function actions(app, person) {
	const {id, name, blocked} = person;
	const evidence = () => app.store.dialogues.get(id)?.findLast(({mine}) => !mine)?.text;
	const item = (shape, label, onclick, more = '') => h(`button.item${more}`, {onclick}, icon(shape), h('span', t(label)));
	return [
		item('stop', blocked ? 'unblock' : 'block', () => blockDialog(app, person, !blocked)),
		item('flag', 'report', () => reportDialog(app, person, evidence())),
		item('bin', 'forgetTalk', () => confirmDialog('forgetTalk', () => app.session.forget(id), {name}), '.danger'),
	];
}

/** Shows the person of a link: with what there is to do about that person. */
export async function personDialog(app, id) {
	const {store, session} = app;
	if (id === store.me.id) return addMeDialog(app);
	try {
		const person = await session.as((auth) => show(auth, id));
		known.set(id, Promise.resolve(person));
		if (store.friends.has(id)) go(id);
		else if (person.asks) requestsDialog(app);
		else if (person.asked) aboutDialog(app, person);
		else askDialog(app, person);
	} catch (error) {
		open('personTitle', h('p', explain(error)));
	}
}
