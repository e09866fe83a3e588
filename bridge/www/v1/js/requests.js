// Who asks to be a friend, and the answers one can give.

import { avatar } from './avatar.js';
import { answerDialog, confirmDialog } from './dialogs.js';
import { h, fill, iconButton, once } from './dom.js';
import { t } from './i18n.js';

export function requests(app) {
  const { store, session } = app;
  const body = h('ul.requests', { role: 'list' });
  const title = h('h1', { tabindex: '-1' }, t('requests'));
  const element = h('section.talk', { 'aria-label': t('requests') },
    h('header', null, iconButton('back', t('back'), () => { location.hash = ''; }, { class: 'iconic back' }), title),
    h('.scroll', { tabindex: '-1' }, body));

  function update() {
    if (!store.me) return;
    const all = [...store.requests.values()];
    fill(body, all.length ? all.map(draw) : h('li.nothing', null, h('p', null, t('noRequests'))));
  }

  function draw(request) {
    return h('li.card', null, avatar(request, { size: 'large' }),
      h('.words', null,
        h('b', { dir: 'auto' }, request.name),
        h('p', { dir: 'auto' }, request.note || t('noNote')),
        h('.buttons', null,
          h('button.main', { type: 'button', onclick: () => answerDialog(app, request) }, t('accept')),
          h('button', {
            type: 'button',
            onclick: () => confirmDialog(t('declineQuestion', { name: request.name }), t('decline'), () => session.decline(request)),
          }, t('decline')))));
  }

  update();
  const stop = store.on('requests', once(update));
  return { element, shown: () => title.focus(), leave: stop };
}
