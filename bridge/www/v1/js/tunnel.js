// The WebSocket of a page, which reconnects as soon as the page or the network is back.

import {openTunnel as plain} from './client/tunnel.js';

/** As openTunnel() of the client. */
export function openTunnel({onState, ...events}) {
	const open = new AbortController();
	const {signal} = open;
	let state;
	const tunnel = plain({
		...events,
		onState(now, ...more) {
			state = now;
			if (now === 'off') open.abort();
			onState(now, ...more);
		},
	});
	const soon = () => { if (!document.hidden) (state === 'on' ? tunnel.probe : tunnel.reconnect)(); };
	addEventListener('online', soon, {signal});
	addEventListener('offline', tunnel.probe, {signal}); // a server on this machine or network may still be there
	document.addEventListener('visibilitychange', soon, {signal});
	// A page in the back/forward cache must not take dialogues.
	addEventListener('pagehide', tunnel.drop, {signal});
	addEventListener('pageshow', ({persisted}) => { if (persisted) tunnel.reconnect(); }, {signal});
	return tunnel;
}
