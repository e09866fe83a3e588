// The files of the composer: chosen, pasted, dropped or recorded. A tray shows what will be sent.

import {announce, fill, h, icon, iconButton, onPhone, popup} from '../dom.js';
import {kindOf, payloadOf, sizeOf} from '../files.js';
import {load} from '../load.js';
import {get} from '../protocol.js';
import {t} from '../words.js';

const asked = new WeakMap(); // session → promise of the largest file that the server takes, or 0

function most(session) {
	if (!asked.has(session)) {
		asked.set(session, get('registration', {}).then(({files}) => files?.max ?? 0).catch((error) => {
			asked.delete(session);
			throw error;
		}));
	}
	return asked.get(session);
}

const drafts = new Map(); // ids of the user and the friend → files that are not sent yet

const hasFiles = (transfer) => Boolean(transfer?.types.includes('Files'));

/** Files of a paste. Office programs add a picture of the text that they copy, which is not meant. */
function pasted({clipboardData: data}) {
	const files = [...data?.files ?? []];
	const words = data?.getData('text/plain');
	return words && !files.some(({name}) => words.includes(name)) ? [] : files;
}

/** The files of a drop, and whether it had folders. */
function dropped({dataTransfer: {items, files}}) {
	const entries = [...items].filter(({kind}) => kind === 'file').map((item) => item.webkitGetAsEntry?.());
	return [[...files].filter((_, i) => !entries[i]?.isDirectory), entries.some((entry) => entry?.isDirectory)];
}

/**
 * Adds files to a conversation's composer. Resolves to null if the server takes none. changed() is called when the tray
 * changes, sent() after a file was sent, and mayAdd() tells whether the composer is there.
 */
