// Dialogues that wait for a connection, their answer, or the upload of their file.

import {outbox as plain} from './client/outbox.js';
import {Code} from './protocol.js';

// An upload that ends with another code has failed for good.
const PASSING = [Code.unreachable, Code.tooMany, Code.internal, Code.busy, Code.authIllegal];

/** upload(dialogue, signal) stores the file of a dialogue, and resolves to changes of the dialogue. */
export function outbox(send, changed, onLate, upload) {
	const uploads = new Map(); // dialogue's id → AbortController
	const renewed = new WeakSet();
	const out = plain(send, changed, onLate, {
		holds(dialogue) {
			const {id, file} = dialogue;
			if (!file || file.id) return false;
			if (!uploads.has(id)) put(dialogue);
			return true;
		},
		/** The server may have dropped a file that no dialogue named for long. Uploads it again, once, and if it is resent. */
		again(dialogue, code) {
			if (code !== Code.malformed || !dialogue.blob) return false;
			dialogue.file = {...dialogue.file, id: undefined};
			return !renewed.has(dialogue) && renewed.add(dialogue);
		},
		gone(id) {
			uploads.get(id)?.abort();
			uploads.delete(id);
		},
	});

	async function put(dialogue) {
		const {id} = dialogue;
		const {signal} = uploads.set(id, new AbortController()).get(id);
		for (let pause = 3000; !signal.aborted; pause = Math.min(48_000, 2 * pause)) {
			out.set(dialogue, 'sending');
			const {changes, code = Code.internal, wait} = await upload(dialogue, signal).then((all) => ({changes: all}), (error) => error);
			if (signal.aborted) return;
			if (!changes && !PASSING.includes(code)) return void out.settle(id, 'failed', code);
			out.set(Object.assign(dialogue, changes), 'queued');
			if (changes) {
				uploads.delete(id);
				return void out.flush();
			}
			await new Promise((done) => { setTimeout(done, wait * 1000 || pause); });
		}
	}

	return out;
}
