import {announce} from './dom.js';
import {summary} from './files.js';
import {openHistory} from './history.js';
import {explain, t, tCode} from './words.js';
import {load, loadHome} from './load.js';
import {rememberedLogin} from './login.js';
import {newNotifier} from './notify.js';
import {Code} from './protocol.js';
import {newSession} from './session.js';
import {elsewhere, notLoaded, signIn, starting} from './sign.js';
import {newStore} from './store.js';

const store = newStore();
const notifier = newNotifier(store);
const app = {store, notifier};

let shown = {};
/** A view is {element, focus(), leave()}. */
function show(view) {
	shown.leave?.();
	document.querySelectorAll('dialog').forEach((dialog) => dialog.remove());
	document.getElementById('app').replaceChildren(view.element);
	shown = view;
	view.focus?.();
	notifier.update();
}

async function showHome() {
	try {
		const {home} = await loadHome();
		if (store.me) show(home(app));
	} catch (error) {
		console.warn(error);
		if (store.me) show(notLoaded(error));
	}
}

function news(key, {id, name, text}, away = true) {
	const words = t(key, {name, text});
	announce(words);
	if (away) notifier.tell(words, id);
}

app.session = newSession({
	store,
	history: await openHistory(),
	onPhase(phase, code) {
		if ('serviceWorker' in navigator) load('push').then((push) => push.phase(phase, code, app.session)).catch(console.warn);
		if (phase === 'in') showHome();
		else if (phase === 'elsewhere') show(elsewhere(app, code));
		else show(signIn(app, code && tCode(code === Code.wrongLogin ? Code.authIllegal : code)));
	},
	onDialogue(dialogue, away) {
		const id = dialogue.friend;
		if (!store.talk(id).muted) news('says', {id, name: store.nameOf(id), text: summary(dialogue)}, away);
	},
	onRequest: (request) => news('asks', request),
	onFriend: (friend) => news('agreed', friend),
});

const login = rememberedLogin();
const [, outcome] = location.hash.match(/^#oidc=(\w+)$/) ?? []; // of a sign-in at another server
if (outcome) {
	show(starting(app, {name: 'imctl'}));
	load('oidc').then(({finish}) => finish(app, outcome)).catch((error) => show(signIn(app, explain(error))));
} else if (login.token) {
	loadHome().catch(() => {}); // while the tunnel opens; an error is shown later
	show(starting(app, login));
	app.session.resume(login, login.own).catch(() => show(signIn(app, tCode(Code.authIllegal))));
} else {
	show(signIn(app));
}

// A file that is dropped beside a conversation must not replace the page.
for (const kind of ['dragover', 'drop']) {
	addEventListener(kind, (event) => {
		if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return;
		event.preventDefault();
		event.dataTransfer.dropEffect = 'none';
	});
}
