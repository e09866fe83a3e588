// News for somebody who looks elsewhere: the title, notifications, a sound. What is wanted is kept in this browser.

import { oneLine } from './text.js';

const KEY = 'imctl.settings';
const NAME = document.title;

export class Notifier {
  #store;
  #audio = null;

  constructor(store) {
    this.#store = store;
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch { /* the defaults will do */ }
    this.settings = { notify: Boolean(kept.notify), sound: Boolean(kept.sound) };
  }

  get possible() { return 'Notification' in globalThis; }

  get allowed() { return this.possible && Notification.permission === 'granted'; }

  /** Switches one on or off; notifications need the browser's permission. Tells what it is now. */
  async set(name, wanted) {
    let value = wanted;
    if (name === 'notify' && wanted) value = this.possible && await Notification.requestPermission() === 'granted';
    this.settings[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.settings));
    } catch { /* for this page's life then */ }
    if (name === 'sound' && value) this.#beep();
    return value;
  }

  update() {
    const n = this.#store.unread + this.#store.requests.size;
    document.title = n ? `(${n}) ${NAME}` : NAME;
    if (n) navigator.setAppBadge?.(n).catch(() => {});
    else navigator.clearAppBadge?.().catch(() => {});
  }

  dialogue(dialogue, name, onClick) {
    this.update();
    this.tell(name, oneLine(dialogue.text), onClick, dialogue.friend);
  }

  tell(title, body, onClick, tag) {
    if (this.settings.sound) this.#beep();
    if (!this.settings.notify || !this.allowed || (!document.hidden && document.hasFocus())) return;
    try {
      const notification = new Notification(title, { body, tag, icon: 'icon-180.png' });
      notification.onclick = () => {
        focus();
        onClick();
        notification.close();
      };
    } catch { /* some phones only let a service worker do this: the title has to do */ }
  }

  /** Two soft notes. */
  #beep() {
    try {
      this.#audio ??= new AudioContext();
      const now = this.#audio.currentTime;
      [[660, 0], [880, 0.11]].forEach(([pitch, after]) => {
        const tone = this.#audio.createOscillator();
        const volume = this.#audio.createGain();
        tone.frequency.value = pitch;
        volume.gain.setValueAtTime(0.12, now + after);
        volume.gain.exponentialRampToValueAtTime(0.001, now + after + 0.25);
        tone.connect(volume).connect(this.#audio.destination);
        tone.start(now + after);
        tone.stop(now + after + 0.25);
      });
    } catch { /* silence */ }
  }
}
