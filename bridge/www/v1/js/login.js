// Remembers the login token, so that users return without a password.

const KEY = 'imctl.login';
const DRAFT = 'imctl.draft';
const ASKED = 'imctl.persist';
const OTHER = 'imctl.other'; // this tab uses another account than the browser

/** {id, token, since, name, stay, own} or {}. since: when the token was received. own: of this tab, not of the browser. */
export function rememberedLogin() {
	try {
		const own = JSON.parse(sessionStorage.getItem(KEY));
		const shared = JSON.parse(localStorage.getItem(KEY));
		// Another tab of the account may have a newer token.
		if (own) return {...own, ...(shared?.id === own.id && (shared.since ?? 0) > (own.since ?? 0) && shared), stay: own.stay, own: true};
		return {...(!sessionStorage.getItem(OTHER) && shared), own: false};
	} catch {
		return {};
	}
}

export function rememberLogin(login) {
	try {
		sessionStorage.removeItem(OTHER);
		sessionStorage.setItem(KEY, JSON.stringify(login));
		if (login.stay) localStorage.setItem(KEY, JSON.stringify(login));
	} catch { /* without storage, the page asks for the password next time */ }
}

export function forgetLogin(id, everywhere) {
	try {
		sessionStorage.removeItem(KEY);
		if (!everywhere) sessionStorage.setItem(OTHER, 1);
		else if (JSON.parse(localStorage.getItem(KEY))?.id === id) localStorage.removeItem(KEY);
	} catch { /* nothing is stored */ }
}

/** Stores a draft of a page that ends: what it writes to IndexedDB now may be lost. The next page takes it. */
export function leaveDraft(draft) {
	try {
		localStorage.setItem(DRAFT, JSON.stringify(draft));
	} catch { /* nothing is stored */ }
}

/** Returns {me, friend, draft} of this user, or null. It is then no longer stored. */
export function takeDraft(me) {
	try {
		const draft = JSON.parse(localStorage.getItem(DRAFT));
		if (draft?.me !== me) return null;
		localStorage.removeItem(DRAFT);
		return draft;
	} catch {
		return null;
	}
}

/** Asks the browser, once, not to clear the storage of users who stay signed in when the disk is full. */
export function askToPersist() {
	try {
		if (localStorage.getItem(ASKED)) return;
		localStorage.setItem(ASKED, 1);
		navigator.storage?.persist?.().catch(() => {});
	} catch { /* nothing is stored */ }
}

/** Locks an account, since two tabs would write the history twice. Resolves to `unlock`, or null if locked. */
export function claim(id, force, onLost) {
	if (!navigator.locks) return Promise.resolve(() => {});
	return new Promise((resolve) => {
		let released = false;
		navigator.locks.request(`imctl ${id}`, force ? {steal: true} : {ifAvailable: true}, (lock) => new Promise((unlock) => {
			resolve(lock && (() => { released = true; unlock(); }));
			if (!lock) unlock();
		})).catch(() => { if (!released) onLost(); });
	});
}
