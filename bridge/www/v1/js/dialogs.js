// What asks for a moment of attention: small windows over the page.

import {avatar} from './avatar.js';
import {field, h, iconButton, uniqueID} from './dom.js';
import {t, tCode} from './i18n.js';
import {pictureField} from './picture.js';
import * as protocol from './protocol.js';
import {Code} from './protocol.js';

/**
 * Escape, the cross and a click beside it close a dialog. With `action` it carries that out when submitted, closes when it succeeded,
 * and says in words what it threw. Returns how to close it.
 */
function open(title, content, label, action, danger = '') {
	const id = uniqueID();
	const fault = h('p.fault', {role: 'alert'});
	const close = () => dialog.close();
	const ok = action && h(`button.main${danger}`, {type: 'submit'}, label);
	async function submit(event) {
		event.preventDefault();
		if (!action) return;
		ok.disabled = true;
		fault.textContent = '';
		try {
			await action();
			close();
		} catch (error) {
			if (error.code !== Code.field) fault.textContent = tCode(error.code ?? Code.internal);
		}
		ok.disabled = false;
	}
	const dialog = h('dialog', {'aria-labelledby': id, onclose: () => dialog.remove()}, h('form', {onsubmit: submit, novalidate: true},
		h('header', null, h('h2', {id}, title), iconButton('close', t('close'), close)),
		h('.content', null, content, fault),
		action && h('footer', null, h('button', {onclick: close}, t('cancel')), ok)));
	dialog.addEventListener('pointerdown', (event) => { if (event.target === dialog) close(); });
	document.body.append(dialog);
	dialog.showModal();
	(dialog.querySelector('.field input, textarea') ?? ok ?? dialog.querySelector('button')).focus();
	return close;
}

/** Says what is wrong with a field and stops the action. */
function refuse(box, text) {
	box.fault(text);
	box.input.focus();
	throw Object.assign(new Error(text), {code: Code.field});
}

function needed(box) {
	const value = box.input.value.trim();
	return value || refuse(box, t('fillIn'));
}

export const confirmDialog = (question, label, action) => open(label, h('p', null, question), label, action, '.danger');

export const tell = (text) => open(t('note'), h('p', null, text));

const head = (person, line, more = '.large') => h('.person', null, avatar({...person, online: false}, more),
	h('.words', null, h('b', {dir: 'auto'}, person.name), line && h('p', {dir: 'auto'}, line)));

export function askDialog({session}, person) {
	const note = field(t('askNote'), {tag: 'textarea', rows: 3, maxlength: 512, hint: t('askHint')});
	open(t('askTitle'), [head(person, person.sign), note], t('ask'), () => session.ask(person, note.input.value.trim()));
}

const aliasField = (name, hint) => field(t('alias'), {value: name, maxlength: 64, hint});

export function answerDialog({session}, request) {
	const alias = aliasField(request.name, t('aliasHint'));
	open(t('answerTitle'), [head(request, request.note), alias], t('accept'), async () => {
		await session.answer(request, needed(alias));
		location.hash = `talk/${request.id}`;
	});
}

export function renameDialog({session}, person) {
	const alias = aliasField(person.name, t('renameHint'));
	open(t('rename'), alias, t('save'), () => session.rename(person.id, needed(alias)));
}

export function aboutDialog(app, person) {
	const {name, sign, own, sex, birthday, id} = person;
	const facts = {ownName: own !== name && own, sex, birthday, userID: id};
	const close = open(t('about'), [
		head(person, sign, '.huge'),
		h('dl', null, Object.entries(facts).filter(([, fact]) => fact).map(([key, fact]) => [h('dt', null, t(key)), h('dd', {dir: 'auto'}, fact)])),
		app.store.friends.has(id) && h('.buttons', null,
			h('button', {onclick() { close(); renameDialog(app, person); }}, t('rename')),
			h('button.danger', {
				onclick() {
					close();
					confirmDialog(t('removeQuestion', {name}), t('removeFriend'), () => app.session.part(id));
				},
			}, t('removeFriend'))),
	]);
}

