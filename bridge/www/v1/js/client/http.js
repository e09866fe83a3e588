// Calls over HTTP.

import {Code, Refused} from './codes.js';

/** The calls of a server, whose address ends in /im/. */
export function server(base) {
	/** The address of a path of the server, which begins with /im/. */
	const at = (path) => new URL(path.slice('/im/'.length), base).href;

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

	// The calls throw Refused.
	const get = (path, fields) => call(`/im/${path}?${new URLSearchParams(fields)}`);
	const post = (path, fields, more) => call(`/im/${path}`, {
		method: 'POST',
		headers: {'Content-Type': 'application/json'},
		body: JSON.stringify(fields),
		...more,
	});

	/** A URL is in the logs of proxies: the credentials go into a call, and a ticket, which is valid once, into the URL. */
	async function loginURL(fields) {
		const {ticket} = fields.ticket ? fields : await post('session', fields);
		const url = new URL(at('/im/login').replace(/^http/, 'ws'));
		url.search = new URLSearchParams({ticket, push: 1, keep: 1});
		return url.href;
	}

	return {at, get, post, loginURL};
}
