// Uploads the files of dialogues, and loads them.

import {captionOf, payloadOf, remember, sent} from '../files.js';
import {Code, Refused, at} from '../protocol.js';
import {t} from '../words.js';

const STALLED = 30_000; // without any progress

/** Tells whether the browser can still read a file, which may have changed since it was chosen. */
const isReadable = (blob) => blob.slice(0, 1).arrayBuffer().then(() => true, () => false);

/** Resolves to the changes of the dialogue: its file with an id, and its text. Throws Refused. */
export async function upload(auth, dialogue, signal) {
	const {blob, file} = dialogue;
	const answer = await transfer(auth, dialogue, signal).catch(async (error) => {
		if (error.code === Code.unreachable && !await isReadable(blob)) throw new Refused(Code.missing);
		throw error;
	});
	remember(answer.file.id, blob);
	const stored = {...file, ...answer.file};
	return {file: stored, text: payloadOf(captionOf(dialogue), stored)};
}

function transfer({id, token}, dialogue, signal) {
	const {friend, blob, file: {name, type, width, height, seconds}} = dialogue;
	const known = Object.entries({id, with: friend, name, type, width, height, seconds}).filter(([, value]) => value);
	// Not fetch, which does not tell its progress.
	const request = new XMLHttpRequest();
	return new Promise((resolve, reject) => {
		let timer = 0;
		const fail = (code, more) => reject(new Refused(code, more));
		function watch() {
			clearTimeout(timer);
			timer = setTimeout(() => request.abort(), STALLED);
		}
		request.open('POST', at(`/im/files?${new URLSearchParams(known)}`));
		request.setRequestHeader('Authorization', `Bearer ${token}`);
		request.setRequestHeader('Content-Type', type || 'application/octet-stream');
		request.responseType = 'json';
		request.upload.onprogress = ({loaded, total}) => {
			watch();
			dialogue.part = loaded / total;
			const bar = document.querySelector(`[data-upload="${CSS.escape(dialogue.id)}"]`);
			if (bar) bar.value = dialogue.part;
		};
		request.onloadend = () => {
			clearTimeout(timer);
			const {status, response} = request;
			const wait = Number(status && request.getResponseHeader('Retry-After'));
			if (status === Code.tooMany || status === Code.tooLarge) fail(status, {wait});
			else if (response?.code === Code.success && response.file) resolve(response);
			else fail(wait ? Code.busy : response?.code ?? (status ? Code.internal : Code.unreachable), {wait});
		};
		signal.addEventListener('abort', () => request.abort());
		watch();
		request.send(blob);
	});
}

/** Resolves to the bytes of a file. onPart is called with the loaded fraction. Throws Refused with words. */
export async function download({id, token}, file, signal, onPart) {
	if (sent.has(file.id)) return sent.get(file.id);
	const where = at(`/im/files/${encodeURIComponent(file.id)}?${new URLSearchParams({id})}`);
	try {
		const response = await fetch(where, {headers: {Authorization: `Bearer ${token}`}, credentials: 'omit', signal});
		if (!response.ok || !response.headers.has('Content-Disposition')) throw await refusal(response);
		if (!onPart) return await response.blob();
		const parts = [];
		let loaded = 0;
		for (const reader = response.body.getReader(); ;) {
			const {done, value} = await reader.read();
			if (done) return new Blob(parts, {type: response.headers.get('Content-Type')});
			parts.push(value);
			onPart((loaded += value.length) / file.size);
		}
	} catch (error) {
		throw error instanceof Refused ? error : new Refused(Code.unreachable, {words: t('fileNotLoaded')});
	}
}

async function refusal(response) {
	const {code} = await response.json().catch(() => ({}));
	if (response.status === Code.missing || code === Code.noSuchUser) return new Refused(Code.missing, {words: t('fileGone')});
	return new Refused(code ?? response.status, {words: code === Code.authIllegal || code === Code.notFriends ? undefined : t('fileNotLoaded')});
}
