// Blocks and reports people.

import {confirmDialog, head, open, required, tell} from '../dialogs.js';
import {field, h} from '../dom.js';
import {post} from '../protocol.js';
import {oneLine} from '../text.js';
import {t} from '../words.js';

const MOST = 4096; // bytes of evidence

export function blockDialog({session}, {id, name}, blocked) {
	confirmDialog(blocked ? 'block' : 'unblock', () => session.block(id, blocked), {name});
}

/** The longest start of a text that the server accepts, without half a character. */
function shortened(text) {
	const bytes = new TextEncoder().encode(text).subarray(0, MOST);
	return new TextDecoder().decode(bytes, {stream: true});
}

/** evidence: the person's last dialogue or note, if there is one. */
export function reportDialog({session}, person, evidence) {
	const text = field('reportText', {tag: 'textarea', rows: 4, maxlength: 1000, hint: 'reportHint'});
	const attach = field('reportAttach', {type: 'checkbox'});
	let sent = false;
	open('reportTitle', [head(person), text, evidence && [attach, h('blockquote.hint', {dir: 'auto'}, oneLine(evidence))]], {
		label: 'sendReport', danger: '.danger',
		async action() {
			const fields = {user: person.id, text: required(text).trim()};
			if (evidence && attach.input.checked) fields.dialogue = shortened(evidence);
			await session.as((auth) => post('report', {...auth, ...fields}));
			sent = true;
		},
		onclose: () => sent && tell('reported'),
	});
}
