// The modal dialogs.

import {avatar} from './avatar.js';
import {button, field, fill, h, iconButton, uniqueID} from './dom.js';
import {t, tCode} from './words.js';
import {pictureField} from './picture.js';
import * as protocol from './protocol.js';
import {Code} from './protocol.js';

/** Returns a function that closes the dialog. The button `label` runs `action` and shows its error. */
function open(title, content, {label, action, danger = '', onclose} = {}) {
	const id = uniqueID();
	const fault = h('p.fault', {role: 'alert'});
	const close = () => dialog.close();
	const ok = action && h(`button.main${danger}`, {type: 'submit'}, t(label));
	async function submit(event) {
		event.preventDefault();
		if (!action) return;
		ok.disabled = true;
		fault.textContent = '';
		try {
			await action();
			close();
		} catch ({code = Code.internal}) {
			if (code !== Code.field) fault.textContent = tCode(code);
		}
		ok.disabled = false;
	}
	const dialog = h('dialog', {'aria-labelledby': id, onclose() { dialog.remove(); onclose?.(); }}, h('form', {onsubmit: submit, novalidate: true},
		h('header', h('h2', {id}, t(title)), iconButton('close', 'close', close)),
		h('.content', content, fault),
		action && h('footer', button('cancel', close), ok)));
	dialog.addEventListener('pointerdown', (event) => { if (event.target === dialog) close(); });
	document.body.append(dialog);
	dialog.showModal();
	(dialog.querySelector('.field input, textarea') ?? ok ?? dialog.querySelector('button')).focus();
	return close;
}

function reject(box, text) {
	box.fault(text);
	box.input.focus();
	throw Object.assign(new Error(text), {code: Code.field});
}

function required(box) {
	return box.input.value.trim() ? box.input.value : reject(box, t('fillIn'));
}

export const confirmDialog = (label, action, values) => open(label, h('p', t(`${label}Question`, values)), {label, action, danger: '.danger'});

export const tell = (text) => open(text);

const head = (person, line, more = '.large') => h('.person', avatar({...person, online: false}, more),
	h('.words', h('b', {dir: 'auto'}, person.name), line && h('p', {dir: 'auto'}, line)));

export function askDialog({session}, person) {
	const note = field('askNote', {tag: 'textarea', rows: 3, maxlength: 512});
	open('askTitle', [head(person, person.sign), note], {label: 'ask', action: () => session.ask(person, note.input.value.trim())});
}

export function requestsDialog(app) {
	const {store, session} = app;
	const body = h('ul', {role: 'list'});
	const close = open('requests', body, {onclose: () => stop()});
	const card = (request) => h('li', head(request, request.note), h('.buttons',
		button('accept', () => { close(); answerDialog(app, request); }, '.main'),
		button('decline', () => confirmDialog('decline', () => session.part(request.id), request))));
	const update = () => (store.requests.size ? fill(body, [...store.requests.values()].map(card)) : close());
	const stop = store.on('requests', update);
	update();
}

const aliasField = (name, hint) => field('alias', {value: name, maxlength: 64, hint});

export function answerDialog({session}, request) {
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

/** changes() returns the fields that differ from the profile. */
export function profileFields(profile = {}) {
	const one = (key, attributes) => field(key, {value: profile[key] ?? '', ...attributes});
	const fields = {
		name: one('name', {maxlength: 64, autocomplete: 'nickname'}),
		sign: one('sign', {maxlength: 512}),
		sex: one('sex', {maxlength: 32}),
		// Other clients may use another format.
		birthday: one('birthday', /^(\d{4}-\d\d-\d\d)?$/.test(profile.birthday ?? '') ? {type: 'date'} : {maxlength: 32}),
	};
	const {name, sign, sex, birthday} = fields;
	const picture = pictureField(profile.picture, (shown) => avatar({id: profile.id, name: name.input.value || '?', picture: shown}, '.large'));
	return {
		elements: [picture, name, sign, h('.pair', sex, birthday)],
		changes() {
			const now = Object.entries(fields).map(([key, {input}]) => [key, input.value.trim()]);
			return Object.fromEntries([...now, ['picture', picture.value ?? profile.picture ?? '']].filter(([key, value]) => value !== (profile[key] ?? '')));
		},
	};
}

export function profileDialog({store, session}) {
	const profile = profileFields(store.me);
	const mail = field('mail', {type: 'email', maxlength: 254, autocomplete: 'email', hint: 'unchanged'});
	const password = field('newPassword', {type: 'password', autocomplete: 'new-password', hint: 'unchanged'});
	const old = field('oldPassword', {type: 'password', autocomplete: 'current-password', hint: 'oldPasswordHint'});
	const code = field('mailCode', {autocomplete: 'one-time-code', hint: 'mailCodeHint'});
	open('yourProfile', [profile.elements, h('details', h('summary', `${t('mail')}, ${t('password')}`), mail, password, old, code)], {
		label: 'save',
		async action() {
			if (code.input.value.trim()) {
				await session.verifyMail(code.input.value.trim()).catch((error) => {
					if (error.code === Code.wrongLogin) reject(code, t('codeWrong'));
					throw error;
				});
				code.input.value = ''; // a code is valid once
			}
			const changes = profile.changes();
			if (mail.input.value.trim()) changes.mail = mail.input.value.trim();
			if (password.input.value) changes.password = password.input.value;
			if (old.input.value) changes.old_password = old.input.value;
			await session.updateProfile(changes).catch((error) => {
				if (error.code === Code.wrongLogin) reject(old, t('oldPasswordWrong'));
				throw error;
			});
		},
	});
}

export function settingsDialog({session, notifier}) {
	const toggle = (name) => {
		const box = field(name, {
			type: 'checkbox', role: 'switch', checked: notifier.settings[name],
			async onchange({target}) {
				const wanted = target.checked;
				target.checked = await notifier.set(name, wanted);
				box.fault(wanted && !target.checked && t('notifyRefused'));
			},
		});
		return box;
	};
	const close = open('settings', [
		toggle('notify'), toggle('sound'),
		h('h2', t('history')), h('p.hint', t('historyHint')),
		h('.buttons', null,
			button('export', async () => download(await session.exported())),
			button('forgetAll', () => { close(); confirmDialog('forgetAll', () => session.forget()); }, '.danger')),
	]);
}

function download(data) {
	const href = URL.createObjectURL(new Blob([JSON.stringify(data, null, '\t')], {type: 'application/json'}));
	h('a', {href, download: `imctl-${new Date().toISOString().slice(0, 10)}.json`}).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

export function forgotDialog(known) {
	const account = field('account', {value: known, autocomplete: 'username', autocapitalize: 'none', maxlength: 64});
	const mail = field('mail', {type: 'email', autocomplete: 'email', hint: 'forgotHint', maxlength: 254});
	open('forgot', [account, mail], {
		label: 'sendCode',
		async action() {
			const name = required(account);
			await protocol.forgot(name, required(mail)).catch((error) => {
				if (error.code === Code.missing) reject(mail, t('askAdministrator'));
				throw error;
			});
			resetDialog(name);
		},
	});
}

function resetDialog(account) {
	const code = field('code', {autocomplete: 'one-time-code', hint: 'codeHint'});
	const password = field('newPassword', {type: 'password', autocomplete: 'new-password'});
	open('forgot', [code, password], {
		label: 'setPassword',
		async action() {
			await protocol.reset(account, required(code), required(password)).catch((error) => {
				if (error.code === Code.wrongLogin) reject(code, t('codeWrong'));
				throw error;
			});
			tell('passwordSet');
		},
	});
}
