// A person's picture, or initials on a colour of its own.

import { h } from './dom.js';

const KINDS = [['/9j/', 'jpeg'], ['iVBORw0KGgo', 'png'], ['R0lGOD', 'gif'], ['UklGR', 'webp']];

/**
 * A picture as the protocol carries it (base64, alone or behind a prefix such as "img/base64:" or "data:image/png;base64,") as an address
 * that an image may have; '' for anything that is not surely a bitmap. Nothing is ever loaded from elsewhere.
 */
export function pictureURL(picture) {
  if (typeof picture !== 'string') return '';
  const base64 = picture.slice(picture.search(/[:,][^:,]*$/) + 1).trim();
  const kind = KINDS.find(([start]) => base64.startsWith(start));
  if (!kind || !/^[A-Za-z0-9+/]+=*$/.test(base64)) return '';
  return `data:image/${kind[1]};base64,${base64}`;
}

const COLOURS = 8;

function hash(text) {
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) | 0;
  return Math.abs(sum);
}

const segments = new Intl.Segmenter();
const firstOf = (word) => segments.segment(word)[Symbol.iterator]().next().value?.segment ?? '';

function initials(name) {
  // Letters with a heap of marks on them would climb out of the circle: one character of each is enough.
  const words = name.normalize('NFC').replace(/[^\p{L}\p{N}\p{Extended_Pictographic}]+/gu, ' ').trim().split(' ').filter(Boolean);
  if (!words.length) return '•';
  const picked = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return picked.map(firstOf).join('').toUpperCase();
}

/** Size: '', 'small' or 'large'. online: true, false, or undefined where it says nothing. It is decoration: the name stands beside it. */
export function avatar({ id, name, picture }, { size = '', online } = {}) {
  const url = pictureURL(picture);
  const circle = h(`span.avatar.c${hash(id || name) % COLOURS}${size && `.${size}`}`, { 'aria-hidden': 'true' });
  const letters = () => circle.append(h('span', null, initials(name)));
  if (url) {
    const image = h('img', { src: url, alt: '', draggable: 'false', decoding: 'async' });
    image.addEventListener('error', () => { image.remove(); letters(); });
    circle.append(image);
  } else {
    letters();
  }
  if (online) circle.append(h('i.dot'));
  return circle;
}
