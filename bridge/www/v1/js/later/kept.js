// Conversations that the server keeps. n numbers the dialogues of one without gaps.

import {isSettled} from '../outbox.js';
import {Code, get} from '../protocol.js';
import {isChange} from '../store.js';

const PAGE = 50;
const MOST = 200; // dialogues of an answer
const UNREAD = 1000; // the most that a new device counts
const ACK_PAUSE = 300;
const RETRY = 3000;
const REORDERED = 200; // time for frames that arrive in another order
const TYPING = 3000;

/** The dialogues that come directly before n + 1, without gaps. */
const suffix = (all, n) => all.filter((one, i) => one.n - i === n - all.length + 1);

/** call(f) makes a call with the login. away(friend): the user does not look. arrived(dialogue, away) tells of a dialogue. */
export function keeper({store, history, out, send, call, away, arrived}) {
	const me = store.me.id;
	const parts = new Map(); // friend's id → {pending, kept, old, top, busy, opened, first, typed}: what is on the screen
	const healing = new Set();
	const due = new Set(); // friends whose dialogues are to be acknowledged
	let ackTimer = 0;
	let over = false;

	function part(friend) {
		if (!parts.has(friend)) parts.set(friend, {pending: [], kept: null, old: [], first: 1, typed: 0});
		return parts.get(friend);
	}

	/** have: all up to it are in the cache, or were read on another device. heard: the friend's newest. told: what the server knows of read. */
	function cursor(friend) {
		const talk = store.talk(friend);
		if (!talk.fresh) Object.assign(talk, {have: 0, last: 0, got: 0, read: 0, told: 0, heard: 0, peerGot: 0, peerRead: 0, fresh: []});
		return talk;
	}

	function record(friend, {id = '', from, payload: text, n, at, re, reacts, edits, deletes, edited, deleted}) {
		return {friend, id, mine: from === me, text, n, at: Date.parse(at), state: 'kept', code: 0, re, reacts, edits, deletes, edited, deleted};
	}

	function draw(friend) {
		const {kept, old, pending, busy} = part(friend);
		if (kept && (kept.length || !busy)) {
			apply(kept);
			store.dialogues.set(friend, [...old, ...kept, ...pending]);
		}
		store.emit(friend);
	}

	/** Applies edits, deletions and reactions to the dialogues that they name. */
	function apply(all) {
		const by = new Map(all.map((one) => [one.n, one]));
		for (const one of all) one.reactions = '';
		for (const {re, reacts, edits, deletes, deleted, mine, text, n} of all) {
			const target = by.get(reacts ?? edits ?? deletes);
			if (re) by.get(n).quoted = by.get(re)?.text ?? '…';
			if (!target || (target.mine !== mine && !reacts)) continue;
			if (deletes) change(target, {text: '', deleted: true});
			else if (deleted || target.deleted) continue;
			else if (edits) change(target, {text, edited: true});
			else if (!target.reactions.includes(text)) target.reactions += text;
		}
	}

	function change(target, changes) {
		if (target.text === changes.text) return;
		history.save(me, {kept: [Object.assign(target, changes)]});
	}

	/** Dialogues from..to, at most MOST. Without `ask` the cache will do if it has them all. */
	async function range(friend, from, to, ask) {
		const cached = ask ? [] : await history.between(me, friend, from, to);
		if (cached.length === to - from + 1) return cached;
		const {dialogues, first} = await call((auth) => get('dialogues', {...auth, with: friend, before: to + 1, limit: to - from + 1}));
		const all = (dialogues ?? []).map((one) => record(friend, one)).filter(({n}) => n >= from);
		part(friend).first = first || to + 1;
		history.trim(me, friend, part(friend).first);
		await history.save(me, {kept: all});
		return all;
	}

	/** Takes dialogues over that follow the ones held, up to the number `to`. */
	async function take(friend, all, to, quiet) {
		const talk = cursor(friend);
		const news = all.filter(({n}) => n > talk.have);
		const own = news.filter(({mine}) => mine).map(({id}) => id);
		const theirs = news.filter(({mine}) => !mine);
		const {kept, pending} = part(friend);
		for (const id of own) out.answered({code: Code.kept, id});
		part(friend).pending = pending.filter(({id}) => !own.includes(id));
		kept?.push(...news);
		talk.have = Math.max(talk.have, to);
		talk.last = Math.max(talk.last, to);
		talk.heard = theirs.at(-1)?.n ?? talk.heard;
		const unread = theirs.filter((one) => one.n > talk.read && !isChange(one) && !one.deleted);
		talk.fresh.push(...unread.map(({n}) => n));
		if (news.length) show(talk, news.at(-1));
		const isAway = away(friend);
		if (!isAway) look(friend);
		count(talk);
		draw(friend);
		store.emit('talks');
		if (!quiet && unread.length) arrived(unread.at(-1), isAway);
		await history.save(me, {kept: news, talks: [talk]}, own);
		if (theirs.length) ack(friend);
	}

	const show = (talk, {text, at, mine}) => Object.assign(talk, {text: text.slice(0, 200), at: at * 1000, mine, name: store.nameOf(talk.friend)});

	function count(talk) {
		talk.fresh = talk.fresh.filter((n) => n > talk.read);
		talk.unread = talk.fresh.length;
	}

	function arrive(friend, one) {
		const talk = cursor(friend);
		if (one.n === talk.have + 1) return take(friend, [one], one.n);
		if (one.n <= talk.have) { // known already, such as a dialogue that was sent twice
			part(friend).pending = part(friend).pending.filter(({id}) => id !== one.id || !one.mine);
			history.save(me, {}, one.mine ? [one.id] : []);
			draw(friend);
			return undefined;
		}
		talk.last = Math.max(talk.last, one.n);
		history.save(me, {kept: [one]}); // so that heal finds it
		return heal(friend, REORDERED);
	}

	/** Fetches what is missing up to the newest dialogue. */
	async function heal(friend, pause = 0, quiet = false) {
		if (healing.has(friend)) return;
		healing.add(friend);
		if (pause) await new Promise((done) => { setTimeout(done, pause); });
		try {
			for (let talk = cursor(friend); !over && talk.have < talk.last; talk = cursor(friend)) {
				const to = Math.min(talk.last, talk.have + MOST);
				const all = await range(friend, talk.have + 1, to);
				if (!over) await take(friend, all, to, quiet);
			}
		} catch {
			if (!over) setTimeout(heal, RETRY, friend);
		}
		healing.delete(friend);
	}

	function ack(friend) {
		due.add(friend);
		ackTimer ||= setTimeout(() => {
			ackTimer = 0;
			for (const one of over ? [] : due) tell(one);
			due.clear();
		}, ACK_PAUSE);
	}

	function tell(friend) {
		const talk = cursor(friend);
		const {have, read, told, got} = talk;
		if (read > told && send({read, with: friend})) talk.told = read;
		if (have > Math.max(got, read) && send({got: have, with: friend})) talk.got = have;
	}

	function look(friend) {
		const talk = cursor(friend);
		if (talk.heard <= talk.read) return false;
		talk.read = talk.have;
		count(talk);
		ack(friend);
		return true;
	}

	/** Fetches the newest page. Until it is there, the cache is shown. */
	async function open(friend) {
		const p = part(friend);
		if (p.opened) return;
		Object.assign(p, {opened: true, busy: true, kept: []});
		const {have} = cursor(friend);
		const from = Math.max(1, have - PAGE + 1);
		const put = (all) => {
			p.kept = [...suffix(all, have), ...p.kept.filter(({n}) => n > have)];
			if (!over) draw(friend);
		};
		try {
			put(await history.between(me, friend, from, have));
			if (have) put(await range(friend, from, have, true));
		} catch {
			p.opened = false;
		}
		p.busy = false;
		await older(friend, have - from < PAGE - 1);
		if (!over) draw(friend);
	}

	/** Adds the page before the oldest dialogue, and finally what the server does not keep. all: there is no page. */
	async function older(friend, all) {
		const p = part(friend);
		if (!p.kept || p.busy || p.top) return;
		p.busy = true;
		const low = p.kept[0]?.n ?? cursor(friend).have + 1;
		const from = Math.max(p.first, low - PAGE);
		try {
			const page = all || low <= from ? [] : suffix(await range(friend, from, low - 1), low - 1);
			p.kept.unshift(...page);
			p.top = low - page.length <= p.first;
			if (p.top) p.old = await history.all('dialogues', me, friend);
			if (!over && (page.length || p.old.length)) draw(friend);
		} catch { /* the next scroll tries again */ }
		p.busy = false;
	}

	function enter(first, entries) {
		const known = new Set();
		const missing = [];
		for (const {with: friend, entry, last, got, read, peerGot, peerRead} of entries) {
			const talk = cursor(friend);
			const from = Math.min(got, Math.max(read, last - UNREAD));
			known.add(friend);
			if (!entry || last < talk.have) forgot(friend); // on another device, or the server has lost dialogues
			if (last < talk.have || talk.have < from) {
				talk.have = from;
				Object.assign(part(friend), {kept: null, opened: false, top: false});
				store.dialogues.delete(friend);
			}
			Object.assign(talk, {last, got, told: read, read: Math.max(read, talk.read), peerGot, peerRead});
			count(talk);
			if (entry) show(talk, record(friend, entry));
			if (talk.read > read || talk.have > got) ack(friend);
			if (talk.have < last) missing.push(friend);
			store.emit(friend);
		}
		for (const talk of store.talks.values()) if (talk.have && !known.has(talk.friend)) forgot(talk.friend);
		history.save(me, {talks: [...known].map(cursor)});
		if (store.current) open(store.current);
		return missing;
	}

	function forgot(friend) {
		const p = part(friend);
		const {have, last, got, read, told, heard, peerGot, peerRead} = cursor(friend);
		const talk = store.talk(friend);
		history.trim(me, friend, Infinity);
		Object.assign(p, {kept: p.kept && [], old: [], first: last + 1, top: true});
		Object.assign(talk, {have, last, got, read, told, heard, peerGot, peerRead, fresh: [], unread: 0, text: '', at: 0});
		history.save(me, {talks: [talk]});
		draw(friend);
	}

	return {
		/** Takes over the conversations of a login. */
		async start(first, entries) {
			if (first) {
				for (const dialogue of (await history.all('outbox', me)).sort((a, b) => a.at - b.at)) {
					part(dialogue.friend).pending.push(dialogue);
					if (!isSettled(dialogue.state) || dialogue.state === 'kept') out.add(dialogue);
				}
			}
			const missing = enter(first, entries);
			(async () => { for (const friend of missing) await heal(friend, 0, first); })();
		},
		stop() { over = true; },
		open, older, forgot,

		/** Shows a dialogue that waits for its answer. */
		add(dialogue) {
			part(dialogue.friend).pending.push(dialogue);
			draw(dialogue.friend);
		},

		receive(frame) {
			const friend = frame.with;
			arrive(friend, record(friend, frame));
		},

		/** Handles an answer or news. Returns whether it was one of these. */
		news(frame) {
			const {code, id, n, at, own} = frame;
			if (code === Code.kept) {
				const dialogue = out.answered(frame);
				if (dialogue) arrive(dialogue.friend, {...dialogue, n, at: Date.parse(at)});
				return true;
			}
			if (code === Code.typing) {
				const friend = store.friends.get(id);
				if (friend) {
					clearTimeout(friend.typing);
					friend.typing = setTimeout(() => {
						friend.typing = 0;
						store.emit(id);
					}, TYPING);
					store.emit(id);
				}
				return true;
			}
			if (code !== Code.delivered && code !== Code.read) return false;
			const talk = cursor(id);
			const key = own ? 'read' : code === Code.read ? 'peerRead' : 'peerGot';
			talk[key] = Math.max(talk[key], n);
			if (own) {
				talk.told = Math.max(talk.told, n);
				count(talk);
				store.emit('talks');
			} else talk.peerGot = Math.max(talk.peerGot, n);
			history.save(me, {talks: [talk]});
			store.emit(id);
			return true;
		},

		read(friend) {
			if (!look(friend)) return;
			history.save(me, {talks: [cursor(friend)]});
			store.emit('talks');
		},

		typing(friend) {
			const p = part(friend);
			if (Date.now() - p.typed >= 1000 && send({typing: true, with: friend})) p.typed = Date.now();
		},
	};
}
