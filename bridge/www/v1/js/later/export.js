// Exports what the server and this browser have about the user.

import {get} from '../protocol.js';
import {timeOf} from '../store.js';

const PAGE = 200; // the most that one answer has

/**
 * Resolves to a Blob of JSON: {version, at, me, friends, requests, blocked, dialogues}. The dialogues of a conversation
 * are in order. progress(done, all) counts conversations. Throws Refused.
 */
export async function exported({store, session}, signal, progress) {
	const friends = [...store.friends.values()].map(({id, name, own, picture, sex, birthday, sign}) => ({id, name, own, picture, sex, birthday, sign}));
	const ids = [...new Set([...store.friends.keys(), ...store.talks.keys()])];
	const head = {version: 1, at: new Date(), me: store.me, friends, requests: [...store.requests.values()], blocked: await session.blocked()};
	const parts = [`${JSON.stringify(head, null, '\t').slice(0, -2)},\n\t"dialogues": [`];
	let any = false;

	function add(all) {
		for (const one of all) {
			parts.push(`${any ? ',' : ''}\n\t\t${JSON.stringify(one)}`);
			any = true;
		}
		// A browser may keep a Blob on the disk.
		parts.splice(0, parts.length, new Blob(parts));
	}

	const own = ({friend, mine, text, state, ...one}) => ({at: new Date(timeOf(one)), friend, name: store.nameOf(friend), mine, text, state});
	const local = Map.groupBy(await session.all('dialogues'), ({friend}) => friend);
	for (const [done, friend] of ids.entries()) {
		progress(done, ids.length);
		add((local.get(friend) ?? []).map(own));
		if (!store.kept) continue;
		for await (const page of pages(session, friend, signal)) {
			add(page.map(({from, payload, at, id, ...more}) => ({
				at, friend, name: store.nameOf(friend), mine: from === store.me.id, text: payload, state: 'kept', ...more,
			})));
		}
	}
	progress(ids.length, ids.length);
	return new Blob([...parts, '\n\t]\n}\n'], {type: 'application/json'});
}

/** The dialogues that the server keeps, in order, page by page. */
async function* pages(session, friend, signal) {
	for (let after = 0; ;) {
		signal.throwIfAborted();
		const {dialogues, last} = await patient(() => session.as((auth) => get('dialogues', {...auth, with: friend, after, limit: PAGE})), signal);
		if (!dialogues?.length) return;
		yield dialogues;
		after = dialogues.at(-1).n;
		if (after >= last) return;
	}
}

/** Repeats a call for which the server wants the client to wait. */
async function patient(call, signal) {
	for (;;) {
		try {
			return await call();
		} catch (error) {
			if (!error.wait || signal.aborted) throw error;
			await new Promise((done) => { setTimeout(done, error.wait * 1000); });
		}
	}
}
