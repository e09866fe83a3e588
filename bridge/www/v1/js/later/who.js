// Makes sure that the right people meet: the link and the QR code of one's own account, and the code that two compare.

import {head, open} from '../dialogs.js';
import {button, field, h, icon} from '../dom.js';
import {load} from '../load.js';
import {get} from '../protocol.js';
import {t} from '../words.js';

export async function addMeDialog({store}) {
	const link = new URL(`#add=${store.me.id}`, location.href).href;
	const said = h('p.hint', {role: 'status'});
	const box = field('myLink', {value: link, readonly: true, dir: 'ltr', onfocus: () => box.input.select()});
	const copy = () => copied(link, box.input).then(() => { said.textContent = t('copied'); }, () => { said.textContent = t('copyByHand'); });
	const code = h('.qr');
	const invites = h('p.hint');
	open('addMe', [head(store.me, store.me.sign), code, h('p', t('addMeHelp')), box, h('.buttons', null, button('copyLink', copy, '.main'),
		navigator.share && button('shareLink', () => navigator.share({title: t('shareTitle', {name: store.me.name}), url: link}).catch(() => {}))), // refused by the user
	said, invites]);
	load('qr').then(({encode}) => code.append(drawing(encode(link))), () => code.remove());
	// Who has no account yet may need an invite to the server, which is another link.
	const {registration} = await get('registration', {}).catch(() => ({}));
	if (registration === 'invite') invites.textContent = t('addMeInvite');
	if (registration === 'closed') invites.textContent = t('addMeClosed');
}

/** Browsers have a clipboard only on https and localhost. */
async function copied(text, input) {
	if (navigator.clipboard) return navigator.clipboard.writeText(text);
	input.select();
	if (!document.execCommand('copy')) throw new Error('refused');
}

/** A QR code, with four modules of light edge, as an image. */
function drawing(rows) {
	const svg = icon('person').cloneNode(false);
	const side = rows.length + 8;
	const path = document.createElementNS(svg.namespaceURI, 'path');
	path.setAttribute('d', rows.map((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : '')).join('')).join(''));
	svg.setAttribute('viewBox', `0 0 ${side} ${side}`);
	svg.setAttribute('class', '');
	svg.setAttribute('role', 'img');
	svg.removeAttribute('aria-hidden');
	svg.setAttribute('aria-label', t('myCode'));
	svg.append(path);
	return svg;
}

/** Eight groups of four digits, the same for both people. */
async function codeOf(...ids) {
	const text = new TextEncoder().encode(ids.sort().join('\n'));
	const hash = new DataView(await crypto.subtle.digest('SHA-256', text));
	return Array.from({length: 8}, (_, i) => String(hash.getUint32(i * 4) % 10_000).padStart(4, '0'));
}

export async function compareDialog({store}, person) {
	// Without https anybody on the way could change the page, and with it the code.
	const groups = crypto.subtle ? await codeOf(store.me.id, person.id) : null;
	open('compareTitle', [
		head(person),
		groups ? h('p.code', {label: 'compareTitle', role: 'group', dir: 'ltr'}, groups.map((group) => [h('span', group), ' '])) : h('p', t('compareInsecure')),
		groups && h('p', t('compareHelp', {name: person.name})), groups && h('p.hint', t('compareLimits')),
	]);
}
