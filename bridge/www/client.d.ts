/** The server's codes by name. */
export const Code: Readonly<Record<
	"success" | "kept" | "friendOffline" | "profileChanged" | "friendOnline" | "delivered" | "read" | "typing" | "marked" |
	"malformed" | "internal" | "accountEmpty" | "passwordEmpty" | "mailEmpty" | "accountExists" | "wrongLogin" | "sendFailed" |
	"peerOffline" | "notFriends" | "elsewhere" | "authIllegal" | "friendApplies" | "alreadyFriends" | "noSuchUser" |
	"friendAdded" | "friendRemoved" | "filesFull" | "unreachable" | "missing" | "tooLarge" | "tooMany" | "busy", number>>;

/** A refused call, dialogue or login. */
export class Refused extends Error {
	constructor(code: number, more?: object);
	/** As in Code. unreachable: there was no answer. */
	readonly code: number;
	/** The seconds until a call may be repeated. */
	readonly wait?: number;
}

/** A dialogue that arrives. Without n the server keeps no conversations. */
export interface Dialogue {
	id: string;
	/** The id of the sender, and of the other user, which is the same unless another device of this user has sent it. */
	from: string;
	with: string;
	payload: string;
	/** Its number in the conversation, and when the server stored it. */
	n?: number;
	at?: string;
	/** Numbers of dialogues that it replies to, reacts to, replaces or deletes. */
	re?: number;
	reacts?: number;
	edits?: number;
	deletes?: number;
	edited?: true;
}

/** News of the server. The other keys depend on the code. */
export interface Notice {
	code: number;
	message?: string;
	ok: true;
	id?: string;
	n?: number;
	own?: boolean;
	request?: Person;
	friend?: Person;
	[key: string]: unknown;
}

export interface Person {
	id: string;
	name: string;
	note?: string;
	[key: string]: unknown;
}

/** What the client needs of a connection of @nats-io/nats-core. */
export interface NATSConnection {
	request(subject: string, payload?: string, options?: {timeout: number}): Promise<{json(): any}>;
	subscribe(subject: string, options?: {callback?(error: any, message: any): void}): {unsubscribe(): void};
	status(): AsyncIterable<{type: string}>;
	flush(): Promise<void>;
	isClosed(): boolean;
}

export interface Events {
	/** Is called for each dialogue of a friend, one after the other in a conversation. It is acknowledged afterwards. */
	onDialogue?(dialogue: Dialogue, client: Client): unknown;
	onNotice?(notice: Notice, client: Client): void;
	/** "on" after each login, "waiting" while the connection is lost. */
	onState?(state: "connecting" | "on" | "waiting" | "off", ...more: unknown[]): void;
	/** Gets what onDialogue throws. The default is console.error. */
	onError?(error: unknown, dialogue?: Dialogue): void;
}

/** By WebSocket: url is the address of the server. WebSocket is needed where it is not global. */
export interface BySocket {
	url: string;
	account?: string;
	password?: string;
	/** Instead of account and password: those of an earlier client. */
	id?: string;
	token?: string;
	WebSocket?: new (url: string) => unknown;
}

/** By NATS: id is the user's, and prefix the setting nats.prefix. The connection stays open when the client is closed. */
export interface ByNATS {
	nats: NATSConnection;
	id: string;
	prefix?: string;
}

export interface Client {
	readonly id: string;
	/** The token of the last login by WebSocket. */
	readonly token?: string;
	/** Resolves when the client has ended: to a Refused if it was the server, which the client then leaves alone. */
	readonly closed: Promise<Refused | undefined>;
	/** Sends a dialogue, again until it is answered. The server stores one with the same id once. Throws Refused. */
	send(friend: string, payload: string, more?: {
		/** The default is a new UUID. The id of an answer should follow from what it answers. */
		id?: string;
		re?: number;
		reacts?: number;
		edits?: number;
		deletes?: number;
	}): Promise<{id: string; code: number; n?: number; at?: string}>;
	/** Makes a call by its name in docs/consumers.md. Throws Refused. */
	call(name: string, fields?: Record<string, unknown>): Promise<any>;
	/** Accepts a friend request. */
	accept(request: Person): Promise<any>;
	close(): Promise<void>;
}

/** Resolves to a client once it is logged in. Throws Refused. */
export function connect(options: (BySocket | ByNATS) & Events): Promise<Client>;
