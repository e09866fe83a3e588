// One conversation: its dialogues, a search in them, and the line to write in.

import { avatar } from './avatar.js';
import { aboutDialog, confirmDialog, renameDialog, tell } from './dialogs.js';
import { h, fill, icon, iconButton, later, menuButton, once } from './dom.js';
import { clock, day, full, t, tCode } from './i18n.js';
import { State, isSettled } from './outbox.js';
import { Code, fits } from './protocol.js';
import { emojiPanel } from './emoji.js';
import { folded, isEmoji, rich } from './text.js';
import { Windowed } from './windowed.js';

/** Dialogues of one side within this time stand together. */
const TOGETHER = 5 * 60 * 1e6;
const DRAFT_PAUSE = 400;

export function talk(app, friendID) {
  const { store, session } = app;
  const unreadAtStart = store.talks.get(friendID)?.unread ?? 0;
  let newFrom = 0; // the number of the first dialogue that was new when the talk was opened
  let sought = '';
  let hits = [];
  let hit = -1;

  const friend = () => store.friends.get(friendID);
  const about = () => ({ ...friend(), id: friendID, name: store.nameOf(friendID) });

  // ---- the head

  const who = h('button.who', { type: 'button', onclick: () => aboutDialog(app, about()) });
  const head = h('header', null,
    iconButton('back', t('back'), () => { location.hash = ''; }, { class: 'iconic back' }),
    who,
    iconButton('search', t('searchTalk'), () => (finder.hidden ? openFinder() : closeFinder())),
    menuButton('more', t('menu'), () => [
      [t('about'), () => aboutDialog(app, about())],
      ...(friend() ? [[t('rename'), () => renameDialog(app, about())]] : []),
      [t('forgetTalk'), () => confirmDialog(t('forgetTalkQuestion', { name: store.nameOf(friendID) }), t('delete'), () => session.forget(friendID))],
      ...(friend() ? [[t('removeFriend'), () => confirmDialog(t('removeQuestion', { name: store.nameOf(friendID) }), t('removeFriend'), () => session.part(friendID)), true]] : []),
    ]));

  function drawHead() {
    const { name, picture, online, sign } = about();
    fill(who, avatar({ id: friendID, name, picture }, { online }),
      h('span.words', null, h('b', { dir: 'auto' }, name),
        h('small', { dir: 'auto' }, !friend() ? t('noFriend') : online ? t('online') : sign || t('offline'))));
  }

  // ---- the dialogues

  const rows = h('ol.dialogues', { role: 'list' });
  const scroller = h('.scroll', { tabindex: '0', role: 'region', 'aria-label': t('dialogues') }, rows);
  const toEnd = iconButton('down', t('toNewest'), () => list.toEnd(), { class: 'iconic toend', hidden: true });
  const list = new Windowed({
    scroller, body: rows, stick: true, key: (item) => item.key, stamp: (item) => item.stamp, draw, guess,
  });

  function guess(item, width) {
    if (item.kind !== 'dialogue') return 44;
    const { text } = item.dialogue;
    const line = Math.max(12, Math.min(width * 0.72, 560) / 8);
    return 42 + 21 * Math.ceil(Math.min(text.length, 60_000) / line) + (item.first ? 8 : 0);
  }

  function items() {
    const all = [];
    let before = null;
    let today = '';
    for (const dialogue of store.dialogues.get(friendID) ?? []) {
      const date = new Date(dialogue.n / 1000);
      const on = date.toDateString();
      if (on !== today) {
        today = on;
        before = null;
        all.push({ kind: 'day', key: `d${on}`, stamp: day(date), date });
      }
      if (dialogue.n === newFrom) {
        before = null;
        all.push({ kind: 'new', key: 'new', stamp: '' });
      }
      const first = !before || before.mine !== dialogue.mine || dialogue.n - before.n > TOGETHER;
      const marked = hits[hit] === dialogue.n;
      all.push({
        kind: 'dialogue', key: dialogue.n, dialogue, first, marked, stamp: `${dialogue.state}${dialogue.code}${first}${marked}${sought}`,
      });
      before = dialogue;
    }
    return all;
  }

  function draw(item) {
    if (item.kind === 'day') return h('li.day', null, h('span', null, item.stamp));
    if (item.kind === 'new') return h('li.day.new', null, h('span', null, t('newDialogues')));
    const { dialogue, first, marked } = item;
    const { mine, text, n, state } = dialogue;
    const date = new Date(n / 1000);
    return h(`li.dialogue.${mine ? 'mine' : 'theirs'}${first ? '.first' : ''}${marked ? '.hit' : ''}`, null,
      h(isEmoji(text) ? '.bubble.emoji' : '.bubble', null,
        h('span.hidden', null, mine ? t('you') : `${store.nameOf(friendID)}: `),
        h('span.text', { dir: 'auto' }, rich(text, sought)),
        h('span.meta', null, h('time', { datetime: date.toISOString(), title: full(date) }, clock(date)), mine && stateMark(state))),
      mine && (state === State.offline || state === State.failed) && h('.failed', null, icon('fail'),
        h('span', null, failure(dialogue)),
        h('button.plain', { type: 'button', onclick: () => session.sayAgain(dialogue) }, t('tryAgain'))));
  }

  const MARKS = { queued: 'wait', sending: 'wait', delivered: 'done', offline: 'fail', failed: 'fail' };
  const stateMark = (state) => h(`span.state.${state}`, { title: t(`state_${state}`) }, icon(MARKS[state]), h('span.hidden', null, t(`state_${state}`)));

  function failure({ state, code }) {
    if (state === State.offline) return t('notDeliveredOffline');
    if (code === Code.unreachable) return t('notKnown');
    return t('notDelivered', { why: tCode(code) });
  }

  let count = 0;
  function update() {
    if (!store.me) return;
    const dialogues = store.dialogues.get(friendID);
    if (dialogues && unreadAtStart && !newFrom) newFrom = dialogues.at(-unreadAtStart)?.n ?? -1;
    const last = dialogues?.at(-1);
    // What one writes is shown, wherever one had scrolled to.
    if (dialogues && dialogues.length > count && count && last.mine && !isSettled(last.state)) list.toEnd();
    count = dialogues?.length ?? 0;
    list.set(items());
    empty.hidden = !dialogues || count > 0;
    scrolled();
    seen();
  }

  function scrolled() { toEnd.hidden = list.pinned; }
  scroller.addEventListener('scroll', scrolled, { passive: true });

  function seen() {
    if (!document.hidden && document.hasFocus()) session.read(friendID);
  }

  const empty = h('p.empty', { hidden: true }, t('sayHello'));

  // ---- the search

  const findInput = h('input', { type: 'search', dir: 'auto', placeholder: t('searchTalk'), 'aria-label': t('searchTalk') });
  const findCount = h('span', { role: 'status' });
  const finder = h('.finder', { hidden: true, role: 'search' }, h('label.search', null, icon('search'), findInput), findCount,
    iconButton('up', t('previous'), () => step(-1)), iconButton('down', t('next'), () => step(1)), iconButton('close', t('close'), () => closeFinder()));

  function openFinder() {
    finder.hidden = false;
    findInput.focus();
  }
  function closeFinder() {
    finder.hidden = true;
    findInput.value = '';
    look();
    text.focus();
  }
  function look() {
    sought = folded(findInput.value.trim());
    hits = sought ? (store.dialogues.get(friendID) ?? []).filter((d) => folded(d.text).includes(sought)).map((d) => d.n) : [];
    hit = hits.length;
    if (hits.length) step(-1);
    else {
      findCount.textContent = sought ? t('nothingFound') : '';
      list.set(items());
    }
  }
  function step(by) {
    if (!hits.length) return;
    hit = (hit + by + hits.length) % hits.length;
    findCount.textContent = t('hitOf', { n: hit + 1, of: hits.length });
    list.set(items());
    list.reveal(hits[hit], 'center');
    scrolled();
  }
  const lookSoon = later(look, 120);
  findInput.addEventListener('input', lookSoon);
  findInput.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') step(event.shiftKey ? 1 : -1);
    else if (event.key === 'Escape') { event.stopPropagation(); closeFinder(); }
  });

  // ---- the line to write in

  const text = h('textarea', { rows: 1, dir: 'auto', placeholder: t('write'), 'aria-label': t('write'), enterkeyhint: 'send', autocomplete: 'off' });
  const send = h('button.send', { type: 'submit', 'aria-label': t('send'), title: t('send') }, icon('send'));
  const panel = emojiPanel((emoji) => {
    text.setRangeText(emoji, text.selectionStart, text.selectionEnd, 'end');
    text.dispatchEvent(new Event('input'));
    text.focus();
  });
  const composer = h('form.composer', { onsubmit: (event) => { event.preventDefault(); say(); } }, panel, text, send);
  const parted = h('p.parted', null, t('noFriendHelp'));
  const keepDraft = later(() => session.keepDraft(friendID, text.value), DRAFT_PAUSE);
  text.value = store.talks.get(friendID)?.draft ?? '';

  function grow() {
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight}px`;
    send.disabled = !text.value.trim();
  }
  text.addEventListener('input', () => { grow(); keepDraft(); });
  text.addEventListener('keydown', (event) => {
    // Enter ends a word in many input methods, and makes lines where there are no other keys to do it.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || matchMedia('(pointer: coarse)').matches) return;
    event.preventDefault();
    say();
  });

  function say() {
    const value = text.value;
    if (!value.trim()) return;
    if (!fits(value)) {
      tell(t('tooLong'));
      return;
    }
    keepDraft.cancel();
    text.value = '';
    grow();
    session.say(friendID, value.replace(/^\n+|\s+$/g, ''));
    text.focus();
  }

  function drawFoot() {
    composer.hidden = !friend();
    parted.hidden = Boolean(friend());
  }

  const element = h('section.talk', { 'aria-label': t('talk') }, head, finder, h('.stage', null, scroller, empty, toEnd), composer, parted);
  element.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'f') { event.preventDefault(); openFinder(); } else if (event.key === 'Escape' && !event.defaultPrevented) location.hash = '';
  });

  const headSoon = once(() => { if (store.me) { drawHead(); drawFoot(); } });
  const stops = [store.on('friends', headSoon), store.on(friendID, once(update)), store.on(friendID, headSoon)];
  addEventListener('focus', seen);
  document.addEventListener('visibilitychange', seen);
  drawHead();
  drawFoot();
  session.load(friendID);
  update();

  return {
    element,
    shown() {
      grow();
      list.toEnd();
      if (matchMedia('(pointer: fine)').matches && friend()) text.focus();
      else scroller.focus();
    },
    leave() {
      keepDraft.cancel();
      session.keepDraft(friendID, text.value);
      lookSoon.cancel();
      list.stop();
      removeEventListener('focus', seen);
      document.removeEventListener('visibilitychange', seen);
      stops.forEach((stop) => stop());
    },
  };
}
