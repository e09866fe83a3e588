// The search over all conversations: first what this browser holds, then the server's history, page by page.

import {isChange} from '../changes.js';
import {keyOf, timeOf} from '../store.js';
import {folded} from '../text.js';

const BLOCK = 200; // dialogues of one call
const PACE = 250; // milliseconds between calls: the limit of history is 10 a second
const RETRY = 5000;
const FEW = 3; // hits of a conversation before "more"

/** Searches until stopped. changed() is called for news. hits() are rows for the list, progress() is {done, of}. */
export function searchAll({store, session}, changed) {
	const found = new Map(); // friend's id → hits, newest first
	const open = new Set(); // conversations of which all hits are shown
	let sought = '';
	let run = null; // AbortController
	let searched = 0;
	let total = 0;
	let drawn = 0;

	function soon() {
		const now = performance.now();
		if (now - drawn < 100) return;
		drawn = now;
		changed();
	}

	/** Adds the hits among dialogues, which are older than all seen of this conversation. */
	function take(friend, all, marks) {
		for (const one of all.toReversed()) {
			const {n, edits, deletes, deleted, text} = one;
			if (deletes) marks.set(deletes, '');
			if (edits && !deleted && !marks.has(edits)) marks.set(edits, text);
			if (deleted || isChange(one)) continue;
			const words = marks.get(n) ?? text;
			if (folded(words).includes(sought)) found.get(friend).push({...one, text: words});
		}
	}

	const breathe = () => new Promise((done) => { setTimeout(done); });

	async function search(signal) {
		const talks = [...store.talks.values()].filter(({at}) => at).sort((a, b) => b.at - a.at);
		const gaps = []; // {friend, from, to, marks} in the order of the search
		for (const {friend, last = 0} of talks) {
			found.set(friend, []);
			const marks = new Map(); // number → newest text of what was changed
			for (let to = last; to > 0 && !signal.aborted; to -= BLOCK) {
				const from = Math.max(1, to - BLOCK + 1);
				const held = await session.between(friend, from, to);
				if (signal.aborted) return;
				if (held.length > to - from) take(friend, held, marks);
				else {
					gaps.push({friend, to, marks});
					break; // what is older comes after what is missing
				}
			}
			if (!signal.aborted && !store.kept) take(friend, (store.dialogues.get(friend) ?? await session.local(friend)), marks);
			if (signal.aborted) return;
			soon();
			await breathe();
		}
		changed();
		total = gaps.reduce((sum, {to}) => sum + to, 0);
		for (const gap of gaps) await fill(gap, signal);
		if (signal.aborted) return;
		searched = total = 0;
		changed();
	}

	/** Reads a conversation from number `to` down to its first one. */
	async function fill({friend, to, marks}, signal) {
		while (to > 0 && !signal.aborted) {
			const from = Math.max(1, to - BLOCK + 1);
			const started = performance.now();
			const all = await session.range(friend, from, to).catch(({wait}) => ({wait: wait ? wait * 1000 : RETRY}));
			if (signal.aborted) return;
			if (all.wait) {
				await new Promise((done) => { setTimeout(done, all.wait); });
				continue;
			}
			take(friend, all, marks);
			const empty = !all.length; // older ones have expired
			searched += empty ? to : to - from + 1;
			to = empty ? 0 : from - 1;
			soon();
			// A cached block needs no pause.
			if (performance.now() - started > 20) await new Promise((done) => { setTimeout(done, PACE); });
		}
	}

	return {
		/** Starts anew. words are folded; none stop the search. */
		start(words) {
			run?.abort();
			run = null;
			found.clear();
			open.clear();
			searched = total = drawn = 0;
			sought = words;
			if (!words) return;
			run = new AbortController();
			search(run.signal);
		},
		stop: () => run?.abort(),
		more(friend) {
			open.add(friend);
			changed();
		},
		progress: () => total && {n: searched, of: total},
		rows() {
			const rows = [];
			for (const [friend, hits] of found) {
				const some = open.has(friend) ? hits : hits.slice(0, FEW);
				rows.push(...some.map((one) => ({kind: 'hit', key: `h${friend} ${keyOf(one)}`, hit: one, at: timeOf(one), sought})));
				if (hits.length > some.length) rows.push({kind: 'more', key: `m${friend}`, friend, n: hits.length - some.length});
			}
			return rows;
		},
	};
}
