// The history in this browser, by account. Without IndexedDB the page works without a history.

const within = (...prefix) => IDBKeyRange.bound(prefix, [...prefix, []]);

const settled = (request) => new Promise((resolve, reject) => {
	request.onsuccess = request.oncomplete = () => resolve(request.result);
	request.onerror = request.onabort = () => reject(request.error);
});

export async function openHistory() {
	let db;
	let last = 0;
	try {
		const request = indexedDB.open('imctl', 1);
		request.onupgradeneeded = () => {
			request.result.createObjectStore('dialogues', {keyPath: ['me', 'friend', 'n']});
			request.result.createObjectStore('talks', {keyPath: ['me', 'friend']});
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
			const transaction = db.transaction(['dialogues', 'talks'], mode);
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
		/** The number of a dialogue: its time in microseconds, increased if needed to be unique. */
		next() {
			last = Math.max(last + 1, Date.now() * 1000);
			return last;
		},
		all: async (name, me, ...friend) => await run('readonly', (of) => of(name).getAll(within(me, ...friend))) ?? [],
		put: (name, me, record) => run('readwrite', (of) => { of(name).put({...record, me}); }),
		forget: (me, ...friend) => run('readwrite', (of) => {
			of('dialogues').delete(within(me, ...friend));
			of('talks').delete(friend.length ? [me, ...friend] : within(me));
		}),
	};
}
