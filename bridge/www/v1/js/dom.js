// Building elements without markup in strings: text stays text, whoever wrote it.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * h('button.main', {type: 'submit', onclick: f}, 'Send'): attributes as the document would have them, `on…` as listeners,
 * false and null left out; children are nodes, text, or arrays of them.
 */
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value') element.value = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

const SHAPES = {
  back: 'M15 5l-7 7 7 7',
  close: 'M6 6l12 12M18 6L6 18',
  more: 'M12 5.5v.01M12 12v.01M12 18.5v.01',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5',
  send: 'M12 20V5M5.5 11.5L12 5l6.5 6.5',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5c.8-4 3.8-5.5 7.5-5.5s6.7 1.5 7.5 5.5',
  join: 'M10 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM3 20.5c.7-4 3.5-5.5 7-5.5 1.5 0 2.9.3 4 .9M18 14v7M14.5 17.5h7',
  up: 'M6 15l6-6 6 6',
  down: 'M6 9l6 6 6-6',
  wait: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 2',
  done: 'M5 12.5l4.5 4.5L19 7.5',
  fail: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01',
  smile: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8.5 14c1.8 2.5 5.2 2.5 7 0M9.3 9.5v.01M14.7 9.5v.01',
  bell: 'M12 4c-4 0-5.5 3-5.5 6 0 4-1.5 5-2 6.5h15c-.5-1.5-2-2.5-2-6.5 0-3-1.5-6-5.5-6zM10 19.5c.8 1.2 3.2 1.2 4 0',
  eye: 'M2.5 12c2-4.3 5.5-6.5 9.5-6.5s7.5 2.2 9.5 6.5c-2 4.3-5.5 6.5-9.5 6.5S4.5 16.3 2.5 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
};

/** A small drawing beside a word; where there is no word, the button carries the label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', SHAPES[name]);
  svg.append(path);
  return svg;
}

export function iconButton(name, label, onclick, attributes) {
  return h('button.iconic', { type: 'button', 'aria-label': label, title: label, onclick, ...attributes }, icon(name));
}

/** Runs f once after the present work, however often it is asked: many changes, one drawing. */
export function once(f) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    queueMicrotask(() => { due = false; f(); });
  };
}

export function later(f, pause) {
  let timer = 0;
  const run = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(f, pause, ...args);
  };
  run.cancel = () => clearTimeout(timer);
  return run;
}

/** Tells a screen reader, politely or at once. */
export function announce(text, urgent = false) {
  const region = document.getElementById(urgent ? 'alert' : 'polite');
  region.textContent = '';
  setTimeout(() => { region.textContent = text; }, 50);
}

let names = 0;
export const uniqueID = () => `u${++names}`;

/**
 * A labelled input. Options: name, type, value, required, maxlength, autocomplete, hint, …; the element's
 * `input` property is the control and `fault(text)` says what is wrong with it.
 */
export function field(label, { hint, tag = 'input', options, ...attributes } = {}) {
  const id = uniqueID();
  const note = h('p.hint', { id: `${id}n` }, hint ?? '');
  const input = h(tag, { id, dir: 'auto', 'aria-describedby': `${id}n`, ...attributes });
  for (const [value, text] of options ?? []) input.append(h('option', { value }, text));
  if (attributes.value !== undefined) input.value = attributes.value;
  const box = h('.field', null, h('label', { for: id }, label), input, note);
  box.input = input;
  box.fault = (text) => {
    box.classList.toggle('wrong', Boolean(text));
    input.setAttribute('aria-invalid', String(Boolean(text)));
    note.textContent = text || hint || '';
  };
  input.addEventListener('input', () => { if (box.classList.contains('wrong')) box.fault(''); });
  return box;
}

/** A menu under its button: arrow keys, Escape, a click elsewhere closes. Items: [label, action, danger]; made at each opening. */
export function menuButton(name, label, items) {
  const list = h('div.menu', { role: 'menu', hidden: true });
  const button = iconButton(name, label, () => (list.hidden ? open() : close()), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  const box = h('.menubox', null, button, list);
  const outside = (event) => { if (!box.contains(event.target)) close(false); };
  function open() {
    fill(list, items().map(([text, action, danger]) => h(danger ? 'button.danger' : 'button', {
      type: 'button', role: 'menuitem', tabindex: '-1', onclick: () => { close(); action(); },
    }, text)));
    list.hidden = false;
    button.setAttribute('aria-expanded', 'true');
    list.firstChild?.focus();
    document.addEventListener('pointerdown', outside);
  }
  function close(focus = true) {
    if (list.hidden) return;
    list.hidden = true;
    button.setAttribute('aria-expanded', 'false');
    document.removeEventListener('pointerdown', outside);
    if (focus) button.focus();
  }
  box.addEventListener('keydown', (event) => {
    if (list.hidden) return;
    const all = [...list.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all.at(to % all.length).focus();
    else if (event.key === 'Escape') close();
    else if (event.key === 'Tab') { close(false); return; } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return box;
}
