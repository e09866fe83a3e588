// The own profile. A picture is chosen, cropped and shrunk.

import {avatar} from '../avatar.js';
import {open} from '../dialogs.js';
import {button, field, h} from '../dom.js';
import {post} from '../protocol.js';
import {t} from '../words.js';

const SHOWN = 480;
const SIZE = 160;

export function profileDialog({store, session}) {
	const profile = profileFields(store.me);
	open('yourProfile', profile.elements, {
		label: 'save',
		async action() {
			const changes = profile.changes();
			await session.as((auth) => post('profile/update', {...auth, ...changes}));
			session.profileChanged(changes);
		},
	});
}

/** changes() returns the fields that differ from the profile. */
export function profileFields(profile = {}) {
	const one = (key, attributes) => field(key, {value: profile[key] ?? '', ...attributes});
	const fields = {
		name: one('name', {maxlength: 64, autocomplete: 'nickname'}),
		sign: one('sign', {maxlength: 512}),
		sex: one('sex', {maxlength: 32}),
		// Other clients may use another format.
		birthday: one('birthday', /^(\d{4}-\d\d-\d\d)?$/.test(profile.birthday ?? '') ? {type: 'date'} : {maxlength: 32}),
	};
	const {name, sign, sex, birthday} = fields;
	const picture = pictureField(profile.picture, (shown) => avatar({id: profile.id, name: name.input.value || '?', picture: shown}, '.large'));
	return {
		elements: [picture, name, sign, h('.pair', sex, birthday)],
		changes() {
			const now = Object.entries(fields).map(([key, {input}]) => [key, input.value.trim()]);
			return Object.fromEntries([...now, ['picture', picture.value ?? profile.picture ?? '']].filter(([key, value]) => value !== (profile[key] ?? '')));
		},
	};
}

/** `value` is undefined until changed. */
function pictureField(current, preview) {
	const shown = h('div', preview(current));
	const fault = h('p.hint', {role: 'alert'});
	const file = h('input', {type: 'file', accept: 'image/*', hidden: true, onchange: choose});
	const cutter = h('.cutter');
	const box = h('.picture', shown, h('.buttons', null,
		button('choosePicture', () => file.click()),
		button('noPicture', () => set(''), '.plain')), fault, file, cutter);

	function set(picture) {
		box.value = picture;
		shown.replaceChildren(preview(picture));
		cutter.replaceChildren();
	}
	async function choose() {
		try {
			fault.textContent = '';
			cutter.replaceChildren(...cropper(await createImageBitmap(file.files[0]), set));
			cutter.firstChild.focus();
		} catch {
			fault.textContent = t('noSuchPicture');
		}
		file.value = '';
	}
	return box;
}

function cropper(image, onDone) {
	const canvas = h('canvas', {width: SHOWN, height: SHOWN, tabindex: 0, role: 'img', label: 'cropHelp'});
	const zoom = h('input', {type: 'range', min: 1, max: 4, step: 0.01, value: 1, label: 'zoom', oninput: () => move(0, 0)});
	let x = 0.5; // center of the crop, as a fraction
	let y = 0.5;

	/** Relative to the frame, which the picture covers. */
	function size() {
		const scale = zoom.value / Math.min(image.width, image.height);
		return [image.width * scale, image.height * scale];
	}
	function draw(target) {
		const [w, height] = size();
		const side = target.width;
		const context = target.getContext('2d');
		context.imageSmoothingQuality = 'high';
		context.fillStyle = '#fff'; // under transparency, which JPEG lacks
		context.fillRect(0, 0, side, side);
		context.drawImage(image, (0.5 - x * w) * side, (0.5 - y * height) * side, w * side, height * side);
	}
	function move(dx, dy) {
		const within = (value, part) => Math.min(1 - 0.5 / part, Math.max(0.5 / part, value));
		const [w, height] = size();
		x = within(x - dx / w, w);
		y = within(y - dy / height, height);
		draw(canvas);
	}
	canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId));
	canvas.addEventListener('pointermove', (event) => {
		if (canvas.hasPointerCapture(event.pointerId)) move(event.movementX / canvas.clientWidth, event.movementY / canvas.clientWidth);
	});
	canvas.addEventListener('keydown', (event) => {
		const step = {ArrowLeft: [0.03, 0], ArrowRight: [-0.03, 0], ArrowUp: [0, 0.03], ArrowDown: [0, -0.03]}[event.key];
		if (!step) return;
		event.preventDefault();
		move(...step);
	});
	draw(canvas);
	return [canvas, zoom, button('usePicture', () => {
		const small = h('canvas', {width: SIZE, height: SIZE});
		draw(small);
		onDone(small.toDataURL('image/jpeg', 0.82));
	}, '.main')];
}
