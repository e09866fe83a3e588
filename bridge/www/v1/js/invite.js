// Loaded with the form of registration: who may register, and the invite of the address.

import {field, h} from './dom.js';
import {Code, post, Refused} from './protocol.js';

const WORDS = {
	en: {
		invite: 'Invite',
		inviteHint: 'This server needs an invite. Ask a member for a link.',
		closed: 'Registration is closed on this server. Its administrator can create an account for you.',
		invalid: 'This invite is not valid: it may be used up or expired.',
	},
	de: {
		invite: 'Einladung',
		inviteHint: 'Dieser Server verlangt eine Einladung. Bitte ein Mitglied um einen Link.',
		closed: 'Die Registrierung ist auf diesem Server geschlossen. Der Administrator kann ein Konto anlegen.',
		invalid: 'Diese Einladung gilt nicht: Sie ist vielleicht verbraucht oder abgelaufen.',
	},
	zh: {
		invite: '邀请',
		inviteHint: '此服务器需要邀请。请向成员索取链接。',
		closed: '此服务器已关闭注册。管理员可以为你创建账号。',
		invalid: '邀请无效：可能已用完或已过期。',
	},
};
const words = WORDS[document.documentElement.lang.split('-')[0]] ?? WORDS.en;

let box = null; // the field of the invite, if the form has one

/** open, invite or closed. An old or unreachable server counts as open. */
const mode = async () => {
	try {
		return (await (await fetch('/im/registration', {cache: 'no-store', credentials: 'omit'})).json()).registration;
	} catch {
		return 'open';
	}
};

/** Puts what the form needs behind the field `before`. */
export async function ask(before) {
	box = null;
	const value = location.hash.replace(/^#invite=|^.*$/, '');
	const now = await mode();
	if (now === 'closed') before.after(h('p.fault', {role: 'alert'}, words.closed));
	if (now !== 'invite' && !value) return;
	box = field('account', {name: 'invite', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 64, value});
	box.querySelector('label').textContent = words.invite;
	if (!value) box.fault(words.inviteHint);
	before.after(box);
}

/** Throws Refused. */
export async function register(fields) {
	try {
		await post('register', {...fields, invite: box?.input.value.trim()});
	} catch (refused) {
		if (refused.code !== Code.malformed) throw refused;
		const text = {closed: words.closed, invite: box?.input.value ? words.invalid : words.inviteHint}[await mode()];
		throw text ? Object.assign(new Refused(refused.code), {words: text}) : refused;
	}
	history.replaceState(null, '', location.pathname);
}
