// Dialogues that wait for a connection, for their answer, or for the upload of their file.

import {isSettled, outbox as plain} from './client/outbox.js';
import {Code} from './protocol.js';

const PAUSE = 3000;

// An upload that ends with another code has failed for good.
const PASSING = [Code.unreachable, Code.tooMany, Code.internal, Code.busy, Code.authIllegal];

/** As the outbox of the client. upload(dialogue, signal) stores the file of a dialogue, and resolves to changes of the dialogue. */
export function outbox(send, changed, onLate, upload) {
	const uploads = new Map(); // dialogue's id → AbortController
	const renewed = new Set(); // dialogues whose file was uploaded again
	const out = plain(send, (dialogue) => {
		if (isSettled(dialogue.state)) stop(dialogue.id); // the server may have it, from an earlier attempt
		changed(dialogue);
	}, onLate, {holds, again});
	const {add, drop, clear} = out;

	function holds(dialogue) {
		const {id, file} = dialogue;
		if (!file || file.id) return false;
		if (!uploads.has(id)) put(dialogue);
		return true;
	}

	/** Uploads a file. The dialogue follows, with the file's id. */
	async function put(dialogue) {
		const {id} = dialogue;
		const running = new AbortController();
		const {signal} = running;
		uploads.set(id, running);
		for (let tries = 0; !signal.aborted; tries = Math.min(4, tries + 1)) {
			out.set(dialogue, 'sending');
			const {changes, code = Code.internal, wait} = await upload(dialogue, signal).then((changes) => ({changes}), (error) => error);
			if (signal.aborted) return;
			if (changes) {
				uploads.delete(id);
				out.set(Object.assign(dialogue, changes), 'queued');
				out.flush();
				return;
			}
			if (!PASSING.includes(code)) {
				out.settle(id, 'failed', code);
				return;
			}
			out.set(dialogue, 'queued');
			await new Promise((done) => { setTimeout(done, wait * 1000 || PAUSE * 2 ** tries); });
		}
	}

	function stop(id) {
		uploads.get(id)?.abort();
		uploads.delete(id);
	}

	/** The server may have dropped a file that no dialogue named for long. Uploads it again, once. */
	function again(dialogue, code) {
		if (code !== Code.malformed || !dialogue.blob || renewed.has(dialogue)) return false;
		renewed.add(dialogue);
		dialogue.file = {...dialogue.file, id: undefined};
		return true;
	}

	return Object.assign(out, {
		add(dialogue) {
			// The server may have refused the file's id.
			if (dialogue.blob && dialogue.state === 'failed') dialogue.file = {...dialogue.file, id: undefined};
			renewed.delete(dialogue);
			add(dialogue);
		},
		/** Forgets a dialogue, and ends its upload. */
		drop(id) {
			stop(id);
			drop(id);
			out.flush();
		},
		clear() {
			for (const id of [...uploads.keys()]) stop(id);
			renewed.clear();
			clear();
		},
	});
}
