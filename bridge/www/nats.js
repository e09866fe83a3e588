// The NATS subjects of a user, in place of the WebSocket.

import {Code, Refused} from './v1/js/client/codes.js';

const LIMIT = 10_000;
const RETRY = 3000;

/** As openTunnel(). nc is a connection of @nats-io/nats-core, which reconnects by itself. onFrame(frame, acknowledge). */
export function openNATS({nc, id, prefix = 'im', onOpen, onFrame, onDown, onState}) {
	let up = false;
	let over = false;
	let timer = 0;
	const ask = async (subject, fields) => (await nc.request(`${prefix}.${subject}`, JSON.stringify(fields), {timeout: LIMIT})).json();

	async function call(name, fields = {}) {
		const answer = await ask(`call.${id}.${name}`, fields).catch(() => { throw new Refused(Code.unreachable); });
		if (answer.code !== Code.success) throw new Refused(answer.code);
		return answer;
	}

	/** Learns the conversations. */
	async function enter() {
		clearTimeout(timer);
		try {
			const {talks} = await call('talks').catch((error) => {
				if (error.code !== Code.malformed) throw error;
				return {}; // the server keeps none
			});
			if (over) return;
			up = true;
			onState('on');
			onOpen({profile: {id}, talks});
		} catch {
			if (!over) timer = setTimeout(enter, RETRY);
		}
	}

	function send(text) {
		if (!up) return false;
		const frame = JSON.parse(text);
		// Without an answer the dialogue may or may not be stored.
		if (frame.toFriend) ask(`send.${id}`, frame).then(onFrame, () => onFrame({code: Code.sendFailed, id: frame.id}));
		else if (frame.got) call('got', frame).catch(() => {}); // the next dialogue or login tells it again
		return true;
	}

	function down() {
		if (!up) return;
		up = false;
		onDown();
		onState('waiting');
	}

	const subscribe = (name, take) => nc.subscribe(`${prefix}.user.${id}.${name}`, {
		callback(error, message) {
			if (error) onState('waiting', error);
			else take(message.json(), () => message.respond());
		},
	});
	// The first subscription makes the user online. An empty dialogue is a presence check.
	const subscriptions = [
		subscribe('dialogue', (frame, acknowledge) => (frame.from ? onFrame(frame, acknowledge) : acknowledge())),
		subscribe('notice', (frame) => onFrame(frame)),
	];
	(async () => {
		for await (const {type} of nc.status()) {
			if (over) return;
			if (type === 'disconnect') down();
			else if (type === 'reconnect') enter();
		}
	})();
	enter();
	return {
		send, call,
		probe() {}, // nc does
		close() {
			const sends = up && !nc.isClosed(); // without a connection a flush would wait for one
			over = true;
			up = false;
			clearTimeout(timer);
			for (const one of subscriptions) one.unsubscribe();
			return sends ? nc.flush() : undefined;
		},
	};
}
