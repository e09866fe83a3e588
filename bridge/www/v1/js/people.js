// The side: oneself, the search, requests that wait, and everybody one talks with.

import { avatar } from './avatar.js';
import { askDialog, aboutDialog, profileDialog, settingsDialog, confirmDialog } from './dialogs.js';
import { h, fill, icon, iconButton, later, menuButton, once } from './dom.js';
import { brief, t, tCode } from './i18n.js';
import { folded, oneLine } from './text.js';
import { Windowed } from './windowed.js';

const TYPING_PAUSE = 250;
const ROW = 68;

export function people(app) {
  const { store, session } = app;
  let sought = '';
  let found = { state: '', people: [] }; // what the server found for `sought`
  let abort = null;
  let focusable = ''; // the row that Tab reaches

  const self = h('button.self', { type: 'button', title: t('yourProfile'), onclick: () => profileDialog(app) });
  const search = h('input', {
    type: 'search', dir: 'auto', placeholder: t('searchPeople'), 'aria-label': t('searchPeople'), autocomplete: 'off', spellcheck: 'false', maxlength: 64, enterkeyhint: 'search',
  });
  const body = h('ul.rows', { role: 'list' });
  const scroller = h('.scroll', { tabindex: '-1' }, body);
  const status = h('p.hidden', { role: 'status' });
  const element = h('nav.side', { 'aria-label': t('people') },
    h('header', null, self,
      iconButton('join', t('findPeople'), () => search.focus()),
      menuButton('more', t('menu'), () => [
        [t('yourProfile'), () => profileDialog(app)],
        [t('settings'), () => settingsDialog(app)],
        [t('refresh'), () => session.refresh()],
        [t('signOut'), () => confirmDialog(t('signOutQuestion'), t('signOut'), () => session.signOut())],
      ])),
    h('label.search', null, icon('search'), search),
    status, scroller);

  const list = new Windowed({
    scroller, body, key: (item) => item.key, stamp, draw, guess: (item) => (item.kind === 'person' || item.kind === 'found' || item.kind === 'requests' ? ROW : 40),
  });

  function items() {
    const everybody = store.people();
    const needle = folded(sought.trim());
    const all = [];
    if (!needle) {
      if (store.requests.size) all.push({ kind: 'requests', key: 'requests', count: store.requests.size });
      if (!everybody.length) all.push({ kind: 'empty', key: 'empty' });
      for (const person of everybody) all.push({ kind: 'person', key: person.id, person });
      return all;
    }
    const friends = everybody.filter(({ name, friend }) => folded(name).includes(needle) || folded(friend?.own ?? '').includes(needle));
    if (friends.length) all.push({ kind: 'title', key: 'tf', text: t('friends') });
    for (const person of friends) all.push({ kind: 'person', key: person.id, person });
    const strangers = found.people.filter(({ id }) => !store.friends.has(id));
    if (strangers.length) all.push({ kind: 'title', key: 'ts', text: t('otherPeople') });
    for (const person of strangers) all.push({ kind: 'found', key: `f${person.id}`, person });
    if (found.state) all.push({ kind: 'note', key: 'note', text: found.state });
    else if (all.length === 0) all.push({ kind: 'note', key: 'note', text: t('nobodyFound') });
    return all;
  }

  function stamp(item) {
    const { kind, person } = item;
    const tab = item.key === focusable;
    if (kind === 'person') {
      const { friend, talk, name, at } = person;
      return [name, at && brief(new Date(at / 1000)), friend?.online, friend?.sign, friend?.picture, talk?.text, talk?.mine, talk?.unread, talk?.draft, store.current === item.key, tab].join('\0');
    }
    if (kind === 'found') return [person.name, person.sign, person.picture, standing(person.id), tab].join('\0');
    return [item.text, item.count, tab, location.hash === '#requests'].join('\0');
  }

  function draw(item) {
    return h('li', null, drawing[item.kind](item));
  }

  const button = (item, attributes, ...children) => h('button.row', {
    type: 'button', 'data-key': item.key, tabindex: item.key === focusable ? '0' : '-1', ...attributes,
  }, ...children);

  const drawing = {
    title: (item) => h('h2.section', null, item.text),
    note: (item) => h('p.note', null, item.text),
    empty: () => h('.welcome', null, h('h2', null, t('noFriendsYet')), h('p', null, t('noFriendsHelp')),
      h('button.main', { type: 'button', onclick: () => search.focus() }, t('findPeople'))),
    requests: (item) => button(item, { onclick: () => { location.hash = 'requests'; }, 'aria-current': location.hash === '#requests' && 'page' },
      h('span.avatar.badge', { 'aria-hidden': 'true' }, icon('person')),
      h('span.words', null, h('span.line', null, h('b', null, t('requests')), h('span.count', null, String(item.count))),
        h('span.line.sub', null, h('span', { dir: 'auto' }, [...store.requests.values()].map(({ name }) => name).slice(0, 5).join(', '))))),
    person(item) {
      const { id, name, picture, friend, talk, at } = item.person;
      const unread = talk?.unread ?? 0;
      const last = talk?.draft && store.current !== id ? [h('em', null, t('draft')), ' ', oneLine(talk.draft)]
        : at ? [talk.mine && h('span', null, t('you')), oneLine(talk.text)] : friend?.sign ?? '';
      return button(item, { onclick: () => { location.hash = `talk/${id}`; }, 'aria-current': store.current === id && 'page' },
        avatar({ id, name, picture }, { online: friend?.online }),
        h('span.words', null,
          h('span.line', null, h('b', { dir: 'auto' }, name), friend?.online && h('span.hidden', null, t('online')),
            at > 0 && h('time', null, brief(new Date(at / 1000)))),
          h('span.line.sub', null, h('span', { dir: 'auto' }, last),
            unread > 0 && h('span.count', null, String(unread), h('span.hidden', null, t('unread'))))));
    },
    found(item) {
      const { person } = item;
      const word = { asked: t('asked'), asks: t('asksYou') }[standing(person.id)] ?? t('ask');
      return button(item, { onclick: () => meet(person) },
        avatar(person),
        h('span.words', null, h('span.line', null, h('b', { dir: 'auto' }, person.name)),
          h('span.line.sub', null, h('span', { dir: 'auto' }, person.sign ?? ''))),
        h(standing(person.id) === 'asked' ? 'span.tag.quiet' : 'span.tag', null, word));
    },
  };

  function standing(id) {
    if (store.requests.has(id)) return 'asks';
    return store.asked.has(id) ? 'asked' : 'none';
  }

  function meet(person) {
    const where = standing(person.id);
    if (where === 'asks') location.hash = 'requests';
    else if (where === 'asked') aboutDialog(app, person);
    else askDialog(app, person);
  }

  const ask = later(async () => {
    const name = sought.trim();
    abort?.abort();
    if (!name) return;
    abort = new AbortController();
    const { signal } = abort;
    try {
      const persons = await session.find(name, signal);
      if (signal.aborted) return;
      found = { state: '', people: persons };
      status.textContent = t('foundCount', { n: persons.length });
    } catch (error) {
      if (signal.aborted) return;
      found = { state: tCode(error.code), people: [] };
    }
    update();
  }, TYPING_PAUSE);

  search.addEventListener('input', () => {
    sought = search.value;
    found = { state: sought.trim() ? t('searching') : '', people: sought.trim() ? found.people : [] };
    scroller.scrollTop = 0;
    update();
    ask();
  });
  search.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') { event.preventDefault(); move(0); }
    if (event.key === 'Escape' && sought) { event.preventDefault(); search.value = ''; search.dispatchEvent(new Event('input')); }
  });

  const choosable = () => list.items.filter(({ kind }) => kind === 'person' || kind === 'found' || kind === 'requests');
  function move(to) {
    const all = choosable();
    if (!all.length) return;
    focusable = all[Math.max(0, Math.min(all.length - 1, to))].key;
    list.set(list.items); // the tab stop moves
    list.reveal(focusable)?.querySelector('button').focus();
  }
  body.addEventListener('keydown', (event) => {
    const all = choosable();
    const at = all.findIndex(({ key }) => key === event.target.dataset.key);
    const page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    if (to < 0) search.focus();
    else move(to);
  });

  function drawSelf() {
    fill(self, avatar(store.me, { size: 'small' }), h('span', { dir: 'auto' }, store.me.name));
  }

  function update() {
    const all = items();
    const first = all.find(({ kind }) => kind === 'person' || kind === 'found' || kind === 'requests');
    if (!all.some(({ key }) => key === focusable)) focusable = all.some(({ key }) => key === store.current) ? store.current : first?.key ?? '';
    list.set(all);
  }

  const soon = once(() => { if (store.me) update(); });
  const minute = setInterval(soon, 60_000); // "Today" becomes "Yesterday" on an idle page too
  const stops = [
    store.on('friends', soon), store.on('requests', soon), store.on('talks', soon),
    store.on('me', () => { if (store.me) drawSelf(); }),
  ];
  drawSelf();
  update();

  return {
    element,
    mark: update,
    focus: () => (matchMedia('(pointer: fine)').matches ? search : scroller).focus(),
    leave() {
      clearInterval(minute);
      ask.cancel();
      abort?.abort();
      list.stop();
      stops.forEach((stop) => stop());
    },
  };
}
