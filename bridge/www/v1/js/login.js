// What lets a person come back without a password.

const KEY = 'imctl.login';
const OTHER = 'imctl.other'; // this tab wants another account than the browser's

/** {id, token, name, stay} or {}: this tab's `own`, which may be of another account, or the browser's. */
export function rememberedLogin() {
	try {
		const own = sessionStorage.getItem(KEY);
		return {...JSON.parse(own ?? (sessionStorage.getItem(OTHER) ? null : localStorage.getItem(KEY))), own: own !== null};
	} catch {
		return {};
	}
}

export function rememberLogin(login) {
	try {
		sessionStorage.removeItem(OTHER);
		sessionStorage.setItem(KEY, JSON.stringify(login));
		if (login.stay) localStorage.setItem(KEY, JSON.stringify(login));
	} catch { /* a browser that keeps nothing asks for the password next time */ }
}

export function forgetLogin(id, everywhere) {
	try {
		sessionStorage.removeItem(KEY);
		if (!everywhere) sessionStorage.setItem(OTHER, 1);
		else if (JSON.parse(localStorage.getItem(KEY))?.id === id) localStorage.removeItem(KEY);
	} catch { /* nothing there to forget */ }
}

/** Claims an account for this tab: two would write the history twice. Resolves to what gives it up; null: another tab has it. */
export function claim(id, force, onLost) {
	if (!navigator.locks) return Promise.resolve(() => {});
	return new Promise((resolve) => {
		let given = false;
		navigator.locks.request(`imctl ${id}`, force ? {steal: true} : {ifAvailable: true}, (lock) => new Promise((letGo) => {
			resolve(lock && (() => { given = true; letGo(); }));
			if (!lock) letGo();
		})).catch(() => { if (!given) onLost(); });
	});
}
