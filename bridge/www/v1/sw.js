// The service worker: the page without a network, and notifications of push messages.

// The server puts the version and the addresses of the page's files in place of these two.
const VERSION = '';
const FILES = [];

const CACHE = `shell-${VERSION}`;
const LIMIT = 4_000; // wait for the network, in milliseconds
const LINES = 5; // of a notification

const scope = new URL('./', location);
const known = new Set(FILES.map((name) => new URL(name, scope).pathname));
const ofVersion = new URL(`_${VERSION}/`, scope).pathname; // files here never change

const words = {
	en: {dialogue: 'New message', dialogues: 'New messages', asks: 'You have a friend request', says: '{name} wants to be your friend'},
	de: {dialogue: 'Neue Nachricht', dialogues: 'Neue Nachrichten', asks: 'Du hast eine Freundschaftsanfrage', says: '{name} möchte mit dir befreundet sein'},
	zh: {dialogue: '新消息', dialogues: '新消息', asks: '你收到一个好友请求', says: '{name} 想加你为好友'},
};
const wordsOf = (language) => words[(language || navigator.language).slice(0, 2)] ?? words.en;

self.addEventListener('install', (event) => {
	// Past the HTTP cache: all files are of one version.
	const files = FILES.map((name) => new Request(new URL(name, scope), {cache: 'no-cache', credentials: 'omit'}));
	event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
	// Open pages load what they need from the network, and need no old cache.
	event.waitUntil(caches.keys()
		.then((names) => Promise.all(names.filter((name) => name.startsWith('shell-') && name !== CACHE).map((name) => caches.delete(name))))
		.then(() => self.clients.claim()));
});

self.addEventListener('fetch', (event) => {
	const {request} = event;
	const url = new URL(request.url);
	if (request.method === 'GET' && url.origin === scope.origin && known.has(url.pathname)) event.respondWith(file(request, url));
});

async function file(request, {pathname}) {
	const kept = () => caches.match(new URL(pathname, scope), {cacheName: CACHE}); // without the query of a repeated import
	if (pathname.startsWith(ofVersion)) {
		const copy = await kept();
		if (copy) return copy;
	}
	try {
		const answer = await fetch(request, {signal: AbortSignal.timeout(LIMIT)});
		if (answer.status < 500) return answer;
		return await kept() ?? answer;
	} catch (error) {
		const copy = await kept();
		if (!copy) throw error;
		return copy;
	}
}

let telling = Promise.resolve(); // the notification before

self.addEventListener('push', (event) => {
	let message = {};
	try {
		message = event.data.json();
	} catch { /* the notification has no text then */ }
	// One after the other: a notification has the lines of the one before.
	const told = telling.then(() => tell(message));
	telling = told.catch(() => {});
	event.waitUntil(told);
});

async function tell({with: id = '', name, text, n = 0, request, language}) {
	const pages = await self.clients.matchAll({type: 'window', includeUncontrolled: true});
	if (pages.some((page) => page.visibilityState === 'visible' && isOurs(page))) return; // the page tells
	const t = wordsOf(language);
	const tag = request ? `asks ${id}` : id;
	const [before] = await self.registration.getNotifications({tag});
	const earlier = before?.data ?? {lines: [], n: 0};
	const again = n > 0 && n <= earlier.n;
	const lines = again || !text ? earlier.lines : [...earlier.lines, text].slice(-LINES);
	let title = name ?? 'imctl';
	let body = lines.join('\n') || (before ? t.dialogues : t.dialogue);
	if (request) [title, body] = ['imctl', name ? t.says.replace('{name}', () => name) : t.asks];
	await self.registration.showNotification(title, {
		body, tag, renotify: !again, silent: again, icon: 'icon.png', dir: 'auto', lang: language, timestamp: Date.now(),
		data: {id: request ? '' : id, lines, n: Math.max(n, earlier.n)},
	});
}

const isOurs = (page) => page.url.startsWith(scope.href);

self.addEventListener('notificationclick', (event) => {
	event.notification.close();
	event.waitUntil(open(event.notification.data?.id ?? ''));
});

/** Shows a conversation in an open page, or in a new one. */
async function open(id) {
	const pages = (await self.clients.matchAll({type: 'window', includeUncontrolled: true})).filter(isOurs);
	const page = pages.find((one) => one.focused) ?? pages.find((one) => one.visibilityState === 'visible') ?? pages[0];
	const shown = page && await page.focus().catch(() => null); // a browser may refuse to focus
	if (!page) await self.clients.openWindow(new URL(`chat.html#${id}`, scope));
	else (shown ?? page).postMessage({open: id});
}

// The worker has no token, so that a page has to tell the server of the new subscription: an open one now, others when they
// start.
self.addEventListener('pushsubscriptionchange', (event) => {
	event.waitUntil((async () => {
		if (!event.newSubscription && event.oldSubscription) await self.registration.pushManager.subscribe(event.oldSubscription.options);
		for (const page of await self.clients.matchAll({type: 'window'})) page.postMessage({resubscribed: true});
	})());
});

self.addEventListener('message', ({data}) => {
	// The user has signed out: nothing that a friend wrote stays visible.
	if (data?.signedOut) self.registration.getNotifications().then((all) => all.forEach((one) => one.close()));
});
