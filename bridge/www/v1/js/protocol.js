// The server's calls and codes. Nothing here knows of the page.

export const Code = {
  success: 200, friendOffline: 300, profileChanged: 301, friendOnline: 302,
  protocol: 403, internal: 500, accountEmpty: 501, passwordEmpty: 502, mailEmpty: 503,
  accountExists: 504, wrongLogin: 505, sendFailed: 507, peerOffline: 508, notText: 509,
  notFriends: 512, elsewhere: 513, authIllegal: 515, friendApplies: 520,
  alreadyFriends: 522, noSuchFriend: 523, friendAdded: 524, friendRemoved: 525,
  // Ours, for what never reached the server or came back without a code.
  unreachable: 0, tooMany: 429, tooLarge: 413, missing: 404,
};

// A frame of the tunnel may have 64 KiB; some is left for the keys around the payload.
export const MAX_FRAME = 64 * 1024 - 256;

export class Refused extends Error {
  constructor(code) {
    super(`code ${code}`);
    this.code = code;
  }
}

/** The URL of a tunnel that logs in with these fields. Servers that don't know `push` ignore it. */
export function loginURL(fields) {
  const url = new URL('/im/login', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = new URLSearchParams({ ...fields, push: '1' });
  return url.href;
}

/** What a send looks like on the wire. */
export function dialogueFrame(id, toFriend, payload) {
  return JSON.stringify({ id, toFriend, payload });
}

export function fits(payload) {
  return new TextEncoder().encode(dialogueFrame('', '', payload)).length <= MAX_FRAME;
}

async function call(path, init) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', credentials: 'omit', ...init });
  } catch {
    throw new Refused(Code.unreachable);
  }
  if ([Code.tooMany, Code.tooLarge, Code.missing].includes(response.status)) {
    throw new Refused(response.status);
  }
  const answer = await response.json().catch(() => ({ code: Code.internal }));
  if (answer.code !== Code.success) throw new Refused(answer.code);
  return answer;
}

const get = (path, fields, init) => call(`${path}?${new URLSearchParams(fields)}`, init);

const post = (path, fields, init) => call(path, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(fields),
  ...init,
});

// Each takes what the protocol names and throws Refused; `auth` is {id, token}.
export const register = (fields) => post('/im/register', fields);
export const found = (auth, name, signal) => get('/im/friends/found', { ...auth, name }, { signal })
  .then((answer) => answer.found ?? []);
export const request = (auth, to, note) => get('/im/friends/request', { ...auth, to, note });
export const add = (auth, from, name) => get('/im/friends/add', { ...auth, from, name });
export const remove = (auth, to) => get('/im/friends/remove', { ...auth, to });
export const updateProfile = (auth, fields) => post('/im/profile/update', { ...auth, ...fields });
// The page may be on its way out: the browser finishes the call without it.
export const logout = (auth) => post('/im/logout', auth, { keepalive: true });
export const forgot = (account, mail) => post('/im/password/forgot', { account, mail });
export const reset = (account, code, password) => post('/im/password/reset', { account, code, password });
