// Converts a payload to nodes. Only unambiguous links become links.

import {h} from './dom.js';

// No quotes, brackets, white space, or characters that change the writing direction.
const LINK = /\bhttps?:\/\/[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gi;
const TRAILING = /[.,;:!?)\]}…，。；：！？）】」]+$/u;
const EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\s])+$/u;

export const isEmoji = (text) => text.length <= 24 && EMOJI.test(text) && text.trim() !== '';

/** Lower case, unless that changes the length: positions must be valid in both. */
export function folded(text) {
	const lower = text.toLowerCase();
	return lower.length === text.length ? lower : text;
}

export const oneLine = (text) => text.slice(0, 200).replace(/\s+/g, ' ').trim();

/** The nodes of a text, with matches of `sought` (folded) marked. */
export function rich(text, sought) {
	const nodes = [];
	let from = 0;
	for (const {0: match, index} of text.matchAll(LINK)) {
		const end = match.match(TRAILING)?.[0] ?? '';
		const shown = match.slice(0, match.length - end.length + (end[0] === ')' && match.includes('(')));
		const url = URL.canParse(shown) && new URL(shown);
		// "https://bank.com@evil.org" looks like another site.
		if (!url || url.username || url.password) continue;
		nodes.push(marked(text.slice(from, index), sought),
			h('a', {href: url.href, title: url.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr'}, marked(shown, sought)));
		from = index + shown.length;
	}
	return [nodes, marked(text.slice(from), sought)];
}

function marked(text, sought) {
	if (!sought) return text;
	const nodes = [];
	const lower = folded(text);
	let from = 0;
	for (let at; (at = lower.indexOf(sought, from)) >= 0; from = at + sought.length) {
		nodes.push(text.slice(from, at), h('mark', text.slice(at, at + sought.length)));
	}
	return [nodes, text.slice(from)];
}
