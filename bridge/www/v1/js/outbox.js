// Dialogues that wait for an answer, or for a connection.

import {Code, frameOf} from './protocol.js';

const ANSWER_LIMIT = 30_000; // well past the server's own
const IN_FLIGHT = 64;

/** Delivered, offline or failed. */
export const isSettled = (state) => state !== 'queued' && state !== 'sending';

/** send(text) tells whether it could; changed(dialogue) hears each new state. */
export function outbox(send, changed) {
	let queue = [];
	const pending = new Map(); // dialogue's id → {dialogue, timer}, oldest first

	function set(dialogue, state, code = 0) {
		Object.assign(dialogue, {state, code});
		changed(dialogue);
	}

	function flush() {
		while (queue.length && pending.size < IN_FLIGHT && send(frameOf(queue[0]))) {
			const dialogue = queue.shift();
			const timer = setTimeout(() => settle(dialogue.id, 'failed', Code.sendFailed), ANSWER_LIMIT);
			pending.set(dialogue.id, {dialogue, timer});
			set(dialogue, 'sending');
		}
	}

	function settle(id, state, code) {
		const {dialogue, timer} = pending.get(id) ?? {};
		clearTimeout(timer);
		if (!pending.delete(id)) return undefined;
		set(dialogue, state, code);
		flush();
		return dialogue;
	}

	return {
		flush,
		/** Tried again, it keeps its id, by which the friend's page knows it when it had arrived after all. */
		add(dialogue) {
			queue.push(dialogue);
			set(dialogue, 'queued');
			flush();
		},
		/** Without an id it is about the oldest. Returns the dialogue. */
		answered: ({code, id = pending.keys().next().value}) => settle(id, {[Code.success]: 'delivered', [Code.peerOffline]: 'offline'}[code] ?? 'failed', code),
		/** Nobody knows whether what was on its way arrived. */
		down() {
			for (const id of [...pending.keys()]) settle(id, 'failed', Code.unreachable);
		},
		clear() {
			queue = [];
			for (const {timer} of pending.values()) clearTimeout(timer);
			pending.clear();
		},
	};
}
