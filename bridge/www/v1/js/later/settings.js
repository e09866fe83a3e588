// The settings: sections beside each other on a desk, one at a time on a phone.

import {avatar} from '../avatar.js';
import {confirmDialog, open, profileDialog} from '../dialogs.js';
import {button, field, fill, h, icon, iconButton, look, setLook, SHAPES, uniqueID} from '../dom.js';
import {load} from '../load.js';
import {get} from '../protocol.js';
import {explain, spoken, t} from '../words.js';

Object.assign(SHAPES, {
	palette: 'M12 3.5a8.5 8.5 0 1 0 0 17c1.5 0 2-1 1.5-2.3-.6-1.6.3-2.7 2-2.7h2.3c1.7 0 2.7-1.2 2.7-3.5 0-4.7-3.8-8.5-8.5-8.5zM7.5 12v.01M9.5 8v.01M14.5 8v.01',
	bell: 'M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15zM10 20.5h4',
	key: 'M8 9.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 11l8.5-7M16 6.5l2.5 3',
});

/** The sections below. Those about the account are in account.js. */
const DRAW = {appearance, notifications, privacy, history};
const SHAPE = {
	appearance: 'palette', notifications: 'bell', privacy: 'eye', blockedPeople: 'stop', sessions: 'screens',
	credentials: 'key', history: 'archive', deleteAccount: 'bin',
};

const PUSH = 'push'; // the module

export function settingsDialog(app, first = 'appearance') {
	const {me} = app.store;
	const section = h('section');
	const items = Object.entries(SHAPE).map(([name, shape]) => h(name === 'deleteAccount' ? 'button.item.danger' : 'button.item',
		{onclick: () => show(name)}, icon(shape), h('span', t(name)), icon('next')));
	const own = h('button.item', {onclick: () => profileDialog(app)}, avatar(me, '.small'), h('span', h('b', {dir: 'auto'}, me.name), h('br'), h('span.hint', t('yourProfile'))), icon('next'));
	const nav = h('nav', {label: 'settings'}, own, items);
	const box = h('.settings', nav, section);
	let life = new AbortController();

	/** inside: a phone shows the section instead of the list. */
	async function show(name, inside = true) {
		life.abort();
		life = new AbortController();
		const {signal} = life;
		const item = items[Object.keys(SHAPE).indexOf(name)];
		for (const one of items) one.toggleAttribute('aria-current', one === item);
		const back = iconButton('back', 'back', () => {
			box.classList.remove('in');
			item.focus();
		}, '.inner');
		const title = h('h2', back, t(name));
		const body = h('div');
		fill(section, title, body);
		box.classList.toggle('in', inside);
		section.scrollTop = 0;
		if (inside && back.checkVisibility()) back.focus();
		try {
			const draw = DRAW[name] ?? (await load('account'))[name];
			const content = await draw(app, signal);
			if (!signal.aborted) fill(body, content);
		} catch (error) {
			if (!signal.aborted) fill(body, h('p.fault', {role: 'alert'}, explain(error)), button('tryNow', () => show(name)));
		}
	}

	open('settings', box, {onclose: () => life.abort()});
	show(first, false);
	items[Object.keys(SHAPE).indexOf(first)].focus();
}

/** One of several values. onpick(value) may throw. more: a class. */
function choice(label, values, current, onpick, more = '') {
	const name = uniqueID();
	const fault = h('p.fault', {role: 'alert'});
	return h('fieldset', h('legend', t(label)), h(`.segments${more}`, values.map(([value, text, help]) => h('label', {title: help},
		h('input', {
			type: 'radio', name, value, checked: value === current, 'aria-label': help,
			onchange() {
				try {
					onpick(value);
				} catch {
					fault.textContent = t('notStored');
				}
			},
		}), h('span', {lang: label === 'language' && value}, text)))), fault);
}

const SIZES = {smallSize: 'small', normalSize: '', largeSize: 'large', largerSize: 'larger', largestSize: 'largest'};

