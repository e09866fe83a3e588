// Files of dialogues: what kind they are, and how texts name them.

import {t} from './words.js';

const PICTURE = /^image\/(png|jpeg|webp|gif|avif)$/;
const REMEMBERED = 20;

/** picture, voice, audio, video or file. A recording has its length in seconds. */
export function kindOf({type = '', seconds}) {
	if (PICTURE.test(type)) return 'picture';
	if (type.startsWith('audio/')) return seconds ? 'voice' : 'audio';
	return type.startsWith('video/') ? 'video' : 'file';
}

export function sizeOf(bytes) {
	const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];
	const step = Math.min(units.length - 1, Math.floor(Math.log10(bytes || 1) / 3));
	return new Intl.NumberFormat(document.documentElement.lang, {style: 'unit', unit: units[step], maximumFractionDigits: step > 1 ? 1 : 0}).format(bytes / 1000 ** step);
}

export const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

/** The payload of a dialogue with a file. Its last line is for clients that cannot show files. */
export const payloadOf = (caption, {name, size}) => `${caption ? `${caption}\n` : ''}${name}, ${sizeOf(size)}`;

/** What the sender wrote: the text without the line that names the file. */
export function captionOf({text, file}) {
	const last = text.slice(text.lastIndexOf('\n') + 1);
	return file && (last === file.name || last.startsWith(`${file.name}, `)) ? text.slice(0, -last.length).trimEnd() : text;
}

/** A dialogue in lists and notifications. */
export function summary(dialogue) {
	const {text, file, deleted} = dialogue;
	if (!file || deleted) return text;
	const names = {picture: t('picture'), voice: t('voiceMessage'), video: t('video')};
	return [names[kindOf(file)] ?? file.name, captionOf(dialogue)].filter(Boolean).join(': ');
}

/** The bytes of files that this page sent lately, by the id of the file, so that it need not load them. */
export const sent = new Map();

export function remember(id, blob) {
	sent.set(id, blob);
	if (sent.size > REMEMBERED) sent.delete(sent.keys().next().value);
}
