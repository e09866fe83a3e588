// Creates elements without parsing markup: text stays text. Labels are keys of lang/en.js.

import {t} from './words.js';

/** h('button.main', {onclick: f}, 'Send'). Omits false and null, flattens arrays. */
export function h(name, ...children) {
	const [tag, ...classes] = name.split('.');
	const element = document.createElement(tag || 'div');
	if (classes.length) element.className = classes.join(' ');
	if (tag === 'button') element.type = 'button';
	const attributes = children[0]?.constructor === Object && children.shift();
	for (const [key, value] of Object.entries(attributes || {})) {
		if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
		else if (key === 'value') element.value = value;
		else if (key === 'label') {
			element.setAttribute('aria-label', t(value));
			if (tag === 'button') element.title = t(value);
			else if ('placeholder' in element) element.placeholder = t(value);
		}
		else if (value !== false && value != null) element.setAttribute(key, value === true ? '' : value);
	}
	return fill(element, children);
}

export function fill(element, ...children) {
	element.replaceChildren(...children.flat(Infinity).filter((child) => child !== false && child != null));
	return element;
}

/** The outlines of icons by name. Modules in later/ add theirs. */
export const SHAPES = {
	back: 'M15 5l-7 7 7 7',
	close: 'M6 6l12 12M18 6L6 18',
	more: 'M12 5.5v.01M12 12v.01M12 18.5v.01',
	search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5',
	send: 'M12 20V5M5.5 11.5L12 5l6.5 6.5',
	person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5c.8-4 3.8-5.5 7.5-5.5s6.7 1.5 7.5 5.5',
	join: 'M10 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM3 20.5c.7-4 3.5-5.5 7-5.5 1.5 0 2.9.3 4 .9M18 14v7M14.5 17.5h7',
	next: 'M9 5l7 7-7 7',
	lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
	screens: 'M3.5 5h13v9.5h-13zM7 18.5h6M18.5 9.5h2v9h-4v-4',
	up: 'M6 15l6-6 6 6',
	down: 'M6 9l6 6 6-6',
	reply: 'M10 6.5L4.5 12l5.5 5.5M5 12h7.5c4.5 0 6.5 2 7 6',
	edit: 'M4.5 19.5l1-4.2L16.3 4.5a2 2 0 0 1 2.9 0l.3.3a2 2 0 0 1 0 2.9L8.7 18.5z',
	wait: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 2',
	done: 'M5 12.5l4.5 4.5L19 7.5',
	twice: 'M1.5 12.5L6 17l9.5-9.5M11 16l1 1 9.5-9.5',
	fail: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01',
	smile: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8.5 14c1.8 2.5 5.2 2.5 7 0M9.3 9.5v.01M14.7 9.5v.01',
	clip: 'M20 11.5l-8.3 8.3a5 5 0 0 1-7.1-7.1l8.6-8.6a3.4 3.4 0 0 1 4.8 4.8l-8.6 8.6a1.7 1.7 0 0 1-2.4-2.4l7.7-7.7',
	mic: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21',
	file: 'M7 3h7l5 5v11a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM14 3v5h5',
	download: 'M12 4v11M6.5 10.5L12 16l5.5-5.5M5 20h14',
	play: 'M8 5.5v13l10.5-6.5z',
	pause: 'M8 5.5v13M16 5.5v13',
	zoom: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
	previous: 'M15 5l-7 7 7 7',
	pinned: 'M9 4h6l-.7 6 3.2 3.5h-11L9.7 10zM12 13.5V20',
	muted: 'M5 16.5h14l-1.8-2.5V10.5a5.2 5.2 0 0 0-8.4-4.1M6.8 9.5v4.5M10 19.5c1 1.3 3 1.3 4 0M4 4l16 16',
	stop: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.5 6.5l11 11',
	bin: 'M4.5 7h15M9.5 7V4.5h5V7M6.5 7l1 13h9l1-13M10 11v5.5M14 11v5.5',
	archive: 'M4 5h16v4H4zM5.5 9v10h13V9M9.5 12.5h5',
	talk: 'M5 5h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-8l-4.5 3.5V17H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2z',
	eye: 'M2.5 12c2-4.3 5.5-6.5 9.5-6.5s7.5 2.2 9.5 6.5c-2 4.3-5.5 6.5-9.5 6.5S4.5 16.3 2.5 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
};