export async function attach({store, session}, {friend, composer, text, send, element, signal, changed, sent, mayAdd}) {
	const max = await most(session);
	if (!max || signal.aborted) return null;
	const {prepare} = await load('shrink');
	let items = []; // {source, url, ready: {blob, file, original}, asFile}
	let queue = Promise.resolve();
	const draft = `${store.me.id} ${friend}`;

	// ---- the tray

	const list = h('ul', {role: 'list', label: 'attached'});
	const original = h('input', {type: 'checkbox', onchange: redraw});
	const option = h('label.check', original, h('span', t('sendOriginal')));
	const fault = h('p.fault', {role: 'alert'});
	const tray = h('.tray', {hidden: true}, list, option, fault);
	composer.before(tray);

	const chosen = ({ready}) => (original.checked && ready.original) || ready;

	function draw(item) {
		const {source, ready, url} = item;
		const {name, size} = ready ? chosen(item).file : source;
		const remove = iconButton('close', 'removeFile', () => drop(item));
		remove.setAttribute('aria-label', t('removeNamed', {name}));
		return h('li', url ? h('img', {src: url, alt: ''}) : h('span.kind', icon('file')),
			h('span.words', h('b', {dir: 'auto'}, name), h('small', ready ? sizeOf(size) : t('preparing'))), remove);
	}

	function redraw() {
		if (signal.aborted) return;
		fill(list, items.map(draw));
		option.hidden = !items.some(({ready}) => ready?.original);
		tray.hidden = !items.length && !fault.textContent;
		composer.classList.toggle('loaded', items.length > 0);
		changed();
	}

	function drop(item) {
		const at = items.indexOf(item);
		items = items.filter((other) => other !== item);
		if (item.url) URL.revokeObjectURL(item.url);
		redraw();
		(list.children[Math.min(at, items.length - 1)]?.querySelector('button') ?? text).focus();
	}

	function refuse(words) {
		fault.textContent = words;
		redraw();
	}

	const tooLarge = ({name, size}) => size > max && t('fileTooLarge', {name, size: sizeOf(size), max: sizeOf(max)});

	/** Adds files one after another, since decoding a picture takes much memory. */
	function add(files) {
		if (!files.length || !mayAdd()) return;
		fault.textContent = '';
		const all = files.map((source) => ({source}));
		items.push(...all);
		redraw();
		for (const item of all) queue = queue.then(() => take(item)).catch(() => lose(item, t('fileUnreadable', {name: item.source.name})));
		if (!onPhone()) text.focus();
	}

	function lose(item, words) {
		items = items.filter((other) => other !== item);
		refuse([fault.textContent, words].filter(Boolean).join('\n'));
	}

	async function take(item) {
		const {source} = item;
		if (signal.aborted || !items.includes(item)) return;
		if (!source.size) return lose(item, t('fileEmpty', {name: source.name}));
		// A large picture may become small enough. Nothing else does.
		const large = tooLarge(source);
		if (large && !source.type.startsWith('image/')) return lose(item, large);
		await source.slice(0, 1).arrayBuffer(); // throws if the browser may not read it
		const ready = await prepare(source);
		const still = tooLarge(ready.file);
		if (still) return lose(item, still);
		if (large) ready.original = null;
		if (signal.aborted || !items.includes(item)) return;
		item.ready = ready;
		if (kindOf(ready.file) === 'picture') item.url = URL.createObjectURL(ready.blob);
		redraw();
		announce(t('fileAdded', {name: ready.file.name}));
	}

	function clear() {
		for (const {url} of items) if (url) URL.revokeObjectURL(url);
		items = [];
		fault.textContent = '';
		original.checked = false;
		redraw();
	}

	// ---- where files come from

	const chooser = (attributes) => {
		const input = h('input', {type: 'file', hidden: true, label: 'attach', ...attributes, onchange() {
			add([...input.files]);
			input.value = '';
		}});
		return input;
	};
	const any = chooser({multiple: true});
	const camera = chooser({accept: 'image/*', capture: 'environment'});
	const clip = iconButton('clip', 'attach', onPhone() ? null : () => any.click(), '.clip');
	const box = h('.menu', {role: 'menu'}, [['chooseFiles', any], ['takePicture', camera]].map(([label, input]) => h('button', {
		role: 'menuitem', tabindex: -1, onclick() {
			box.hidePopover();
			input.click();
		},
	}, t(label))));
	text.before(...onPhone() ? popup(clip, box, 1, true) : [clip], any, camera);

	const overlay = h('.dropping', {hidden: true}, h('p', icon('clip'), t('dropToSend', {name: store.nameOf(friend)})));
	element.append(overlay);
	const over = (event) => {
		if (!hasFiles(event.dataTransfer) || !mayAdd()) return;
		event.preventDefault();
		event.dataTransfer.dropEffect = 'copy';
		overlay.hidden = false;
	};
	const listen = (kind, listener) => element.addEventListener(kind, listener, {signal});
	listen('dragenter', over);
	listen('dragover', over);
	listen('dragleave', ({relatedTarget}) => { if (!element.contains(relatedTarget)) overlay.hidden = true; });
	listen('drop', (event) => {
		overlay.hidden = true;
		if (!hasFiles(event.dataTransfer) || !mayAdd()) return;
		event.preventDefault();
		const [files, folders] = dropped(event);
		add(files);
		if (folders) refuse(t('noFolders'));
	});
	listen('paste', (event) => {
		const files = pasted(event);
		if (!files.length || !mayAdd()) return;
		event.preventDefault();
		add(files);
	});
	text.addEventListener('input', () => { if (fault.textContent) refuse(''); }, {signal});
	signal.addEventListener('abort', () => {
		drafts.set(draft, items.map(({source}) => source));
		clear();
	});

	// ---- sending

	function sendFile({blob, file}, caption, more) {
		session.send(friend, payloadOf(caption, file), {...more, blob, file});
		sent();
	}
	load('voice').then(({voice}) => voice({composer, send, signal, max, mayAdd, refuse, done: (recording) => sendFile(recording)})).catch(() => {});
	add(drafts.get(draft) ?? []);
	redraw();

	return {
		get size() { return items.length; },
		/** Sends the tray, the last file with the caption. Returns whether there was something to send. */
		submit(caption, more) {
			if (!items.length) return false;
			const last = items.at(-1);
			for (const item of items) sendFile(chosen(item), item === last ? caption : '', item === last ? more : undefined);
			clear();
			return true;
		},
		/** Whether a file is still being read. soon(f) calls f when all are. */
		get busy() { return items.some(({ready}) => !ready); },
		soon: (f) => queue.then(() => { if (!signal.aborted && items.length) f(); }),
	};
}
