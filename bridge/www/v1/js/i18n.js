// The page's language: the browser's, among those that words.js has.

import { LANGUAGES, WORDS } from './words.js';

const wanted = navigator.languages?.length ? navigator.languages : [navigator.language || 'en'];
const column = Math.max(0, wanted.map((tag) => LANGUAGES.indexOf(tag.toLowerCase().split('-')[0])).find((at) => at >= 0) ?? 0);
const language = LANGUAGES[column];
// Dates follow the browser's own variant (en-GB) where it is of the same language.
const locale = wanted.find((tag) => tag.toLowerCase().startsWith(language)) ?? language;

document.documentElement.lang = locale;

/**
 * The text for a key, with {name} filled in. What is filled in is isolated, so that a right-to-left name doesn't turn the
 * sentence around. "one|many" is chosen by n.
 */
export function t(key, values = {}) {
  const row = WORDS[key];
  let text = row[column] ?? row[0];
  if (text.includes('|')) text = text.split('|')[values.n === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === 'number' ? String(value) : `\u2068${value}\u2069`;
  });
}

/** Words for a code that a call came back with. */
export const tCode = (code) => t(WORDS[`code${code}`] ? `code${code}` : 'codeOther', { code });

const format = (options) => new Intl.DateTimeFormat(locale, options);
const CLOCK = format({ hour: '2-digit', minute: '2-digit' });
const WEEKDAY = format({ weekday: 'short' });
const SHORT = format({ day: 'numeric', month: 'short' });
const DATE = format({ dateStyle: 'short' });
const DAY = format({ weekday: 'long', day: 'numeric', month: 'long' });
const DAY_OF_YEAR = format({ day: 'numeric', month: 'long', year: 'numeric' });
const FULL = format({ dateStyle: 'full', timeStyle: 'medium' });

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
const daysAgo = (date) => Math.round((midnight(new Date()) - midnight(date)) / 86_400_000);

export const clock = (date) => CLOCK.format(date);
export const full = (date) => FULL.format(date);

/** As short as a list wants it: the time today, the weekday this week, the date before. */
export function brief(date) {
  const days = daysAgo(date);
  if (days <= 0) return CLOCK.format(date);
  if (days === 1) return t('yesterday');
  if (days < 7) return WEEKDAY.format(date);
  return (date.getFullYear() === new Date().getFullYear() ? SHORT : DATE).format(date);
}

/** For the line between two days. */
export function day(date) {
  const days = daysAgo(date);
  if (days === 0) return t('today');
  if (days === 1) return t('yesterday');
  return (days < 180 ? DAY : DAY_OF_YEAR).format(date);
}
