// The sections of the settings about the account: blocked people, devices, mail address and password, and its end.

import {confirmDialog, head, reject, required, submits, tell} from '../dialogs.js';
import {button, field, fill, h, uniqueID} from '../dom.js';
import {load} from '../load.js';
import {Code, get, post} from '../protocol.js';
import {brief, explain, full, t} from '../words.js';

/** Shows a list of the server. rows(run) resolves to its rows. run(call) makes a call and reads the list again. */
function list(none, signal, rows) {
	const status = h('p.note', {role: 'status'});
	const fault = h('p.fault', {role: 'alert'});
	const all = h('ul', {role: 'list'});
	const again = button('tryNow', () => run());

	async function run(call) {
		const had = all.contains(document.activeElement) || document.activeElement === again;
		fault.textContent = '';
		again.hidden = true;
		status.hidden = all.hasChildNodes();
		status.textContent = t('loading');
		try {
			await call?.();
			const now = await rows(run);
			fill(all, now);
			status.hidden = now.length;
			status.textContent = t(none);
		} catch (error) {
			fault.textContent = explain(error);
			again.hidden = false;
		}
		if (had && !signal.aborted) (all.querySelector('button') ?? all.closest('dialog')?.querySelector('[aria-current]'))?.focus();
	}
	run();
	return [status, all, fault, again];
}

export function blockedPeople({session}, signal) {
	return [h('p.hint', t('blockedPeopleHint')), list('nobodyBlocked', signal, async (run) => (await session.blocked()).map((person) => {
		const {id, name, sign} = person;
		const unblock = button('unblock', () => run(() => session.block(id, false)));
		return h('li.entry', head({...person, name: name || t('deletedAccount')}, sign), unblock);
	}))];
}

/** The browser and the system of a User-Agent, else its beginning. */
function deviceOf(agent) {
	const [, browser] = agent.match(/(Edg|OPR|Firefox|Chrome|Safari)\w*\//) ?? [];
	const [, system] = agent.match(/(Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux)/) ?? [];
	const name = {Edg: 'Edge', OPR: 'Opera'}[browser] ?? browser;
	return name && system ? `${name}, ${system}` : agent.slice(0, 60) || t('unknownDevice');
}

export function sessions({session}, signal) {
	const end = (fields) => session.as((auth) => post('sessions/end', {...auth, ...fields}));
	const others = h('.buttons', {hidden: true}, button('endOthers', () => confirmDialog('endOthers', async () => {
		await end();
		show();
	}), '.danger'));
	let show;

	const rows = list('noSessions', signal, async (run) => {
		show = run;
		const {sessions: found} = await session.as((auth) => get('sessions', auth));
		const all = (found ?? []).toSorted((a, b) => b.current - a.current || b.issued.localeCompare(a.issued));
		others.hidden = all.every(({current}) => current);
		return all.map(({session: id, issued, address, agent, online, current}) => {
			const since = new Date(issued);
			const name = uniqueID();
			const stop = button('endSession', () => run(() => end({session: id})));
			stop.setAttribute('aria-describedby', name);
			const facts = [address, t('sessionSince', {time: brief(since)}), !current && t(online ? 'online' : 'offline')];
			return h('li.entry.session', h('div', h('b', {id: name, dir: 'auto', title: agent}, deviceOf(agent)), current && h('span.mark', t('thisSession')),
				h('p.hint', {title: full(since)}, facts.filter(Boolean).join(' · '))),
				!current && stop);
		});
	});
	return [h('p.hint', t('sessionsHint')), rows, others];
}

/** A form of a section. action() may throw. */
function form(content, label, action, {more = '', done} = {}) {
	const fault = h('p.fault', {role: 'alert'});
	const ok = h(`button.main${more}`, {type: 'submit'}, t(label));
	return h('form', {novalidate: true, onsubmit: submits(action, ok, fault, done)}, content, fault, h('.buttons', ok));
}

/** The mail address and the password. */
export function credentials({store, session}) {
	const mail = field('mail', {type: 'email', maxlength: 254, autocomplete: 'email', hint: 'unchanged'});
	const password = field('newPassword', {type: 'password', autocomplete: 'new-password', hint: 'unchanged'});
	const old = field('oldPassword', {type: 'password', autocomplete: 'current-password', hint: 'oldPasswordHint'});
	const code = field('mailCode', {autocomplete: 'one-time-code', hint: 'mailCodeHint'});
	const said = h('p.hint', {role: 'status'});

	async function verify() {
		const typed = code.input.value.trim();
		if (!typed) return;
		await session.as((auth) => post('mail/verify', {...auth, code: typed})).catch((error) => {
			if (error.code === Code.wrongLogin) reject(code, t('codeWrong'));
			throw error;
		});
		code.input.value = ''; // a code is valid once
	}

	async function save() {
		const changes = {};
		said.textContent = '';
		if (mail.input.value.trim()) changes.mail = mail.input.value.trim();
		if (password.input.value) {
			(await load('passwords')).check(password, store.me.name);
			changes.password = password.input.value;
		}
		if (old.input.value) changes.old_password = old.input.value;
		await verify();
		if (!changes.mail && !changes.password) return;
		await session.as((auth) => post('profile/update', {...auth, ...changes})).catch((error) => {
			if (error.code === Code.wrongLogin) reject(old, t(old.input.value ? 'passwordWrong' : 'oldPasswordNeeded'));
			if (error.code === Code.malformed && changes.password) reject(password, t('passwordRefused'));
			throw error;
		});
	}

	return [form([mail, password, old, code], 'save', save, {done() {
		for (const {input} of [mail, password, old]) input.value = '';
		said.textContent = t('saved');
	}}), said];
}

export function deleteAccount({session}) {
	const password = field('password', {type: 'password', autocomplete: 'current-password'});
	return form([h('p', t('deleteAccountHelp')), password], 'deleteForever', async () => {
		const secret = required(password);
		await session.as((auth) => post('account/delete', {...auth, password: secret})).catch((error) => {
			if (error.code === Code.wrongLogin) reject(password, t('passwordWrong'));
			throw error;
		});
		await session.deleted();
		tell('accountDeleted');
	}, {more: '.danger'});
}
