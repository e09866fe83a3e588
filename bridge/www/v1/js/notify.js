// News for somebody who looks elsewhere: title, notifications, sound. What is wanted is kept in this browser.

import {oneLine} from './text.js';

const KEY = 'imctl.settings';
const NAME = document.title;

export class Notifier {
	settings = {notify: false, sound: false};
	#store;
	#audio;

	constructor(store) {
		this.#store = store;
		try {
			Object.assign(this.settings, JSON.parse(localStorage.getItem(KEY)));
		} catch { /* the defaults will do */ }
	}

	/** Switches one on or off; notifications need the browser's permission. Resolves to what it is now. */
	async set(name, wanted) {
		this.settings[name] = wanted && (name !== 'notify' || await globalThis.Notification?.requestPermission() === 'granted');
		try {
			localStorage.setItem(KEY, JSON.stringify(this.settings));
		} catch { /* for this page's life then */ }
		if (name === 'sound' && wanted) this.#beep();
		return this.settings[name];
	}

	update() {
		const n = this.#store.unread + this.#store.requests.size;
		document.title = n ? `(${n}) ${NAME}` : NAME;
		navigator.setAppBadge?.(n).catch(() => {});
	}

	/** Tells in a window of the system, when nobody looks here; a later one with the same tag takes its place. */
	tell(title, body, hash) {
		if (this.settings.sound) this.#beep();
		if (!this.settings.notify || (!document.hidden && document.hasFocus())) return;
		try {
			const note = new Notification(title, {body: oneLine(body ?? ''), tag: hash, icon: 'icon.png'});
			note.onclick = () => {
				focus();
				location.hash = hash;
				note.close();
			};
		} catch { /* some phones let only a service worker do this: the title has to do */ }
	}

	/** Two soft notes. */
	#beep() {
		this.#audio ??= new AudioContext();
		[660, 880].forEach((pitch, i) => {
			const at = this.#audio.currentTime + i / 9;
			const tone = new OscillatorNode(this.#audio, {frequency: pitch});
			const volume = new GainNode(this.#audio, {gain: 0.1});
			volume.gain.setTargetAtTime(0, at + 0.05, 0.06);
			tone.connect(volume).connect(this.#audio.destination);
			tone.start(at);
			tone.stop(at + 0.4);
		});
	}
}
