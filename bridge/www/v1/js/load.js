// Loads the modules in later/ on first use: what a visitor rarely needs. They import only modules that the page has
// loaded, and get others with load().

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
			if (await isGone(path)) throw new Refused(Code.otherVersion);
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
