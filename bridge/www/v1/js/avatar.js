// What tells people apart: the profile picture, or initials on a color that depends on the id, and a tag with the
// beginning of the id beside a name that several people have.

import {h} from './dom.js';
import {at} from './protocol.js';
import {folded} from './text.js';
import {t} from './words.js';

const KINDS = {'/9j/': 'jpeg', iVBO: 'png', R0lG: 'gif', UklG: 'webp'};

/** The URL of a bitmap, else ''. A picture is base64, perhaps after "img/base64:", or has a path. */
function pictureURL(picture) {
	if (/^\/im\/pictures\/[\da-f/]+$/.test(picture)) return at(picture);
	const base64 = String(picture ?? '').replace(/^[\w\-/;]*:?[\w\-/+;]*[,:]/, '');
	const kind = KINDS[base64.slice(0, 4)];
	return kind && /^[\w+/]+=*$/.test(base64) ? `data:image/${kind};base64,${base64}` : '';
}

const segments = new Intl.Segmenter();

function initials(name) {
	// Stacked combining marks would leave the circle.
	const words = name.normalize('NFC').replace(/\p{M}+/gu, '').split(/[^\p{L}\p{N}\p{Extended_Pictographic}\u200d]+/u).filter(Boolean);
	const [first = '•'] = words;
	const picked = words.length > 1 ? [first, words.at(-1)] : [first];
	return picked.map((word) => [...segments.segment(word)][0].segment).join('').toUpperCase();
}

const hueOf = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 0) % 360;
const tags = new Map(); // id → text of the tag

/** Takes over the people that the page shows. Returns whether a tag has changed. */
export function distinguish(people) {
	const before = [...tags].join();
	const names = Map.groupBy(new Map(people.map((person) => [person.id, person])).values(), ({name}) => folded(name));
	tags.clear();
	for (const same of names.values()) {
		const ids = same.map(({id}) => id);
		let length = 4;
		while (length < 32 && new Set(ids.map((id) => id.slice(0, length))).size < ids.length) length += 2;
		if (ids.length > 1) for (const id of ids) tags.set(id, id.slice(0, length));
	}
	return before !== [...tags].join();
}

/** The tag of a person, or null where the name tells who it is. */
export function tag({id}) {
	if (!tags.has(id)) return null;
	const element = h('span.idtag', {title: t('tagHelp')}, h('span.hidden', t('userTag')), tags.get(id));
	element.style.setProperty('--hue', hueOf(id));
	return element;
}

/** Decorative. more: further classes. */
export function avatar({id, name, picture, online}, more = '') {
	const letters = () => h('span', initials(name));
	const src = pictureURL(picture);
	const shown = src ? h('img', {src, alt: '', draggable: 'false', onerror: () => shown.replaceWith(letters())}) : letters();
	const circle = h(`span.avatar${more}`, {'aria-hidden': 'true'}, shown, online && h('i.dot'));
	circle.style.setProperty('--hue', hueOf(id || name));
	return circle;
}
