// One account's session: signs in and out, keeps the store true to what the server says, and does what the person wants.

import {claim, forgetLogin, rememberLogin} from './login.js';
import {Outbox, isSettled} from './outbox.js';
import * as protocol from './protocol.js';
import {Code, Refused} from './protocol.js';
import {Tunnel} from './tunnel.js';

/** Ids this long never repeat; a shorter one may be a client's count from 1 in each session, and says nothing. */
const TELLING = 12;

const PROFILE = ['name', 'picture', 'sex', 'birthday', 'sign'];

const pick = (from, keys) => Object.fromEntries(keys.filter((key) => from[key] != null).map((key) => [key, from[key]]));

/**
 * Options: store, history, onPhase(phase, code) with 'in', 'out' (code: why) or 'elsewhere' (code, when it is another place and not another
 * tab), and for news that somebody may want to be told of onDialogue(dialogue, away), onRequest(request), onFriend(friend).
 */
export class Session {
	#options;
	#store;
	#history;
	#tunnel = null;
	#login = null; // {id, token, name, stay}
	#password = null; // {account, password}, in memory alone
	#release = null; // gives the account up to other tabs
	#seen = new Set(); // "friend id" of dialogues with telling ids
	#arriving = new Map(); // friend's id → what came while its dialogues are being loaded
	#pushed = false; // the server has shown that it tells news by itself
	#outbox;

	constructor(options) {
		this.#options = options;
		this.#store = options.store;
		this.#history = options.history;
		this.#outbox = new Outbox((text) => this.#tunnel?.send(text), (dialogue) => this.#changed(dialogue));
	}

	// ---- signing in and out

	/** Resolves once signed in; throws Refused. */
	signIn(account, password, stay) {
		this.#password = {account, password};
		this.#login = {stay};
		return this.#open();
	}

	/** Comes back with what login.js remembered; takes the account over from another tab only if `force`. */
	async resume(login, force) {
		this.#login = login;
		if (await this.#claim(login.id, force)) await this.#open();
		else this.#options.onPhase('elsewhere');
	}

	takeOver() { return this.resume(this.#login, true); }

	async signOut() {
		const auth = this.#auth;
		forgetLogin(auth.id, true);
		this.#end('out');
		await protocol.logout(auth).catch(() => {}); // or the token runs out by itself
	}

	#open() {
		return new Promise((resolve, reject) => {
			const refused = (code) => {
				reject(new Refused(code));
				if (this.#store.me) this.#end('out', code);
				else this.#drop();
			};
			this.#tunnel = new Tunnel({
				credentials: () => this.#password ?? this.#auth,
				onOpen: (answer) => this.#opened(answer).then(resolve),
				onRefused: refused,
				onFrame: (frame) => this.#frame(frame),
				onDown: () => this.#outbox.down(),
				onState: (state, until) => {
					this.#store.link = {state, until};
					this.#store.emit('link');
					// Who has just typed a password wants a word, not growing pauses.
					if (state === 'waiting' && this.#password && !this.#store.me) refused(Code.unreachable);
				},
			});
			this.#tunnel.open();
		});
	}

	async #opened(answer) {
		const store = this.#store;
		const first = !store.me;
		const {id, name} = answer.profile;
		this.#login = {...this.#login, id, name, token: answer.token};
		rememberLogin(this.#login);
		const byID = (list) => new Map((list ?? []).map((one) => [one.id, one]));
		store.friends = byID(answer.friends);
		store.requests = byID(answer.requests);
		store.me = answer.profile;
		if (first) {
			if (!this.#release) await this.#claim(id, true);
			for (const talk of await this.#history.talks(id)) store.talks.set(talk.friend, talk);
			this.#options.onPhase('in');
		}
		store.emit('me', 'friends', 'requests', 'talks');
		this.#outbox.flush();
	}

	async #claim(id, force) {
		this.#release = await claim(id, force, () => this.#end('elsewhere'));
		return this.#release;
	}

	#drop() {
		this.#tunnel?.close();
		this.#tunnel = this.#password = null;
		this.#release?.();
		this.#release = null;
	}

	#end(phase, code) {
		this.#drop();
		this.#outbox.clear();
		this.#seen.clear();
		this.#arriving.clear();
		this.#store.clear();
		this.#options.onPhase(phase, code);
	}

	get #auth() { return {id: this.#login.id, token: this.#login.token}; }

	// ---- what the server says

	#frame(frame) {
		const store = this.#store;
		const friend = store.friends.get(frame.id);
		if (frame.code === undefined) {
			this.#heard(frame);
			return;
		}
		if (frame.code < 400 && frame.code !== Code.success || frame.code >= Code.friendApplies) this.#pushed = true;
		switch (frame.code) {
			case Code.friendOnline:
			case Code.friendOffline:
				this.#presence(frame.id, frame.code === Code.friendOnline);
				break;
			case Code.profileChanged:
				// The name in it is the friend's own; the one shown is an alias of mine, and stays.
				if (friend) Object.assign(friend, pick(frame, PROFILE), {name: friend.name, own: frame.name});
				store.emit('friends', frame.id);
				break;
			case Code.friendApplies:
				store.requests.set(frame.request.id, frame.request);
				store.emit('requests');
				this.#options.onRequest(frame.request);
				break;
			case Code.friendAdded:
				this.#befriended(frame.friend);
				break;
			case Code.friendRemoved:
				this.#parted(frame.id);
				break;
			case Code.elsewhere:
				this.#end('elsewhere', frame.code);
				break;
			default: {
				const dialogue = this.#outbox.answered(frame);
				if (!dialogue) break;
				if (frame.code === Code.notFriends) this.#parted(dialogue.friend);
				else if (frame.code === Code.success || frame.code === Code.peerOffline) this.#presence(dialogue.friend, frame.code === Code.success);
			}
		}
	}

