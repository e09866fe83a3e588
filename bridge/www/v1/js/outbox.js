// Dialogues on their way: what was sent and waits for its answer, and what waits for a connection.

import { Code, dialogueFrame } from './protocol.js';

// The server answers within its own limit of some seconds; past this, nobody will.
const ANSWER_LIMIT = 30_000;
// So many may wait for an answer at once, the rest wait here: the server reads no more than this ahead.
const IN_FLIGHT = 64;

/** States of an own dialogue. Anything but delivered can be tried again once it is not on its way. */
export const State = { queued: 'queued', sending: 'sending', delivered: 'delivered', offline: 'offline', failed: 'failed' };

export const isSettled = (state) => state !== State.queued && state !== State.sending;

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join('');

export class Outbox {
  #queue = [];
  #pending = new Map(); // dialogue's id → {dialogue, timer}, oldest first
  #send;
  #changed;

  /** send(text) puts a frame on the wire and tells whether it could; changed(dialogue) hears each new state. */
  constructor(send, changed) {
    this.#send = send;
    this.#changed = changed;
  }

  static newID() { return random(); }

  /** Takes a dialogue to send; tried again, it keeps its id, so that the friend's page knows it when it did arrive. */
  add(dialogue) {
    this.#queue.push(dialogue);
    this.#set(dialogue, State.queued, 0);
    this.flush();
  }

  flush() {
    while (this.#queue.length && this.#pending.size < IN_FLIGHT) {
      const [dialogue] = this.#queue;
      if (!this.#send(dialogueFrame(dialogue.id, dialogue.friend, dialogue.text))) return;
      this.#queue.shift();
      const timer = setTimeout(() => this.#settle(dialogue.id, State.failed, Code.sendFailed), ANSWER_LIMIT);
      this.#pending.set(dialogue.id, { dialogue, timer });
      this.#set(dialogue, State.sending, 0);
    }
  }

  /**
   * An answer to a send. The document lets some refusals come without the id: those are taken to be about the
   * oldest that waits. Returns the dialogue, or null.
   */
  answered({ code, id }) {
    const key = id ?? this.#pending.keys().next().value;
    if (code === Code.success) return this.#settle(key, State.delivered, 0);
    return this.#settle(key, code === Code.peerOffline ? State.offline : State.failed, code);
  }

  /** The connection is gone: whether what was on its way arrived is not known. */
  down() {
    for (const id of [...this.#pending.keys()]) this.#settle(id, State.failed, Code.unreachable, false);
  }

  /** Nothing of it will be sent any more. */
  clear() {
    for (const { timer } of this.#pending.values()) clearTimeout(timer);
    this.#pending.clear();
    this.#queue = [];
  }

  #settle(id, state, code, more = true) {
    const entry = this.#pending.get(id);
    if (!entry) return null;
    clearTimeout(entry.timer);
    this.#pending.delete(id);
    this.#set(entry.dialogue, state, code);
    if (more) this.flush();
    return entry.dialogue;
  }

  #set(dialogue, state, code) {
    dialogue.state = state;
    dialogue.code = code;
    this.#changed(dialogue);
  }
}
