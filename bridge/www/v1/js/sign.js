// The signed-out pages.

import {forgotDialog, profileFields} from './dialogs.js';
import {button, field, fill, h, icon} from './dom.js';
import {t, tCode} from './words.js';
import {forgetLogin} from './login.js';
import {Code} from './protocol.js';

const sheet = (...content) => h('main.sign', h('.sheet', h('img', {src: 'icon.svg', alt: '', width: 64, height: 64}), content));
const link = (label, onclick, before) => h('p.other', before && `${t(before)} `, button(label, onclick, '.plain'));

function passwordField(autocomplete) {
	const box = field('password', {type: 'password', autocomplete, name: 'password'});
	const eye = h('button.iconic', {label: 'showPassword', 'aria-pressed': 'false', onclick}, icon('eye'));
	function onclick() {
		const shown = box.input.type === 'text';
		box.input.type = shown ? 'password' : 'text';
		eye.setAttribute('aria-pressed', !shown);
	}
	box.classList.add('eyed');
	box.append(eye);
	return box;
}

/** message: the reason why the page is shown. */
export function signIn(app, message) {
	const element = sheet();
	const view = {element};

	function show(registering, account = '') {
		const fault = h('p.fault', {role: 'alert'}, message);
		const name = field('account', {name: 'account', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', maxlength: 64, value: account});
		const password = passwordField(registering ? 'new-password' : 'current-password');
		const mail = field('mail', {type: 'email', name: 'mail', autocomplete: 'email', hint: 'mailHint', maxlength: 254});
		const profile = profileFields();
		const stay = h('input', {type: 'checkbox', checked: true});
		const ok = h('button.main', {type: 'submit'}, t(registering ? 'register' : 'signIn'));
		const places = {[Code.accountEmpty]: name, [Code.accountExists]: name, [Code.passwordEmpty]: password, [Code.mailEmpty]: mail};

		async function submit(event) {
			event.preventDefault();
			ok.disabled = true;
			try {
				if (registering) await (await import('./invite.js')).register({account: name.input.value, password: password.input.value, mail: mail.input.value, ...profile.changes()});
				await app.session.signIn(name.input.value, password.input.value, stay.checked);
			} catch ({code = Code.internal, words = tCode(code)}) {
				fault.textContent = places[code] ? '' : words;
				places[code]?.fault(words);
				(places[code] ?? name).input.focus();
			}
			ok.disabled = false;
		}

		fill(element.firstChild, element.firstChild.firstChild,
			h('h1', t(registering ? 'register' : 'signInTitle')),
			h('form', {onsubmit: submit, novalidate: true}, name, password,
				registering && [mail, h('details', h('summary', t('more')), profile.elements)],
				h('label.check', stay, t('stay')), fault, ok),
			link(registering ? 'signIn' : 'register', () => { message = ''; show(!registering, name.input.value); }, registering ? 'haveAccount' : 'noAccount'),
			!registering && link('forgot', () => forgotDialog(name.input.value.trim())));
		if (registering) import('./invite.js').then((invite) => invite.ask(mail));
		view.focus = () => name.input.focus();
		if (element.isConnected) view.focus();
	}

	show(/^#invite=/.test(location.hash));
	return view;
}

export function starting({store}, login) {
	const words = h('p', {role: 'status'}, t('linkConnecting'));
	const stop = store.on('link', () => { words.textContent = t(store.link.state === 'waiting' ? 'code0' : 'linkConnecting'); });
	return {element: sheet(h('h1', {dir: 'auto'}, login.name), h('.spin'), words, otherAccount()), leave: stop};
}

/** The account is open in another tab, or with a code on another device. */
export function elsewhere({session}, code) {
	const here = button('useHere', () => session.takeOver().catch(() => location.reload()), '.main');
	return {
		element: sheet(h('h1', t('elsewhereTitle')), h('p', t(code ? 'elsewherePlace' : 'elsewhereTab')), here, otherAccount()),
		focus: () => here.focus(),
	};
}

const otherAccount = () => link('otherAccount', () => {
	forgetLogin();
	location.reload();
});
