// What the page knows, and who wants to hear of it. Views read and listen; session.js changes.

export class Store {
	#listeners = new Map();

	constructor() { this.clear(); }

	clear() {
		this.me = null; // the own profile
		this.friends = new Map(); // id → {id, name, picture, sex, birthday, sign, online}
		this.requests = new Map(); // id of who asks → {id, name, note}
		this.asked = new Set(); // ids that were asked from here and have not answered
		this.talks = new Map(); // friend's id → {friend, name, text, at, mine, unread, draft, alias}
		this.dialogues = new Map(); // friend's id → its dialogues in order, for talks that were opened
		this.link = {state: 'off', until: 0};
		this.current = ''; // the friend whose talk is on the screen
	}

	/** Topics: me, friends, requests, talks, link, and a friend's id for its dialogues. Returns how to stop. */
	on(topic, listener) {
		const all = this.#listeners.get(topic) ?? new Set();
		this.#listeners.set(topic, all.add(listener));
		return () => all.delete(listener);
	}

	emit(...topics) {
		for (const topic of topics) this.#listeners.get(topic)?.forEach((listener) => listener());
	}

	talk(friend) {
		if (!this.talks.has(friend)) this.talks.set(friend, {friend, name: '', text: '', at: 0, mine: false, unread: 0, draft: '', alias: ''});
		return this.talks.get(friend);
	}

	/** The alias kept here, the name the server knows, or the last one known. */
	nameOf(id) {
		const talk = this.talks.get(id);
		return talk?.alias || this.friends.get(id)?.name || this.requests.get(id)?.name || talk?.name || '?';
	}

	/** Friends, and who was one and left dialogues behind: the latest talk first, then by name. */
	people() {
		const ids = new Set(this.friends.keys());
		for (const talk of this.talks.values()) if (talk.at) ids.add(talk.friend);
		const {compare} = new Intl.Collator(document.documentElement.lang);
		return [...ids].map((id) => ({
			id, friend: this.friends.get(id), talk: this.talks.get(id), name: this.nameOf(id), at: this.talks.get(id)?.at ?? 0,
		})).sort((a, b) => b.at - a.at || compare(a.name, b.name));
	}

	get unread() {
		return [...this.talks.values()].reduce((sum, talk) => sum + talk.unread, 0);
	}
}
