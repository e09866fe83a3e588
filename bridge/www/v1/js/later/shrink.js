// Prepares files for sending: pictures are drawn again, smaller and without metadata.

import {kindOf} from '../files.js';
import {h} from '../dom.js';

const MOST = 2048; // pixels of a side
const QUALITY = 0.84;
const PROBE = 10_000;

const EXTENSIONS = {'image/webp': 'webp', 'image/jpeg': 'jpg', 'image/png': 'png'};

/** A name that every system and every text can have. */
const clean = (name) => name.replace(/[\p{C}/\\]/gu, ' ').trim().slice(-120) || 'file';

/** Resolves to {blob, file, original}: what is sent by default, and if it was drawn again, the same for the original. */
export async function prepare(source) {
	const name = clean(source.name ?? '');
	const as = {blob: source, file: {name, type: source.type, size: source.size}};
	const kind = kindOf(as.file);
	if (kind === 'video') return {...as, file: {...as.file, ...await probe(source)}};
	// A GIF may move, which drawing ends. It has no place and no camera.
	if (!source.type.startsWith('image/') || source.type === 'image/gif' || source.type === 'image/svg+xml') {
		return {...as, file: {...as.file, ...source.type === 'image/gif' && await measure(source)}};
	}
	const image = await createImageBitmap(source, {imageOrientation: 'from-image'}).catch(() => null);
	const original = {blob: source, file: {...as.file, type: 'application/octet-stream'}}; // shown as a file
	if (!image) return original; // the browser cannot decode it
	const drawn = await redraw(image, source.type);
	image.close();
	if (!drawn) return original;
	const {blob, width, height} = drawn;
	const file = {name: `${name.replace(/\.[^.]*$/, '')}.${EXTENSIONS[blob.type]}`, type: blob.type, size: blob.size, width, height};
	return {blob, file, original};
}

async function redraw(image, type) {
	const scale = Math.min(1, MOST / Math.max(image.width, image.height));
	const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
	const canvas = h('canvas', {width, height});
	const context = canvas.getContext('2d');
	context.imageSmoothingQuality = 'high';
	context.drawImage(image, 0, 0, width, height);
	const encoded = (to) => new Promise((done) => { canvas.toBlob(done, to, QUALITY); });
	let blob = await encoded('image/webp');
	// Safari does not encode WebP, and answers with PNG.
	if (blob?.type !== 'image/webp' && type !== 'image/png') {
		context.globalCompositeOperation = 'destination-over';
		context.fillStyle = '#fff'; // under transparency, which JPEG lacks
		context.fillRect(0, 0, width, height);
		blob = await encoded('image/jpeg');
	}
	return blob && {blob, width, height};
}

async function measure(blob) {
	const image = await createImageBitmap(blob).catch(() => null);
	const size = image && {width: image.width, height: image.height};
	image?.close();
	return size;
}

/** The size and length of a video, as far as the browser can tell. */
function probe(blob) {
	const video = h('video', {preload: 'metadata', muted: true});
	const url = URL.createObjectURL(blob);
	return new Promise((done) => {
		video.onloadedmetadata = () => {
			const {videoWidth: width, videoHeight: height, duration} = video;
			done({width, height, seconds: Number.isFinite(duration) ? Math.max(1, Math.round(duration)) : undefined});
		};
		video.onerror = () => done({});
		setTimeout(done, PROBE, {});
		video.src = url;
	}).finally(() => URL.revokeObjectURL(url));
}
