// The server's calls and codes, independent of the page.

export const Code = {
	success: 200, friendOffline: 300, profileChanged: 301, friendOnline: 302,
	malformed: 403, internal: 500, accountEmpty: 501, passwordEmpty: 502, mailEmpty: 503, accountExists: 504, wrongLogin: 505,
	sendFailed: 507, peerOffline: 508, notFriends: 512, elsewhere: 513, authIllegal: 515,
	friendApplies: 520, alreadyFriends: 522, friendAdded: 524, friendRemoved: 525,
	// Not of the protocol: no answer, and three HTTP statuses.
	unreachable: 0, missing: 404, tooLarge: 413, tooMany: 429,
	field: -1, // a field is invalid, and nothing was sent
};

export class Refused extends Error {
	constructor(code) {
		super(`code ${code}`);
		this.code = code;
	}
}

export function loginURL(fields) {
	const url = new URL('/im/login', location.href.replace(/^http/, 'ws'));
	url.search = new URLSearchParams({...fields, push: 1});
	return url.href;
}

export const frameOf = ({id, friend, text}) => JSON.stringify({id, toFriend: friend, payload: text});

// A frame has at most 64 KiB.
export const fits = (text) => new TextEncoder().encode(frameOf({text})).length < 65_000;

async function call(path, init) {
	const response = await fetch(path, {cache: 'no-store', credentials: 'omit', ...init}).catch(() => {
		throw new Refused(Code.unreachable);
	});
	if ([Code.missing, Code.tooLarge, Code.tooMany].includes(response.status)) throw new Refused(response.status);
	const answer = await response.json().catch(() => ({code: Code.internal}));
	if (answer.code !== Code.success) throw new Refused(answer.code);
	return answer;
}

const get = (path, fields) => call(`/im/friends/${path}?${new URLSearchParams(fields)}`);

export const post = (path, fields) => call(`/im/${path}`, {
	method: 'POST',
	headers: {'Content-Type': 'application/json'},
	body: JSON.stringify(fields),
	keepalive: path === 'logout', // even if the page is closing
});

// The calls throw Refused. auth is {id, token}.
export const found = async (auth, name) => (await get('found', {...auth, name})).found ?? [];
export const request = (auth, to, note) => get('request', {...auth, to, note});
export const add = (auth, from, name) => get('add', {...auth, from, name});
export const remove = (auth, to) => get('remove', {...auth, to});
export const updateProfile = (auth, fields) => post('profile/update', {...auth, ...fields});
export const verifyMail = (auth, code) => post('mail/verify', {...auth, code});
export const logout = (auth) => post('logout', auth);
export const forgot = (account, mail) => post('password/forgot', {account, mail});
export const reset = (account, code, password) => post('password/reset', {account, code, password});
