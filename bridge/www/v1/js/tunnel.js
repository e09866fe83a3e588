// The WebSocket of a page, which reconnects as soon as the page or the network is back.

import {openTunnel as plain} from './client/tunnel.js';

export function openTunnel({onState, ...events}) {
	const open = new AbortController();
	const {reconnect, probe, drop, ...tunnel} = plain({
		...events,
		onState(...news) {
			if (news[0] === 'off') open.abort();
			onState(...news);
		},
	});
	const on = (name, act, target = window) => target.addEventListener(name, act, {signal: open.signal});
	const soon = () => document.hidden || probe() || reconnect();
	on('online', soon);
	on('offline', probe); // a server on this machine or network may still be there
	on('visibilitychange', soon, document);
	// A page in the back/forward cache must not take dialogues.
	on('pagehide', drop);
	on('pageshow', ({persisted}) => persisted && reconnect());
	return {...tunnel, reconnect, probe};
}
