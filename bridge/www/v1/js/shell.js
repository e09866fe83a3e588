// The signed-in page: sidebar and conversation. A phone shows one of them at a time.

import {personDialog} from './dialogs.js';
import {button, fill, h, icon, later} from './dom.js';
import {t} from './words.js';
import {people} from './people.js';
import {Code} from './protocol.js';
import {talk} from './talk.js';
import * as where from './where.js';

export function home(app) {
	const {store, session, notifier} = app;
	const side = people(app);
	const main = h('.pane');
	const bar = h('.linkbar', {role: 'status', hidden: true});
	const element = h('.home', bar, h('main.panes', h('h1.hidden', 'imctl'), side.element, main));
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
		pane = id ? talk(app, id) : {element: h('.nothing', icon('smile'), t('chooseTalk'))};
		fill(main, pane.element);
		element.classList.toggle('deep', id);
		side.update();
		if (pane.shown) pane.shown();
		else side.focus(before);
	}

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
	addEventListener('hashchange', follow, {signal});

	return {
		element,
		focus: follow,
		leave() {
			life.abort();
			drawSoon.cancel();
			pane?.leave?.();
			side.leave();
			// The next user must not get this conversation.
			where.home();
		},
	};
}
