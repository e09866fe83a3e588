// The first steps of a user without friends.

import {addMeDialog} from '../dialogs.js';
import {button, h, icon} from '../dom.js';
import {get} from '../protocol.js';
import {t} from '../words.js';

/** The content of the pane that will show conversations. */
export function start(app) {
	const {store} = app;
	const link = new URL(`#add=${store.me.id}`, location.href).href;
	const shown = h('input', {readonly: true, value: link, label: 'yourLink', dir: 'ltr', onfocus: () => shown.select()});
	const said = h('p.hint', {role: 'status'});
	const limits = h('p.hint'); // a friend without an account may need more than the link
	get('registration', {}).then(({registration}) => {
		if (registration === 'invite') limits.textContent = t('addMeInvite');
		if (registration === 'closed') limits.textContent = t('addMeClosed');
	}, () => {});
	const copy = button('copyLink', async () => {
		try {
			await navigator.clipboard.writeText(link);
			said.textContent = t('linkCopied');
		} catch {
			shown.focus(); // browsers allow the clipboard only on https and localhost
			said.textContent = t('linkSelected');
		}
	}, '.main');
	const step = (shape, title, help, ...more) => h('li', h('span.badge', icon(shape)), h('div', h('h3', t(title)), h('p', t(help)), more));
	return h('.start',
		h('h2', t('startTitle', {name: store.me.name})),
		h('ol', {role: 'list'},
			step('join', 'startLink', 'startLinkHelp', h('.buttons.link', shown, copy, button('myCode', () => addMeDialog(app))), said, limits),
			step('search', 'startFind', 'startFindHelp', button('findPeople', () => document.querySelector('.side [type=search]').focus())),
			step('talk', 'startTalk', 'startTalkHelp')));
}
