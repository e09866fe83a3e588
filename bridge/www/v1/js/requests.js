// Who asks to be a friend, and the answers one can give.

import {avatar} from './avatar.js';
import {answerDialog, confirmDialog} from './dialogs.js';
import {fill, h, iconButton, once} from './dom.js';
import {t} from './i18n.js';

export function requests(app) {
	const {store, session} = app;
	const body = h('ul.requests', {role: 'list'});
	const title = h('h1', {tabindex: -1}, t('requests'));
	const element = h('section.talk', null,
		h('header', null, iconButton('back', t('back'), () => { location.hash = ''; }, '.back'), title),
		h('.scroll', {tabindex: -1}, body));

	const card = (request) => h('li.card', null, avatar(request, '.large'), h('.words', null,
		h('b', {dir: 'auto'}, request.name),
		h('p', {dir: 'auto'}, request.note || t('noNote')),
		h('.buttons', null,
			h('button.main', {onclick: () => answerDialog(app, request)}, t('accept')),
			h('button', {onclick: () => confirmDialog(t('declineQuestion', {name: request.name}), t('decline'), () => session.part(request.id))}, t('decline')))));

	const update = () => fill(body, store.requests.size ? [...store.requests.values()].map(card) : h('li.nothing', null, t('noRequests')));
	update();
	return {element, shown: () => title.focus(), leave: store.on('requests', once(update))};
}
