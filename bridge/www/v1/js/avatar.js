// The profile picture, or initials on a color that depends on the id.

import {h} from './dom.js';

const KINDS = {'/9j/': 'jpeg', iVBO: 'png', R0lG: 'gif', UklG: 'webp'};

/** The URL of a bitmap, else ''. A picture is base64, perhaps after "img/base64:", or has a path. */
function pictureURL(picture) {
	if (/^\/im\/pictures\/[\da-f/]+$/.test(picture)) return picture;
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

/** Decorative. more: further classes. */
export function avatar({id, name, picture, online}, more = '') {
	const letters = () => h('span', initials(name));
	const src = pictureURL(picture);
	const shown = src ? h('img', {src, alt: '', draggable: 'false', onerror: () => shown.replaceWith(letters())}) : letters();
	const circle = h(`span.avatar${more}`, {'aria-hidden': 'true'}, shown, online && h('i.dot'));
	circle.style.setProperty('--hue', [...(id || name)].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 0) % 360);
	return circle;
}