	#presence(id, online) {
		const friend = this.#store.friends.get(id);
		if (!friend || friend.online === online) return;
		friend.online = online;
		this.#store.emit('friends');
	}

	#befriended(friend) {
		const store = this.#store;
		const asked = store.asked.delete(friend.id);
		store.requests.delete(friend.id);
		store.friends.set(friend.id, friend);
		store.emit('friends', 'requests');
		if (asked) this.#options.onFriend(friend);
	}

	#parted(id) {
		const store = this.#store;
		// The name outlives the friendship where dialogues do.
		if (store.talks.get(id)?.at) this.#talk(id, {name: store.nameOf(id)});
		for (const all of [store.friends, store.requests, store.asked]) all.delete(id);
		store.emit('friends', 'requests', id);
	}

	// ---- dialogues

	#heard({id = '', from, toFriend, payload}) {
		const store = this.#store;
		const mine = from === store.me.id; // said on another device of one's own
		const friend = mine ? toFriend : from;
		if (id.length >= TELLING) {
			if (this.#seen.has(friend + id)) return;
			this.#seen.add(friend + id);
		}
		const dialogue = {friend, id, mine, text: payload, n: this.#history.next(), state: 'delivered', code: 0};
		const away = store.current !== friend || document.hidden || !document.hasFocus();
		this.#keep(dialogue, {unread: mine ? 0 : store.talk(friend).unread + away});
		if (mine) return;
		this.#options.onDialogue(dialogue, away);
		if (store.friends.has(friend)) this.#presence(friend, true);
		else this.refresh(); // a friend that this session has not heard of
	}

	#keep(dialogue, changes) {
		const {friend, text, n, mine} = dialogue;
		const store = this.#store;
		if (!this.#history.kept && !store.dialogues.has(friend)) store.dialogues.set(friend, []);
		(store.dialogues.get(friend) ?? this.#arriving.get(friend))?.push(dialogue);
		this.#changed(dialogue);
		this.#talk(friend, {text: text.slice(0, 200), at: n, mine, name: store.nameOf(friend), ...changes});
	}

	#changed(dialogue) {
		const {me} = this.#store;
		if (!me) return;
		this.#history.put('dialogues', me.id, dialogue);
		this.#store.emit(dialogue.friend);
	}

	#talk(friend, changes) {
		const talk = Object.assign(this.#store.talk(friend), changes);
		this.#history.put('talks', this.#store.me.id, talk);
		this.#store.emit('talks');
	}

	/** Puts a talk's dialogues into the store, from the history. */
	async load(friend) {
		const {me, dialogues} = this.#store;
		if (dialogues.has(friend) || this.#arriving.has(friend)) return;
		const arrived = [];
		this.#arriving.set(friend, arrived);
		const kept = await this.#history.dialogues(me.id, friend);
		if (this.#arriving.get(friend) !== arrived) return; // signed out meanwhile
		this.#arriving.delete(friend);
		for (const dialogue of kept) {
			// What an earlier page left on its way has no answer to wait for.
			if (!isSettled(dialogue.state)) Object.assign(dialogue, {state: 'failed', code: Code.unreachable});
			if (!dialogue.mine && dialogue.id.length >= TELLING) this.#seen.add(friend + dialogue.id);
		}
		const last = kept.at(-1)?.n ?? 0;
		dialogues.set(friend, kept.concat(arrived.filter(({n}) => n > last)));
		this.#store.emit(friend);
	}

	say(friend, text) {
		const dialogue = {friend, id: crypto.randomUUID?.() ?? `${Math.random()}${Date.now()}`, mine: true, text, n: this.#history.next()};
		this.#keep(dialogue, {draft: '', unread: 0});
		this.#outbox.add(dialogue);
	}

	sayAgain(dialogue) { this.#outbox.add(dialogue); }

	keepDraft(friend, draft) {
		if (this.#store.me && (this.#store.talks.get(friend)?.draft ?? '') !== draft) this.#talk(friend, {draft});
	}

	read(friend) {
		if (this.#store.talks.get(friend)?.unread) this.#talk(friend, {unread: 0});
	}

	// ---- friends

	find(name, signal) { return this.#call(protocol.found(this.#auth, name, signal)); }

	async ask(person, note) {
		await this.#call(protocol.request(this.#auth, person.id, note));
		this.#store.asked.add(person.id);
		this.#store.emit('requests');
	}

	async answer(request, alias) {
		await this.#call(protocol.add(this.#auth, request.id, alias));
		if (this.#store.friends.has(request.id)) return;
		this.#befriended({...request, name: alias});
		if (!this.#pushed) this.refresh();
	}

	/** Ends a friendship, or declines a request. */
	async part(id) {
		await this.#call(protocol.remove(this.#auth, id), Code.notFriends);
		this.#parted(id);
	}

	/** The server keeps the first alias; a later one is kept in this browser. */
	async rename(id, alias) {
		const kept = await this.#call(protocol.add(this.#auth, id, alias), Code.alreadyFriends);
		this.#talk(id, {alias: kept ? '' : alias, name: alias});
		if (kept) this.#store.friends.get(id).name = alias;
		this.#store.emit('friends', id);
	}

	async updateProfile(fields) {
		await this.#call(protocol.updateProfile(this.#auth, fields));
		Object.assign(this.#store.me, pick(fields, PROFILE));
		this.#store.emit('me');
	}

	/** Logs in anew: a server that doesn't push tells what has changed by no other way. */
	refresh() { this.#tunnel?.again(); }

	/** A call's answer, undefined where it was refused as expected. A token that ran out meanwhile is made anew, or ends the session. */
	#call(answer, expected) {
		return answer.catch((error) => {
			if (error.code === expected) return undefined;
			if (error.code === Code.authIllegal) this.refresh();
			throw error;
		});
	}

	// ---- history

	async exported() {
		const {id, name} = this.#store.me;
		return {
			account: {id, name},
			dialogues: (await this.#history.dialogues(id)).map(({friend, mine, text, n, state}) => ({
				friend, name: this.#store.nameOf(friend), at: new Date(n / 1000).toISOString(), mine, text, state,
			})),
		};
	}

	/** Forgets one friend's dialogues, or everybody's. */
	async forget(...friend) {
		const store = this.#store;
		await this.#history.forget(store.me.id, ...friend);
		for (const id of friend.length ? friend : [...store.talks.keys()]) {
			store.talks.delete(id);
			if (store.dialogues.has(id)) store.dialogues.set(id, []);
			store.emit(id);
		}
		store.emit('talks');
	}
}
