// Puts the page together.

import { History } from './history.js';
import { Notifier } from './notify.js';
import { Session } from './session.js';
import { Store } from './store.js';
import { announce } from './dom.js';
import { forgetLogin, rememberedLogin } from './login.js';
import { t, tCode } from './i18n.js';
import { Code } from './protocol.js';
import { home } from './shell.js';
import { elsewhere, signIn, starting } from './sign.js';

const root = document.getElementById('app');
const store = new Store();
const history = await new History().open();
const notifier = new Notifier(store);

let leave = () => {};
function show(view) {
  leave();
  document.querySelectorAll('dialog').forEach((dialog) => dialog.remove());
  root.replaceChildren(view.element);
  leave = view.leave ?? (() => {});
  view.focus?.();
}

const app = { store, notifier, session: null };

app.session = new Session({
  store,
  history,
  onPhase(phase, code) {
    if (phase === 'in') show(home(app));
    else if (phase === 'elsewhere') show(elsewhere(app, code === Code.elsewhere));
    else show(signIn(app, code ? tCode(code === Code.wrongLogin ? Code.authIllegal : code) : ''));
    notifier.update();
  },
  onDialogue(dialogue, away) {
    const name = store.nameOf(dialogue.friend);
    if (away) notifier.dialogue(dialogue, name, () => { location.hash = `talk/${dialogue.friend}`; });
    announce(t('saysAloud', { name, text: dialogue.text }));
  },
  onRequest(request) {
    announce(t('asksAloud', { name: request.name }));
    notifier.tell(t('asksAloud', { name: request.name }), request.note, () => { location.hash = 'requests'; });
  },
  onFriend(friend) {
    announce(t('agreedAloud', { name: friend.name }));
    notifier.tell(t('agreedAloud', { name: friend.name }), '', () => { location.hash = `talk/${friend.id}`; });
  },
});

const login = rememberedLogin();
if (login) {
  show(starting(app, login));
  app.session.resume(login, false).catch(() => {
    forgetLogin(login.id);
    show(signIn(app, tCode(Code.authIllegal)));
  });
} else {
  show(signIn(app, ''));
}
