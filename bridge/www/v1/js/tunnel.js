// The WebSocket to the server: logs in, hands frames on, comes back after a loss.

import {Code, loginURL} from './protocol.js';

const LOGIN_LIMIT = 20_000;
// A clock that ticks this late means that the machine slept, and the socket with it.
const TICK = 5000;
const SLEPT = 30_000;

/** The pause before attempt n, from 0: doubled up to half a minute, and spread so that a server's return is no stampede. */
const pauseBefore = (n) => Math.min(30_000, 1000 * 2 ** n) * (0.7 + 0.6 * Math.random());

/**
 * Options: credentials() → the login's fields, asked at each attempt; onOpen(answer), onFrame(frame), onRefused(code) for a login that was
 * refused, onDown() when a tunnel that was up is gone, onState('connecting' | 'on' | 'waiting' | 'off', until).
 */
export class Tunnel {
	#options;
	#socket = null;
	#timer = 0;
	#attempt = 0;
	#wanted = false;
	#up = false;
	#listening = new AbortController();

	constructor(options) {
		this.#options = options;
		const {signal} = this.#listening;
		const soon = () => { if (!this.#up && !document.hidden) this.again(); };
		addEventListener('online', soon, {signal});
		document.addEventListener('visibilitychange', soon, {signal});
		let last = Date.now();
		const clock = setInterval(() => {
			if (Date.now() - last > SLEPT) this.again();
			last = Date.now();
		}, TICK);
		signal.addEventListener('abort', () => clearInterval(clock));
	}

	open() {
		this.#wanted = true;
		this.again();
	}

	/** Connects anew at once, when a connection is wanted at all. */
	again() {
		this.#attempt = 0;
		if (this.#wanted) this.#connect();
	}

	close() {
		this.#wanted = false;
		this.#listening.abort();
		this.#drop();
		this.#options.onState('off');
	}

	/** False when there is no tunnel to send by. */
	send(text) {
		const can = this.#up && this.#socket.readyState === WebSocket.OPEN;
		if (can) this.#socket.send(text);
		return can;
	}

	#drop() {
		clearTimeout(this.#timer);
		const socket = this.#socket;
		this.#socket = null;
		socket?.close();
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
		const lost = () => { if (this.#socket === socket) this.#lost(); };
		this.#timer = setTimeout(lost, LOGIN_LIMIT);
		socket.onclose = lost;
		socket.onmessage = ({data}) => { if (this.#socket === socket) this.#receive(JSON.parse(data)); };
	}

	#receive(frame) {
		if (this.#up) {
			this.#options.onFrame(frame);
		} else if (frame.code === Code.success) {
			clearTimeout(this.#timer);
			this.#attempt = 0;
			this.#up = true;
			this.#options.onState('on');
			this.#options.onOpen(frame);
		} else if (frame.code === Code.internal) {
			this.#lost(); // the server's own trouble passes
		} else {
			this.close();
			this.#options.onRefused(frame.code);
		}
	}

	#lost() {
		this.#drop();
		const pause = pauseBefore(this.#attempt++);
		this.#timer = setTimeout(() => this.#connect(), pause);
		this.#options.onState('waiting', Date.now() + pause);
	}
}