function appearance() {
	const {theme = '', size = '', language = ''} = look();
	return [
		choice('theme', [['', t('system')], ['light', t('light')], ['dark', t('dark')]], theme, (value) => setLook({theme: value})),
		choice('textSize', Object.entries(SIZES).map(([key, value]) => [value, 'A', t(key)]), size, (value) => setLook({size: value}), '.sizes'),
		choice('language', [['', t('system')], ...spoken], language, (value) => {
			setLook({language: value});
			location.reload();
		}),
		h('p.hint', t('languageHelp')),
	];
}

function toggle({notifier}, name, hint, refused) {
	const box = field(name, {
		type: 'checkbox', role: 'switch', checked: notifier.settings[name], hint,
		async onchange({target}) {
			const wanted = target.checked;
			target.checked = await notifier.set(name, wanted);
			box.fault(wanted && !target.checked && refused && t(refused));
		},
	});
	return box;
}

async function notifications(app) {
	const {push} = await get('registration', {}).catch(() => ({})); // absent: the server sends none
	const module = push && await load(PUSH);
	return [toggle(app, 'notify', 'notifyHint', 'notifyRefused'), toggle(app, 'sound'), module && await pushed(app, module)];
}

/** Push messages, which arrive while the page is closed. */
async function pushed({session}, {pushState, subscribe, unsubscribe}) {
	const {supported, on, text} = await pushState(session);
	if (!supported) return h('p.hint', t('pushMissing'));

	/** A switch that asks the browser and the server for what f(wanted) does. */
	const one = (label, hint, checked, f) => {
		const box = field(label, {
			type: 'checkbox', role: 'switch', checked, hint,
			async onchange({target}) {
				target.disabled = true;
				try {
					await f(target.checked);
					box.fault('');
				} catch (error) {
					target.checked = !target.checked;
					box.fault(explain(error));
				}
				target.disabled = false;
				words.input.disabled = !push.input.checked;
			},
		});
		return box;
	};
	const push = one('push', 'pushHint', on, (wanted) => (wanted ? subscribe(session, {text: words.input.checked}) : unsubscribe(session)));
	const words = one('pushText', 'pushTextHint', text, (wanted) => subscribe(session, {text: wanted}));
	words.input.disabled = !on;
	return [push, words];
}

function privacy(app) {
	return app.store.kept ? toggle(app, 'receipts', 'receiptsHint') : h('p.hint', t('noReceipts'));
}

/** What is kept, and where. */
function kept({store, session}) {
	if (session.keepsHere) return store.kept ? 'historyKept' : 'historyHint';
	return store.kept ? 'historyServer' : 'historyNone';
}

function history(app, signal) {
	const {store, session} = app;
	const bar = h('progress', {max: 1, value: 0, label: 'export', hidden: true});
	const words = h('p.hint', {role: 'status'});
	const fault = h('p.fault', {role: 'alert'});
	const go = button('export', async () => {
		go.disabled = true;
		fault.textContent = '';
		bar.hidden = false;
		try {
			const {exported} = await load('export');
			const blob = await exported(app, signal, (done, all) => {
				[bar.max, bar.value] = [all, done];
				words.textContent = t('exporting', {n: done, of: all});
			});
			download(blob);
			words.textContent = t('exported');
		} catch (error) {
			words.textContent = '';
			fault.textContent = explain(error);
		}
		bar.hidden = true;
		go.disabled = false;
	});
	return [
		h('p.hint', t(kept(app))),
		h('h3', t('exportTitle')), h('p.hint', t('exportHint')), h('.buttons', go), bar, words, fault,
		h('h3', t('forgetAll')), h('p.hint', t('forgetAllQuestion')), h('.buttons', button('forgetAll', () => confirmDialog('forgetAll', () => session.forget()), '.danger')),
	];
}

function download(blob) {
	const href = URL.createObjectURL(blob);
	h('a', {href, download: `imctl-${new Date().toISOString().slice(0, 10)}.json`}).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
