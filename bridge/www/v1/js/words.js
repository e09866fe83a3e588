// The texts of the page. To add a language, translate copies of lang/en.js and later/lang/en.js, and add its tag to
// LANGUAGES.

import english from './lang/en.js';

const LANGUAGES = ['en', 'de', 'zh'];

const languageOf = (tag) => tag.split('-')[0];
const chosen = document.documentElement.dataset.language; // see look.js
const locale = [chosen ?? '', ...navigator.languages].find((tag) => LANGUAGES.includes(languageOf(tag))) ?? 'en';
const texts = {...english, ...(await import(`./lang/${languageOf(locale)}.js`)).default};

document.documentElement.lang = locale;

/** The languages of the page, each by its own name. */
export const spoken = LANGUAGES.map((tag) => [tag, new Intl.DisplayNames(tag, {type: 'language'}).of(tag)]);

/** The tags of the files to load, the fallback first. */
export const languages = [...new Set(['en', languageOf(locale)])];

export const addTexts = (...all) => Object.assign(texts, ...all);

/** Isolates values, so that a right-to-left name does not reorder the sentence. */
export const t = (key, values) => texts[key].replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === 'number' ? values[name] : `\u2068${values[name]}\u2069`));

export const tCode = (code) => t(texts[`code${code}`] ? `code${code}` : 'codeOther', {code});

/** An error of a call in words. */
export const explain = ({code = 500, words, wait}) => words ?? (wait ? t(code === 429 ? 'tryLater' : 'tryBusy', {time: duration(wait)}) : tCode(code));

function duration(seconds) {
	const [n, unit] = seconds < 60 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute'];
	return new Intl.NumberFormat(locale, {style: 'unit', unit, unitDisplay: 'long'}).format(n);
}

const formatter = (options) => {
	const format = new Intl.DateTimeFormat(locale, options);
	return (date) => format.format(date);
};
export const clock = formatter({hour: 'numeric', minute: '2-digit'});
export const full = formatter({dateStyle: 'full', timeStyle: 'medium'});
export const stamp = formatter({dateStyle: 'short', timeStyle: 'short'});
const weekday = formatter({weekday: 'short'});
const short = formatter({day: 'numeric', month: 'short'});
const date = formatter({dateStyle: 'short'});
const thatDay = formatter({weekday: 'long', day: 'numeric', month: 'long'});
const thatYear = formatter({dateStyle: 'long'});

const daysAgo = (when) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(when).setHours(0, 0, 0, 0)) / 86_400_000);

export function brief(when) {
	const days = daysAgo(when);
	if (days === 1) return t('yesterday');
	return [[1, clock], [7, weekday], [180, short], [Infinity, date]].find(([limit]) => days < limit)[1](when);
}

export function day(when) {
	const days = daysAgo(when);
	return days === 0 ? t('today') : days === 1 ? t('yesterday') : (days < 180 ? thatDay : thatYear)(when);
}

/** Calls f when another day begins, also after sleep. */
export function onNewDay(f, signal) {
	let today = new Date().toDateString();
	let timer;
	function check() {
		clearTimeout(timer);
		const now = new Date();
		if (now.toDateString() !== today) {
			today = now.toDateString();
			f();
		}
		// A timer does not run while the machine sleeps.
		timer = setTimeout(check, Math.min(60_000, new Date(now).setHours(24, 0, 0, 0) - now + 50));
	}
	for (const [target, event] of [[window, 'focus'], [window, 'pageshow'], [document, 'visibilitychange']]) target.addEventListener(event, check, {signal});
	signal.addEventListener('abort', () => clearTimeout(timer));
	check();
}
