// A handful of emoji for who has no keyboard for them.

import { h, iconButton } from './dom.js';
import { t } from './i18n.js';

const EMOJI = ['😀', '😂', '😉', '😊', '😍', '😘', '🤔', '😎', '😢', '😭', '😡', '😱', '🥳', '😴', '🙈', '👍', '👎', '👋', '🙏', '👏', '💪', '🤝', '✌️', '👌', '❤️', '💔', '🔥', '✨', '🎉', '🎂', '☕', '🍻', '🌞', '🌧️', '🚀', '✅'];

export function emojiPanel(onPick) {
  const grid = h('.emojis', { hidden: true, role: 'group', 'aria-label': t('emoji') },
    EMOJI.map((emoji) => h('button', { type: 'button', onclick: () => onPick(emoji) }, emoji)));
  const toggle = iconButton('smile', t('emoji'), () => show(grid.hidden), { 'aria-expanded': 'false' });
  const box = h('.emojibox', null, toggle, grid);
  const outside = (event) => { if (!box.contains(event.target)) show(false); };
  function show(wanted) {
    grid.hidden = !wanted;
    toggle.setAttribute('aria-expanded', String(wanted));
    if (wanted) {
      document.addEventListener('pointerdown', outside);
      grid.firstChild.focus();
    } else document.removeEventListener('pointerdown', outside);
  }
  box.addEventListener('keydown', (event) => {
    if (grid.hidden) return;
    if (event.key === 'Escape') { show(false); toggle.focus(); event.preventDefault(); return; }
    const all = [...grid.children];
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 6, ArrowUp: -6 }[event.key];
    const at = all.indexOf(document.activeElement);
    if (!by || at < 0) return;
    all[(at + by + all.length) % all.length].focus();
    event.preventDefault();
  });
  return box;
}
