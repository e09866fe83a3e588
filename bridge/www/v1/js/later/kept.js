// Conversations that the server keeps: this browser has a cache. n numbers the dialogues of one without gaps.

import {apply, isChange} from '../changes.js';
import {summary} from '../files.js';
import {isSettled} from '../client/outbox.js';
import {Code, get, post} from '../protocol.js';

const PAGE = 50;
const UNREAD = 1000; // the most that a new device counts
const ACK_PAUSE = 300;
const REORDERED = 200; // time for frames that arrive in another order
const TYPING = 3000;

/** The dialogues that end with number n, without gaps. */
const suffix = (all, n) => all.filter((one, i) => one.n - i === n - all.length + 1);

/** follow and MOST are those of client/follow.js. call(f) makes a call with the login. arrived(dialogue, away) announces a dialogue. mark(friend, marks) changes marks. */
export default function kept({follow, MOST, store, history, out, send, call, away, arrived, mark}) {
	const me = store.me.id;
	const parts = new Map(); // friend's id → {pending, kept, old, first, busy, opened, top, typed, quotes}
	const due = new Set(); // friends whose dialogues are to be acknowledged
	let over = false;

	function part(friend) {
		if (!parts.has(friend)) parts.set(friend, {pending: [], kept: null, old: [], first: 1, typed: 0, quotes: new Map()});
		return parts.get(friend);
	}

	/**
	 * Dialogues up to `have` are held, or were read on another device. `heard` is the friend's newest one. The server
	 * knows of `got` and `told`. `fresh` are the numbers of unread ones.
	 */
	function cursor(friend) {
		const talk = store.talk(friend);
		if (!talk.fresh) Object.assign(talk, {have: 0, last: 0, got: 0, read: 0, told: 0, heard: 0, peerGot: 0, peerRead: 0, fresh: []});
		return talk;
	}

	const save = (friend, kept, sent) => over || history.save(me, {kept, talks: [cursor(friend)]}, sent);
	const record = (friend, {from, payload: text, at, ...more}) => ({...more, friend, mine: from === me, text, at: Date.parse(at), state: 'kept'});
	/** Shows a dialogue in the list, or what it changes of the one there. */
	function show(talk, one) {
		const {n, at, mine} = one;
		const words = summary(one).slice(0, 200);
		const target = one.edits ?? one.deletes;
		if (!isChange(one) || !talk.at) Object.assign(talk, {text: words, at: at * 1000, mine, shown: n, name: store.nameOf(talk.friend)});
		else if (target && target === talk.shown && talk.mine === mine) talk.text = one.deletes ? '' : words;
	}

	function draw(friend) {
		const {kept, old, pending, busy, quotes} = part(friend);
		if (over) return;
		if (kept && (kept.length || !busy)) {
			apply([...kept, ...pending], quotes, (one) => save(friend, [one]));
			store.dialogues.set(friend, [...old, ...kept, ...pending]);
		}
		store.emit(friend);
	}

	/** Resolves to dialogues from..to, at most MOST. Without `ask` the cache will do if it has them all. */
	async function range(friend, from, to, ask) {
		const cached = ask ? [] : await history.between(me, friend, from, to);
		if (cached.length > to - from) return cached;
		const {dialogues, first} = await call((auth) => get('dialogues', {...auth, with: friend, before: to + 1, limit: to - from + 1}));
		const all = (dialogues ?? []).map((one) => record(friend, one)).filter(({n}) => n >= from);
		part(friend).first = first || to + 1;
		history.trim(me, friend, part(friend).first);
		await save(friend, all);
		return all;
	}

	/** Takes over dialogues that follow those held, up to the number `to`. */
	async function take(friend, all, to, quiet) {
		const talk = cursor(friend);
		const p = part(friend);
		const news = all.filter(({n}) => n > talk.have);
		const theirs = news.filter(({mine}) => !mine);
		const own = news.filter(({mine}) => mine).map(({id}) => id);
		const unread = theirs.filter((one) => one.n > talk.read && !isChange(one) && !one.deleted);
		for (const id of own) out.answered({code: Code.kept, id});
		p.pending = p.pending.filter(({id}) => !own.includes(id));
		p.kept?.push(...news);
		talk.have = to;
		talk.last = Math.max(talk.last, to);
		talk.heard = theirs.at(-1)?.n ?? talk.heard;
		talk.fresh.push(...unread.map(({n}) => n));
		for (const one of news) show(talk, one);
		const isAway = away(friend);
		if (!isAway) look(talk);
		count(talk);
		draw(friend);
		if (unread.length && talk.archived && !talk.muted) mark(friend, {archived: false});
		if (!quiet && unread.length) arrived(unread.at(-1), isAway);
		await save(friend, news, own);
		if (theirs.length) ack(friend);
	}

	function count(talk) {
		talk.fresh = talk.fresh.filter((n) => n > talk.read);
		talk.unread = talk.fresh.length;
		store.emit('talks');
	}

	const {heal, arrive} = follow({
		cursor, range, take, pause: REORDERED,
		isOver: () => over,
		early: (one) => save(one.friend, [one]), // heal finds it there
		known({friend, id, mine}) {
			if (!mine) return;
			const p = part(friend); // it was sent twice
			p.pending = p.pending.filter((other) => other.id !== id);
			save(friend, [], [id]);
			draw(friend);
		},
	});

	function ack(friend) {
		if (!due.size) setTimeout(tell, ACK_PAUSE);
		due.add(friend);
	}

	function tell() {
		for (const friend of over ? [] : due) {
			const talk = cursor(friend);
			const {have, told, got} = talk;
			const read = store.discreet ? 0 : talk.read; // the user tells friends only what has arrived
			if (read > told && send({read, with: friend})) talk.told = read;
			if (have > Math.max(got, read) && send({got: have, with: friend})) talk.got = have;
		}
		due.clear();
	}

	/** Marks a conversation as read. Returns whether it was unread. */
	function look(talk) {
		if (talk.heard <= talk.read) return false;
		talk.read = talk.have;
		ack(talk.friend);
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
			draw(friend);
		};
		try {
			put(await history.between(me, friend, from, have));
			if (have) put(await range(friend, from, have, true));
		} catch {
			p.opened = false;
		}
		p.busy = false;
		if (from === 1) await older(friend);
		draw(friend);
	}

	/** Adds the page before the oldest dialogue, and before all what the server does not keep. */
	async function older(friend, size = PAGE) {
		const p = part(friend);
		if (!p.kept || p.busy || p.top) return;
		p.busy = true;
		const low = p.kept[0]?.n ?? cursor(friend).have + 1;
		const from = Math.max(p.first, low - size);
		try {
			const page = low > from ? suffix(await range(friend, from, low - 1), low - 1) : [];
			p.kept.unshift(...page);
			p.top = low - page.length <= p.first;
			if (p.top) p.old = await history.all('dialogues', me, friend);
		} catch { /* the next scroll tries again */ }
		p.busy = false;
		draw(friend);
	}

	/** Resolves when dialogues are held back to number n, as far as they exist. */
	async function reach(friend, n) {
		const p = part(friend);
		const low = () => p.kept?.[0]?.n ?? Infinity;
		while (!over && p.kept && !p.top && low() > n) {
			if (p.busy) {
				await new Promise((done) => { const stop = store.on(friend, () => done(stop())); });
				continue;
			}
			const before = low();
			await older(friend, MOST);
			if (low() === before) break; // without a connection
		}
	}

	/** Gets a dialogue that a reply names and that is not held. */
	async function quote(friend, n) {
		const [one] = await range(friend, n, n).catch(() => []);
		if (!one || over) return;
		part(friend).quotes.set(n, one);
		draw(friend);
	}

	function forgot(friend) {
		const talk = cursor(friend);
		const p = part(friend);
		history.forget(me, friend);
		Object.assign(p, {kept: p.kept && [], old: [], first: talk.last + 1, top: true});
		Object.assign(talk, {fresh: [], text: '', at: 0});
		count(talk);
		save(friend);
		draw(friend);
	}

	/** Takes over a conversation as a login has it. Returns whether dialogues are missing. */
	function enter({with: friend, entry, last, got, read, peerGot, peerRead, pinned = false, archived = false, muted = false}) {
		const talk = Object.assign(cursor(friend), {pinned, archived, muted});
		const from = Math.min(got, Math.max(read, last - UNREAD));
		const lost = last < talk.have; // by the server
		Object.assign(talk, {last, got, told: read, read: lost ? read : Math.max(read, talk.read), peerGot, peerRead});
		if (lost || (last && !entry)) forgot(friend); // the user deleted it on another device
		if (lost || talk.have < from) {
			talk.have = from;
			Object.assign(part(friend), {kept: null, opened: false, first: 1, top: false});
			store.dialogues.delete(friend);
		}
		if (entry) show(talk, record(friend, entry));
		count(talk);
		if (talk.read > read || talk.have > got) ack(friend);
		save(friend);
		draw(friend);
		return talk.have < last;
	}

	return {
		/** Takes over the conversations of a login. */
		async start(first, talks) {
			for (const dialogue of first ? (await history.all('outbox', me)).sort((a, b) => a.at - b.at) : []) {
				part(dialogue.friend).pending.push(dialogue);
				if (!isSettled(dialogue.state) || dialogue.state === 'kept') out.add(dialogue);
			}
			const known = new Set(talks.map((one) => one.with));
			for (const talk of store.talks.values()) if (talk.have && !known.has(talk.friend)) forgot(talk.friend);
			const missing = talks.filter(enter);
			if (store.current) open(store.current);
			(async () => { for (const one of missing) await heal(one.with, 0, first); })();
		},
		stop() { over = true; },
		open,
		older: (friend) => older(friend),
		reach,
		quote,
		range,

		/** Shows a dialogue that waits for its answer. more: re, reacts, edits or deletes. */
		add(dialogue, more) {
			const {friend, id} = dialogue;
			part(friend).pending.push(Object.assign(dialogue, more, {key: id, at: history.next() / 1000}));
			draw(friend);
		},

		/** Takes back a dialogue that has no number yet. */
		drop({friend, id}) {
			const p = part(friend);
			const talk = cursor(friend);
			p.pending = p.pending.filter((other) => other.id !== id);
			const last = p.pending.at(-1) ?? p.kept?.at(-1);
			if (last) show(talk, last);
			else Object.assign(talk, {text: '', at: 0});
			save(friend, [], [id]);
			draw(friend);
			store.emit('talks');
		},

		receive(frame) { arrive(record(frame.with, frame)); },

		/** Returns whether it handled the frame. */
		news(frame) {
			const {code, id, n, at, own} = frame;
			const friend = store.friends.get(id);
			if (code === Code.kept) {
				const dialogue = out.answered(frame);
				if (dialogue) arrive({...dialogue, blob: undefined, n, at: Date.parse(at)});
			} else if (code === Code.delivered || code === Code.read) {
				const talk = cursor(id);
				const raise = (key) => { talk[key] = Math.max(talk[key], n); };
				if (!own) raise('peerGot');
				if (code === Code.read) raise(own ? 'read' : 'peerRead');
				if (own) raise('told');
				count(talk);
				save(id);
			} else if (code === Code.marked) {
				const {pinned = false, archived = false, muted = false} = frame;
				Object.assign(cursor(id), {pinned, archived, muted});
				store.emit('talks');
				save(id);
			} else if (code === Code.typing && friend) {
				clearTimeout(friend.typing);
				friend.typing = setTimeout(() => {
					friend.typing = 0;
					store.emit(id);
				}, TYPING);
			} else return false;
			store.emit(id);
			return true;
		},

		read(friend) {
			const talk = cursor(friend);
			if (!look(talk)) return;
			count(talk);
			save(friend);
		},

		typing(friend) {
			const p = part(friend);
			if (!store.discreet && Date.now() - p.typed >= 1000 && send({typing: true, with: friend})) p.typed = Date.now();
		},

		async forget(friend) {
			if (cursor(friend).last) await call((auth) => post('dialogues/remove', {...auth, with: friend}));
			forgot(friend);
		},
	};
}
