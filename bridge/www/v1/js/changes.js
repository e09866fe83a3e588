// Edits, deletions, reactions and replies: dialogues that change or name others.

/** Dialogue → {reactions, quoted}. Not in the dialogue itself, which is stored. reactions: [{emoji, mine, theirs}]. */
export const notes = new WeakMap();

/** Whether a dialogue only changes another one. A failed change is shown, to be sent again. */
export const isChange = ({n, state, edits, deletes, reacts}) => (n || state !== 'failed') && Boolean(edits || deletes || reacts);

/**
 * Applies the changes in `all`, in order, to the dialogues that they name. `quotes` are further ones that replies name,
 * by number. changed(dialogue) is called for each whose text is another one for good.
 */
export function apply(all, quotes, changed) {
	const by = new Map(quotes);
	for (const one of all) if (one.n) by.set(one.n, one);
	const gone = new Set();
	const newest = new Map(); // number → the newest edit of it
	for (const one of all) {
		notes.delete(one);
		if (one.deletes && isChange(one)) gone.add(one.deletes);
		if (one.edits && !one.deleted && isChange(one)) newest.set(one.edits, one);
	}
	for (const one of all) {
		const {re, reacts, edits, deletes} = one;
		if (re) note(one).quoted = by.get(re);
		const target = by.get(reacts ?? edits ?? deletes);
		if (!target || (target.mine !== one.mine && !reacts)) continue;
		if (!isChange(one)) undo(one, target);
		else if (deletes) change(one, target, {text: '', deleted: true}, changed);
		else if (one.deleted || target.deleted) continue;
		else if (edits && newest.get(edits) === one) change(one, target, {text: one.text, edited: true}, changed);
		else if (reacts && !gone.has(one.n)) react(one, target);
	}
}

function note(one) {
	if (!notes.has(one)) notes.set(one, {});
	return notes.get(one);
}

function react({n, mine, text}, target) {
	const all = note(target).reactions ??= [];
	let reaction = all.find(({emoji}) => emoji === text);
	if (!reaction) all.push(reaction = {emoji: text});
	reaction[mine ? 'mine' : 'theirs'] = n ?? -1; // not yet answered
}

/** A change without a number is shown, too. It may still fail. */
function change(one, target, changes, changed) {
	const {text, edited, deleted} = target;
	const isNew = text !== changes.text || (changes.deleted && !deleted);
	if (!one.n) {
		if (isNew) one.was ??= {text, edited, deleted};
		Object.assign(target, changes);
	} else if (isNew || one.was) {
		delete one.was;
		changed(Object.assign(target, changes));
	}
}

function undo(one, target) {
	if (one.was) Object.assign(target, one.was);
	delete one.was;
}
