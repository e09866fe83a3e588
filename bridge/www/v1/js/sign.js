// The signed-out pages.

import {forgotDialog} from './dialogs.js';
import {button, field, fill, h, icon} from './dom.js';
import {load, loadHome} from './load.js';
import {explain, t, tCode} from './words.js';
import {forgetLogin} from './login.js';
import {Code, get} from './protocol.js';

const logo = () => h('img', {src: 'icon.svg', alt: '', width: 56, height: 56});
const sheet = (...content) => h('main.sign', h('.sheet', logo(), content));
const POINTS = {screens: 'pointDevices', wait: 'pointOffline', lock: 'pointFriends'};

/** Says what this is. */
const hero = () => h('.hero', logo(), h('b', 'imctl'), h('p.lead', t('lead', {host: location.host})),
	h('ul', {role: 'list'}, Object.entries(POINTS).map(([shape, key]) => h('li', icon(shape), t(key)))));

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
	const box = h('.sheet');
	const element = h('main.sign', hero(), box);
	const view = {element};
	const rule = h('p.rule', {role: 'status'}, '\u00a0'); // the room is there from the start, so that nothing moves
	const provider = h('.provider');
	let stay;
	get('info', {}).then(async ({info: {registration, auth, oidc}}) => { // an old or unreachable server counts as open
		element.classList.toggle('closed', registration === 'closed');
		rule.textContent = t({closed: 'ruleClosed', invite: 'ruleInvite'}[registration] ?? 'ruleOpen');
		if (!oidc) return;
		const only = auth?.every((mode) => mode === 'jwt') ?? false; // nobody types a token
		element.classList.toggle('only', only);
		(await load('oidc')).offer(provider, oidc, only, () => stay.checked);
	}).catch(() => {});

	function show(registering, account = '') {
		const fault = h('p.fault', {role: 'alert'}, message);
		const name = field('account', {name: 'account', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', maxlength: 64, value: account});
		const password = passwordField(registering ? 'new-password' : 'current-password');
		const mail = field('mail', {type: 'email', name: 'mail', autocomplete: 'email', hint: 'mailHint', maxlength: 254});
		const more = h('details', {ontoggle: () => prepare()}, h('summary', t('more')));
		stay = h('input', {type: 'checkbox', checked: true});
		const ok = h('button.main', {type: 'submit'}, t(registering ? 'register' : 'signIn'));
		const places = {[Code.accountEmpty]: name, [Code.accountExists]: name, [Code.passwordEmpty]: password, [Code.mailEmpty]: mail};
		let extending = null;
		let registered = null; // the account, if only the login failed

		/** Resolves to the function that registers. After an error it may be called again. */
		const extend = () => extending ??= load('register').then((module) => module.extend({account: name, password, mail, more})).catch((error) => {
			extending = null;
			throw error;
		});

		// The user may be typing: the focus stays.
		const prepare = () => extend().catch((error) => { fault.textContent = explain(error); });

		function failed(error) {
			const {code} = error;
			if (code === Code.field) return; // it says so itself
			fault.textContent = places[code] ? '' : explain(error);
			places[code]?.fault(explain(error));
			(places[code] ?? name).input.focus();
		}

		async function submit(event) {
			event.preventDefault();
			ok.disabled = true;
			fault.textContent = '';
			try {
				if (registering && registered !== name.input.value) {
					await (await extend())();
					registered = name.input.value;
				}
				await app.session.enter({account: name.input.value, password: password.input.value}, stay.checked).catch(reason);
			} catch (error) {
				failed(error);
			}
			ok.disabled = false;
		}

		const other = link(registering ? 'signIn' : 'register', () => { message = ''; show(!registering, name.input.value); }, registering ? 'haveAccount' : 'noAccount');
		if (!registering) other.classList.add('toregister');
		fill(box,
			h('h1', t(registering ? 'register' : 'signInTitle')),
			/^#add=/.test(location.hash) && h('p', t('addSignIn')),
			h('form', {onsubmit: submit, novalidate: true}, name, password,
				registering && [mail, more],
				h('label.check', stay, t('stay')), fault, ok),
			!registering && link('forgot', () => forgotDialog(name.input.value.trim())), other, provider, rule);
		if (registering) prepare();
		view.focus = () => name.input.focus();
		if (element.isConnected) view.focus();
	}

	element.addEventListener('input', () => loadHome().catch(() => {}), {once: true}); // soon needed
	show(/^#invite=/.test(location.hash));
	return view;
}

/** A browser does not tell why a WebSocket failed. A call tells whether a limit is the reason. */
async function reason(error) {
	if (error.code === Code.unreachable) await get('registration', {}).catch((other) => { if (other.code === Code.tooMany) throw other; });
	throw error;
}

export function starting({store}, login) {
	const words = h('p', {role: 'status'}, t('linkConnecting'));
	const stop = store.on('link', () => { words.textContent = store.link.state === 'waiting' ? tCode(store.link.why) : t('linkConnecting'); });
	return {element: sheet(h('h1', {dir: 'auto'}, login.name), h('.spin'), words, otherAccount()), leave: stop};
}

/** The signed-in page could not be loaded. A browser may remember that a module failed, until a reload. */
export function notLoaded({code}) {
	const title = code === Code.otherVersion ? 'newVersion' : 'notLoaded';
	const go = button('reload', () => location.reload(), '.main');
	return {element: sheet(h('h1', t(title)), h('p', t(`${title}Help`)), go), focus: () => go.focus()};
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
