// Conversations that the server does not keep: this browser has the only copy.

import {isSettled} from '../client/outbox.js';
import {Code} from '../protocol.js';

/** Ids this long are unique. A shorter one may be a counter in each session. */
const UNIQUE_LENGTH = 12;

/**
 * away(friend): the user does not look. arrived(dialogue, away) tells of a dialogue, preview shows it in the list, and
 * mark changes marks.
 */
export default function local({store, history, away, arrived, preview, changed, mark}) {
	const seen = new Set();
	const arriving = new Map(); // friend's id → dialogues received while the history is read
	let over = false;
	const ignore = () => false;

	function append(dialogue) {
		const {friend} = dialogue;
		dialogue.n = history.next();
		if (!history.kept && !store.dialogues.has(friend)) store.dialogues.set(friend, []);
		(store.dialogues.get(friend) ?? arriving.get(friend))?.push(dialogue);
	}

	function read(friend) {
		if (store.talks.get(friend)?.unread) changed(friend, {unread: 0});
	}

	return {
		start: ignore, news: ignore, older: ignore, typing: ignore, reach: ignore, quote: ignore,
		stop() { over = true; },
		read,

		add(dialogue) {
			append(dialogue);
			read(dialogue.friend);
		},

		receive({id = '', from, toFriend, payload: text}) {
			const mine = from === store.me.id; // sent from another device of this user
			const friend = mine ? toFriend : from;
			if (id.length >= UNIQUE_LENGTH && seen.has(friend + id)) return;
			seen.add(friend + id);
			const dialogue = {friend, id, mine, text, state: 'delivered', code: 0};
			const isAway = away(friend);
			append(dialogue);
			history.save(store.me.id, {dialogues: [dialogue]});
			store.emit(friend);
			preview(dialogue, {unread: mine ? 0 : store.talk(friend).unread + isAway});
			const {archived, muted} = store.talk(friend);
			if (!mine && archived && !muted) mark(friend, {archived: false});
			if (!mine) arrived(dialogue, isAway);
		},

		async open(friend) {
			const {me, dialogues} = store;
			if (dialogues.has(friend) || arriving.has(friend)) return;
			const arrived = [];
			arriving.set(friend, arrived);
			const old = await history.all('dialogues', me.id, friend);
			if (over) return;
			arriving.delete(friend);
			for (const dialogue of old) {
				// A dialogue sent by an earlier page gets no answer any more.
				if (!isSettled(dialogue.state)) Object.assign(dialogue, {state: 'failed', code: Code.unreachable});
				seen.add(friend + dialogue.id);
			}
			const last = old.at(-1)?.n ?? 0;
			dialogues.set(friend, old.concat(arrived.filter(({n}) => n > last)));
			store.emit(friend);
		},

		async forget(friend) {
			await history.forget(store.me.id, friend);
			store.talks.delete(friend);
			if (store.dialogues.has(friend)) store.dialogues.set(friend, []);
			store.emit(friend);
		},
	};
}
