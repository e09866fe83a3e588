// A picture for a profile: chosen, moved and enlarged by the person, shrunk here.

import { h } from './dom.js';
import { t } from './i18n.js';

const SHOWN = 240;
// Friends get each other's pictures with every login, so they are small; still more than any avatar is drawn with.
const SIZE = 160;
const QUALITY = 0.82;

/** Opens a file as something a canvas draws; throws where it is no picture. */
const decoded = (file) => createImageBitmap(file);

/**
 * The part of a profile form that holds the picture. `value` is undefined while it is untouched, '' when it was taken away, otherwise
 * the picture as the protocol carries it. preview(picture) returns an element that shows one.
 */
export function pictureField(current, preview) {
  const shown = h('.shown', null, preview(current));
  const fault = h('p.hint', { role: 'alert' });
  const file = h('input.hidden', { type: 'file', accept: 'image/*', tabindex: '-1', 'aria-label': t('choosePicture') });
  const cutter = h('.cutter', { hidden: true });
  const box = h('.picture', null, shown, h('.words', null,
    h('.buttons', null,
      h('button', { type: 'button', onclick: () => file.click() }, t('choosePicture')),
      h('button.plain', { type: 'button', onclick: () => set('') }, t('noPicture'))), fault), file, cutter);
  box.value = undefined;

  function set(picture) {
    box.value = picture;
    shown.replaceChildren(preview(picture));
    cutter.hidden = true;
  }

  file.addEventListener('change', async () => {
    const [chosen] = file.files;
    file.value = '';
    if (!chosen) return;
    fault.textContent = '';
    try {
      const image = await decoded(chosen);
      cutter.replaceChildren(...cropper(image, set));
      cutter.hidden = false;
      cutter.querySelector('canvas').focus();
    } catch {
      fault.textContent = t('noSuchPicture');
    }
  });
  return box;
}

function cropper(image, onDone) {
  const canvas = h('canvas', { width: SHOWN * 2, height: SHOWN * 2, tabindex: '0', role: 'img', 'aria-label': t('cropHelp') });
  const zoom = h('input', { type: 'range', min: 1, max: 4, step: 0.01, value: 1, 'aria-label': t('zoom') });
  const smallest = Math.max(1 / image.width, 1 / image.height); // the picture covers the frame, whose side is 1
  let x = 0.5; // the middle of what is seen, as a part of the picture's width
  let y = 0.5;

  function place() {
    const scale = smallest * Number(zoom.value);
    const w = image.width * scale;
    const hh = image.height * scale;
    x = Math.min(1 - 0.5 / w, Math.max(0.5 / w, x));
    y = Math.min(1 - 0.5 / hh, Math.max(0.5 / hh, y));
    return { w, h: hh, left: 0.5 - x * w, top: 0.5 - y * hh };
  }
  function draw(target, side) {
    const at = place();
    const context = target.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.fillStyle = '#fff'; // for pictures with holes: JPEG has none
    context.fillRect(0, 0, side, side);
    context.drawImage(image, at.left * side, at.top * side, at.w * side, at.h * side);
  }
  const show = () => draw(canvas, SHOWN * 2);
  function move(dx, dy) {
    const at = place();
    x -= dx / at.w;
    y -= dy / at.h;
    show();
  }
  canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener('pointermove', (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) move(event.movementX / SHOWN, event.movementY / SHOWN);
  });
  canvas.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [0.03, 0], ArrowRight: [-0.03, 0], ArrowUp: [0, 0.03], ArrowDown: [0, -0.03] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step);
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoom.value = Number(zoom.value) - event.deltaY / 500;
    show();
  }, { passive: false });
  zoom.addEventListener('input', show);
  show();
  return [canvas, zoom, h('button.main', {
    type: 'button',
    onclick() {
      const small = h('canvas', { width: SIZE, height: SIZE });
      draw(small, SIZE);
      onDone(small.toDataURL('image/jpeg', QUALITY));
      image.close();
    },
  }, t('usePicture'))];
}
