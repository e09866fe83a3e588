// Dialogues on their way: what was sent and waits for its answer, and what waits for a connection.

import {Code, frameOf} from './protocol.js';

// The server answers within its own limit of some seconds; past this, nobody will.
const ANSWER_LIMIT = 30_000;
// So many may be unanswered at once; the server reads no more than a few ahead.
const IN_FLIGHT = 64;

/** Whether a state is one that lasts: delivered, offline or failed, not queued or sending. */
export const isSettled = (state) => state !== 'queued' && state !== 'sending';

export class Outbox {
	#queue = [];
	#pending = new Map(); // dialogue's id → {dialogue, timer}, oldest first
	#send;
	#changed;

	/** send(text) puts a frame on the wire and tells whether it could; changed(dialogue) hears each new state. */
	constructor(send, changed) {
		this.#send = send;
		this.#changed = changed;
	}

	/** Sends a dialogue; tried again, it keeps its id, so that the friend's page knows it when it had arrived after all. */
	add(dialogue) {
		this.#queue.push(dialogue);
		this.#set(dialogue, 'queued');
		this.flush();
	}

	flush() {
		while (this.#queue.length && this.#pending.size < IN_FLIGHT && this.#send(frameOf(this.#queue[0]))) {
			const dialogue = this.#queue.shift();
			const timer = setTimeout(() => this.#settle(dialogue.id, 'failed', Code.sendFailed), ANSWER_LIMIT);
			this.#pending.set(dialogue.id, {dialogue, timer});
			this.#set(dialogue, 'sending');
		}
	}

	/** An answer, which the document lets come without an id: then it is about the oldest. Returns the dialogue, if it is known. */
	answered({code, id = this.#pending.keys().next().value}) {
		return this.#settle(id, {[Code.success]: 'delivered', [Code.peerOffline]: 'offline'}[code] ?? 'failed', code);
	}

	/** The connection is gone: nobody knows whether what was on its way arrived. */
	down() {
		for (const id of [...this.#pending.keys()]) this.#settle(id, 'failed', Code.unreachable);
	}

	clear() {
		this.#queue = [];
		for (const {timer} of this.#pending.values()) clearTimeout(timer);
		this.#pending.clear();
	}

	#settle(id, state, code) {
		const entry = this.#pending.get(id);
		if (!entry) return undefined;
		clearTimeout(entry.timer);
		this.#pending.delete(id);
		this.#set(entry.dialogue, state, code);
		this.flush();
		return entry.dialogue;
	}

	#set(dialogue, state, code = 0) {
		Object.assign(dialogue, {state, code});
		this.#changed(dialogue);
	}
}
