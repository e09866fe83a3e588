// A payload as nodes: text stays text, links are made only of what is surely one.

import { h } from './dom.js';

// No quotes, brackets, white space, or characters that reorder text.
const LINK = /\bhttps?:\/\/[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gi;
const TRAILING = /[.,;:!?)\]}…，。；：！？）】」]+$/u;
const EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\s])+$/u;
const PICTURE = /\p{Extended_Pictographic}|\p{Regional_Indicator}/u;

/** Few emoji and nothing else: they are shown large. */
export const isEmoji = (text) => text.length <= 24 && EMOJI.test(text) && PICTURE.test(text);

function safeLink(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  // A user name before the host makes "https://bank.com@evil.org" look like what it isn't.
  if (url.username || url.password) return null;
  return url;
}

function trimmed(link) {
  const end = link.match(TRAILING)?.[0] ?? '';
  let text = link.slice(0, link.length - end.length);
  // A bracket that the link itself opened belongs to it.
  if (end.startsWith(')') && text.includes('(') && !text.includes(')')) text += ')';
  return text;
}

/** Nodes for a text; every occurrence of `sought` (lower case) is marked. */
export function rich(text, sought = '') {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const shown = trimmed(match[0]);
    const url = safeLink(shown);
    if (!url) continue;
    nodes.push(...marked(text.slice(from, match.index), sought));
    nodes.push(h('a', { href: url.href, title: url.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr' }, marked(shown, sought)));
    from = match.index + shown.length;
  }
  nodes.push(...marked(text.slice(from), sought));
  return nodes;
}

/** Lower case, as long as the text itself: positions in one hold in the other. */
export function folded(text) {
  const lower = text.toLowerCase();
  return lower.length === text.length ? lower : text;
}

function marked(text, sought) {
  if (!sought) return text ? [text] : [];
  const nodes = [];
  const haystack = folded(text);
  let from = 0;
  for (let at = haystack.indexOf(sought); at >= 0; at = haystack.indexOf(sought, from)) {
    nodes.push(text.slice(from, at), h('mark', null, text.slice(at, at + sought.length)));
    from = at + sought.length;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== '');
}

/** One line for a list. */
export const oneLine = (text) => text.slice(0, 200).replace(/\s+/g, ' ').trim();
