// Voice messages. A tap starts a recording that a button sends. A longer press records until it ends.

import {h, icon, iconButton} from '../dom.js';
import {minutes} from '../files.js';
import {t} from '../words.js';

const TYPES = ['audio/webm;codecs=opus', 'audio/ogg;codecs=opus', 'audio/mp4'];
const EXTENSIONS = {'audio/webm': 'webm', 'audio/ogg': 'ogg', 'audio/mp4': 'm4a'};
const BITS = 32_000; // a second, enough for speech
const HELD = 500; // milliseconds of a press that is no tap
const AWAY = 80; // pixels from the button, where a release cancels
const SHORTEST = 0.3;

const whyNot = ({name}) => t({NotAllowedError: 'micRefused', SecurityError: 'micRefused', NotFoundError: 'micMissing'}[name] ?? 'micBroken');

/** Adds a microphone to a composer. done({blob, file}) takes the recording. */
export function voice({composer, send, signal, max, mayAdd, refuse, done}) {
	const type = TYPES.find((one) => globalThis.MediaRecorder?.isTypeSupported(one));
	if (!type || !navigator.mediaDevices || signal.aborted) return; // such as without https
	let recording = null; // {stop(send)}
	let pressed = 0; // when
	let wanted = true; // the press has not been cancelled while the browser asks

	const time = h('span.time', {role: 'timer'}, minutes(0));
	const finish = h('button.send', {label: 'sendVoice', onclick: () => recording?.stop(true)}, icon('send'));
	const bar = h('.recording', {hidden: true, role: 'group', label: 'recording'},
		iconButton('close', 'cancelVoice', () => recording?.stop(false)), h('span.live'), time, h('span.hint', t('recordingHelp')), finish);
	const mic = iconButton('mic', 'recordVoice', null, '.mic');
	send.before(mic);
	composer.append(bar);

	async function start() {
		if (recording || !mayAdd()) return;
		refuse('');
		wanted = true;
		recording = {stop: () => { wanted = false; }};
		let stream;
		try {
			stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: true, noiseSuppression: true}});
			if (wanted && !signal.aborted) return record(stream);
		} catch (error) {
			if (!signal.aborted) refuse(whyNot(error));
		}
		stream?.getTracks().forEach((track) => track.stop());
		recording = null;
	}

	function record(stream) {
		const recorder = new MediaRecorder(stream, {mimeType: type, audioBitsPerSecond: BITS});
		const parts = [];
		const began = performance.now();
		let size = 0;
		let sends = false;
		const length = () => (performance.now() - began) / 1000;
		const clock = setInterval(() => { time.textContent = minutes(length()); }, 250);
		let seconds = 0;
		function stop(yes) {
			if (recorder.state === 'inactive') return;
			sends = yes;
			seconds = length();
			recorder.stop();
		}
		recorder.ondataavailable = ({data}) => {
			parts.push(data);
			size += data.size;
			if (size + BITS / 4 > max) stop(true); // the last part must fit, too
		};
		recorder.onstop = () => {
			clearInterval(clock);
			stream.getTracks().forEach((track) => track.stop());
			recording = null;
			const [plain] = type.split(';');
			const blob = new Blob(parts, {type: plain});
			if (sends && seconds >= SHORTEST && blob.size && !signal.aborted) {
				done({blob, file: {name: `voice.${EXTENSIONS[plain]}`, type: plain, size: blob.size, seconds: Math.max(1, Math.round(seconds))}});
			}
			show(false);
		};
		stream.getTracks().forEach((track) => { track.onended = () => stop(true); }); // unplugged
		recording = {stop};
		time.textContent = minutes(0);
		recorder.start(1000);
		show(true);
	}

	function show(yes) {
		const had = bar.contains(document.activeElement);
		bar.hidden = !yes;
		composer.classList.toggle('records', yes);
		if (yes && !pressed) finish.focus();
		else if (had) mic.focus();
	}

	/** Ends a press. A click after it does nothing. */
	function release({clientX, clientY}) {
		const held = pressed && performance.now() - pressed > HELD;
		pressed = 0;
		if (!held && !bar.hidden) finish.focus();
		if (!held) return;
		const {left, right, top, bottom} = (bar.hidden ? mic : finish).getBoundingClientRect();
		const off = Math.hypot(Math.max(left - clientX, clientX - right, 0), Math.max(top - clientY, clientY - bottom, 0));
		recording?.stop(off < AWAY);
	}
	mic.addEventListener('pointerdown', ({button}) => {
		if (button) return;
		pressed = performance.now();
		for (const kind of ['pointerup', 'pointercancel']) addEventListener(kind, release, {once: true, signal});
		start();
	}, {signal});
	mic.addEventListener('click', ({detail}) => { if (!detail) start(); }, {signal}); // by keyboard
	composer.addEventListener('keydown', (event) => {
		if (event.key !== 'Escape' || !recording) return;
		event.preventDefault();
		event.stopPropagation();
		recording.stop(false);
	}, {signal});
	signal.addEventListener('abort', () => recording?.stop(false));
}
