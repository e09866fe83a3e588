// The signed-in page: sidebar and conversation, and beside it, on a wide screen, what is known about the friend. A phone
// shows one of them at a time.

import {personDialog} from './dialogs.js';
import {button, fill, h, icon, later, look, setLook} from './dom.js';
import {load} from './load.js';
import {t} from './words.js';
import {people} from './people.js';
import {Code} from './protocol.js';
import {talk} from './talk.js';
import * as where from './where.js';

const WIDE = 75; // rem, as in home.css

export function home(app) {
	const {store, session, notifier} = app;
	const side = people(app);
	const main = h('.pane');
	const details = h('aside.details', {label: 'about', hidden: true});
	const bar = h('.linkbar', {role: 'status', hidden: true});
	const element = h('.home', bar, h('main.panes', h('h1.hidden', 'imctl'), side.element, main, details));
	const life = new AbortController();
	let pane = null;

	/** Shows the friend whose id is in the URL. */
	function follow() {
		const named = where.place();
		if (/^add=/.test(named)) { // the link of a person
			history.replaceState(history.state, '', location.pathname + (store.current && `#${store.current}`));
			personDialog(app, named.slice(4));
			return follow();
		}
		const id = store.friends.has(named) || store.talks.has(named) ? named : '';
		const before = store.current;
		if (pane && before === id) return;
		pane?.leave?.();
		store.current = id;
		pane = id ? talk(app, id) : {element: nothing()};
		fill(main, pane.element);
		element.classList.toggle('deep', id);
		side.update();
		drawDetails();
		if (pane.shown) pane.shown();
		else side.focus(before);
	}

	/** What a pane without a conversation has: help, as long as there are no friends. */
	function nothing() {
		const box = h('.nothing', icon('talk'), h('p', t('chooseTalk')));
		if (!store.people().length) load('start').then(({start}) => fill(box, start(app)), () => {});
		return box;
	}

	// ---- the details

	let drawn = '';
	const wide = () => element.clientWidth >= WIDE * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);

	/** Shows or hides a person beside the conversation. Returns false if there is no room, or no conversation. */
	app.details = ({id}) => {
		if (id !== store.current || !wide()) return false;
		setDetails(details.hidden);
		return true;
	};
	details.leave = () => {
		setDetails(false);
		main.querySelector('.who')?.focus();
	};

	function setDetails(shown) {
		try {
			setLook({details: shown});
		} catch { /* until the page closes */ }
		drawDetails(shown);
	}

	async function drawDetails(shown = look().details !== false) {
		const id = shown && store.current;
		const person = id && {...store.friends.get(id), typing: 0, id, name: store.nameOf(id), blocked: store.talks.get(id)?.blocked};
		const stamp = JSON.stringify(person);
		details.hidden = !id;
		if (!id || stamp === drawn || !wide()) return;
		const module = await load('friends').catch(() => null);
		if (store.current !== id || details.hidden) return; // closed meanwhile
		drawn = module ? stamp : '';
		details.hidden = !module;
		module?.aboutDialog(app, person, details);
	}
	const drawDetailsSoon = later(() => drawDetails(), 50);

	function drawLink() {
		const {state, until, why} = store.link;
		bar.hidden = state === 'on' || state === 'off';
		element.classList.toggle('down', !bar.hidden);
		fill(bar, h('.spin'), state === 'waiting'
			? [t(why === Code.busy ? 'linkBusy' : 'linkWaiting', {n: Math.max(1, Math.ceil((until - Date.now()) / 1000))}), button('tryNow', () => session.reconnect(), '.plain')]
			: t('linkConnecting'));
	}
	// A short interruption is not shown.
	const drawSoon = later(drawLink, 700);

	const {signal} = life;
	store.on('link', () => (store.link.state === 'on' ? (drawSoon.cancel(), drawLink()) : drawSoon()), signal);
	store.on('talks', notifier.update, signal);
	store.on('requests', notifier.update, signal);
	store.on('friends', follow, signal);
	store.on('talks', follow, signal);
	store.on('friends', drawDetailsSoon, signal);
	addEventListener('resize', drawDetailsSoon, {signal});
	addEventListener('hashchange', follow, {signal});

	return {
		element,
		focus: follow,
		leave() {
			life.abort();
			drawSoon.cancel();
			drawDetailsSoon.cancel();
			delete app.details;
			pane?.leave?.();
			side.leave();
			// The next user must not get this conversation.
			where.home();
		},
	};
}
