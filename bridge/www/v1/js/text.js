// Converts a payload to nodes: links, code, emphasis and quotes. Text that may mean something else stays as it is.

import {h} from './dom.js';

// Scripts that are written without spaces, so that a word may follow a link or a mark at once.
const DENSE = '[[\\p{scx=Han}\\p{scx=Hira}\\p{scx=Kana}\\p{scx=Hang}\\p{scx=Thai}\\p{scx=Laoo}\\p{scx=Khmr}\\p{scx=Mymr}]&&[\\p{L}\\p{M}]]';
const WORD = `[[\\p{L}\\p{M}\\p{N}_]--${DENSE}]`;

// A label of a host is in one script, but the first, which a name of several may begin.
const LABEL = `(?:[${WORD}\\-]+|[${DENSE}\\-]+)`;
const HOST = `(?:(?:[${WORD}${DENSE}\\-]+\\.)?(?:${LABEL}\\.)*${LABEL}|\\[[\\da-f:.]+\\])(?::\\d{1,5})?`;
// Dense text belongs to a path after a separator only, such as in /wiki/<name>. No quotes, brackets, or characters that
// change the writing direction.
const PATH = `(?:[\\/?#](?:[\\w\\-~:\\/?#@!$&\\(\\)*+,;=%.\\[\\]\\{\\}\\|\\^]|${WORD}|(?<=[\\/=#_\\-])${DENSE}+){0,2000})?`;
const LINK = new RegExp([
	`(?<scheme>(?<![[\\p{L}\\p{M}\\p{N}]--${DENSE}])https?:\\/\\/)${HOST}${PATH}`,
	`(?<![\\w.\\-@\\/])www\\.(?:${LABEL}\\.)+${LABEL}(?::\\d{1,5})?${PATH}`,
	`(?<mail>(?<![\\w.+\\-\\/:@%])[\\w.+\\-]{1,64}@(?:[${WORD}\\-]+\\.)+[\\p{L}--${DENSE}]{2,})(?![\\w@])`,
].join('|'), 'giv');
const DENSE_TEXT = new RegExp(DENSE, 'v');
const PAIRS = {')': '(', ']': '[', '}': '{'};
const EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\s])+$/u;

