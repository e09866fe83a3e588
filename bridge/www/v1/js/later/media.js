// Draws the files of dialogues: pictures, recordings, videos, and cards of all others.

import {viewPictures} from '../dialogs.js';
import {button, fill, h, icon} from '../dom.js';
import {kindOf, minutes, sizeOf} from '../files.js';
import {load} from '../load.js';
import {Refused} from '../protocol.js';
import {explain, t} from '../words.js';

const MARGIN = 300; // pixels around the visible part that are loaded, too
const LARGEST = [22, 24]; // rem: width and height of a picture
const SPEEDS = [1, 1.5, 2];

let playing = null; // the only recording that plays

export function save(blob, name) {
	const url = URL.createObjectURL(blob);
	const link = h('a', {href: url, download: name});
	document.body.append(link);
	link.click();
	link.remove();
	setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still read it
}

/** Returns a function that draws the file of a dialogue. It reuses elements, so that what plays goes on. */
export function drawer({store, session}, friend, {scroller, signal}) {
	const made = new Map(); // key of a dialogue → {element, draw, appear, vanish}
	const of = new WeakMap(); // element → the same
	const observer = new IntersectionObserver((entries) => {
		for (const {target, isIntersecting} of entries) {
			const one = of.get(target);
			if (isIntersecting) one.appear?.();
			else one.vanish?.();
			if (!target.isConnected && !one.playing?.()) forget(one);
		}
	}, {root: scroller, rootMargin: `${MARGIN}px`});
	signal.addEventListener('abort', () => {
		observer.disconnect();
		for (const one of made.values()) one.end?.();
		made.clear();
	});

	function forget(one) {
		observer.unobserve(one.element);
		one.end?.();
		if (made.get(one.key) === one) made.delete(one.key);
	}

	const bytes = async (dialogue, stop, onPart) => dialogue.blob
		?? session.as(async (auth) => (await load('upload')).download(auth, dialogue.file, stop, onPart));
	const tools = {bytes, view: (dialogue) => viewPictures({store, session}, friend, dialogue, bytes)};

	return (key, dialogue) => {
		const kind = kindOf(dialogue.file);
		let one = made.get(key);
		if (one?.kind !== kind) {
			one = {key, kind, ...KINDS[kind](dialogue, tools)};
			one.status = h('.sending');
			one.element.append(one.status);
			made.set(key, one);
			of.set(one.element, one);
			observer.observe(one.element);
		}
		one.dialogue = Object.assign(one.dialogue, {file: dialogue.file, blob: dialogue.blob, text: dialogue.text, n: dialogue.n});
		drawStatus(one.status, dialogue, session);
		return one.element;
	};
}

/** The progress of an upload, and the button that ends it. */
function drawStatus(box, dialogue, session) {
	const {id, state, part = 0, file, mine, n} = dialogue;
	const waits = mine && !n && (state === 'queued' || state === 'sending');
	const failed = mine && !n && (state === 'failed' || state === 'offline');
	box.hidden = !waits && !failed;
	box.parentElement.classList.toggle('settled', box.hidden);
	fill(box, waits && !file.id && h('progress', {max: 1, value: part, label: 'uploading', 'data-upload': id}),
		(failed || !file.id) && !box.hidden && button(failed ? 'removeFile' : 'cancelUpload', () => session.cancel(dialogue), '.plain'));
}

/** Why a file cannot be shown. Errors that are not of a call come from the decoder. */
const why = (error) => (error instanceof Refused ? explain(error) : t('fileBroken'));

/** Reserves the room of a picture or video before it is there. */
function reserve(frame, {width, height}) {
	const [w, hi] = width && height ? [width, height] : [4, 3];
	const scale = Math.min(LARGEST[0] / w, LARGEST[1] / hi, width && height ? 1 / 16 : Infinity);
	Object.assign(frame.style, {inlineSize: `max(6rem, ${w * scale}rem)`, aspectRatio: `${Math.min(5, Math.max(0.3, w / hi))}`});
}

function picture(source, {bytes, view}) {
	const dialogue = {...source};
	const frame = h('button.frame', {label: 'openPicture', onclick: () => (url ? view(dialogue) : appear())});
	const element = h('.media.picture-file', frame);
	let stop = null;
	let url = '';
	reserve(frame, dialogue.file);

	async function appear() {
		if (stop || url) return;
		stop = new AbortController();
		const {signal} = stop;
		try {
			const blob = await bytes(dialogue, signal);
			if (signal.aborted) return;
			url = URL.createObjectURL(blob);
			const image = h('img', {src: url, alt: '', draggable: 'false'});
			await image.decode();
			if (!signal.aborted) frame.replaceChildren(image);
		} catch (error) {
			if (signal.aborted) return;
			vanish();
			frame.replaceChildren(h('span.fault', icon('fail'), why(error)));
		}
	}
	function vanish() {
		stop?.abort();
		stop = null;
		frame.replaceChildren();
		if (url) URL.revokeObjectURL(url);
		url = '';
	}
	return {element, dialogue, appear, vanish, end: vanish};
}

