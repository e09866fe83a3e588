// News for somebody who looks elsewhere: title, notifications, sound.

import {oneLine} from './text.js';

const KEY = 'imctl.settings';
const NAME = document.title;

export function newNotifier(store) {
	const settings = {notify: false, sound: false};
	let audio;
	try {
		Object.assign(settings, JSON.parse(localStorage.getItem(KEY)));
	} catch { /* the defaults will do */ }

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
			} catch { /* for this page's life then */ }
			if (name === 'sound' && wanted) beep();
			return settings[name];
		},
		update() {
			const n = store.unread() + store.requests.size;
			document.title = n ? `(${n}) ${NAME}` : NAME;
			navigator.setAppBadge?.(n).catch(() => {});
		},
		tell(text, id) {
			if (settings.sound) beep();
			if (!settings.notify || (!document.hidden && document.hasFocus())) return;
			try {
				const note = new Notification(NAME, {body: oneLine(text), tag: id, icon: 'icon.png'});
				note.onclick = () => {
					focus();
					location.hash = id;
					note.close();
				};
			} catch { /* some phones let only a service worker do this: the title has to do */ }
		},
	};
}
