// Dialogues that wait for a connection or for their answer.

import {Code} from './codes.js';

const LATE = 5000;
const ANSWER_LIMIT = 30_000; // above the server's limit
const PAUSE = 3000;
const IN_FLIGHT = 64;

const STATES = {[Code.success]: 'delivered', [Code.kept]: 'kept', [Code.peerOffline]: 'offline'};

export const frameOf = ({id, friend, text, re, reacts, edits, deletes, file}) => JSON.stringify({id, toFriend: friend, payload: text, re, reacts, edits, deletes, file: file?.id});

export const isSettled = (state) => state !== 'queued' && state !== 'sending';

// An upload that ends with another code has failed for good.
const PASSING = [Code.unreachable, Code.tooMany, Code.internal, Code.busy, Code.authIllegal];

/**
 * send(text) returns whether it succeeded. changed(dialogue) is called for each new state, onLate() if an answer is late.
 * upload(dialogue, signal) stores the file of a dialogue, and resolves to changes of the dialogue.
 */
export function outbox(send, changed, onLate, upload) {
	const waiting = new Map(); // dialogue's id → {dialogue, sent}, in order
	let timer = 0;
	let paused = 0;
	let room = IN_FLIGHT; // after a failure 1, for the order

	function set(dialogue, state, code = 0) {
		Object.assign(dialogue, {state, code});
		changed(dialogue);
	}

	function flush() {
		let free = room;
		const held = new Set(); // friends who get a file first
		for (const one of waiting.values()) {
			const {friend, file} = one.dialogue;
			if (held.has(friend)) continue;
			if (file && !file.id) {
				held.add(friend);
				if (!one.upload) put(one);
				continue;
			}
			if (paused || !free--) break;
			if (one.sent) continue;
			if (!send(frameOf(one.dialogue))) break;
			one.sent = Date.now();
			set(one.dialogue, 'sending');
		}
		watch();
	}

	/** Uploads a file. The dialogue follows, with the file's id. */
	async function put(one) {
		const {dialogue} = one;
		const {signal} = one.upload = new AbortController();
		const isOver = () => signal.aborted || waiting.get(dialogue.id) !== one; // the server has it, from an earlier attempt
		set(dialogue, 'sending');
		try {
			const changes = await upload(dialogue, signal);
			if (!isOver()) set(Object.assign(dialogue, changes), 'queued');
		} catch ({code = Code.internal, wait}) {
			if (isOver()) return;
			if (!PASSING.includes(code)) {
				settle(dialogue.id, 'failed', code);
				return;
			}
			set(dialogue, 'queued');
			one.tries = Math.min(4, (one.tries ?? -1) + 1);
			await new Promise((done) => { setTimeout(done, wait * 1000 || PAUSE * 2 ** one.tries); });
		}
		one.upload = null;
		if (!isOver()) flush();
	}

	function watch() { timer ||= setTimeout(check, LATE / 2); }

	function check() {
		timer = 0;
		const first = [...waiting.values()].find(({sent}) => sent);
		if (!first) return;
		const age = Date.now() - first.sent;
		if (age > ANSWER_LIMIT) out.safe ? fail() : settle(first.dialogue.id, 'failed', Code.sendFailed);
		else if (age > LATE) onLate();
		watch();
	}

	/** What was sent has no answer. If the server compares ids, it is sent again, in order. */
	function fail(code) {
		for (const one of [...waiting.values()]) {
			if (!one.sent) continue;
			one.sent = 0;
			if (out.safe) set(one.dialogue, 'queued');
			else settle(one.dialogue.id, 'failed', code);
		}
		if (!out.safe) return;
		room = 1;
		clearTimeout(paused);
		paused = setTimeout(out.resume, PAUSE);
	}

	/** The server may have dropped a file that no dialogue named for long. Uploads it again, once. */
	function again(id) {
		const one = waiting.get(id);
		if (!one?.dialogue.blob || one.again) return false;
		Object.assign(one, {again: true, sent: 0});
		one.dialogue.file = {...one.dialogue.file, id: undefined};
		set(one.dialogue, 'queued');
		flush();
		return true;
	}

	function settle(id, state, code) {
		const {dialogue} = waiting.get(id) ?? {};
		if (!waiting.delete(id)) return undefined;
		set(dialogue, state, code);
		room = out.most;
		flush();
		return dialogue;
	}

	const out = {
		safe: false, // the server compares ids
		most: IN_FLIGHT,
		busy: () => waiting.size > 0,
		resume() {
			clearTimeout(paused);
			paused = 0;
			flush();
		},
		/** A resent dialogue keeps its id, so that a duplicate is detected. */
		add(dialogue) {
			// The server may have refused the file's id.
			if (dialogue.blob && dialogue.state === 'failed') dialogue.file = {...dialogue.file, id: undefined};
			waiting.set(dialogue.id, {dialogue, sent: 0});
			set(dialogue, 'queued');
			flush();
		},
		/** Returns the dialogue. Where ids are not compared, an answer without one belongs to the oldest dialogue. */
		answered({code, id = out.safe ? '' : waiting.keys().next().value}) {
			if (out.safe && (code === Code.sendFailed || code === Code.internal)) return waiting.get(id)?.sent && fail();
			return code === Code.malformed && again(id) ? undefined : settle(id, STATES[code] ?? 'failed', code);
		},
		/** The connection was lost: dialogues that were sent may or may not have arrived. */
		down: () => fail(Code.unreachable),
		/** Forgets a dialogue, and ends its upload. */
		drop(id) {
			waiting.get(id)?.upload?.abort();
			waiting.delete(id);
			flush();
		},
		clear() {
			for (const {upload: running} of waiting.values()) running?.abort();
			waiting.clear();
		},
	};
	return out;
}
