// What asks for a moment of attention: small windows over the page.

import { avatar } from './avatar.js';
import { h, field, iconButton, uniqueID } from './dom.js';
import { t, tCode } from './i18n.js';
import { pictureField } from './picture.js';
import { Code } from './protocol.js';

/**
 * A dialog with a title and content; closes by Escape, the cross, and a click beside it. With `action`, a form that carries it out
 * and closes when it succeeds; what it throws is said in words.
 */
function open(title, content, { label, action, danger, wide } = {}) {
  const id = uniqueID();
  const fault = h('p.fault', { role: 'alert' });
  const ok = action && h(danger ? 'button.main.danger' : 'button.main', { type: 'submit' }, label);
  const dialog = h(wide ? 'dialog.wide' : 'dialog', { 'aria-labelledby': id },
    h('form', { method: 'dialog', novalidate: true },
      h('header', null, h('h2', { id }, title), iconButton('close', t('close'), () => dialog.close())),
      h('.content', null, content, fault),
      action && h('footer', null, h('button', { type: 'button', onclick: () => dialog.close() }, t('cancel')), ok)));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('pointerdown', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.querySelector('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!action) return;
    ok.disabled = true;
    fault.textContent = '';
    try {
      await action();
      dialog.close();
    } catch (error) {
      fault.textContent = error.message === 'field' ? '' : tCode(error.code ?? Code.internal);
    } finally {
      ok.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  (dialog.querySelector('.content input:not([type=file]), .content textarea') ?? ok ?? dialog.querySelector('button'))?.focus();
  return dialog;
}

/** Says what is wrong with a field and stops the action. */
function refuse(box, text) {
  box.fault(text);
  box.input.focus();
  throw new Error('field');
}

function needed(box) {
  const value = box.input.value.trim();
  if (!value) refuse(box, t('fillIn'));
  return value;
}

export const confirmDialog = (question, label, action) => open(label, h('p', null, question), { label, action, danger: true });

export const tell = (text) => open(t('note'), h('p', null, text));

const head = (person) => h('.person', null, avatar(person, { size: 'large' }),
  h('.words', null, h('b', { dir: 'auto' }, person.name), person.sign && h('p', { dir: 'auto' }, person.sign)));

export function askDialog({ session }, person) {
  const note = field(t('askNote'), { tag: 'textarea', rows: 3, maxlength: 512, hint: t('askHint') });
  open(t('askTitle'), [head(person), note], { label: t('ask'), action: () => session.ask(person, note.input.value.trim()) });
}

export function answerDialog({ session }, request) {
  const alias = field(t('alias'), { value: request.name, maxlength: 64, hint: t('aliasHint') });
  open(t('answerTitle'), [head({ ...request, sign: request.note }), alias], {
    label: t('accept'),
    async action() {
      await session.answer(request, needed(alias));
      location.hash = `talk/${request.id}`;
    },
  });
}

export function renameDialog({ session }, person) {
  const alias = field(t('alias'), { value: person.name, maxlength: 64, hint: t('renameHint') });
  open(t('rename'), alias, { label: t('save'), action: () => session.rename(person.id, needed(alias)) });
}

export function aboutDialog({ store, session }, person) {
  const friend = store.friends.get(person.id);
  const facts = [
    [t('ownName'), person.own !== person.name && person.own], [t('sex'), person.sex], [t('birthday'), person.birthday], [t('userID'), person.id],
  ].filter(([, value]) => value);
  const dialog = open(t('about'), [
    h('.person.tall', null, avatar(person, { size: 'huge' }), h('b', { dir: 'auto' }, person.name), person.sign && h('p', { dir: 'auto' }, person.sign)),
    h('dl', null, facts.map(([name, value]) => [h('dt', null, name), h('dd', { dir: 'auto' }, value)])),
    friend && h('.buttons', null,
      h('button', { type: 'button', onclick: () => { dialog.close(); renameDialog({ session }, person); } }, t('rename')),
      h('button.danger', {
        type: 'button',
        onclick() {
          dialog.close();
          confirmDialog(t('removeQuestion', { name: person.name }), t('removeFriend'), () => session.part(person.id));
        },
      }, t('removeFriend'))),
  ]);
}

/** The fields of a profile that registration and the profile's own dialog share. */
export function profileFields(profile = {}) {
  const fields = {
    name: field(t('name'), { value: profile.name ?? '', maxlength: 64, autocomplete: 'nickname' }),
    sign: field(t('sign'), { value: profile.sign ?? '', maxlength: 512 }),
    sex: field(t('sex'), { value: profile.sex ?? '', maxlength: 32, autocomplete: 'sex' }),
    birthday: field(t('birthday'), { value: profile.birthday ?? '', type: 'date', autocomplete: 'bday' }),
  };
  const picture = pictureField(profile.picture, (shown) => avatar({ ...profile, name: fields.name.input.value || '?', picture: shown }, { size: 'large' }));
  return {
    elements: [picture, fields.name, fields.sign, h('.pair', null, fields.sex, fields.birthday)],
    /** What differs from the profile. */
    changes() {
      const changed = {};
      for (const [key, { input }] of Object.entries(fields)) {
        if (input.value.trim() !== (profile[key] ?? '')) changed[key] = input.value.trim();
      }
      if (picture.value !== undefined && picture.value !== (profile.picture ?? '')) changed.picture = picture.value;
      return changed;
    },
  };
}

export function profileDialog({ store, session }) {
  const profile = profileFields(store.me);
  const mail = field(t('mail'), { type: 'email', maxlength: 254, autocomplete: 'email', hint: t('mailUnchanged') });
  const password = field(t('newPassword'), { type: 'password', autocomplete: 'new-password', hint: t('passwordUnchanged') });
  open(t('yourProfile'), [profile.elements, h('details', null, h('summary', null, t('mailAndPassword')), mail, password)], {
    label: t('save'),
    wide: true,
    async action() {
      const changes = profile.changes();
      if (mail.input.value.trim()) changes.mail = mail.input.value.trim();
      if (password.input.value) changes.password = password.input.value;
      if (Object.keys(changes).length) await session.updateProfile(changes);
    },
  });
}

export function settingsDialog({ session, notifier }) {
  const toggle = (name, label, hint) => {
    const id = uniqueID();
    const box = h('input', { type: 'checkbox', role: 'switch', id, 'aria-describedby': `${id}n` });
    box.checked = notifier.settings[name];
    const note = h('p.hint', { id: `${id}n` }, hint);
    box.addEventListener('change', async () => {
      const wanted = box.checked;
      box.checked = await notifier.set(name, wanted);
      if (wanted && !box.checked) note.textContent = t('notifyRefused');
    });
    return h('.toggle', null, h('label', { for: id }, label), box, note);
  };
  const dialog = open(t('settings'), [
    toggle('notify', t('notifications'), t('notificationsHint')),
    toggle('sound', t('sound'), t('soundHint')),
    h('h3', null, t('history')),
    h('p.hint', null, t('historyHint')),
    h('.buttons', null,
      h('button', { type: 'button', onclick: async () => download(await session.exported()) }, t('export')),
      h('button.danger', {
        type: 'button',
        onclick() {
          dialog.close();
          confirmDialog(t('forgetAllQuestion'), t('forgetAll'), () => session.forget());
        },
      }, t('forgetAll'))),
  ]);
}

function download(data) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: 'application/json' }));
  h('a', { href: url, download: `imctl-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Asks for a code by mail, then takes it with a new password. */
export function forgotDialog(protocol, account) {
  const name = field(t('account'), { value: account, autocomplete: 'username', autocapitalize: 'none', maxlength: 64 });
  const mail = field(t('mail'), { type: 'email', autocomplete: 'email', hint: t('forgotHint'), maxlength: 254 });
  open(t('forgotTitle'), [name, mail], {
    label: t('sendCode'),
    async action() {
      const who = needed(name);
      try {
        await protocol.forgot(who, needed(mail));
      } catch (error) {
        if (error.code === Code.missing) refuse(mail, t('askAdministrator'));
        throw error;
      }
      resetDialog(protocol, who);
    },
  });
}

function resetDialog(protocol, account) {
  const code = field(t('code'), { autocomplete: 'one-time-code', inputmode: 'numeric', hint: t('codeHint') });
  const password = field(t('newPassword'), { type: 'password', autocomplete: 'new-password' });
  open(t('forgotTitle'), [code, password], {
    label: t('setPassword'),
    async action() {
      const given = needed(code);
      if (!password.input.value) refuse(password, t('fillIn'));
      try {
        await protocol.reset(account, given, password.input.value);
      } catch (error) {
        if (error.code === Code.unreachable || error.code === Code.tooMany) throw error;
        refuse(code, t('codeWrong'));
      }
      tell(t('passwordSet'));
    },
  });
}

