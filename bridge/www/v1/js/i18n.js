// The page's language: the browser's, among those that words.js has.

import {LANGUAGES, WORDS} from './words.js';

const wanted = navigator.languages ?? [navigator.language];
// Dates follow the browser's own variant of the language.
const locale = wanted.find((tag) => LANGUAGES.includes(tag.split('-')[0])) ?? 'en';
const words = new Map(WORDS.map(([key, ...row]) => [key, row[LANGUAGES.indexOf(locale.split('-')[0])]]));

document.documentElement.lang = locale;

/**
 * The text for a key, with {name} filled in: isolated, so that a right-to-left name doesn't turn the sentence around. "one~many" goes by n.
 */
export function t(key, values = {}) {
	const [one, many = one] = words.get(key).split('~');
	return (values.n === 1 ? one : many).replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === 'number' ? values[name] : `\u2068${values[name]}\u2069`));
}

/** Words for a code that a call came back with. */
export const tCode = (code) => (words.has(`code${code}`) ? t(`code${code}`) : t('codeOther', {code}));

const formatter = (options) => {
	const format = new Intl.DateTimeFormat(locale, options);
	return (date) => format.format(date);
};
export const clock = formatter({hour: 'numeric', minute: '2-digit'});
export const full = formatter({dateStyle: 'full', timeStyle: 'medium'});
const weekday = formatter({weekday: 'short'});
const short = formatter({day: 'numeric', month: 'short'});
const date = formatter({dateStyle: 'short'});
const thatDay = formatter({weekday: 'long', day: 'numeric', month: 'long'});
const thatYear = formatter({dateStyle: 'long'});

const daysAgo = (when) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(when).setHours(0, 0, 0, 0)) / 86_400_000);

/** As short as a list wants it: the time today, the weekday this week, the date before. */
export function brief(when) {
	const days = daysAgo(when);
	if (days === 1) return t('yesterday');
	return [[1, clock], [7, weekday], [180, short], [Infinity, date]].find(([limit]) => days < limit)[1](when);
}

/** For the line between two days. */
export function day(when) {
	const days = daysAgo(when);
	return days === 0 ? t('today') : days === 1 ? t('yesterday') : (days < 180 ? thatDay : thatYear)(when);
}
