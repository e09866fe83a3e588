// A forgotten password: a code by mail, then a new password.

import {open, reject, required, tell} from '../dialogs.js';
import {field} from '../dom.js';
import {load} from '../load.js';
import {Code, post} from '../protocol.js';
import {t} from '../words.js';

export function forgotDialog(known) {
	const account = field('account', {value: known, autocomplete: 'username', autocapitalize: 'none', maxlength: 64});
	const mail = field('mail', {type: 'email', autocomplete: 'email', hint: 'forgotHint', maxlength: 254});
	let sent = '';
	open('forgot', [account, mail], {
		label: 'sendCode',
		async action() {
			const name = required(account);
			await post('password/forgot', {account: name, mail: required(mail)}).catch((error) => {
				if (error.code === Code.missing) reject(mail, t('askAdministrator'));
				throw error;
			});
			sent = name;
		},
		onclose: () => sent && resetDialog(sent),
	});
}

function resetDialog(account) {
	const code = field('code', {autocomplete: 'one-time-code', hint: 'codeHint'});
	const password = field('newPassword', {type: 'password', autocomplete: 'new-password'});
	let set = false;
	open('forgot', [code, password], {
		label: 'setPassword',
		async action() {
			const fields = {account, code: required(code), password: required(password)};
			(await load('passwords')).check(password, account);
			await post('password/reset', fields).catch((error) => {
				if (error.code === Code.wrongLogin) reject(code, t('codeWrong'));
				if (error.code === Code.malformed) reject(password, t('passwordRefused'));
				throw error;
			});
			set = true;
		},
		onclose: () => set && tell('passwordSet'),
	});
}
