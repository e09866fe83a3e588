// The codes of the server, and the error of a refused call.

export const Code = {
	success: 200, kept: 202, friendOffline: 300, profileChanged: 301, friendOnline: 302, delivered: 303, read: 304, typing: 305, marked: 306,
	malformed: 403, internal: 500, accountEmpty: 501, passwordEmpty: 502, mailEmpty: 503, accountExists: 504, wrongLogin: 505,
	sendFailed: 507, peerOffline: 508, notFriends: 512, elsewhere: 513, authIllegal: 515,
	friendApplies: 520, alreadyFriends: 522, noSuchUser: 523, friendAdded: 524, friendRemoved: 525,
	filesFull: 526,
	// Not of the protocol: no answer, three HTTP statuses, and a busy server, as it closes a tunnel.
	unreachable: 0, missing: 404, tooLarge: 413, tooMany: 429, busy: 1013,
};

export class Refused extends Error {
	/** more: words, to be shown instead of those of the code, and wait, the seconds until the call may be repeated. */
	constructor(code, more) {
		super(`code ${code}`);
		Object.assign(this, {code}, more);
	}
}