function video(source, {bytes}) {
	const dialogue = {...source};
	const {file} = dialogue;
	const stop = new AbortController();
	const label = h('span.label', file.seconds ? `${minutes(file.seconds)} · ${sizeOf(file.size)}` : sizeOf(file.size));
	const start = h('button.frame.dark', {label: 'playVideo', onclick: play}, h('span.round', icon('play')), label);
	const element = h('.media', start);
	let url = '';
	let shown = null;
	reserve(start, file);

	async function play() {
		start.disabled = true;
		const bar = h('progress', {max: 1, value: 0, label: 'loading'});
		label.replaceChildren(bar);
		try {
			const blob = await bytes(dialogue, stop.signal, (part) => { bar.value = part; });
			if (stop.signal.aborted) return;
			url = URL.createObjectURL(blob);
			shown = h('video', {src: url, controls: true, playsinline: true, autoplay: true});
			shown.onerror = () => {
				shown.replaceWith(start);
				label.textContent = t('fileBroken');
			};
			shown.style.cssText = start.style.cssText;
			start.replaceWith(shown);
			shown.focus();
		} catch (error) {
			label.textContent = why(error);
		}
		start.disabled = false;
	}
	function end() {
		stop.abort();
		if (url) URL.revokeObjectURL(url);
	}
	// Videos can be saved as files, since a browser may not play them.
	const more = saver(dialogue, {bytes});
	element.append(more);
	return {element, dialogue, end, playing: () => Boolean(shown && !shown.paused)};
}

function audio(source, {bytes}) {
	const dialogue = {...source};
	const {file} = dialogue;
	const stop = new AbortController();
	const known = file.seconds ?? 0;
	const sound = new Audio();
	const toggle = h('button.iconic.round', {onclick: press});
	const bar = h('input', {type: 'range', min: 0, max: known || 1, step: 0.01, value: 0, label: 'position', oninput: seek});
	const time = h('span.time', known ? minutes(known) : '');
	const speed = h('button.plain.speed', {label: 'speed', onclick: faster}, '1×');
	const trouble = h('p.fault', {role: 'alert'});
	const element = h('.media.audio', toggle, h('span.words', kindOf(file) === 'voice' ? h('span.hidden', t('voiceMessage')) : h('b', {dir: 'auto'}, file.name), bar), time, speed, trouble);
	let url = '';
	let at = 0; // index of SPEEDS

	const length = () => (Number.isFinite(sound.duration) ? sound.duration : known);
	const isOn = () => Boolean(url) && !sound.paused;

	function draw() {
		const label = t(isOn() ? 'pause' : 'play');
		toggle.setAttribute('aria-label', label);
		toggle.title = label;
		toggle.replaceChildren(icon(isOn() ? 'pause' : 'play'));
		if (length()) bar.max = length();
		bar.value = sound.currentTime;
		bar.setAttribute('aria-valuetext', minutes(sound.currentTime));
		time.textContent = minutes(sound.currentTime || isOn() ? sound.currentTime : Math.round(length()));
	}

	async function press() {
		if (isOn()) return sound.pause();
		trouble.textContent = '';
		try {
			if (!url) {
				toggle.disabled = true;
				const blob = await bytes(dialogue, stop.signal);
				if (stop.signal.aborted) return;
				url = URL.createObjectURL(blob);
				sound.src = url;
				sound.playbackRate = SPEEDS[at];
			}
			if (playing !== sound) playing?.pause();
			playing = sound;
			await sound.play();
		} catch (error) {
			if (!stop.signal.aborted) trouble.textContent = why(error);
		} finally {
			toggle.disabled = false;
			draw();
		}
	}
	function seek() {
		sound.currentTime = Number(bar.value);
		draw();
	}
	function faster() {
		at = (at + 1) % SPEEDS.length;
		sound.playbackRate = SPEEDS[at];
		speed.textContent = `${SPEEDS[at]}×`;
		speed.setAttribute('aria-label', `${t('speed')} ${SPEEDS[at]}×`);
	}
	sound.addEventListener('ended', () => { sound.currentTime = 0; });
	for (const kind of ['timeupdate', 'play', 'pause', 'ended', 'durationchange']) sound.addEventListener(kind, draw);
	draw();
	function end() {
		stop.abort();
		sound.pause();
		sound.removeAttribute('src');
		if (url) URL.revokeObjectURL(url);
		url = '';
	}
	return {element, dialogue, end, playing: isOn};
}

/** A button that saves a file. */
function saver(dialogue, {bytes}) {
	const {file} = dialogue;
	const note = h('small', sizeOf(file.size));
	const card = h('button.card', {title: t('saveFile'), onclick: press}, h('span.kind', icon('file')),
		h('span.words', h('b', {dir: 'auto'}, file.name), note), icon('download'), h('span.hidden', t('saveFile')));
	async function press() {
		card.disabled = true;
		try {
			const bar = h('progress', {max: 1, value: 0, label: 'loading'});
			note.replaceChildren(bar);
			save(await bytes(dialogue, undefined, (part) => { bar.value = part; }), file.name);
			note.textContent = sizeOf(file.size);
		} catch (error) {
			note.textContent = explain(error);
		}
		card.disabled = false;
	}
	return card;
}

function card(source, tools) {
	const dialogue = {...source};
	return {element: h('.media', saver(dialogue, tools)), dialogue};
}

const playable = (make, tag) => (source, tools) => (document.createElement(tag).canPlayType(source.file.type) ? make : card)(source, tools);

const KINDS = {picture, video: playable(video, 'video'), audio: playable(audio, 'audio'), voice: playable(audio, 'audio'), file: card};
