// The real client, socket.io-client, with all that it hears written down.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { io } from "socket.io-client";
import { mayBeAnswered, mayBeSent } from "./asyncapi.js";

/** The ways a client may reach the server, as socket.io-client names them. */
export const TRANSPORTS = {
  WebSocket: ["websocket"],
  "long-polling": ["polling"],
  "polling with upgrade": ["polling", "websocket"],
};

const CONNECT_ERROR = 4;
const EVENTS = [2, 5];

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** What a client heard: one queue a name, and everything in order in `journal`. */
export class Client {
  #queues = new Map();
  #waiting = new Map();
  #answers = [];
  journal = [];
  packets = [];

  constructor(url, role, { token, livestream, auth, transports = ["websocket"], onConnect, ...options }) {
    const extraHeaders = {};
    if (token !== undefined) extraHeaders["id-token"] = token;
    if (livestream !== undefined) extraHeaders["livestream-id"] = livestream;
    this.socket = io(`${url}/${role}`, {
      forceNew: true,
      autoConnect: false,
      transports,
      extraHeaders,
      auth,
      reconnectionDelay: 100,
      reconnectionDelayMax: 300,
      ...options,
    });
    this.socket.io.on("packet", (packet) => this.packets.push(packet));
    this.socket.on("connect", () => {
      this.#heard("connect", this.socket.recovered);
      onConnect?.(this);
    });
    this.socket.on("disconnect", (reason) => this.#heard("disconnect", reason));
    this.socket.on("connect_error", (error) => this.#heard("connect_error", error.message));
    this.socket.onAny((name, ...args) => this.#heard(name, args[0]));
    this.socket.connect();
  }

  #heard(name, value) {
    this.journal.push({ name, value });
    const waiting = this.#waiting.get(name)?.shift();
    if (waiting) waiting(value);
    else this.#queue(name).push(value);
  }

  #queue(name) {
    if (!this.#queues.has(name)) this.#queues.set(name, []);
    return this.#queues.get(name);
  }

  /** The next `name` that was heard (an event, or connect, disconnect, connect_error), or a failure after `ms`. */
  async next(name, ms = 8_000) {
    const queue = this.#queue(name);
    if (queue.length > 0) return queue.shift();
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(name) ?? [];
      this.#waiting.set(name, waiting);
      const heard = (value) => {
        clearTimeout(timer);
        resolve(value);
      };
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(heard), 1);
        reject(new Error(`no ${name} in ${ms} ms; heard ${this.heard()}`));
      }, ms);
      waiting.push(heard);
    });
  }

  /** The next `count` values of `name`. */
  async take(name, count, ms) {
    const values = [];
    while (values.length < count) values.push(await this.next(name, ms));
    return values;
  }

  /** What waits unread under `name`. */
  unread(name) {
    return this.#queue(name).length;
  }

  /** The names that were heard, in order, `state` left out: it may come at any time. */
  names() {
    return this.journal.map(({ name }) => name).filter((name) => name !== "state");
  }

  /** All that was heard, in order, for a message: repetitions are counted. */
  heard() {
    const counted = [];
    for (const { name, value } of this.journal) {
      const one = typeof value === "string" ? `${name} '${value}'` : name;
      if (counted.at(-1)?.one === one) counted.at(-1).count += 1;
      else counted.push({ one, count: 1 });
    }
    return counted.map(({ one, count }) => (count > 1 ? `${one} × ${count}` : one)).join(", ");
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  /** Emits event `name` with a callback, and gives its answer. */
  async ask(name, argument, ms = 8_000, ...more) {
    const answer = await this.socket.timeout(ms).emitWithAck(name, argument, ...more);
    this.#answers.push({ name, answer });
    return answer;
  }

  /** Uploads with a callback, and gives its answer. */
  upload(clip, ms) {
    return this.ask("upload", clip, ms);
  }

  /** The same with a second argument. */
  uploadWith(clip, options) {
    return this.ask("upload", clip, undefined, options);
  }

  /** The client's own DISCONNECT. */
  leave() {
    this.socket.disconnect();
  }

  /** Ends the client, and holds the server to what every packet must keep, and to docs/asyncapi.yaml. */
  close() {
    this.socket.io.reconnection(false);
    this.socket.disconnect();
    this.socket.io.engine?.close();
    for (const packet of this.packets) {
      assert.notEqual(packet.type, CONNECT_ERROR, "the server sent a CONNECT_ERROR");
      if (!EVENTS.includes(packet.type)) continue;
      assert.equal(packet.data.length, 2, `${packet.data[0]} carries exactly one argument`);
      assert.equal(packet.id, undefined, `${packet.data[0]} asks for no acknowledgement`);
      mayBeSent(packet.nsp, ...packet.data);
    }
    for (const { name, answer } of this.#answers) mayBeAnswered(this.socket.nsp, name, answer);
  }
}
