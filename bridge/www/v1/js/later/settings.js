// The settings, and what an account has on the server: blocked people, sessions, and its end.

import {confirmDialog, head, open, reject, required, tell} from '../dialogs.js';
import {button, field, fill, h, uniqueID} from '../dom.js';
import {Code, get, post} from '../protocol.js';
import {timeOf} from '../store.js';
import {brief, explain, full, t} from '../words.js';

export function settingsDialog(app) {
	const {session, notifier} = app;
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
	let next = null;
	const go = (dialog) => () => {
		next = dialog;
		close();
	};
	const close = open('settings', [
		toggle('notify'), toggle('sound'),
		h('h2', t('history')), h('p.hint', t(kept(app))),
		h('.buttons', null,
			button('export', async () => download(exported(app.store, [...await session.all('dialogues'), ...await session.all('kept')]))),
			button('forgetAll', go(() => confirmDialog('forgetAll', () => session.forget())), '.danger')),
		h('h2', t('account')),
		h('.buttons', null,
			button('blockedPeople', go(() => blockedDialog(app))),
			button('sessions', go(() => sessionsDialog(app))),
			button('deleteAccount', go(() => deleteDialog(app)), '.danger')),
	], {onclose: () => next?.()});
}

/** What is kept, and where. */
function kept({store, session}) {
	if (session.keepsHere) return store.kept ? 'historyKept' : 'historyHint';
	return store.kept ? 'historyServer' : 'historyNone';
}

const exported = (store, all) => ({me: store.me, dialogues: all.map((one) => {
	const {friend, mine, text, state} = one;
	return {at: new Date(timeOf(one)), friend, name: store.nameOf(friend), mine, text, state};
})});

function download(data) {
	const href = URL.createObjectURL(new Blob([JSON.stringify(data, null, '\t')], {type: 'application/json'}));
	h('a', {href, download: `imctl-${new Date().toISOString().slice(0, 10)}.json`}).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** Shows a list of the server. rows(run) resolves to its rows. run(call) makes a call and reads the list again. */
function listDialog(title, none, rows) {
	const status = h('p.note', {role: 'status'});
	const fault = h('p.fault', {role: 'alert'});
	const list = h('ul', {role: 'list'});
	const again = button('tryNow', () => run());
	open(title, [status, list, fault, again]);

	async function run(call) {
		const had = list.contains(document.activeElement) || document.activeElement === again;
		fault.textContent = '';
		again.hidden = true;
		status.hidden = list.hasChildNodes();
		status.textContent = t('loading');
		try {
			await call?.();
			const all = await rows(run);
			fill(list, all);
			status.hidden = all.length;
			status.textContent = t(none);
		} catch (error) {
			fault.textContent = explain(error);
			again.hidden = false;
		}
		if (had) (list.querySelector('button') ?? list.closest('dialog')?.querySelector('button'))?.focus();
	}
	run();
}

function blockedDialog({session}) {
	listDialog('blockedPeople', 'nobodyBlocked', async (run) => (await session.blocked()).map((person) => {
		const {id, name, sign} = person;
		const unblock = button('unblock', () => run(() => session.block(id, false)));
		return h('li', head({...person, name: name || t('deletedAccount')}, sign), h('.buttons', unblock));
	}));
}

/** The browser and the system of a User-Agent, else its beginning. */
function deviceOf(agent) {
	const [, browser] = agent.match(/(Edg|OPR|Firefox|Chrome|Safari)\w*\//) ?? [];
	const [, system] = agent.match(/(Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux)/) ?? [];
	const name = {Edg: 'Edge', OPR: 'Opera'}[browser] ?? browser;
	return name && system ? `${name}, ${system}` : agent.slice(0, 60) || t('unknownDevice');
}

function sessionsDialog({session}) {
	const end = (fields) => session.as((auth) => post('sessions/end', {...auth, ...fields}));

	listDialog('sessions', 'noSessions', async (run) => {
		const {sessions} = await session.as((auth) => get('sessions', auth));
		const all = (sessions ?? []).toSorted((a, b) => b.current - a.current || b.issued.localeCompare(a.issued));
		const rows = all.map(({session: id, issued, address, agent, online, current}) => {
			const since = new Date(issued);
			const name = uniqueID();
			const stop = button('endSession', () => run(() => end({session: id})));
			stop.setAttribute('aria-describedby', name);
			const facts = [address, t('sessionSince', {time: brief(since)}), current ? t('thisSession') : t(online ? 'online' : 'offline')];
			return h('li.session', h('b', {id: name, dir: 'auto', title: agent}, deviceOf(agent)),
				h('p.hint', {title: full(since)}, facts.filter(Boolean).join(' · ')),
				!current && h('.buttons', stop));
		});
		if (all.some(({current}) => !current)) rows.push(h('li', h('.buttons', button('endOthers', () => run(() => end()), '.danger'))));
		return rows;
	});
}

function deleteDialog({session}) {
	const password = field('password', {type: 'password', autocomplete: 'current-password'});
	open('deleteAccount', [h('p', t('deleteAccountHelp')), password], {
		label: 'deleteForever', danger: '.danger',
		async action() {
			const secret = required(password);
			await session.as((auth) => post('account/delete', {...auth, password: secret})).catch((error) => {
				if (error.code === Code.wrongLogin) reject(password, t('passwordWrong'));
				throw error;
			});
			await session.deleted();
			tell('accountDeleted');
		},
	});
}
