// Friends, requests, and other people.

import {blockDialog, confirmDialog, head, open, reportDialog, required} from '../dialogs.js';
import {button, field, fill, h} from '../dom.js';
import {Code} from '../protocol.js';
import {go} from '../where.js';
import {t} from '../words.js';

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
			go(request.id);
		},
	});
}

export function renameDialog({session}, person) {
	const alias = aliasField(person.name, 'renameHint');
	open('rename', alias, {label: 'save', action: () => session.rename(person.id, required(alias))});
}

export function aboutDialog(app, person) {
	const {name, sign, own, sex, birthday, id} = person;
	const facts = {ownName: own !== name && own, sex, birthday, userID: id};
	const close = open('about', [
		head(person, sign, '.huge'),
		h('dl', Object.entries(facts).filter(([, fact]) => fact).map(([key, fact]) => [h('dt', t(key)), h('dd', {dir: 'auto'}, fact)])),
		app.store.friends.has(id) && h('.buttons', null,
			button('rename', () => { close(); renameDialog(app, person); }),
			button('removeFriend', () => { close(); confirmDialog('removeFriend', () => app.session.part(id), {name}); }, '.danger')),
	]);
}
