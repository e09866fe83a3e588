// Loads what the first view does not need: the signed-in page, and on first use the modules in later/. These import only
// modules that the page has loaded, and get others with load().

import {Code, Refused} from './protocol.js';
import {addTexts, languages, t} from './words.js';

const LIMIT = 15_000;
const loaded = new Map(); // path → promise of the module
const failures = new Map(); // path → count

function get(path) {
	if (!loaded.has(path)) {
		const failed = failures.get(path);
		// A browser may remember that an import failed. With another query it tries again.
		const late = new Promise((_, reject) => { setTimeout(reject, LIMIT, new Error(`${path} takes too long`)); });
		loaded.set(path, Promise.race([import(failed ? `${path}?${failed}` : path), late]).catch(async (error) => {
			console.warn(error);
			loaded.delete(path);
			failures.set(path, (failed ?? 0) + 1);
			if (await isGone(path)) throw new Refused(Code.otherVersion, {words: t('newVersionNow')});
			throw new Refused(Code.unreachable, {words: `${t('notLoaded')} ${t('notLoadedHelp')}`});
		}));
	}
	return loaded.get(path);
}

/** After an upgrade the server has no modules of this page's version: only a reload helps. */
const isGone = (path) => fetch(new URL(path, import.meta.url), {method: 'HEAD', cache: 'no-store', credentials: 'omit'})
	.then(({status}) => status === Code.missing, () => false);

/** Resolves to the module later/<name>.js, with its texts in place. Throws Refused. The next call tries again. */
export async function load(name) {
	const [module, ...texts] = await Promise.all([`./later/${name}.js`, ...languages.map((tag) => `./later/lang/${tag}.js`)].map(get));
	addTexts(...texts.map((one) => one.default));
	return module;
}

/** Resolves to client/follow.js, for later/kept.js. Throws Refused. */
export const loadFollow = () => get('./client/follow.js');

const WORKER = 'sw.js';
let policy;

/** The address of the service worker. Its policy can be made once only, while a module that loads again runs twice. */
export function workerURL() {
	policy ??= globalThis.trustedTypes?.createPolicy('imctl', {createScriptURL: () => WORKER}); // the content policy has this name
	return policy?.createScriptURL('') ?? WORKER;
}

let home;

/** Resolves to shell.js, with the style sheet of the signed-in page in place. Throws Refused. The next call tries again. */
export function loadHome() {
	home ??= Promise.all([get('./shell.js'), styled('../home.css')]).then(([module]) => module).catch((error) => {
		home = null;
		throw error;
	});
	return home;
}

function styled(path) {
	const link = document.createElement('link');
	return new Promise((resolve, reject) => {
		Object.assign(link, {rel: 'stylesheet', href: new URL(path, import.meta.url), onload: resolve, onerror: reject});
		document.head.append(link);
	}).catch(() => {
		link.remove();
		throw new Refused(Code.unreachable, {words: `${t('notLoaded')} ${t('notLoadedHelp')}`});
	});
}