/** The fields of a profile, for registration and for its own dialog; changes() tells what differs. */
export function profileFields(profile = {}) {
	const one = (key, attributes) => field(t(key), {value: profile[key] ?? '', ...attributes});
	const fields = {
		name: one('name', {maxlength: 64, autocomplete: 'nickname'}),
		sign: one('sign', {maxlength: 512}),
		sex: one('sex', {maxlength: 32}),
		// Others may have written it in a way of their own.
		birthday: one('birthday', /^(\d{4}-\d\d-\d\d)?$/.test(profile.birthday ?? '') ? {type: 'date'} : {maxlength: 32}),
	};
	const {name, sign, sex, birthday} = fields;
	const picture = pictureField(profile.picture, (shown) => avatar({id: profile.id, name: name.input.value || '?', picture: shown}, '.large'));
	return {
		elements: [picture, name, sign, h('.pair', null, sex, birthday)],
		changes() {
			const now = Object.entries(fields).map(([key, {input}]) => [key, input.value.trim()]);
			return Object.fromEntries([...now, ['picture', picture.value ?? profile.picture ?? '']].filter(([key, value]) => value !== (profile[key] ?? '')));
		},
	};
}

export function profileDialog({store, session}) {
	const profile = profileFields(store.me);
	const mail = field(t('mail'), {type: 'email', maxlength: 254, autocomplete: 'email', hint: t('unchanged')});
	const password = field(t('newPassword'), {type: 'password', autocomplete: 'new-password', hint: t('unchanged')});
	open(t('yourProfile'), [profile.elements, h('details', null, h('summary', null, t('mailAndPassword')), mail, password)], t('save'), async () => {
		const changes = profile.changes();
		if (mail.input.value.trim()) changes.mail = mail.input.value.trim();
		if (password.input.value) changes.password = password.input.value;
		if (Object.keys(changes).length) await session.updateProfile(changes);
	});
}

export function settingsDialog({session, notifier}) {
	const toggle = (name) => {
		const id = uniqueID();
		const note = h('p.hint', {id: `${id}n`}, t(`${name}Hint`));
		const box = h('input', {
			type: 'checkbox', role: 'switch', id, 'aria-describedby': `${id}n`, checked: notifier.settings[name],
			async onchange() {
				const wanted = box.checked;
				box.checked = await notifier.set(name, wanted);
				if (wanted && !box.checked) note.textContent = t('notifyRefused');
			},
		});
		return h('.toggle', null, h('label', {for: id}, t(name)), box, note);
	};
	const close = open(t('settings'), [
		toggle('notify'), toggle('sound'),
		h('h3', null, t('history')), h('p.hint', null, t('historyHint')),
		h('.buttons', null,
			h('button', {onclick: async () => download(await session.exported())}, t('export')),
			h('button.danger', {
				onclick() {
					close();
					confirmDialog(t('forgetAllQuestion'), t('forgetAll'), () => session.forget());
				},
			}, t('forgetAll'))),
	]);
}

function download(data) {
	const href = URL.createObjectURL(new Blob([JSON.stringify(data, null, '\t')], {type: 'application/json'}));
	h('a', {href, download: `imctl-${new Date().toISOString().slice(0, 10)}.json`}).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** Asks for a code by mail, then takes it with a new password. */
export function forgotDialog(known) {
	const account = field(t('account'), {value: known, autocomplete: 'username', autocapitalize: 'none', maxlength: 64});
	const mail = field(t('mail'), {type: 'email', autocomplete: 'email', hint: t('forgotHint'), maxlength: 254});
	open(t('forgotTitle'), [account, mail], t('sendCode'), async () => {
		const who = needed(account);
		const address = needed(mail);
		await protocol.forgot(who, address).catch((error) => {
			if (error.code === Code.missing) refuse(mail, t('askAdministrator'));
			throw error;
		});
		resetDialog(who);
	});
}

function resetDialog(account) {
	const code = field(t('code'), {autocomplete: 'one-time-code', hint: t('codeHint')});
	const password = field(t('newPassword'), {type: 'password', autocomplete: 'new-password'});
	open(t('forgotTitle'), [code, password], t('setPassword'), async () => {
		const given = needed(code);
		if (!password.input.value) refuse(password, t('fillIn'));
		await protocol.reset(account, given, password.input.value).catch((error) => {
			if (error.code === Code.unreachable || error.code === Code.tooMany) throw error;
			refuse(code, t('codeWrong'));
		});
		tell(t('passwordSet'));
	});
}
