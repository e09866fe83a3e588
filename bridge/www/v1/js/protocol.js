// The server's calls and codes, independent of the page.

export const Code = {
	success: 200, kept: 202, friendOffline: 300, profileChanged: 301, friendOnline: 302, delivered: 303, read: 304, typing: 305, marked: 306,
	malformed: 403, internal: 500, accountEmpty: 501, passwordEmpty: 502, mailEmpty: 503, accountExists: 504, wrongLogin: 505,
	sendFailed: 507, peerOffline: 508, notFriends: 512, elsewhere: 513, authIllegal: 515,
	friendApplies: 520, alreadyFriends: 522, noSuchUser: 523, friendAdded: 524, friendRemoved: 525,
	filesFull: 526,
	// Not of the protocol: no answer, three HTTP statuses, and a busy server, as it closes a tunnel.
	unreachable: 0, missing: 404, tooLarge: 413, tooMany: 429, busy: 1013,
	field: -1, // a field is invalid, and nothing was sent
	otherVersion: -2, // the server has another version of the page
};

export class Refused extends Error {
	/** more: words, to be shown instead of those of the code, and wait, the seconds until the call may be repeated. */
	constructor(code, more) {
		super(`code ${code}`);
		Object.assign(this, {code}, more);
	}
}

const SERVER = new URL('../../', location.href); // a proxy may serve it below a path
/** The address of a path of the server, which begins with /im/. */
export const at = (path) => new URL(path.slice('/im/'.length), SERVER).href;

/** A URL is in the logs of proxies: the credentials go into a call, and a ticket, which is valid once, into the URL. */
export async function loginURL(fields) {
	const {ticket} = fields.ticket ? fields : await post('session', fields);
	const url = new URL(at('/im/login').replace(/^http/, 'ws'));
	url.search = new URLSearchParams({ticket, push: 1, keep: 1});
	return url.href;
}

export const frameOf = ({id, friend, text, re, reacts, edits, deletes, file}) => JSON.stringify({id, toFriend: friend, payload: text, re, reacts, edits, deletes, file: file?.id});

// A frame has at most 64 KiB.
export const fits = (text) => new TextEncoder().encode(frameOf({text})).length < 65_000;

async function call(path, init) {
	const response = await fetch(at(path), {cache: 'no-store', credentials: 'omit', ...init}).catch(() => {
		throw new Refused(Code.unreachable);
	});
	const wait = Number(response.headers.get('Retry-After'));
	if ([Code.missing, Code.tooLarge, Code.tooMany].includes(response.status)) throw new Refused(response.status, {wait});
	const answer = await response.json().catch(() => ({code: Code.internal}));
	if (answer.code !== Code.success) throw new Refused(wait ? Code.busy : answer.code, {wait});
	return answer;
}

export const get = (path, fields) => call(`/im/${path}?${new URLSearchParams(fields)}`);

export const post = (path, fields, more) => call(`/im/${path}`, {
	method: 'POST',
	headers: {'Content-Type': 'application/json'},
	body: JSON.stringify(fields),
	keepalive: path === 'logout', // even if the page is closing
	...more,
});

// The calls throw Refused. auth is {id, token}.
export const people = (auth, q, after) => get('people', {...auth, q, after, limit: 30});
export const person = async (auth, of) => (await get('people/one', {...auth, of})).person;
export const asked = async (auth) => (await get('friends/asked', auth)).asked ?? [];
export const request = (auth, to, note) => get('friends/request', {...auth, to, note});
export const add = (auth, from, name) => get('friends/add', {...auth, from, name});
export const remove = (auth, to) => get('friends/remove', {...auth, to});
export const blocked = async (auth) => (await get('friends/blocked', auth)).blocked ?? [];
export const logout = (auth) => post('logout', auth);
