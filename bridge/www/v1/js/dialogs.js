// The modal dialogs. Those that a visitor rarely needs are in later/.

import {avatar, tag} from './avatar.js';
import {button, fill, h, iconButton, uniqueID} from './dom.js';
import {load} from './load.js';
import {explain, t} from './words.js';
import {Code} from './protocol.js';
import {dialogOpened} from './where.js';

/** A listener of `submit`: runs action, with the button `ok` disabled, then done, and shows an error in `fault`. */
export const submits = (action, ok, fault, done) => async (event) => {
	event.preventDefault();
	ok.disabled = true;
	fault.textContent = '';
	try {
		await action();
		done?.();
	} catch (error) {
		if (error.code !== Code.field) fault.textContent = explain(error);
	}
	ok.disabled = false;
};

/**
 * Returns a function that closes the dialog. The button `label` runs `action` and shows its error. pane: the element
 * that gets the content instead of a dialog; its method leave() closes it.
 */
export function open(title, content, {label, action, danger = '', onclose, pane} = {}) {
	const id = uniqueID();
	const fault = h('p.fault', {role: 'alert'});
	const close = () => dialog.close();
	const ok = action && h(`button.main${danger}`, {type: 'submit'}, t(label));
	const top = h('header', h('h2', {id}, t(title)), iconButton('close', 'close', pane ? pane.leave : close));
	const body = h('.content', content, fault);
	if (pane) {
		fill(pane, top, body);
		return () => {};
	}
	const dialog = h('dialog', {'aria-labelledby': id, onclose: closed}, action
		? h('form', {onsubmit: submits(action, ok, fault, close), novalidate: true}, top, body, h('footer', button('cancel', close), ok))
		: h('.inside', top, body));
	function closed() {
		dialog.remove();
		onclose?.();
		// What had the focus may be gone, such as the row of a request.
		if (document.activeElement === document.body) document.querySelector('.stage .scroll, .side .row[tabindex="0"], .sign input')?.focus();
	}
	dialog.addEventListener('pointerdown', (event) => { if (event.target === dialog) close(); });
	document.body.append(dialog);
	dialog.showModal();
	dialogOpened();
	(dialog.querySelector('.field input, textarea') ?? ok ?? dialog.querySelector('button')).focus();
	return close;
}

export function reject(box, text) {
	box.fault(text);
	box.input.focus();
	throw Object.assign(new Error(text), {code: Code.field});
}

export function required(box) {
	return box.input.value.trim() ? box.input.value : reject(box, t('fillIn'));
}

export const confirmDialog = (label, action, values) => open(label, h('p', t(`${label}Question`, values)), {label, action, danger: '.danger'});

export const tell = (text) => open(text);

/** A person at the head of a dialog. */
export const head = (person, line, more = '.large') => h('.person', avatar({...person, online: false}, more),
	h('.words', h('span.line', h('b', {dir: 'auto'}, person.name), tag(person)), line && h('p', {dir: 'auto'}, line)));

let opening = false;

/** A function that loads later/<name>.js and runs its function `key`. If that fails, a dialog says so and tries again. */
const late = (name, key) => async (...values) => {
	if (opening) return;
	opening = true;
	const view = document.getElementById('app').firstChild;
	let code = 0;
	let module = await load(name).catch((error) => ({code} = error, null));
	opening = false;
	if (!view.isConnected) return; // the user signed out meanwhile
	if (module) module[key](...values);
	else if (code === Code.otherVersion) open('newVersion', h('p', t('newVersionHelp')), {label: 'reload', action: () => location.reload()});
	else open('notLoaded', h('p', t('notLoadedHelp')), {
		label: 'tryNow', action: async () => { module = await load(name); }, onclose: () => module?.[key](...values),
	});
};

export const askDialog = late('friends', 'askDialog');
export const requestsDialog = late('friends', 'requestsDialog');
export const personDialog = late('friends', 'personDialog');
export const addMeDialog = late('who', 'addMeDialog');
export const compareDialog = late('who', 'compareDialog');
export const renameDialog = late('friends', 'renameDialog');
const about = late('friends', 'aboutDialog');
/** On a wide screen, the person of the conversation is shown beside it. */
export const aboutDialog = (app, person) => app.details?.(person) || about(app, person);
export const profileDialog = late('profile', 'profileDialog');
export const settingsDialog = late('settings', 'settingsDialog');
export const forgotDialog = late('forgot', 'forgotDialog');
export const blockDialog = late('safety', 'blockDialog');
export const reportDialog = late('safety', 'reportDialog');
export const messageMenu = late('message', 'messageMenu');
export const reactionMenu = late('message', 'reactionMenu');
export const openFinder = late('finder', 'openFinder');
export const viewPictures = late('viewer', 'view');
