// What the page knows, and who wants to hear of it. Views read the fields and listen by topic; only session.js
// and outbox.js change them.

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
    this.link = { state: 'off', until: 0 };
    this.current = ''; // the friend whose talk is on the screen
  }

  /** Topics: me, friends, requests, talks, link, and a friend's id for its dialogues. Returns how to stop. */
  on(topic, listener) {
    const all = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, all.add(listener));
    return () => all.delete(listener);
  }

  emit(...topics) {
    for (const topic of topics) for (const listener of this.#listeners.get(topic) ?? []) listener();
  }

  talk(friend) {
    let talk = this.talks.get(friend);
    if (!talk) {
      talk = { friend, name: '', text: '', at: 0, mine: false, unread: 0, draft: '', alias: '' };
      this.talks.set(friend, talk);
    }
    return talk;
  }

  /** The name to show for somebody: the alias kept here, the one the server knows, or the last one known. */
  nameOf(id) {
    const talk = this.talks.get(id);
    return talk?.alias || this.friends.get(id)?.name || this.requests.get(id)?.name || talk?.name || '?';
  }

  /** Friends, and who was one and left dialogues behind: the latest talk first, then by name. */
  people() {
    const ids = new Set(this.friends.keys());
    for (const talk of this.talks.values()) if (talk.at && !ids.has(talk.friend)) ids.add(talk.friend);
    const order = new Intl.Collator(document.documentElement.lang);
    return [...ids].map((id) => {
      const friend = this.friends.get(id);
      const talk = this.talks.get(id);
      return {
        id, friend, talk, name: this.nameOf(id), picture: friend?.picture, at: talk?.at ?? 0,
      };
    }).sort((a, b) => b.at - a.at || order.compare(a.name, b.name));
  }

  get unread() {
    let sum = 0;
    for (const talk of this.talks.values()) sum += talk.unread;
    return sum;
  }
}
