// Dialogues that wait for a connection or for their answer.

import {Code, frameOf} from './protocol.js';

const ANSWER_LIMIT = 30_000; // above the server's limit
const IN_FLIGHT = 64;

export const isSettled = (state) => state !== 'queued' && state !== 'sending';

/** send(text) returns whether it succeeded. changed(dialogue) is called for each new state. */
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
		/** A resent dialogue keeps its id, so that the friend's page detects a duplicate. */
		add(dialogue) {
			queue.push(dialogue);
			set(dialogue, 'queued');
			flush();
		},
		/** An answer without an id belongs to the oldest dialogue. Returns the dialogue. */
		answered: ({code, id = pending.keys().next().value}) => settle(id, {[Code.success]: 'delivered', [Code.peerOffline]: 'offline'}[code] ?? 'failed', code),
		/** The connection was lost: pending dialogues may or may not have arrived. */
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
