// A client for bots and other programs, by WebSocket or by NATS. README.md has its description, and client.d.ts the types.

import {Code, Refused} from './v1/js/client/codes.js';
import {follow} from './v1/js/client/follow.js';
import {server} from './v1/js/client/http.js';
import {isSettled, outbox} from './v1/js/client/outbox.js';
import {openTunnel} from './v1/js/client/tunnel.js';
import {openNATS} from './nats.js';

export {Code, Refused};

const newID = () => crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join('-');

// The HTTP calls by their names on NATS. Those of the second list are POST.
const GET = {
	found: 'friends/found', request: 'friends/request', add: 'friends/add', remove: 'friends/remove', block: 'friends/block',
	unblock: 'friends/unblock', blocked: 'friends/blocked', asked: 'friends/asked', people: 'people', person: 'people/one',
	sessions: 'sessions', info: 'info', dialogues: 'dialogues',
};
const POST = {
	cancel: 'friends/cancel', report: 'report', profile: 'profile/update', verify: 'mail/verify', mailcode: 'mail/send',
	end: 'sessions/end', delete: 'account/delete', forget: 'dialogues/remove', mark: 'dialogues/mark', logout: 'logout',
};

/** Resolves to a client once it is logged in. Throws Refused. */
export function connect({onDialogue = () => {}, onNotice = () => {}, onState = () => {}, onError = console.error, ...options}) {
	const {nats, url, account, password, prefix, WebSocket: Socket = globalThis.WebSocket} = options;
	let {id, token} = options;
	let over = false;
	let tunnel;
	let opened; // with the first login
	const open = new Promise((done) => { opened = done; });
	const talks = new Map(); // friend's id → {have, last, acks, work}
	const sent = new Map(); // dialogue's id → dialogue, with resolve and reject
	const out = outbox((text) => tunnel.send(text), settled, () => tunnel.probe());
	const http = nats ? null : server(new URL('im/', url.endsWith('/') ? url : `${url}/`));
	const {heal, arrive} = follow({
		cursor, take,
		range: async (friend, from) => (await call('dialogues', {with: friend, after: from - 1})).dialogues ?? [],
		early() {}, // it is fetched with those before it
		known: ({friend}) => acknowledge(friend),
		isOver: () => over,
		again: (friend) => enqueue(friend, () => heal(friend)),
	});

	function cursor(friend) {
		if (!talks.has(friend)) talks.set(friend, {have: 0, last: 0, acks: [], work: open});
		return talks.get(friend);
	}

	/** Does the work of a conversation in order: an acknowledgement covers all dialogues before it. */
	function enqueue(friend, task) {
		const talk = cursor(friend);
		talk.work = talk.work.then(() => !over && task()).catch(onError);
	}

	const handle = (dialogue) => (async () => onDialogue(dialogue, client))().catch((error) => over || onError(error, dialogue));

	async function take(friend, all, to) {
		const talk = cursor(friend);
		const news = all.filter(({n}) => n > talk.have);
		for (const one of news) {
			if (one.from !== id && !one.deleted) await handle(one);
			if (over) return;
			talk.have = one.n;
		}
		talk.have = Math.max(talk.have, to);
		if (!acknowledge(friend) && news.some(({from}) => from !== id)) tunnel.send(JSON.stringify({got: talk.have, with: friend}));
	}

	/** Acknowledges what arrived by NATS and was handled. Returns whether there was any. */
	function acknowledge(friend) {
		const talk = cursor(friend);
		const due = talk.acks.filter(({n}) => n <= talk.have);
		talk.acks = talk.acks.filter(({n}) => n > talk.have);
		for (const {ack} of due) ack();
		return due.length > 0;
	}

	function receive(frame, ack) {
		const {code, ok, n, from} = frame;
		if (code === undefined) {
			const friend = frame.with ?? (from === id ? frame.toFriend : from);
			if (n && ack) cursor(friend).acks.push({n, ack});
			if (n) enqueue(friend, () => arrive({...frame, friend}));
			else {
				ack?.();
				if (from !== id) enqueue(friend, () => handle({...frame, with: friend}));
			}
		} else if (code === Code.elsewhere) end(new Refused(code));
		else if (ok && code !== Code.success && code !== Code.kept) onNotice(frame, client);
		else {
			const one = sent.get(frame.id);
			if (one && n) {
				Object.assign(one, {n, at: frame.at});
				enqueue(one.friend, () => arrive({friend: one.friend, n, from: id}));
			}
			out.answered(frame);
		}
	}

	function settled({id: key, state, code, n, at, resolve, reject}) {
		if (!isSettled(state) || !sent.delete(key)) return;
		if (state === 'kept' || state === 'delivered') resolve({id: key, code, n, at});
		else reject(new Refused(code));
	}

	function loggedIn(answer) {
		({id} = answer.profile);
		token = answer.token ?? token;
		out.safe = answer.talks !== undefined;
		if (nats && out.safe) out.most = 1; // several nodes may take dialogues, and in another order
		for (const {with: friend, last, got} of answer.talks ?? []) {
			const talk = cursor(friend);
			if (talk.have > last) talk.have = 0; // the server was restored from a backup
			Object.assign(talk, {have: Math.max(talk.have, got), last});
			if (talk.have < last) enqueue(friend, () => heal(friend));
		}
		for (const request of answer.requests ?? []) onNotice({code: Code.friendApplies, ok: true, request}, client);
		out.resume();
		opened();
	}

	const login = () => {
		if (!token) return http.loginURL({account, password});
		return http.loginURL({id, token}).catch((error) => {
			if (error.code !== Code.authIllegal || !password) throw error;
			token = '';
			return login();
		});
	};

	async function call(name, fields = {}) {
		if (nats) return tunnel.call(name, fields);
		if (GET[name]) return http.get(GET[name], {...fields, id, token});
		if (POST[name]) return http.post(POST[name], {...fields, id, token});
		throw new TypeError(`there is no call ${name}`);
	}

	let ended;
	const closed = new Promise((resolve) => { ended = resolve; });
	function end(reason) {
		if (over) return undefined;
		over = true;
		out.clear();
		for (const {reject} of sent.values()) reject(reason ?? new Refused(Code.unreachable));
		sent.clear();
		opened();
		ended(reason);
		return tunnel.close();
	}

	const client = {
		get id() { return id; },
		get token() { return token; },
		closed,
		call,
		accept: ({id: from, name}) => call('add', {from, name}),
		send(friend, payload, {id: key = newID(), re, reacts, edits, deletes} = {}) {
			if (over) return Promise.reject(new Refused(Code.unreachable));
			return new Promise((resolve, reject) => {
				const dialogue = {id: key, friend, text: payload, re, reacts, edits, deletes, resolve, reject};
				sent.set(key, dialogue);
				out.add(dialogue);
			});
		},
		async close() {
			await end();
			await Promise.all([...talks.values()].map(({work}) => work));
		},
	};

	const events = {onOpen: loggedIn, onFrame: receive, onDown: out.down, onState, onRefused: (code) => end(new Refused(code))};
	tunnel = nats ? openNATS({nc: nats, id, prefix, ...events}) : openTunnel({login, Socket, ...events});
	return Promise.race([open, closed]).then((reason) => {
		if (reason) throw reason;
		return client;
	});
}