export function icon(name) {
	const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.setAttribute('class', `icon i-${name}`);
	svg.setAttribute('aria-hidden', 'true');
	const path = document.createElementNS(svg.namespaceURI, 'path');
	path.setAttribute('d', SHAPES[name]);
	svg.append(path);
	return svg;
}

export const button = (label, onclick, more = '') => h(`button${more}`, {onclick}, t(label));

export const iconButton = (name, label, onclick, more = '') => h(`button.iconic${more}`, {label, onclick}, icon(name));

/** Debounces f: it runs once there was no call for `pause` ms. */
export function later(f, pause) {
	let timer;
	const run = () => {
		clearTimeout(timer);
		timer = setTimeout(f, pause);
	};
	run.cancel = () => clearTimeout(timer);
	return run;
}

export function announce(text) {
	const region = document.getElementById('polite');
	region.textContent = '';
	setTimeout(() => region.append(text), 50);
}

/** A touch device: focusing a field opens the keyboard, and Enter starts a new line. */
export const onPhone = () => matchMedia('(pointer: coarse)').matches;

let ids = 0;
export const uniqueID = () => `u${++ids}`;

/** A labelled `input`. fault(text) shows an error. */
export function field(label, {hint = '', tag = 'input', ...attributes} = {}) {
	const id = uniqueID();
	const note = h('p.hint', {id: `${id}n`}, hint && t(hint));
	const input = h(tag, {id, dir: 'auto', 'aria-describedby': `${id}n`, ...attributes});
	const box = h('.field', h('label', {for: id}, t(label)), input, note);
	box.input = input;
	box.fault = (text) => {
		box.classList.toggle('wrong', Boolean(text));
		input.setAttribute('aria-invalid', Boolean(text));
		note.textContent = text || hint && t(hint);
	};
	input.addEventListener('input', () => box.fault(''));
	return box;
}

/** Opens box as a popover of button. Arrow keys move the focus in it. */
export function popup(button, box, columns = 1, up = false) {
	box.popover = 'auto';
	button.popoverTargetElement = box;
	box.addEventListener('beforetoggle', (event) => {
		if (event.newState !== 'open') return;
		const {top, bottom, left, right} = button.getBoundingClientRect();
		const start = getComputedStyle(box).direction === 'rtl' ? innerWidth - right : left;
		const end = innerWidth - start - (right - left);
		Object.assign(box.style, up
			? {insetBlockEnd: `${innerHeight - top + 8}px`, insetInlineStart: `${start}px`}
			: {insetBlockStart: `${bottom + 4}px`, insetInlineEnd: `${end}px`});
	});
	box.addEventListener('toggle', (event) => { if (event.newState === 'open') box.firstChild.focus(); });
	box.addEventListener('keydown', (event) => {
		const by = {ArrowDown: columns, ArrowUp: -columns, ArrowRight: 1, ArrowLeft: -1}[event.key];
		if (!by) return;
		event.preventDefault();
		const all = [...box.children];
		all.at((all.indexOf(document.activeElement) + by) % all.length).focus();
	});
	return [button, box];
}

/** items() returns [text, action, danger] of each item, at each opening. */
export function menu(items) {
	const box = h('.menu', {role: 'menu'});
	const button = iconButton('more', 'menu');
	button.setAttribute('aria-haspopup', 'menu');
	box.addEventListener('beforetoggle', (event) => {
		if (event.newState !== 'open') return;
		fill(box, items().map(([text, action, danger]) => h(danger ? 'button.danger' : 'button', {
			role: 'menuitem', tabindex: -1, onclick() { box.hidePopover(); action(); },
		}, text)));
	});
	return popup(button, box);
}

/** The look that the user chose, see look.js. */
export function look() {
	try {
		return JSON.parse(localStorage.getItem('imctl.look')) ?? {};
	} catch {
		return {};
	}
}

/** Changes the look of all tabs. Throws if the browser stores nothing. */
export function setLook(changes) {
	localStorage.setItem('imctl.look', JSON.stringify({...look(), ...changes}));
	dispatchEvent(new Event('look'));
}
