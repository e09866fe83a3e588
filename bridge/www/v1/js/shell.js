// The signed-in page: people on one side, a talk or the requests on the other; on a phone one of them at a time.

import { h, fill, icon, later } from './dom.js';
import { t } from './i18n.js';
import { people } from './people.js';
import { requests } from './requests.js';
import { talk } from './talk.js';

/** What the address says is on the screen: ['talk', friend], ['requests'] or ['']. */
const route = () => location.hash.slice(1).split('/');

export function home(app) {
  const { store } = app;
  const side = people(app);
  const main = h('main.pane');
  const bar = h('.linkbar', { role: 'status', hidden: true });
  const element = h('.home', null, bar, h('.panes', null, side.element, main));
  let pane = { leave() {} };
  let shown = '';

  function follow() {
    const [name, id] = route();
    const known = name === 'talk' && (store.friends.has(id) || store.talks.has(id));
    const wanted = known ? `talk/${id}` : name === 'requests' ? name : '';
    if (wanted === shown && pane.element) return;
    pane.leave();
    shown = wanted;
    store.current = known ? id : '';
    pane = known ? talk(app, id) : wanted === 'requests' ? requests(app) : nothing();
    fill(main, pane.element);
    element.classList.toggle('deep', wanted !== '');
    side.mark();
    pane.shown?.();
  }

  // A loss that is mended at once is not worth a word.
  const sayLink = later(() => {
    const { state, until } = store.link;
    bar.hidden = state === 'on' || state === 'off';
    const seconds = Math.ceil((until - Date.now()) / 1000);
    fill(bar, h('span.spin', { 'aria-hidden': 'true' }), state === 'waiting'
      ? [t('linkWaiting', { n: Math.max(1, seconds) }), h('button.plain', { type: 'button', onclick: () => app.session.refresh() }, t('tryNow'))]
      : t('linkConnecting'));
  }, 700);
  const linkChanged = () => {
    if (store.link.state === 'on') {
      sayLink.cancel();
      bar.hidden = true;
    } else sayLink();
  };

  const title = () => app.notifier.update();
  const stops = [
    store.on('link', linkChanged),
    store.on('talks', title),
    store.on('requests', title),
    // A talk's address may name somebody who has just become a friend.
    store.on('friends', follow),
  ];
  addEventListener('hashchange', follow);
  follow();

  return {
    element,
    focus: () => side.focus(),
    leave() {
      removeEventListener('hashchange', follow);
      stops.forEach((stop) => stop());
      sayLink.cancel();
      pane.leave();
      side.leave();
      // The next person to sign in here doesn't start in this one's talk.
      globalThis.history.replaceState(null, '', location.pathname + location.search);
    },
  };
}

function nothing() {
  return { element: h('.nothing', null, icon('smile'), h('p', null, t('chooseTalk'))), leave() {} };
}
