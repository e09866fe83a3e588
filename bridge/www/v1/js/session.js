// Updates the store from the server's frames, and carries out the user's actions.

import {load} from './load.js';
import {claim, forgetLogin, rememberLogin} from './login.js';
import {isSettled, outbox} from './outbox.js';
import * as protocol from './protocol.js';
import {Code, Refused} from './protocol.js';
import {timeOf} from './store.js';
import {openTunnel} from './tunnel.js';

/** Ids this long are unique. A shorter one may be a counter in each session. */
const UNIQUE_LENGTH = 12;

const PROFILE = ['name', 'picture', 'sex', 'birthday', 'sign'];
/** A UUID. Browsers have randomUUID only on https and localhost. */
const newID = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

const pick = (from, keys) => Object.fromEntries(keys.filter((key) => from[key] != null).map((key) => [key, from[key]]));

/** onPhase('in'), ('out', code) or ('elsewhere', code). Without a code, elsewhere is another tab. */
export function newSession({store, history, onPhase, onDialogue, onRequest, onFriend}) {
	let tunnel = null;
	let login = null; // {id, token, name, stay}
	let password = null; // until the login is answered
	let release = null; // unlocks the account
	let kept = null; // see later/kept.js; null if the server keeps no conversations
	let ready = null; // resolves when the login's answer is taken over
	const seen = new Set();
	const arriving = new Map(); // friend's id → dialogues received while the history is read
	const rejecting = new Set(); // friends whose refusal is looked into
	const out = outbox((text) => tunnel?.send(text), keep, () => tunnel?.probe());
	const auth = () => ({id: login.id, token: login.token});

	const open = () => new Promise((resolve, reject) => {
		function refused(code) {
			reject(new Refused(code));
			forgetLogin(login.id, true);
			if (store.me) end('out', code);
			else drop();
		}
		tunnel = openTunnel({
			credentials: () => password ?? auth(),
			onOpen(answer) { ready = opened(answer).then(resolve); },
			onRefused: refused,
			onFrame: (frame) => ready.then(() => { if (store.me) receive(frame); }),
			onDown: out.down,
			onState(state, until, why) {
				store.link = {state, until, why};
				store.emit('link');
				// After typing a password, the user needs an error, not a retry.
				if (state === 'waiting' && password) refused(why);
			},
		});
	});

	async function opened(answer) {
		const {talks, profile: {id, name}} = answer;
		const keeps = talks !== undefined;
		const module = keeps && !kept && await load('kept').catch(() => tunnel?.lost(Code.unreachable));
		if (!tunnel || (keeps && !kept && !module)) return;
		const first = !store.me;
		const byID = (list) => new Map((list ?? []).map((one) => [one.id, one]));
		password = null;
		login = {...login, id, name, token: answer.token};
		rememberLogin(login);
		Object.assign(store, {me: answer.profile, friends: byID(answer.friends), requests: byID(answer.requests)});
		if (first) {
			if (!release) await hold(true);
			for (const talk of await history.all('talks', id)) store.talks.set(talk.friend, talk);
		}
		store.kept = out.safe = keeps;
		if (!keeps) kept = null;
		else {
			const send = (frame) => tunnel?.send(JSON.stringify(frame));
			kept ??= module.keeper({store, history, out, send, away, arrived, call: (f) => called(f(auth()))});
			await kept.start(first, talks ?? []);
		}
		if (first) onPhase('in');
		store.emit('me', 'friends', 'requests', 'talks');
		out.resume();
	}

	async function hold(force) {
		release = await claim(login.id, force, () => end('elsewhere'));
		return release;
	}

	function drop() {
		tunnel?.close();
		release?.();
		tunnel = password = release = null;
	}

	function end(phase, code) {
		drop();
		kept?.stop();
		kept = null;
		for (const one of [out, seen, arriving, store]) one.clear();
		onPhase(phase, code);
	}

	async function resume(remembered, force) {
		login = remembered;
		if (await hold(force)) await open();
		else onPhase('elsewhere');
	}

	function receive(frame) {
		const {code, id} = frame;
		const friend = store.friends.get(id);
		if (code === undefined) (kept && frame.n ? kept.receive : receiveDialogue)(frame);
		else if (kept?.news(frame)) return;
		else if (code === Code.friendOnline || code === Code.friendOffline) presence(id, code === Code.friendOnline);
		else if (code === Code.profileChanged) {
			// The frame has the friend's own name. The alias stays.
			if (friend) Object.assign(friend, pick(frame, PROFILE), {name: friend.name, own: frame.name});
			store.emit('friends');
		} else if (code === Code.friendApplies) {
			store.requests.set(frame.request.id, frame.request);
			store.emit('requests');
			onRequest(frame.request);
		} else if (code === Code.friendAdded) befriended(frame.friend);
		else if (code === Code.friendRemoved) parted(id);
		else if (code === Code.elsewhere) end('elsewhere', code);
		else {
			const dialogue = out.answered(frame);
			if (code === Code.notFriends && dialogue) rejected(dialogue.friend);
			else if (code === Code.success || code === Code.peerOffline) presence(dialogue?.friend, code === Code.success);
		}
	}

	function presence(id, online) {
		const friend = store.friends.get(id);
		if (!friend || friend.online === online) return;
		friend.online = online;
		store.emit('friends');
	}

	function befriended(friend) {
		const {id} = friend;
		const asked = store.asked.delete(id);
		store.requests.delete(id);
		store.friends.set(id, friend);
		store.emit('friends', 'requests');
		if (asked) onFriend(friend);
	}

	function parted(id) {
		// The name is needed as long as the history has dialogues.
		if (store.talks.get(id)?.at) talk(id, {name: store.nameOf(id)});
		for (const all of [store.friends, store.requests, store.asked]) all.delete(id);
		store.emit('friends', 'requests');
	}

	/** A dialogue was refused: the friendship ended, or the user blocks the friend, perhaps from another device. */
	async function rejected(id) {
		if (rejecting.has(id)) return; // many dialogues may be refused at once
		rejecting.add(id);
		const ids = await blockedIDs().catch(() => null);
		rejecting.delete(id);
		if (!store.me) return; // the user signed out meanwhile
		const isBlocked = ids ? ids.has(id) : isBlocking(id);
		block(id, isBlocked);
		if (!isBlocked) parted(id);
	}

	const isBlocking = (id) => Boolean(store.talks.get(id)?.blocked);
	const blocked = () => called(protocol.blocked(auth()));
	const blockedIDs = async () => new Set((await blocked()).map(({id}) => id));

	/** Takes over what the server knows. */
	function block(id, yes) {
		if (isBlocking(id) !== yes) talk(id, {name: store.nameOf(id), blocked: yes});
		store.emit('friends', id);
		if (!yes) return;
		presence(id, false);
		for (const all of [store.requests, store.asked]) all.delete(id);
		store.emit('requests');
	}

	const away = (friend) => store.current !== friend || document.hidden || !document.hasFocus();

	function receiveDialogue({id = '', from, toFriend, payload: text}) {
		const mine = from === store.me.id; // sent from another device of this user
		const friend = mine ? toFriend : from;
		if (id.length >= UNIQUE_LENGTH && seen.has(friend + id)) return;
		seen.add(friend + id);
		const dialogue = {friend, id, mine, text, n: history.next(), state: 'delivered', code: 0};
		const isAway = away(friend);
		append(dialogue, {unread: mine ? 0 : store.talk(friend).unread + isAway});
		if (!mine) arrived(dialogue, isAway);
	}

	function arrived(dialogue, isAway) {
		const {friend} = dialogue;
		onDialogue(dialogue, isAway);
		presence(friend, true);
		if (!store.friends.has(friend) && !seen.has(friend)) tunnel.reconnect(); // an unknown friend: get the list
		seen.add(friend);
	}

	function append(dialogue, changes) {
		const {friend, text, mine} = dialogue;
		if (dialogue.key) kept.add(dialogue);
		else if (!history.kept && !store.dialogues.has(friend)) store.dialogues.set(friend, []);
		if (!dialogue.key) (store.dialogues.get(friend) ?? arriving.get(friend))?.push(dialogue);
		keep(dialogue);
		talk(friend, {text: text.slice(0, 200), at: timeOf(dialogue) * 1000, mine, name: store.nameOf(friend), ...changes});
	}

	function keep(dialogue) {
		if (!store.me) return;
		history.save(store.me.id, {[dialogue.key ? 'outbox' : 'dialogues']: [dialogue]});
		store.emit(dialogue.friend);
	}

	function talk(friend, changes) {
		history.save(store.me.id, {talks: [Object.assign(store.talk(friend), changes)]});
		store.emit('talks');
	}

	/** Resolves to undefined if the call was refused with the expected code. */
	const called = (answer, expected) => answer.catch((error) => {
		if (error.code === expected) return undefined;
		if (error.code === Code.authIllegal) tunnel?.reconnect();
		throw error;
	});

	return {
		signIn(account, secret, stay) {
			password = {account, password: secret};
			login = {stay};
			return open();
		},

		resume,
		takeOver: () => resume(login, true),
		reconnect: () => tunnel?.reconnect(),

		async signOut() {
			const last = auth();
			forgetLogin(last.id, true);
			end('out');
			await protocol.logout(last).catch(() => {}); // otherwise the token expires
		},

		async load(friend) {
			if (kept) {
				await kept.open(friend);
				return;
			}
			const {me, dialogues} = store;
			if (dialogues.has(friend) || arriving.has(friend)) return;
			const arrived = [];
			arriving.set(friend, arrived);
			const old = await history.all('dialogues', me.id, friend);
			if (arriving.get(friend) !== arrived) return; // the user signed out meanwhile
			arriving.delete(friend);
			for (const dialogue of old) {
				// A dialogue sent by an earlier page gets no answer any more.
				if (!isSettled(dialogue.state)) Object.assign(dialogue, {state: 'failed', code: Code.unreachable});
				seen.add(friend + dialogue.id);
			}
			const last = old.at(-1)?.n ?? 0;
			dialogues.set(friend, old.concat(arrived.filter(({n}) => n > last)));
			store.emit(friend);
		},

		older: (friend) => kept?.older(friend),
		typing: (friend) => kept?.typing(friend),

		/** more: re, reacts, edits or deletes. */
		send(friend, text, more) {
			const id = newID();
			const at = history.next();
			const dialogue = {friend, id, mine: true, text, ...(kept ? {key: id, at: at / 1000, ...more} : {n: at}), state: 'queued', code: 0};
			append(dialogue, {draft: '', unread: 0});
			out.add(dialogue);
		},
		resend: out.add,

		keepDraft(friend, draft) {
			if (store.me && (store.talks.get(friend)?.draft ?? '') !== draft) talk(friend, {draft});
		},
		read(friend) {
			if (kept) kept.read(friend);
			else if (store.talks.get(friend)?.unread) talk(friend, {unread: 0});
		},

		find: (name) => called(protocol.found(auth(), name)),

		async ask(person, note) {
			await called(protocol.request(auth(), person.id, note));
			store.asked.add(person.id);
			store.emit('requests');
		},

		async answer(request, alias) {
			await called(protocol.add(auth(), request.id, alias));
			if (!store.friends.has(request.id)) befriended({...request, name: alias});
		},

		/** Ends a friendship, or declines a request. */
		async part(id) {
			await called(protocol.remove(auth(), id), Code.notFriends);
			parted(id);
		},

		/** The server stores only the first alias. A later one is stored in this browser. */
		async rename(id, alias) {
			const kept = await called(protocol.add(auth(), id, alias), Code.alreadyFriends);
			talk(id, {alias: kept ? '' : alias, name: alias});
			if (kept) store.friends.get(id).name = alias;
			store.emit('friends', id);
		},

		/** Makes a call(auth) of protocol.js. */
		as: (call) => called(call(auth())),

		profileChanged(fields) {
			Object.assign(store.me, pick(fields, PROFILE));
			store.emit('me');
		},

		async block(id, yes) {
			await called(protocol.get(`friends/${yes ? 'block' : 'unblock'}`, {...auth(), to: id}));
			block(id, yes);
		},
		blocked,

		isBlocked: async (id) => (await blockedIDs()).has(id),

		/** The account was deleted. */
		async deleted() {
			const {id} = login;
			forgetLogin(id, true);
			end('out');
			await history.forget(id);
		},

		async exported() {
			const all = [...await history.all('dialogues', store.me.id), ...await history.all('kept', store.me.id)];
			return {me: store.me, dialogues: all.map((one) => {
				const {friend, mine, text, state} = one;
				return {at: new Date(timeOf(one)), friend, name: store.nameOf(friend), mine, text, state};
			})};
		},

		async forget(...friend) {
			const all = friend.length ? friend : [...store.talks.keys()];
			for (const id of all) if (kept && store.talks.get(id)?.last) await called(protocol.post('dialogues/remove', {...auth(), with: id}));
			await history.forget(store.me.id, ...friend);
			for (const id of all) {
				if (kept) kept.forgot(id);
				else {
					store.talks.delete(id);
					if (store.dialogues.has(id)) store.dialogues.set(id, []);
				}
				store.emit(id);
			}
			store.emit('talks');
		},
	};
}
