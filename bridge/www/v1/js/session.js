// One account's session: signs in and out, keeps the store true to what the server says, and carries out what the person does.

import * as protocol from './protocol.js';
import { Code, Refused } from './protocol.js';
import { Outbox, State, isSettled } from './outbox.js';
import { Tunnel } from './tunnel.js';
import { claim, forgetLogin, rememberLogin } from './login.js';

/** The ids that this page makes never repeat; other clients may count from 1 in each session, and those say nothing. */
const TELLING_ID = 12;

const PUSHED = new Set([Code.friendOnline, Code.friendOffline, Code.profileChanged, Code.friendApplies, Code.friendAdded, Code.friendRemoved]);

/**
 * Options: store, history, onPhase(phase, code) with phase 'in', 'out' (code: why) or 'elsewhere' (open in another tab or place),
 * onDialogue(dialogue), onRequest(request), onFriend(friend) for news that somebody may want to be told of.
 */
export class Session {
  #options;
  #store;
  #history;
  #tunnel = null;
  #login = null; // {id, token, stay}
  #first = null; // {account, password} for the login under way
  #spare = null; // the same, in memory alone, until the server has shown that it takes the token
  #release = () => {};
  #seen = new Set(); // "friend id" of dialogues with telling ids
  #arriving = new Map(); // friend's id → what came while its dialogues are being loaded
  #pushed = false; // the server has shown that it tells news by itself
  #outbox;

  constructor(options) {
    this.#options = options;
    this.#store = options.store;
    this.#history = options.history;
    this.#outbox = new Outbox((text) => this.#tunnel?.send(text) ?? false, (dialogue) => this.#dialogueChanged(dialogue));
  }

  // ---- signing in and out

  /** Resolves once signed in; throws Refused. */
  signIn(account, password, stay) {
    this.#first = { account, password };
    this.#login = { id: '', token: '', stay };
    return this.#open();
  }

  /** Comes back with what login.js remembered. Takes the account over from another tab only if `force`. */
  async resume(login, force) {
    if (!await this.#claim(login.id, force)) {
      this.#login = login;
      this.#options.onPhase('elsewhere');
      return undefined;
    }
    this.#login = { ...login };
    this.#first = null;
    return this.#open();
  }

  /** Takes the account back after it was opened in another place. */
  takeOver() { return this.resume(this.#login, true); }

  async signOut() {
    const auth = this.#auth;
    forgetLogin(auth.id);
    this.#end('out', 0);
    // A server without the call lets the token run out by itself.
    await protocol.logout(auth).catch(() => {});
  }

  #open() {
    return new Promise((resolve, reject) => {
      this.#tunnel?.close();
      this.#tunnel = new Tunnel({
        credentials: () => this.#first ?? this.#auth,
        onState: (state, until = 0) => {
          this.#store.link = { state, until };
          this.#store.emit('link');
        },
        onOpen: (answer) => { this.#opened(answer).then(resolve, reject); },
        onRefused: (code) => {
          if (this.#spare && !this.#first) {
            this.#first = this.#spare;
            this.#tunnel.open();
            return;
          }
          reject(new Refused(code));
          if (this.#store.me) this.#end('out', code);
          else this.#release();
        },
        onFrame: (frame) => this.#frame(frame),
        onDown: () => this.#outbox.down(),
      });
      this.#tunnel.open();
      // The first time nobody is there to wait for growing pauses: the form says that the server can't be reached.
      if (this.#first) {
        const stop = this.#store.on('link', () => {
          const { state } = this.#store.link;
          if (state === 'connecting') return;
          stop();
          if (state !== 'waiting' || this.#store.me) return;
          this.#tunnel.close();
          reject(new Refused(Code.unreachable));
        });
      }
    });
  }

  async #opened(answer) {
    const store = this.#store;
    const first = !store.me;
    this.#spare = this.#first;
    this.#first = null;
    if (first && !this.#held) await this.#claim(answer.profile.id, true);
    this.#login = { ...this.#login, id: answer.profile.id, token: answer.token, name: answer.profile.name };
    rememberLogin(this.#login);
    store.me = answer.profile;
    store.friends = new Map((answer.friends ?? []).map((friend) => [friend.id, friend]));
    store.requests = new Map((answer.requests ?? []).map((request) => [request.id, request]));
    if (first) await this.#recall();
    store.emit('me', 'friends', 'requests', 'talks');
    if (first) this.#options.onPhase('in');
    this.#outbox.flush();
  }

  async #recall() {
    for (const { me, ...talk } of await this.#history.talks(this.#store.me.id)) this.#store.talks.set(talk.friend, talk);
  }

  get #held() { return this.#release.held === true; }

  /** One tab an account: two would both write the same dialogues to the history. */
  async #claim(id, force) {
    this.#release();
    const release = await claim(id, force, () => this.#end('elsewhere', 0));
    this.#release = release ?? (() => {});
    return release !== null;
  }

  #end(phase, code) {
    this.#tunnel?.close();
    this.#tunnel = null;
    this.#outbox.clear();
    this.#seen.clear();
    this.#arriving.clear();
    this.#first = this.#spare = null;
    this.#release();
    this.#release = () => {};
    this.#store.clear();
    this.#options.onPhase(phase, code);
  }

