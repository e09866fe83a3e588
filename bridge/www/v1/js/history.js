// The history in this browser, by account: a cache of what the server keeps. Without IndexedDB the page works without it.

const within = (...prefix) => IDBKeyRange.bound(prefix, [...prefix, []]);

const settled = (request) => new Promise((resolve, reject) => {
	request.onsuccess = request.oncomplete = () => resolve(request.result);
	request.onerror = request.onabort = () => reject(request.error);
});

export async function openHistory() {
	let db;
	let last = 0;
	try {
		const request = indexedDB.open('imctl', 2);
		request.onupgradeneeded = ({oldVersion}) => {
			const make = (name, ...keys) => request.result.createObjectStore(name, {keyPath: ['me', ...keys]});
			if (oldVersion < 1) {
				make('dialogues', 'friend', 'n'); // which the server does not keep
				make('talks', 'friend');
			}
			make('kept', 'friend', 'n');
			make('outbox', 'id');
		};
		db = await settled(request);
		db.onversionchange = () => db.close();
	} catch (error) {
		console.warn('no history:', error);
	}

	/** Runs query(of) in a transaction. of(name) returns an object store. */
	async function run(mode, query) {
		try {
			if (!db) return undefined;
			const transaction = db.transaction(db.objectStoreNames, mode);
			const result = query((name) => transaction.objectStore(name));
			transaction.commit(); // even if the page is closing
			return await settled(result ?? transaction);
		} catch (error) {
			console.warn('history:', error);
			return undefined;
		}
	}

	return {
		kept: Boolean(db),
		/** The number of a local dialogue: its time in microseconds, increased if needed to be unique. */
		next() {
			last = Math.max(last + 1, Date.now() * 1000);
			return last;
		},
		all: async (name, me, ...friend) => await run('readonly', (of) => of(name).getAll(within(me, ...friend))) ?? [],
		/** Kept dialogues from..to. */
		between: async (me, friend, from, to) => await run('readonly', (of) => of('kept').getAll(IDBKeyRange.bound([me, friend, from], [me, friend, to]))) ?? [],
		/** all: {name: records}. sent: ids that leave the outbox. */
		save: (me, all, sent = []) => run('readwrite', (of) => {
			for (const name in all) for (const record of all[name]) of(name).put({...record, me});
			for (const id of sent) of('outbox').delete([me, id]);
		}),
		/** Forgets kept dialogues before a number. */
		trim: (me, friend, n) => run('readwrite', (of) => { of('kept').delete(IDBKeyRange.bound([me, friend], [me, friend, n], false, true)); }),
		/** Deletes all that this browser has of an account. */
		async erase(me) {
			await this.forget(me);
			for (const name of await globalThis.caches?.keys().catch(() => []) ?? []) if (!name.startsWith('shell')) await caches.delete(name);
		},
		forget: (me, ...friend) => run('readwrite', (of) => {
			for (const name of ['dialogues', 'kept']) of(name).delete(within(me, ...friend));
			if (!friend.length) of('outbox').delete(within(me));
			of('talks').delete(friend.length ? [me, ...friend] : within(me));
		}),
	};
}
