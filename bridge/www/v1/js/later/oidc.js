// The sign-in at the operator's OpenID Connect provider. The page leaves for it, and a new page completes the sign-in.

import {h} from '../dom.js';
import {at, Code, post, Refused} from '../protocol.js';
import {explain, t} from '../words.js';

const KEY = 'imctl.oidc'; // what the page forgets while it is away
const WORDS = {denied: 'oidcDenied', expired: 'oidcExpired', account: 'oidcAccount', disabled: 'oidcDisabled', busy: 'oidcBusy', failed: 'oidcFailed'};

/** Fills place with the button. only: there is no form for a password. stays(): whether the user stays signed in. */
export function offer(place, {label}, only, stays) {
	const stay = h('input', {type: 'checkbox', checked: true});
	function leave() {
		try {
			sessionStorage.setItem(KEY, JSON.stringify({stay: only ? stay.checked : stays(), hash: location.hash}));
		} catch { /* nothing is stored: the user stays signed in */ }
		location.assign(at('/im/oidc/start'));
	}
	const go = h(`button${only ? '.main' : ''}`, {onclick: leave}, t('oidcButton', {label}));
	place.replaceChildren(...only ? [h('label.check', stay, t('stay'))] : [], go);
	if (only) go.focus();
}

function left() {
	try {
		const {stay, hash} = JSON.parse(sessionStorage.getItem(KEY));
		sessionStorage.removeItem(KEY);
		return {stay, hash};
	} catch {
		return {stay: true, hash: ''};
	}
}

/** Completes a sign-in by its outcome, which the address of the page has. Throws Refused with words. */
export async function finish({session}, outcome) {
	const {stay, hash} = left();
	history.replaceState(null, '', location.pathname + (/^#(add|invite)=/.test(hash) ? hash : ''));
	const refused = (key, code = 0) => { throw new Refused(code, {words: t(key)}); };
	if (outcome !== 'done') refused(WORDS[outcome] ?? 'oidcProvider');
	try {
		const {ticket} = await post('oidc/session', {}, {credentials: 'same-origin'}); // the cookie of the sign-in
		await session.enter({ticket}, stay);
	} catch (error) {
		if (error.code === Code.wrongLogin || error.code === Code.busy) refused('oidcExpired', error.code);
		throw new Refused(error.code, {words: explain(error)});
	}
}
