// Before anybody is signed in: the form, and what is shown while or instead.

import { forgotDialog, profileFields } from './dialogs.js';
import { field, h, fill, icon } from './dom.js';
import { forgetHere } from './login.js';
import { t, tCode } from './i18n.js';
import * as protocol from './protocol.js';
import { Code } from './protocol.js';

const sheet = (...content) => h('main.sign', null, h('.sheet', null, h('img.logo', { src: 'icon.svg', alt: '', width: 64, height: 64 }), ...content));

function passwordField(label, autocomplete) {
  const box = field(label, { type: 'password', autocomplete, name: 'password' });
  const show = h('button.iconic', { type: 'button', 'aria-label': t('showPassword'), title: t('showPassword'), 'aria-pressed': 'false' }, icon('eye'));
  show.addEventListener('click', () => {
    const shown = box.input.type === 'text';
    box.input.type = shown ? 'password' : 'text';
    show.setAttribute('aria-pressed', String(!shown));
  });
  box.classList.add('withbutton');
  box.append(show);
  return box;
}

/** The form, for people who have an account and people who want one. reason: why it is shown, if there is something to say. */
export function signIn(app, reason) {
  const main = sheet();
  const box = main.firstChild;
  const view = { element: main };

  function show(registering, account = '', said = '') {
    const fault = h('p.fault', { role: 'alert' }, said);
    const name = field(t('account'), { name: 'account', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', maxlength: 64, value: account });
    const password = passwordField(t('password'), registering ? 'new-password' : 'current-password');
    const mail = field(t('mail'), { type: 'email', name: 'mail', autocomplete: 'email', hint: t('mailHint'), maxlength: 254 });
    const profile = registering && profileFields();
    const stay = h('input', { type: 'checkbox', checked: true });
    const button = h('button.main', { type: 'submit' }, registering ? t('register') : t('signIn'));

    const FAULTY = {
      [Code.accountEmpty]: name, [Code.accountExists]: name, [Code.passwordEmpty]: password, [Code.mailEmpty]: mail,
    };
    function complain(code) {
      const place = FAULTY[code];
      fault.textContent = place ? '' : tCode(code);
      place?.fault(tCode(code));
      (place ?? (registering ? name : password)).input.focus();
    }
    function missing() {
      if (!name.input.value.trim()) return Code.accountEmpty;
      if (!password.input.value) return Code.passwordEmpty;
      return registering && !mail.input.value.trim() ? Code.mailEmpty : 0;
    }
    async function submit(event) {
      event.preventDefault();
      const lacking = missing();
      if (lacking) {
        complain(lacking);
        return;
      }
      const who = name.input.value.trim();
      button.disabled = true;
      fault.textContent = '';
      try {
        if (registering) await protocol.register({ account: who, password: password.input.value, mail: mail.input.value.trim(), ...profile.changes() });
        await app.session.signIn(who, password.input.value, stay.checked);
      } catch (error) {
        button.disabled = false;
        complain(error.code ?? Code.internal);
      }
    }

    fill(box, box.firstChild,
      h('h1', null, registering ? t('registerTitle') : t('signInTitle')),
      h('form', { onsubmit: submit, novalidate: true },
        name, password, registering && mail,
        registering && h('details', null, h('summary', null, t('more')), profile.elements),
        h('label.check', null, stay, t('stay')), fault, button),
      h('p.other', null, registering ? t('haveAccount') : t('noAccount'), ' ',
        h('button.plain', { type: 'button', onclick: () => show(!registering, name.input.value) }, registering ? t('signIn') : t('register'))),
      !registering && h('p.other', null, h('button.plain', { type: 'button', onclick: () => forgotDialog(protocol, name.input.value.trim()) }, t('forgot'))));
    view.focus = () => (account ? password : name).input.focus();
    if (main.isConnected) view.focus();
  }

  show(false, '', reason);
  return view;
}

/** While somebody who was here before is let in. */
export function starting(app, login) {
  const words = h('p', { role: 'status' }, t('linkConnecting'));
  const stop = app.store.on('link', () => {
    words.textContent = t(app.store.link.state === 'waiting' ? 'noServer' : 'linkConnecting');
  });
  return {
    element: sheet(h('h1', { dir: 'auto' }, login.name ?? ''), h('.spin', { 'aria-hidden': 'true' }), words, otherAccount()),
    leave: stop,
  };
}

/** The account is open in another tab, or was opened in another place. */
export function elsewhere(app, place) {
  const here = h('button.main', { type: 'button', onclick: () => app.session.takeOver().catch(() => location.reload()) }, t('useHere'));
  return {
    element: sheet(h('h1', null, t('elsewhereTitle')), h('p', null, place ? t('elsewherePlace') : t('elsewhereTab')), here, otherAccount()),
    focus: () => here.focus(),
  };
}

function otherAccount() {
  return h('p.other', null, h('button.plain', {
    type: 'button',
    onclick() {
      forgetHere();
      location.reload();
    },
  }, t('otherAccount')));
}
