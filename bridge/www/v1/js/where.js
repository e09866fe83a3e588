// The place in the browser's history. The list has the first entry, and a conversation one more, so that the history does
// not grow. An open dialog has an entry of its own, so that going back closes the dialog only. The entry of a dialog that
// was closed otherwise is used again, or skipped on the way back.

const opened = () => [...document.querySelectorAll('dialog[open]')];
const changed = () => dispatchEvent(new Event('hashchange'));
/** depth: entries above the list. dialogs: those of them that are of dialogs. */
const entry = () => ({depth: 0, dialogs: 0, ...history.state, url: location.href});
let was = entry();

function put(how, more, url) {
	const {depth, dialogs} = entry();
	history[how]({depth, dialogs, ...more}, '', url);
	was = entry();
}

export const place = () => location.hash.slice(1);

/** Shows a conversation. */
export function go(id) {
	opened().forEach((dialog) => dialog.close());
	if (place() === id) return;
	const {depth, dialogs} = entry();
	if (place() || dialogs) put('replaceState', {dialogs: 0}, `#${id}`);
	else put('pushState', {depth: depth + 1}, `#${id}`);
	changed();
}

/** Goes back to the list. */
export function leave() {
	const {depth} = entry();
	if (depth) history.go(-depth);
	else home();
}

/** Shows the list in the current entry. */
export function home() {
	put('replaceState', {depth: 0, dialogs: 0}, location.pathname);
	changed();
}

/** To be called for each dialog that opens. */
export function dialogOpened() {
	const {depth, dialogs} = entry();
	if (dialogs < opened().length) put('pushState', {depth: depth + 1, dialogs: dialogs + 1});
}

addEventListener('popstate', () => {
	const {url, dialogs} = was;
	was = entry();
	const above = opened().slice(was.dialogs);
	if (above.length) above.reverse().forEach((dialog) => dialog.close());
	else if (was.url === url && was.dialogs < dialogs) history.back(); // the dialog was closed before
});
