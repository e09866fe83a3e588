// The dialogues that this browser has seen, in IndexedDB, by account. Where the browser refuses to keep anything
// (private windows, a full disk), the page goes on without.

const DIALOGUES = 'dialogues';
const TALKS = 'talks';

const within = (...prefix) => IDBKeyRange.bound(prefix, [...prefix, []]);

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class History {
  #db = null;
  #last = 0;

  /** Always settles; `kept` tells whether anything will be kept. */
  async open() {
    try {
      const request = indexedDB.open('imctl', 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(DIALOGUES, { keyPath: ['me', 'friend', 'n'] });
        request.result.createObjectStore(TALKS, { keyPath: ['me', 'friend'] });
      };
      this.#db = await done(request);
      this.#db.onversionchange = () => this.#db.close();
    } catch (error) {
      console.warn('history is not kept:', error);
    }
    return this;
  }

  get kept() { return this.#db !== null; }

  /** A number for a new dialogue: the time in microseconds or so, and always growing, so that it orders and never repeats. */
  next() {
    this.#last = Math.max(this.#last + 1, Date.now() * 1000);
    return this.#last;
  }

  talks(me) { return this.#read(TALKS, (store) => store.getAll(within(me))); }

  dialogues(me, friend) { return this.#read(DIALOGUES, (store) => store.getAll(within(me, friend))); }

  all(me) { return this.#read(DIALOGUES, (store) => store.getAll(within(me))); }

  putTalk(me, talk) { return this.#write([TALKS], (talks) => talks.put({ ...talk, me })); }

  putDialogue(me, dialogue) { return this.#write([DIALOGUES], (dialogues) => dialogues.put({ ...dialogue, me })); }

  /** Forgets one friend's dialogues, or all of the account's. */
  forget(me, ...friend) {
    return this.#write([DIALOGUES, TALKS], (dialogues, talks) => {
      dialogues.delete(within(me, ...friend));
      if (friend.length) talks.delete([me, ...friend]);
      else talks.delete(within(me));
    });
  }

  async #read(name, query) {
    if (!this.#db) return [];
    try {
      return await done(query(this.#db.transaction(name).objectStore(name)));
    } catch (error) {
      console.warn('history could not be read:', error);
      return [];
    }
  }

  async #write(names, change) {
    if (!this.#db) return;
    try {
      const transaction = this.#db.transaction(names, 'readwrite');
      change(...names.map((name) => transaction.objectStore(name)));
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
    } catch (error) {
      console.warn('history could not be written:', error);
    }
  }
}
