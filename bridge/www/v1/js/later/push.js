// Push messages for times when the page is closed, and the service worker that shows them.

import {workerURL} from '../load.js';
import {get, post} from '../protocol.js';

const KEY = 'imctl.push'; // {user, text}: for whom this browser is subscribed

const supported = () => 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window;
let registering = null;
let current = null; // the session
const userOf = (session) => session.as(async ({id}) => id);

function remembered() {
	try {
		return JSON.parse(localStorage.getItem(KEY)) ?? {};
	} catch {
		return {};
	}
}

function remember(value) {
	try {
		if (value) localStorage.setItem(KEY, JSON.stringify(value));
		else localStorage.removeItem(KEY);
	} catch { /* without storage, the next start does not renew the subscription */ }
}

/** Resolves to the registration of the service worker, or undefined where there is none. */
function register() {
	if (!('serviceWorker' in navigator)) return Promise.resolve();
	registering ??= (async () => {
		navigator.serviceWorker.addEventListener('message', ({data}) => {
			if (data.open !== undefined) location.hash = data.open;
			if (data.resubscribed && current) renew(current).catch(console.warn);
		});
		return navigator.serviceWorker.register(workerURL(), {scope: './', updateViaCache: 'none'});
	})().catch((error) => { console.warn(error); });
	return registering;
}

/** Closes the notifications of the conversation that the user sees. */
async function seen() {
	const tag = location.hash.slice(1);
	if (!tag || document.hidden) return;
	const shown = await (await registering)?.getNotifications({tag});
	shown?.forEach((one) => one.close());
}
addEventListener('hashchange', seen);
document.addEventListener('visibilitychange', seen);

/** Is told of each phase of the session: see newSession(). */
export async function phase(name, code, session) {
	current = name === 'in' ? session : null;
	const registration = await register();
	if (!registration) return;
	if (current) await renew(session);
	else if (name === 'out' && code === undefined) await signedOut(registration);
}

async function signedOut(registration) {
	registration.active?.postMessage({signedOut: true});
	const subscription = await registration.pushManager?.getSubscription();
	await subscription?.unsubscribe(); // the server has removed it with the token
	remember();
}

/** Tells the server of the subscription again, since it belongs to a sign-in, and may have changed. */
async function renew(session) {
	const {user, text} = remembered();
	const registration = await register();
	const subscription = await registration?.pushManager?.getSubscription();
	if (!subscription) return;
	if (user === await userOf(session)) await add(session, registration, text);
	else await subscription.unsubscribe(); // another user's
}

/** Resolves to {supported, allowed, on, text}. allowed: the user has not refused notifications. */
export async function pushState(session) {
	const {user, text} = remembered();
	const allowed = globalThis.Notification?.permission !== 'denied';
	if (!supported()) return {supported: false, allowed, on: false, text: false};
	const subscription = await (await register())?.pushManager?.getSubscription();
	const on = Boolean(subscription) && user === await userOf(session);
	return {supported: true, allowed, on, text: on && Boolean(text)};
}

/** Asks the user for the permission, and subscribes. text: the messages have the friend's name and the text. Throws Refused. */
export async function subscribe(session, {text = false} = {}) {
	const registration = supported() && await Notification.requestPermission() === 'granted' && await register();
	if (registration) await add(session, await navigator.serviceWorker.ready, text);
	return pushState(session);
}

async function add(session, registration, text) {
	const {key} = await session.as((auth) => get('push', auth));
	let subscription = await registration.pushManager.getSubscription();
	if (subscription && encode(subscription.options.applicationServerKey) !== key) { // the server has new keys
		await subscription.unsubscribe();
		subscription = null;
	}
	subscription ??= await registration.pushManager.subscribe({userVisibleOnly: true, applicationServerKey: key});
	const {endpoint} = subscription;
	const [p256dh, secret] = ['p256dh', 'auth'].map((name) => encode(subscription.getKey(name)));
	await session.as((auth) => post('push/add', {...auth, endpoint, p256dh, auth: secret, text: Boolean(text), language: document.documentElement.lang.slice(0, 16)}));
	remember({user: await userOf(session), text: Boolean(text)});
}

/** Ends the subscription. Throws Refused. */
export async function unsubscribe(session) {
	const subscription = await (await register())?.pushManager?.getSubscription();
	remember();
	if (subscription) {
		await subscription.unsubscribe();
		await session.as((auth) => post('push/remove', {...auth, endpoint: subscription.endpoint}));
	}
	return pushState(session);
}

/** Returns the bytes in base64url, without padding. */
function encode(buffer) {
	return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
