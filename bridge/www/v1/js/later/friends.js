// Friends, requests, and other people.

import {blockDialog, confirmDialog, head, open, reportDialog, required} from '../dialogs.js';
import {button, field, fill, h, icon, SHAPES} from '../dom.js';
import {Code} from '../protocol.js';
import {t} from '../words.js';

Object.assign(SHAPES, {
	stop: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.5 6.5l11 11',
	flag: 'M6 21V4.5M6 5c4-2.5 7 2 12 0v8.5c-5 2-8-2.5-12 0',
	bin: 'M4.5 7h15M9.5 7V4.5h5V7M6.5 7l1 13h9l1-13M10 11v5.5M14 11v5.5',
});

export function askDialog({session}, person) {
	const note = field('askNote', {tag: 'textarea', rows: 3, maxlength: 512});
	open('askTitle', [head(person, person.sign), note], {
		label: 'ask',
		async action() {
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
	const card = (request) => h('li', head(request, request.note), h('.buttons',
		button('accept', () => { close(); answerDialog(app, request); }, '.main'),
		button('decline', () => confirmDialog('decline', () => session.part(request.id), request)),
		button('block', () => blockDialog(app, request, true), '.plain'),
		button('report', () => reportDialog(app, request, request.note), '.plain')));
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
			location.hash = request.id;
		},
	});
}

export function renameDialog({session}, person) {
	const alias = aliasField(person.name, 'renameHint');
	open('rename', alias, {label: 'save', action: () => session.rename(person.id, required(alias))});
}

/** pane: the element beside the conversation that shows the person instead of a dialog. */
export function aboutDialog(app, person, pane) {
	const {name, sign, own, sex, birthday, id} = person;
	const facts = {ownName: own !== name && own, sex, birthday, userID: id};
	const close = open('about', [
		head(person, sign, '.huge'),
		h('dl', Object.entries(facts).filter(([, fact]) => fact).map(([key, fact]) => [h('dt', t(key)), h('dd', {dir: 'auto'}, fact)])),
		app.store.friends.has(id) && h('.buttons', null,
			button('rename', () => { close(); renameDialog(app, person); }),
			button('removeFriend', () => { close(); confirmDialog('removeFriend', () => app.session.part(id), {name}); }, '.danger')),
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
