// The WebSocket to the server: logs in, hands frames on, comes back after a loss.

import { Code, loginURL } from './protocol.js';

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
const LOGIN_LIMIT = 20_000;
// A timer that comes this late means that the machine slept, and the socket with it.
const TICK = 5000;
const SLEPT = 30_000;

/** The pause before attempt n (from 0): doubled each time, with a spread so that a server's return isn't a stampede. */
export function pauseBefore(attempt, random = Math.random()) {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt) * (0.7 + 0.6 * random);
}

/**
 * Options: credentials() gives the login's fields for each attempt; onOpen(answer), onFrame(frame),
 * onRefused(code) for a login that was refused, onState(state, until): 'connecting', 'on', 'waiting', 'off',
 * onDown() when a tunnel that was up is gone.
 */
export class Tunnel {
  #options;
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #wanted = false;
  #up = false;
  #stop;

  constructor(options) {
    this.#options = options;
    let last = Date.now();
    const tick = setInterval(() => {
      const now = Date.now();
      if (now - last > SLEPT) this.again();
      last = now;
    }, TICK);
    const soon = () => { if (!this.#up) this.again(); };
    const visible = () => { if (!document.hidden) soon(); };
    addEventListener('online', soon);
    addEventListener('pageshow', soon);
    document.addEventListener('visibilitychange', visible);
    this.#stop = () => {
      clearInterval(tick);
      removeEventListener('online', soon);
      removeEventListener('pageshow', soon);
      document.removeEventListener('visibilitychange', visible);
    };
  }

  get up() { return this.#up; }

  open() {
    this.#wanted = true;
    this.#attempt = 0;
    this.#connect();
  }

  /** Connects anew at once, when a connection is wanted at all. */
  again() {
    if (!this.#wanted) return;
    this.#attempt = 0;
    this.#connect();
  }

  close() {
    this.#wanted = false;
    this.#drop();
    this.#stop();
    this.#options.onState('off');
  }

  /** False when there is no tunnel to send by. */
  send(text) {
    if (!this.#up || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    if (this.#up) {
      this.#up = false;
      this.#options.onDown();
    }
  }

  #connect() {
    this.#drop();
    this.#options.onState('connecting');
    const socket = new WebSocket(loginURL(this.#options.credentials()));
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(socket), LOGIN_LIMIT);
    socket.onmessage = (event) => { if (this.#socket === socket) this.#receive(event.data); };
    socket.onclose = () => this.#lost(socket);
  }

  #receive(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame === null || typeof frame !== 'object') return;
    if (this.#up) {
      this.#options.onFrame(frame);
    } else if (frame.code === Code.success && frame.profile) {
      clearTimeout(this.#timer);
      this.#attempt = 0;
      this.#up = true;
      this.#options.onState('on');
      this.#options.onOpen(frame);
    } else if (frame.code === Code.internal) {
      this.#lost(this.#socket); // the server's own trouble passes
    } else {
      this.#wanted = false;
      this.#drop();
      this.#options.onState('off');
      this.#options.onRefused(frame.code);
    }
  }

  #lost(socket) {
    if (this.#socket !== socket) return;
    this.#drop();
    if (!this.#wanted) return;
    const pause = pauseBefore(this.#attempt++);
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#options.onState('waiting', Date.now() + pause);
  }
}
