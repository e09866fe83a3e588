// Title, notifications and sound, for users whose attention is elsewhere.

import {oneLine} from './text.js';
import {go} from './where.js';

const KEY = 'imctl.settings';
const NAME = document.title;

export function newNotifier(store) {
	const settings = {notify: false, sound: false, receipts: true};
	const notes = new Map(); // id → notification on the screen
	let audio;
	try {
		Object.assign(settings, JSON.parse(localStorage.getItem(KEY)));
	} catch { /* use the defaults */ }

	store.discreet = !settings.receipts;

	function beep() {
		audio ??= new AudioContext();
		[660, 880].forEach((frequency, i) => {
			const at = audio.currentTime + i / 9;
			const tone = new OscillatorNode(audio, {frequency});
			const volume = new GainNode(audio, {gain: 0.1});
			volume.gain.setTargetAtTime(0, at + 0.05, 0.06);
			tone.connect(volume).connect(audio.destination);
			tone.start(at);
			tone.stop(at + 0.4);
		});
	}

	return {
		settings,
		async set(name, wanted) {
			settings[name] = wanted && (name !== 'notify' || await globalThis.Notification?.requestPermission() === 'granted');
			try {
				localStorage.setItem(KEY, JSON.stringify(settings));
			} catch { /* kept until the page closes */ }
			if (name === 'sound' && wanted) beep();
			store.discreet = !settings.receipts;
			return settings[name];
		},
		update() {
			const n = store.unread() + store.requests.size;
			document.title = n ? `(${n}) ${NAME}` : NAME;
			navigator.setAppBadge?.(n).catch(() => {});
			for (const [id, note] of notes) if (store.talks.get(id)?.unread === 0) note.close?.(); // read, perhaps on another device
		},
		tell(text, id) {
			if (settings.sound) beep();
			if (!settings.notify || (!document.hidden && document.hasFocus())) return;
			try {
				// A later one of the same conversation replaces it, and is heard again.
				const note = new Notification(NAME, {body: oneLine(text), tag: id, renotify: true, icon: 'icon.png'});
				notes.set(id, note);
				note.onclose = () => { if (notes.get(id) === note) notes.delete(id); };
				note.onclick = () => {
					focus();
					if (store.me) go(id);
					note.close();
				};
			} catch { /* some phones allow this only in a service worker */ }
		},
	};
}