const FENCE = /```(?:[\w+#.\-]*\n)?([^]+?)\n?```/g;
const QUOTE = /(?:^> .*(?:\n|$))+/gm;
const CODE = /`([^`\n]+)`/g;
const ATOM = '\ue000'; // stands for each character of a link or of code
const BEGIN = `(?=[*_~]{0,3}[\\p{L}\\p{N}\\p{Extended_Pictographic}"'“‘„«「《\\(\\[${ATOM}])`;
// snake_case, 2*3*4 and *.go are no emphasis.
const EMPHASIS = new RegExp(`(?<![${WORD}\\/\\\\.@#=%$*~_\`])(?:(?<mark>\\*\\*|~~|\\*)|(?<![\\p{L}\\p{N}])(?<low>_(?!_)))${BEGIN}`
	+ `(?<words>[^\\n]{1,1000}?)(?<![\\s,;:\\(\\[\\{\\/\\\\])(?:\\k<mark>\\k<low>)(?![${WORD}\\/\\\\@#=%$*~_\`])`, 'gv');
const KINDS = {'*': 'em', _: 'em', '**': 'strong', '~~': 's'};
const DEPTH = 3;

export const isEmoji = (text) => text.length <= 24 && EMOJI.test(text) && text.trim() !== '';

/** For comparisons: case, width and composition do not matter. The length may differ. */
export const folded = (text) => text.normalize('NFKD').toLowerCase();

/** The first words of a text in one line, without marks. */
export const oneLine = (text) => plain(text.slice(0, 200)).replace(/\s+/g, ' ').trim();

/** The nodes of the part of a text around its first match of `sought` (folded). */
export function snippet(text, sought) {
	const at = Math.max(0, folded(text).indexOf(sought));
	const line = oneLine(text.slice(Math.max(0, at - 60), at + 140));
	const start = Math.max(0, folded(line).indexOf(sought) - 24);
	return [(start || at > 60) && '…', marked(line.slice(start), sought)];
}

const plain = (text) => flat(blocks(text));
const flat = (tokens) => tokens.map((one) => (typeof one === 'string' ? one : one.kind === 'quote' || one.kind === 'pre' ? `${flat(one.tokens)}\n` : flat(one.tokens))).join('');

/** The nodes of a text, with matches of `sought` (folded) marked. */
export const rich = (text, sought) => nodes(blocks(text), sought);

const nodes = (tokens, sought) => tokens.map((one) => {
	if (typeof one === 'string') return marked(one, sought);
	const inner = nodes(one.tokens, sought);
	if (one.kind === 'a') return h('a', {href: one.href, title: one.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr'}, inner);
	if (one.kind === 'pre') return h('pre', {dir: 'ltr', tabindex: 0}, h('code', inner));
	return h(one.kind === 'quote' ? 'blockquote' : one.kind, one.kind === 'quote' && {dir: 'auto'}, inner);
});

/** Calls found(match) for each match, and between(text) for what is between them. Returns all their tokens. */
function split(text, pattern, between, found) {
	const tokens = [];
	let from = 0;
	for (const match of text.matchAll(pattern)) {
		const token = found(match);
		if (!token) continue;
		tokens.push(...between(text.slice(from, match.index)), token);
		from = match.index + match[0].length;
	}
	return [...tokens, ...between(text.slice(from))];
}

/** Tokens are texts and {kind, tokens, href}. */
function blocks(text) {
	if (!/[`*_~>:@.]/.test(text)) return [text];
	const lines = (part) => split(part, QUOTE, inline, ([quote]) => ({kind: 'quote', tokens: inline(quote.replace(/^> /gm, '').replace(/\n$/, ''))}));
	const around = (part) => lines(part.replace(/^\n/, ''));
	let first = true;
	return split(text, FENCE, (part) => {
		const tokens = (first ? lines : around)(part);
		first = false;
		return tokens;
	}, ([, code]) => code.trim() && {kind: 'pre', tokens: [code]});
}

function inline(text) {
	if (!text) return [];
	const atoms = []; // {index, end, token} of code and links
	const mask = (from, pattern, token) => split(from, pattern, (part) => [part], (match) => {
		const one = token(match);
		if (!one) return null;
		const end = match.index + one.tokens[0].length + (one.kind === 'code' && 2);
		atoms.push({index: match.index, end, token: one});
		return ATOM.repeat(end - match.index) + from.slice(end, match.index + match[0].length);
	}).join('');
	const masked = mask(mask(text, CODE, ([, code]) => code.trim() && {kind: 'code', tokens: [code]}), LINK, (match) => linkOf(match, text));
	atoms.sort((a, b) => a.index - b.index);
	let next = 0;
	return emphasized(0, text.length, DEPTH);

	function emphasized(from, to, depth) {
		const part = masked.slice(from, to);
		if (!depth || !/[*_~]/.test(part)) return pieces(from, to);
		const tokens = [];
		let done = from;
		for (const {index, groups: {mark, low, words}} of part.matchAll(EMPHASIS)) {
			const sign = mark ?? low;
			const start = from + index;
			const inside = start + sign.length;
			tokens.push(...pieces(done, start), {kind: KINDS[sign], tokens: emphasized(inside, inside + words.length, depth - 1)});
			done = inside + words.length + sign.length;
		}
		return [...tokens, ...pieces(done, to)];
	}

	/** Text and atoms. Called from left to right. */
	function pieces(from, to) {
		const tokens = [];
		for (; atoms[next]?.index < to; next++) {
			const {index, end, token} = atoms[next];
			tokens.push(text.slice(from, index), token);
			from = end;
		}
		return [...tokens, text.slice(from, to)].filter((one) => one !== '');
	}
}

/** The token of a link, or null. */
function linkOf({0: match, index, groups: {scheme, mail}}, text) {
	const before = text[index - 1] ?? '';
	let shown = match;
	// "看https://example.com/看" is glued to its sentence: the path ends where the sentence goes on.
	if (DENSE_TEXT.test(before)) {
		const path = shown.slice(scheme?.length ?? 0).search(/[/?#]/) + (scheme?.length ?? 0);
		const dense = shown.slice(path).search(DENSE_TEXT);
		if (path >= (scheme?.length ?? 0) && dense >= 0) shown = shown.slice(0, path + dense);
	}
	for (;;) {
		const last = shown.at(-1);
		const loose = PAIRS[last] ? shown.split(last).length > shown.split(PAIRS[last]).length : /[.,;:!?|]/.test(last) || ('*_~'.includes(last) && last === before);
		if (!loose) break;
		shown = shown.slice(0, -1);
	}
	const href = mail ? `mailto:${shown}` : scheme ? shown : `https:\/\/${shown}`;
	const url = URL.canParse(href) && new URL(href);
	// "https://bank.com@evil.org" looks like another site.
	const account = !mail && /^[^\s/?#]*@/.test(text.slice(index + shown.length)) && !/[/?#]/.test(shown.slice(scheme?.length ?? 0));
	if (!url || url.username || url.password || account || shown === scheme) return null;
	return {kind: 'a', href: url.href, tokens: [shown]};
}

function marked(text, sought) {
	if (!sought || !folded(text).includes(sought)) return text;
	let all = '';
	const starts = []; // of the characters that the folded ones come from
	let at = 0;
	for (const letter of text) {
		for (const _ of folded(letter)) starts.push(...Array(_.length).fill(at));
		all += folded(letter);
		at += letter.length;
	}
	const found = [];
	let from = 0;
	for (let hit, next = 0; (hit = all.indexOf(sought, next)) >= 0; next = hit + sought.length) {
		const last = starts[hit + sought.length - 1];
		const end = last + String.fromCodePoint(text.codePointAt(last)).length;
		if (end <= from) continue;
		const start = Math.max(from, starts[hit]);
		found.push(text.slice(from, start), h('mark', text.slice(start, end)));
		from = end;
	}
	return [found, text.slice(from)];
}
