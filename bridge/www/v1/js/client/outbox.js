// Dialogues that wait for a connection or for their answer.

import {Code} from './codes.js';

const LATE = 5000;
const ANSWER_LIMIT = 30_000; // above the server's limit
const PAUSE = 3000;
const IN_FLIGHT = 64;

const STATES = {[Code.success]: 'delivered', [Code.kept]: 'kept', [Code.peerOffline]: 'offline'};

export const frameOf = ({id, friend, text, re, reacts, edits, deletes, file}) => JSON.stringify({id, toFriend: friend, payload: text, re, reacts, edits, deletes, file: file?.id});

export const isSettled = (state) => state !== 'queued' && state !== 'sending';

/**
 * send(text) returns whether it succeeded. changed(dialogue) is called for each new state, onLate() if an answer is late.
 * holds(dialogue) returns whether a dialogue, and those to the same friend after it, must still wait, for a flush().
 * again(dialogue, code) returns whether a refused dialogue is sent again. gone(id): it does not wait any more.
 */
export function outbox(send, changed, onLate, {holds = () => false, again = () => false, gone = () => {}} = {}) {
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
		const held = new Set(); // friends
		for (const one of waiting.values()) {
			const {friend} = one.dialogue;
			if (held.has(friend) || holds(one.dialogue)) {
				held.add(friend);
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

	const remove = (id) => (gone(id), waiting.delete(id));
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

	function settle(id, state, code) {
		const {dialogue} = waiting.get(id) ?? {};
		if (!remove(id)) return undefined;
		set(dialogue, state, code);
		room = out.most;
		flush();
		return dialogue;
	}

	const out = {
		set, flush, settle,
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
			waiting.set(dialogue.id, {dialogue, sent: 0});
			set(dialogue, 'queued');
			flush();
		},
		/** Returns the dialogue. Where ids are not compared, an answer without one belongs to the oldest dialogue. */
		answered({code, id = out.safe ? '' : waiting.keys().next().value}) {
			if (out.safe && (code === Code.sendFailed || code === Code.internal)) return waiting.get(id)?.sent && fail();
			const one = waiting.get(id);
			if (!one || !again(one.dialogue, code)) return settle(id, STATES[code] ?? 'failed', code);
			one.sent = 0;
			set(one.dialogue, 'queued');
			return flush();
		},
		/** The connection was lost: dialogues that were sent may or may not have arrived. */
		down: () => fail(Code.unreachable),
		drop: (id) => remove(id) && flush(),
		clear: () => [...waiting.keys()].forEach(remove),
	};
	return out;
}
