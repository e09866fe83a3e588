// The dialogues that this browser has seen, by account. Where it refuses to keep anything, the page goes on without.

const within = (...prefix) => IDBKeyRange.bound(prefix, [...prefix, []]);

const settled = (request) => new Promise((resolve, reject) => {
	request.onsuccess = request.oncomplete = () => resolve(request.result);
	request.onerror = request.onabort = () => reject(request.error);
});

export class History {
	#db = null;
	#last = 0;

	/** Always settles. */
	async open() {
		try {
			const request = indexedDB.open('imctl', 1);
			request.onupgradeneeded = () => {
				request.result.createObjectStore('dialogues', {keyPath: ['me', 'friend', 'n']});
				request.result.createObjectStore('talks', {keyPath: ['me', 'friend']});
			};
			this.#db = await settled(request);
			this.#db.onversionchange = () => this.#db.close();
		} catch (error) {
			console.warn('no history:', error);
		}
		return this;
	}

	/** Whether anything will be kept. */
	get kept() { return this.#db !== null; }

	/** A number for a new dialogue: the time in microseconds, made to grow always, so that it orders and never repeats. */
	next() {
		this.#last = Math.max(this.#last + 1, Date.now() * 1000);
		return this.#last;
	}

	talks(me) { return this.#read('talks', within(me)); }

	/** One friend's dialogues, or all of the account's. */
	dialogues(me, ...friend) { return this.#read('dialogues', within(me, ...friend)); }

	put(name, me, record) { return this.#write((stores) => stores(name).put({...record, me})); }

	/** Forgets one friend's dialogues, or all of the account's. */
	forget(me, ...friend) {
		return this.#write((stores) => {
			stores('dialogues').delete(within(me, ...friend));
			stores('talks').delete(friend.length ? [me, ...friend] : within(me));
		});
	}

	async #read(name, range) {
		try {
			return this.#db ? await settled(this.#db.transaction(name).objectStore(name).getAll(range)) : [];
		} catch (error) {
			console.warn('history unread:', error);
			return [];
		}
	}

	async #write(change) {
		try {
			const transaction = this.#db?.transaction(['dialogues', 'talks'], 'readwrite');
			if (!transaction) return;
			change((name) => transaction.objectStore(name));
			await settled(transaction);
		} catch (error) {
			console.warn('history unwritten:', error);
		}
	}
}
