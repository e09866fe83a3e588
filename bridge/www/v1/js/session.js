// Updates the store from the server's frames, and carries out the user's actions.

import {isChange} from './changes.js';
import {summary} from './files.js';
import {load, loadFollow} from './load.js';
import {askToPersist, claim, forgetLogin, leaveDraft, rememberLogin, rememberedLogin, takeDraft} from './login.js';
import {outbox} from './outbox.js';
import * as protocol from './protocol.js';
import {Code, Refused} from './protocol.js';
import {timeOf} from './store.js';
import {openTunnel} from './tunnel.js';

const MINUTE = 60_000;
const GRACE = 700; // a shorter interruption is not shown
const PROFILE = ['name', 'picture', 'sex', 'birthday', 'sign'];
// Browsers have randomUUID only on https and localhost.
const newID = () => crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join('-');
const pick = (from, keys) => Object.fromEntries(keys.filter((key) => from[key] != null).map((key) => [key, from[key]]));

/** onPhase('in'), ('out', code) or ('elsewhere', code). Without a code, elsewhere is another tab. */
export function newSession({store, history, onPhase, onDialogue, onRequest, onFriend}) {
	let tunnel = null;
	let login = null; // {id, token, since, name, stay}
	let lasts = null; // {token, time}: for how long it is valid, in milliseconds
	let renewed = 0; // when the last renewal was tried
	let clock = 0; // interval
	let dark = 0; // timer
	let password = null; // until the login is answered
	let release = null; // unlocks the account
	let talks = null; // later/kept.js, or later/local.js if the server keeps no conversations
	let ready = null; // resolves when the login's answer is taken over
	const seen = new Set(); // unknown friends
	const rejecting = new Set(); // friends whose refusal is looked into
	const upload = (dialogue, signal) => called(load('upload').then((module) => module.upload(auth(), dialogue, signal)));
	const out = outbox((text) => tunnel?.send(text), keep, () => tunnel?.probe(), upload);
	const auth = () => ({id: login.id, token: login.token});

	const open = () => new Promise((resolve, reject) => {
		function refused(code, wait) {
			reject(new Refused(code, {wait}));
			forgetLogin(login.id, true);
			if (store.me) end('out', code);
			else drop();
		}
		tunnel = openTunnel({
			login: () => protocol.loginURL(password ?? auth()),
			onOpen(answer) { ready = opened(answer).then(resolve); },
			onRefused: refused,
			onFrame: (frame) => ready.then(() => { if (store.me) receive(frame); }),
			onDown: out.down,
			onState(state, until, why, wait) {
				store.link = {state, until, why};
				store.emit('link');
				const down = state !== 'on' && state !== 'off';
				clearTimeout(dark);
				dark = down && setTimeout(darken, GRACE);
				// After typing a password, the user needs an error, not a retry.
				if (state === 'waiting' && password) refused(why, wait);
			},
		});
	});

	async function opened(answer) {
		const {id, name} = answer.profile;
		const keeps = answer.talks !== undefined;
		const [module, parts] = await Promise.all(keeps ? [load('kept'), loadFollow()] : [load('local')]).catch((error) => [tunnel?.lost(error.code)]);
		if (!module || !tunnel) return;
		const first = !store.me;
		const byID = (list) => new Map((list ?? []).map((one) => [one.id, one]));
		password = null;
		const since = login.token === answer.token ? login.since : Date.now();
		login = {...login, id, name, token: answer.token, since};
		rememberLogin(login);
		Object.assign(store, {me: answer.profile, friends: byID(answer.friends), requests: byID(answer.requests)});
		if (first) {
			if (!release) await hold(true);
			for (const talk of await history.all('talks', id)) store.talks.set(talk.friend, talk);
			const left = takeDraft(id);
			if (left) talk(left.friend, {draft: left.draft});
		}
		if (!talks || store.kept !== keeps) {
			const send = (frame) => tunnel?.send(JSON.stringify(frame));
			talks?.stop();
			talks = module.default({...parts, store, history, out, send, away, arrived, preview, changed: talk, mark: remark, call: (f) => called(f(auth()))});
		}
		store.kept = out.safe = keeps;
		await talks.start(first, answer.talks ?? []);
		if (first) onPhase('in');
		store.emit('me', 'friends', 'requests', 'talks');
		out.resume();
		learn();
	}

	/** Learns for how long the token is valid. */
	async function learn() {
		const {token} = login;
		if (lasts?.token === token) return;
		const {sessions} = await called(protocol.get('sessions', auth())).catch(() => ({}));
		const {issued, expires} = sessions?.find(({current}) => current) ?? {};
		const time = Date.parse(expires) - Date.parse(issued);
		if (!time || login?.token !== token) return;
		lasts = {token, time};
		clearInterval(clock);
		clock = setInterval(renew, Math.min(MINUTE, time / 20));
	}

	/** Gets a new token in good time: a login by token returns one once half of the time is over. */
	function renew() {
		const now = Date.now();
		const due = Math.max((login?.since ?? 0) + lasts.time * 0.6, renewed + lasts.time / 10);
		if (store.link.state !== 'on' || now < due || out.busy()) return;
		renewed = now;
		tunnel.reconnect();
	}

	/** Without a connection nothing is known of friends. */
	function darken() {
		for (const friend of store.friends.values()) friend.online = null;
		store.emit('friends');
	}

	async function hold(force) {
		release = await claim(login.id, force, () => end('elsewhere'));
		return release;
	}

	function drop() {
		tunnel?.close();
		release?.();
		clearInterval(clock);
		lasts = null;
		tunnel = password = release = null;
	}

	function end(phase, code) {
		drop();
		talks?.stop();
		talks = null;
		for (const one of [out, seen, store]) one.clear();
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
		if (code === undefined) talks.receive(frame);
		else if (talks.news(frame)) return;
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

	const away = (friend) => store.current !== friend || !store.atEnd || document.hidden || !document.hasFocus();

	function arrived(dialogue, isAway) {
		const {friend} = dialogue;
		onDialogue(dialogue, isAway);
		presence(friend, true);
		if (!store.friends.has(friend) && !seen.has(friend)) tunnel.reconnect(); // an unknown friend: get the list
		seen.add(friend);
	}

	/** Shows a dialogue in the list of conversations. */
	function preview(dialogue, changes) {
		const {friend, mine} = dialogue;
		talk(friend, {text: summary(dialogue).slice(0, 200), at: timeOf(dialogue) * 1000, mine, name: store.nameOf(friend), ...changes});
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

	async function mark(friend, marks) {
		if (store.kept) await called(protocol.post('dialogues/mark', {...auth(), with: friend, ...marks}));
		if (store.me) talk(friend, marks);
	}

	/** As mark, but shows the marks at once. If the call fails, the next login has the server's. */
	function remark(friend, marks) {
		talk(friend, marks);
		if (store.kept) mark(friend, marks).catch(() => {});
	}

	/** Resolves to undefined if the call was refused with the expected code. */
	const called = (answer, expected) => answer.catch((error) => {
		if (error.code === expected) return undefined;
		if (error.code === Code.authIllegal) tunnel?.reconnect();
		throw error;
	});

	// A page in the back/forward cache lets other tabs have the account.
	addEventListener('pagehide', () => {
		release?.();
		release = null;
	});
	addEventListener('pageshow', async ({persisted}) => {
		if (!persisted || !store.me) return;
		takeDraft(store.me.id);
		if (!await hold(false)) end('elsewhere');
	});

	return {
		/** credentials: account and password, or a ticket. */
		enter(credentials, stay) {
			password = credentials;
			login = {stay};
			return open();
		},

		resume,
		takeOver() {
			const newer = rememberedLogin();
			return resume(newer.id === login.id ? newer : login, true);
		},
		reconnect: () => tunnel?.reconnect(),

		/** erase: delete what this browser has of the account. */
		async signOut(erase) {
			const last = auth();
			forgetLogin(last.id, true);
			end('out');
			const told = protocol.logout(last).catch(() => {}); // otherwise the token expires
			if (erase) {
				takeDraft(last.id);
				await history.erase(last.id);
			}
			await told;
		},
		stays: () => Boolean(login.stay),
		keepsHere: history.kept,

		load: (friend) => talks.open(friend),
		older: (friend) => talks.older(friend),
		/** Resolves when the dialogues back to number n are in the store, as far as they exist. */
		reach: (friend, n) => talks?.reach(friend, n),
		quote: (friend, n) => talks?.quote(friend, n),
		/** Resolves to kept dialogues from..to, from the cache or the server. Throws Refused. */
		range: (friend, from, to) => talks.range(friend, from, to),
		/** Dialogues of this browser: kept ones from..to, and all that the server does not keep. */
		between: (friend, from, to) => history.between(store.me.id, friend, from, to),
		local: (friend) => history.all('dialogues', store.me.id, friend),
		typing: (friend) => talks.typing(friend),
		read: (friend) => talks?.read(friend),

		/** more: re, reacts, edits or deletes; or file, as the server describes it but without an id, and blob, its bytes. */
		send(friend, text, more) {
			const dialogue = {friend, id: newID(), mine: true, text, state: 'queued', code: 0};
			talks.add(dialogue, more);
			if (!isChange(dialogue)) preview(dialogue, {draft: ''});
			out.add(dialogue);
			if (login.stay) askToPersist();
		},
		resend: out.add,
		/** Takes back a dialogue that has not been sent. */
		cancel(dialogue) {
			out.drop(dialogue.id);
			talks.drop?.(dialogue);
		},

		/** Changes the marks of a conversation: pinned, archived, muted. */
		mark,

		/** ends: the page may be gone soon. */
		keepDraft(friend, draft, ends) {
			if (ends && store.me && draft) leaveDraft({me: store.me.id, friend, draft});
			if (store.me && (store.talks.get(friend)?.draft ?? '') !== draft) talk(friend, {draft});
		},
		async ask(person, note) {
			await called(protocol.request(auth(), person.id, note));
			store.asked.set(person.id, {...person, at: new Date().toISOString()});
			store.emit('requests');
		},

		/** Takes back a request. The friend may have accepted it meanwhile, on which the server's frame follows. */
		async takeBack(id) {
			await called(protocol.post('friends/cancel', {...auth(), to: id}), Code.noSuchUser);
			store.asked.delete(id);
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

		async deleted() {
			const {id} = login;
			forgetLogin(id, true);
			end('out');
			takeDraft(id);
			await history.erase(id);
		},

		all: (name) => history.all(name, store.me.id),

		async forget(...friend) {
			for (const id of friend.length ? friend : [...store.talks.keys()]) await talks.forget(id);
			store.emit('talks');
		},
	};
}
