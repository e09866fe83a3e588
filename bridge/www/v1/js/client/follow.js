// Conversations without gaps: dialogues that arrive in order are taken over, and missing ones are fetched.

export const MOST = 200; // dialogues of an answer
const RETRY = 3000;

/**
 * cursor(friend) is {have, last}: dialogues up to number `have` were taken over, and `last` is the newest one.
 * range(friend, from, to) resolves to dialogues from..to, at least to the first of them. take(friend, dialogues, to, quiet)
 * takes them over and sets `have`. early(dialogue) gets one that arrives after a gap, known(dialogue) one that was taken
 * over before. pause: the time for frames that arrive in another order. again(friend) is called after a failure.
 */
export function follow({cursor, range, take, early, known, isOver, pause, again}) {
	const healing = new Set();

	/** Fetches what is missing up to the newest dialogue. */
	async function heal(friend, wait, quiet) {
		if (healing.has(friend) || isOver()) return;
		healing.add(friend);
		const talk = cursor(friend);
		try {
			if (wait) await new Promise((done) => { setTimeout(done, wait); });
			while (!isOver() && talk.have < talk.last) {
				const to = Math.min(talk.last, talk.have + MOST);
				const all = await range(friend, talk.have + 1, to);
				const reached = all.at(-1)?.n ?? to;
				if (!isOver() && reached > talk.have) await take(friend, all, reached, quiet);
			}
		} catch {
			setTimeout(again ?? heal, RETRY, friend);
		}
		healing.delete(friend);
	}

	function arrive(one) {
		const {friend, n} = one;
		const talk = cursor(friend);
		if (n === talk.have + 1) return take(friend, [one], n);
		if (n <= talk.have) return known(one);
		talk.last = Math.max(talk.last, n);
		early(one);
		return heal(friend, pause);
	}

	return {heal, arrive};
}
