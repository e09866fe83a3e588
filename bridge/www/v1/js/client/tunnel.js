// The WebSocket: logs in, passes frames on, and reconnects.

import {Code} from './codes.js';

const FINAL = [Code.wrongLogin, 514, Code.authIllegal, 517]; // only the user can help: wrong, or without token or id
const LOGIN_LIMIT = 20_000;
const PONG_LIMIT = 5000;
const BEAT = 25_000; // a visible page asks after this silence whether the connection lives
const PING = 'ping'; // no dialogue has this id
// If the timer is this late, the machine slept and the socket is dead.
const TICK = 5000;
const SLEPT = 30_000;

/** Exponential backoff up to half a minute, with jitter. */
const pauseBefore = (n) => Math.min(30_000, 1000 * 2 ** n) * (0.7 + 0.6 * Math.random());

/** login() resolves to an address with a ticket. onRefused is final, onDown a lost connection. onState('connecting' | 'on' | 'waiting' | 'off', until, why, wait).
    wait: the seconds that the server asks for. */
export function openTunnel({login, onOpen, onFrame, onRefused, onDown, onState, Socket}) {
	let socket = null;
	let turn = 0; // of connecting: an earlier one has no effect any more
	let timer = 0;
	let attempt = 0;
	let up = false;
	let asked = 0; // timer of a ping
	let heardAt = 0;

	function drop() {
		clearTimeout(timer);
		heard();
		turn++;
		socket?.close();
		socket = null;
		if (!up) return;
		up = false;
		onDown();
	}

	function connect() {
		drop();
		onState('connecting');
		const current = turn;
		const gone = () => { if (current === turn) lost(Code.unreachable); };
		timer = setTimeout(gone, LOGIN_LIMIT);
		login().then((url) => {
			if (current !== turn) return;
			socket = new (Socket ?? WebSocket)(url);
			socket.onclose = gone;
			socket.onmessage = ({data}) => { if (current === turn) receive(JSON.parse(data)); };
		}, ({code, wait}) => {
			if (current !== turn) return;
			if (!FINAL.includes(code)) return lost(code, wait);
			close();
			onRefused(code);
		});
	}

	function heard() {
		clearTimeout(asked);
		asked = 0;
		heardAt = Date.now();
	}

	/** Reconnects unless the server answers in time. Returns false without a connection. */
	function probe() {
		if (!asked && send(`{"id":"${PING}","ping":"page"}`)) asked = setTimeout(reconnect, PONG_LIMIT);
		return Boolean(asked);
	}

	function receive(frame) {
		heard();
		if (up) {
			if (frame.pong === undefined && frame.id !== PING) onFrame(frame); // an older node refuses a ping
		} else if (frame.code === Code.success) {
			clearTimeout(timer);
			attempt = 0;
			up = true;
			onState('on');
			onOpen(frame);
		} else lost(Code.busy); // the ticket was lost, or the server failed: the next call for a ticket tells
	}

	function lost(why, wait = 0) {
		drop();
		const pause = Math.max(pauseBefore(attempt++), wait * 1000);
		timer = setTimeout(connect, pause);
		onState('waiting', Date.now() + pause, why, wait);
	}

	function reconnect() {
		attempt = 0;
		connect();
	}

	function close() {
		clearInterval(clock);
		drop();
		onState('off');
	}

	function send(text) {
		const can = up && socket.readyState === socket.OPEN;
		if (can) socket.send(text);
		return can;
	}

	let last = Date.now();
	const clock = setInterval(() => {
		if (Date.now() - last > SLEPT) reconnect();
		else if (!globalThis.document?.hidden && Date.now() - heardAt > BEAT) probe();
		last = Date.now();
	}, TICK);
	connect();
	return {reconnect, close, send, probe, lost, drop};
}
