// The server's calls and codes, independent of the page.

import {Code as codes, Refused} from './client/codes.js';
import {server} from './client/http.js';
import {frameOf} from './client/outbox.js';

export {Refused};
export const Code = {
	...codes,
	field: -1, // a field is invalid, and nothing was sent
	otherVersion: -2, // the server has another version of the page
};
export const {at, get, post, loginURL} = server(new URL('../../', location.href)); // a proxy may serve it below a path

// A frame has at most 64 KiB.
export const fits = (text) => new TextEncoder().encode(frameOf({text})).length < 65_000;

// The calls throw Refused. auth is {id, token}.
export const people = (auth, q, after) => get('people', {...auth, q, after, limit: 30});
export const person = async (auth, of) => (await get('people/one', {...auth, of})).person;
export const asked = async (auth) => (await get('friends/asked', auth)).asked ?? [];
export const request = (auth, to, note) => get('friends/request', {...auth, to, note});
export const add = (auth, from, name) => get('friends/add', {...auth, from, name});
export const remove = (auth, to) => get('friends/remove', {...auth, to});
export const blocked = async (auth) => (await get('friends/blocked', auth)).blocked ?? [];
export const logout = (auth) => post('logout', auth, {keepalive: true}); // even if the page is closing
