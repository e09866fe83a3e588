// Completes the form of registration: the profile, the server's rules, and the invite of the address.

import {reject} from '../dialogs.js';
import {field, h} from '../dom.js';
import {load} from '../load.js';
import {Code, get, post} from '../protocol.js';
import {t} from '../words.js';

/** open, invite or closed. An old or unreachable server counts as open. */
const mode = async () => (await get('registration', {}).catch(() => ({}))).registration ?? 'open';

/** Adds fields to a form. Returns a function that registers and throws Refused. */
export async function extend({account, password, mail, more}) {
	const [{profileFields}, {check}, now] = await Promise.all([load('profile'), load('passwords'), mode()]);
	const profile = profileFields();
	const invite = location.hash.replace(/^#invite=|^.*$/, '');
	const box = (now === 'invite' || invite) && field('invite', {
		name: 'invite', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 64, value: invite,
	});
	more.append(...profile.elements);
	if (box) mail.after(box);
	if (box && !invite) box.fault(t('inviteHint'));
	if (now === 'closed') mail.after(h('p.fault', {role: 'alert'}, t('registrationClosed')));

	return async function register() {
		if (account.input.value.trim()) check(password, account.input.value); // the server names the fields in order
		const fields = {account: account.input.value, password: password.input.value, mail: mail.input.value, ...profile.changes()};
		await post('register', {...fields, invite: box ? box.input.value.trim() : undefined}).catch(async (error) => {
			if (error.code !== Code.malformed) throw error;
			const rule = await mode();
			if (rule === 'closed') error.words = t('registrationClosed');
			else if (rule !== 'invite') reject(password, t('passwordRefused'));
			else error.words = t(box?.input.value ? 'inviteInvalid' : 'inviteHint');
			throw error;
		});
		if (invite) history.replaceState(null, '', location.pathname);
	};
}