  get #auth() { return { id: this.#login.id, token: this.#login.token }; }

  // ---- frames

  #frame(frame) {
    const store = this.#store;
    if (frame.code === undefined) {
      if (typeof frame.from === 'string' && typeof frame.payload === 'string') this.#dialogue(frame);
      return;
    }
    const friend = store.friends.get(frame.id);
    if (PUSHED.has(frame.code)) this.#pushed = true;
    switch (frame.code) {
      case Code.friendOnline:
      case Code.friendOffline:
        this.#presence(frame.id, frame.code === Code.friendOnline);
        break;
      case Code.profileChanged:
        // The name in it is the friend's own; the one shown is an alias of mine, and stays.
        if (friend) Object.assign(friend, pick(frame, ['picture', 'sex', 'birthday', 'sign']), { own: frame.name });
        store.emit('friends');
        break;
      case Code.friendApplies:
        if (!frame.request?.id) break;
        store.requests.set(frame.request.id, frame.request);
        store.emit('requests');
        this.#options.onRequest(frame.request);
        break;
      case Code.friendAdded:
        if (frame.friend?.id) this.#befriended(frame.friend);
        break;
      case Code.friendRemoved:
        this.#parted(frame.id);
        break;
      case Code.elsewhere:
        this.#end('elsewhere', frame.code);
        break;
      default:
        this.#answer(frame);
    }
  }

  #answer(frame) {
    const dialogue = this.#outbox.answered(frame);
    if (!dialogue) return;
    if (frame.code === Code.peerOffline) this.#presence(dialogue.friend, false);
    if (frame.code === Code.success) this.#presence(dialogue.friend, true);
    if (frame.code === Code.notFriends) this.#parted(dialogue.friend);
  }

  #presence(id, online) {
    const friend = this.#store.friends.get(id);
    if (!friend || friend.online === online) return;
    friend.online = online;
    this.#store.emit('friends');
  }

  #befriended(friend) {
    const store = this.#store;
    const asked = store.asked.delete(friend.id);
    store.requests.delete(friend.id);
    store.friends.set(friend.id, friend);
    store.emit('friends', 'requests');
    if (asked) this.#options.onFriend(friend);
  }

  #parted(id) {
    const store = this.#store;
    const talk = store.talks.get(id);
    // The name outlives the friendship where dialogues do.
    if (talk?.at) this.#talkChanged(id, { name: store.nameOf(id) });
    store.friends.delete(id);
    store.requests.delete(id);
    store.asked.delete(id);
    store.emit('friends', 'requests', id);
  }

  // ---- dialogues

  #dialogue({ id = '', from, toFriend, payload }) {
    const store = this.#store;
    const mine = from === store.me.id;
    const friend = mine ? toFriend : from;
    if (typeof friend !== 'string') return;
    if (String(id).length >= TELLING_ID) {
      const key = `${friend} ${id}`;
      if (this.#seen.has(key)) return;
      this.#seen.add(key);
    }
    const dialogue = {
      friend, id, mine, text: payload, n: this.#history.next(), state: State.delivered, code: 0,
    };
    const away = store.current !== friend || document.hidden || !document.hasFocus();
    const talk = store.talk(friend);
    this.#keep(dialogue);
    this.#talkChanged(friend, { unread: mine ? 0 : talk.unread + (away ? 1 : 0) });
    if (!mine) {
      this.#presence(friend, true);
      this.#options.onDialogue(dialogue, away);
    }
    if (!mine && !store.friends.has(friend)) this.#tunnel.again(); // a friend that this session has not heard of
  }

  #keep(dialogue) {
    const { friend, text, n, mine } = dialogue;
    const store = this.#store;
    if (!this.#history.kept && !store.dialogues.has(friend)) store.dialogues.set(friend, []);
    (store.dialogues.get(friend) ?? this.#arriving.get(friend))?.push(dialogue);
    this.#history.putDialogue(store.me.id, dialogue);
    Object.assign(store.talk(friend), { text: text.slice(0, 200), at: n, mine, name: store.nameOf(friend) });
    store.emit(friend);
  }

  #dialogueChanged(dialogue) {
    if (!this.#store.me) return;
    this.#history.putDialogue(this.#store.me.id, dialogue);
    this.#store.emit(dialogue.friend);
  }

  #talkChanged(friend, changes) {
    const talk = Object.assign(this.#store.talk(friend), changes);
    this.#history.putTalk(this.#store.me.id, talk);
    this.#store.emit('talks');
  }

  /** Puts a talk's dialogues into the store, from the history. */
  async load(friend) {
    const store = this.#store;
    const { me } = store;
    if (store.dialogues.has(friend) || this.#arriving.has(friend)) return;
    const arrived = [];
    this.#arriving.set(friend, arrived);
    const kept = await this.#history.dialogues(me.id, friend);
    if (this.#arriving.get(friend) !== arrived) return; // signed out meanwhile
    this.#arriving.delete(friend);
    for (const dialogue of kept) {
      // What an earlier page left on its way has no answer to wait for.
      if (!isSettled(dialogue.state)) Object.assign(dialogue, { state: State.failed, code: Code.unreachable });
      if (!dialogue.mine && dialogue.id.length >= TELLING_ID) this.#seen.add(`${friend} ${dialogue.id}`);
    }
    const last = kept.at(-1)?.n ?? 0;
    store.dialogues.set(friend, kept.concat(arrived.filter(({ n }) => n > last)));
    store.emit(friend);
  }

  say(friend, text) {
    const dialogue = {
      friend, id: Outbox.newID(), mine: true, text, n: this.#history.next(), state: State.queued, code: 0,
    };
    this.#keep(dialogue);
    this.#talkChanged(friend, { draft: '', unread: 0 });
    this.#outbox.add(dialogue);
  }

  sayAgain(dialogue) { this.#outbox.add(dialogue); }

  keepDraft(friend, draft) {
    if (this.#store.me && (this.#store.talks.get(friend)?.draft ?? '') !== draft) this.#talkChanged(friend, { draft });
  }

  read(friend) {
    if (this.#store.talks.get(friend)?.unread) this.#talkChanged(friend, { unread: 0 });
  }

  // ---- friends

  find(name, signal) { return protocol.found(this.#auth, name, signal).catch(this.#checked); }

  async ask(person, note) {
    await protocol.request(this.#auth, person.id, note).catch(this.#checked);
    this.#store.asked.add(person.id);
    this.#store.emit('requests');
  }

  async answer(request, alias) {
    await protocol.add(this.#auth, request.id, alias).catch(this.#checked);
    // A server that doesn't push says no more than this until the next login, which brings the rest.
    if (!this.#store.friends.has(request.id)) {
      this.#befriended({ picture: '', sex: '', birthday: '', sign: '', online: false, ...request, name: alias });
      if (!this.#pushed) this.refresh();
    }
  }

  async decline(request) {
    await this.#removeOnServer(request.id);
    this.#store.requests.delete(request.id);
    this.#store.emit('requests');
  }

  async part(id) {
    await this.#removeOnServer(id);
    this.#parted(id);
  }

  #removeOnServer(id) {
    return protocol.remove(this.#auth, id).catch((error) => {
      if (error.code !== Code.notFriends) this.#checked(error);
    });
  }

  /** The server keeps the first alias; a later one is kept in this browser. */
  async rename(id, alias) {
    let kept = '';
    await protocol.add(this.#auth, id, alias).catch((error) => {
      if (error.code !== Code.alreadyFriends) this.#checked(error);
      kept = alias;
    });
    const friend = this.#store.friends.get(id);
    if (friend && !kept) friend.name = alias;
    this.#talkChanged(id, { alias: kept, name: alias });
    this.#store.emit('friends', id);
  }

  async updateProfile(fields) {
    await protocol.updateProfile(this.#auth, fields).catch(this.#checked);
    Object.assign(this.#store.me, pick(fields, ['name', 'picture', 'sex', 'birthday', 'sign']));
    this.#store.emit('me');
  }

  /** Logs in anew, which is how a server that doesn't push tells what has changed. */
  refresh() { this.#tunnel?.again(); }

  /** A token that ran out while the page was open: the tunnel logs in anew, or ends the session. */
  #checked = (error) => {
    if (error.code === Code.authIllegal) this.refresh();
    throw error;
  };

  // ---- history

  async exported() {
    const { me } = this.#store;
    const dialogues = await this.#history.all(me.id);
    return {
      account: { id: me.id, name: me.name },
      dialogues: dialogues.map(({ friend, mine, text, n, state }) => ({
        friend, name: this.#store.nameOf(friend), at: new Date(n / 1000).toISOString(), mine, text, state,
      })),
    };
  }

  async forget(...friend) {
    const store = this.#store;
    await this.#history.forget(store.me.id, ...friend);
    for (const id of friend.length ? friend : [...store.talks.keys()]) {
      store.talks.delete(id);
      if (store.dialogues.has(id)) store.dialogues.set(id, []);
      store.emit(id);
    }
    store.emit('talks');
  }
}

function pick(from, keys) {
  const picked = {};
  for (const key of keys) if (from[key] !== undefined && from[key] !== null) picked[key] = from[key];
  return picked;
}
