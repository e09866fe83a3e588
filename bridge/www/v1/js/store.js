// The state of the page. Views read it and listen. Only session.js and the stores of conversations change it.

/** Of a dialogue: its key in lists, and its time. */
export const keyOf = ({key, n}) => key ?? n;
export const timeOf = ({at, n}) => at ?? n / 1000;

export function newStore() {
	const listeners = {};
	const store = {
		clear() {
			Object.assign(store, {
				me: null, // the own profile
				friends: new Map(), // id → {id, name, picture, sex, birthday, sign, online}
				requests: new Map(), // sender's id → {id, name, note}
				asked: new Map(), // id → {id, name, picture, at} of sent requests without an answer
				talks: new Map(), // friend's id → {friend, name, text, at, mine, unread, draft, alias, blocked, pinned, archived, muted}
				dialogues: new Map(), // friend's id → ordered dialogues of opened conversations
				link: {state: 'off'},
				current: '', // the friend on the screen
				aim: null, // {friend, n, sought}: the dialogue to show when that conversation opens
				kept: false, // the server keeps conversations
				atEnd: true, // the newest dialogue of the friend on the screen is in view
			});
		},
		/** Topics: me, friends, requests, talks, link, and a friend's id for its dialogues. */
		on(topic, listener, signal) {
			const all = listeners[topic] ??= new Set();
			const stop = () => all.delete(listener);
			all.add(listener);
			signal?.addEventListener('abort', stop);
			return stop;
		},
		emit(...topics) {
			for (const topic of topics) listeners[topic]?.forEach((listener) => listener());
		},
		talk(friend) {
			if (!store.talks.has(friend)) store.talks.set(friend, {friend, name: '', text: '', at: 0, unread: 0, draft: ''});
			return store.talks.get(friend);
		},
		nameOf(id) {
			const talk = store.talks.get(id);
			return talk?.alias || (store.friends.get(id) ?? store.requests.get(id) ?? talk ?? store.asked.get(id))?.name || '?';
		},
		/** Friends, and former friends with dialogues: pinned ones, then latest first, then by name. */
		people() {
			const ids = new Set(store.friends.keys());
			for (const talk of store.talks.values()) if (talk.at) ids.add(talk.friend);
			const {compare} = new Intl.Collator(document.documentElement.lang);
			return [...ids].map((id) => ({
				id, friend: store.friends.get(id), talk: store.talks.get(id), name: store.nameOf(id), at: store.talks.get(id)?.at ?? 0,
			})).sort((a, b) => Boolean(b.talk?.pinned) - Boolean(a.talk?.pinned) || b.at - a.at || compare(a.name, b.name));
		},
		/** Unread dialogues of conversations that are not muted. */
		unread: () => [...store.talks.values()].reduce((sum, {unread, muted}) => sum + (muted ? 0 : unread), 0),
	};
	store.clear();
	return store;
}
