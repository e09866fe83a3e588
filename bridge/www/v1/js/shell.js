// The signed-in page: people on one side, a talk or the requests on the other; on a phone one of them at a time.

import {fill, h, icon, later} from './dom.js';
import {t} from './i18n.js';
import {people} from './people.js';
import {requests} from './requests.js';
import {talk} from './talk.js';

export function home(app) {
	const {store, session, notifier} = app;
	const side = people(app);
	const main = h('main.pane');
	const bar = h('.linkbar', {role: 'status', hidden: true});
	const element = h('.home', null, bar, h('.panes', null, side.element, main));
	let pane = null;

	/** Shows what the address names: talk/<friend>, requests, or nothing. */
	function follow() {
		const [name, id] = location.hash.slice(1).split('/');
		const known = name === 'talk' && (store.friends.has(id) || store.talks.has(id));
		const wanted = known ? id : name === 'requests' ? name : '';
		if (pane?.wanted === wanted) return;
		pane?.leave?.();
		store.current = known ? id : '';
		pane = {wanted, ...(known ? talk(app, id) : wanted ? requests(app) : {element: h('.nothing', null, icon('smile'), h('p', null, t('chooseTalk')))})};
		fill(main, pane.element);
		element.classList.toggle('deep', wanted !== '');
		side.update();
		pane.shown?.();
	}

	function drawLink() {
		const {state, until} = store.link;
		bar.hidden = state === 'on' || state === 'off';
		fill(bar, h('.spin'), state === 'waiting'
			? [t('linkWaiting', {n: Math.max(1, Math.ceil((until - Date.now()) / 1000))}), h('button.plain', {onclick: () => session.reconnect()}, t('tryNow'))]
			: t('linkConnecting'));
	}
	// A loss that is mended at once is not worth a word.
	const drawSoon = later(drawLink, 700);

	const title = () => notifier.update();
	const stops = [
		store.on('link', () => (store.link.state === 'on' ? (drawSoon.cancel(), drawLink()) : drawSoon())),
		store.on('talks', title), store.on('requests', title), store.on('friends', follow),
	];
	addEventListener('hashchange', follow);
	follow();

	return {
		element,
		focus: side.focus,
		leave() {
			removeEventListener('hashchange', follow);
			stops.forEach((stop) => stop());
			drawSoon.cancel();
			pane.leave?.();
			side.leave();
			// Who signs in here next does not start in this one's talk.
			history.replaceState(null, '', location.pathname);
		},
	};
}
