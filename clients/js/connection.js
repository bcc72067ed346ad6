// @ts-check
/**
 * A Socket.IO client of one namespace over one WebSocket, which comes back by itself until it is told to stop:
 * by `close()`, or by the server's DISCONNECT of the namespace, which means that there is nothing to come back to.
 */

import { PACKET, TYPE, decode, encode, putBack } from "./wire.js";

/** How long a connection may take to join its namespace. */
const JOIN_MS = 8_000;
/** How long to wait before each try to come back; the last one repeats. */
const BACK_OFF_MS = [150, 400, 1_000, 2_000, 4_000, 5_000];

/**
 * @typedef {object} Handlers
 * @property {() => void} [joined] the namespace accepted us; the server's own `success` or `error` follows
 * @property {(name: string, ...args: any[]) => void} event
 * @property {() => void} left the server ended it: no more tries
 * @property {(retryMs: number) => void} lost the transport is gone; the next try is in `retryMs`
 */

/** The address of a server's Socket.IO endpoint, seen from a page of its own. @param {Location | URL} page */
export function endpoint(page) {
  const scheme = page.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${page.host}/socket.io/?EIO=4&transport=websocket`;
}

export class Connection {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #deadline;
  /** @type {import("./wire.js").Packet | null} */ #partial = null;
  /** @type {Uint8Array[]} */ #attachments = [];
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (why: Error) => void}>} */ #asked = new Map();
  #nextId = 0;
  #tries = 0;
  #silenceMs = JOIN_MS;
  #joined = false;
  #closed = false;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string} options.namespace
   * @param {() => Record<string, unknown> | Promise<Record<string, unknown>>} options.auth asked at each try, since tokens
   *   change
   * @param {Handlers} options.on
   * @param {(url: string) => WebSocket} [options.open] how a WebSocket is made
   * @param {() => number} [options.random] 0 to 1, spreads the tries of many clients
   */
  constructor({ url, namespace, auth, on, open = (at) => new WebSocket(at), random = Math.random }) {
    this.url = url;
    this.namespace = namespace;
    this.auth = auth;
    this.on = on;
    this.open = open;
    this.random = random;
    this.#connect();
  }

  get joined() {
    return this.#joined;
  }

  /** Sends an event, or nothing when not joined. @param {string} name @param {...any} args */
  emit(name, ...args) {
    if (this.#joined) this.#send(encode({ type: TYPE.event, namespace: this.namespace, data: [name, ...args] }));
  }

  /**
   * Sends an event and asks for its acknowledgement.
   * @param {number} timeoutMs after which the transport is taken for dead
   * @param {string} name @param {...any} args
   * @returns {Promise<any>} refused when the transport is lost first
   */
  ask(timeoutMs, name, ...args) {
    if (!this.#joined) return Promise.reject(new Error("not connected"));
    const id = this.#nextId++;
    const late = setTimeout(() => this.#asked.has(id) && this.#drop(), timeoutMs);
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    this.#send(encode({ type: TYPE.event, namespace: this.namespace, id, data: [name, ...args] }));
    return answer.finally(() => clearTimeout(late));
  }

  /** Tries at once instead of waiting for the next try. */
  hurry() {
    if (!this.#closed && this.#socket === null) {
      clearTimeout(this.#retry);
      this.#connect();
    }
  }

  /** Leaves for good, with a word to the server. */
  close() {
    if (this.#joined) this.#send(encode({ type: TYPE.disconnect, namespace: this.namespace }));
    this.#stop();
  }

  #connect() {
    const socket = this.open(this.url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = socket.onerror = () => this.#drop();
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.#drop(), JOIN_MS);
  }

  /** @param {string | ArrayBuffer} message */
  #take(message) {
    if (this.#joined) this.#heard();
    if (typeof message !== "string") {
      this.#attachments.push(new Uint8Array(message));
      this.#complete();
    } else if (message[0] === PACKET.open) {
      const { pingInterval = 25_000, pingTimeout = 20_000 } = JSON.parse(message.slice(1));
      this.#silenceMs = pingInterval + pingTimeout;
      this.#join();
    } else if (message[0] === PACKET.ping) {
      this.#socket?.send(PACKET.pong);
    } else if (message[0] === PACKET.close) {
      this.#drop();
    } else if (message[0] === PACKET.message) {
      this.#partial = decode(message);
      this.#attachments = [];
      this.#complete();
    }
  }

  #join() {
    const socket = this.#socket;
    const join = (/** @type {unknown} */ data) => {
      if (socket === this.#socket) this.#send(encode({ type: TYPE.connect, namespace: this.namespace, data }));
    };
    const auth = this.auth();
    if (auth instanceof Promise) auth.then(join, () => socket === this.#socket && this.#drop());
    else join(auth);
  }

  /** Hands a packet on once its attachments are there. */
  #complete() {
    const packet = this.#partial;
    if (packet === null || this.#attachments.length < packet.attachments) return;
    this.#partial = null;
    if (packet.namespace !== this.namespace) return;
    const data = putBack(packet.data, this.#attachments);
    if (packet.type === TYPE.connect) {
      this.#joined = true;
      this.#heard();
      this.on.joined?.();
    } else if (packet.type === TYPE.event || packet.type === TYPE.binaryEvent) {
      if (data[0] !== "error") this.#tries = 0;
      this.on.event(data[0], ...data.slice(1));
    } else if (packet.type === TYPE.ack || packet.type === TYPE.binaryAck) {
      const asked = this.#asked.get(packet.id ?? -1);
      this.#asked.delete(packet.id ?? -1);
      asked?.resolve(data?.[0]);
    } else if (packet.type === TYPE.disconnect) {
      this.#stop();
      this.on.left();
    } else if (packet.type === TYPE.connectError) {
      this.#stop();
      this.on.event("error", data?.message ?? "The server refused the connection.");
      this.on.left();
    }
  }

  /** The server pings: silence for longer than that means that the network is gone. */
  #heard() {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#drop(), this.#silenceMs);
  }

  /** @param {{text: string, attachments: Uint8Array[]}} packet */
  #send({ text, attachments }) {
    this.#socket?.send(text);
    for (const attachment of attachments) this.#socket?.send(/** @type {Uint8Array<ArrayBuffer>} */ (attachment));
  }

  /** The transport is gone, or as good as gone. */
  #drop() {
    if (this.#closed || this.#socket === null) return;
    this.#release();
    const wait = BACK_OFF_MS[Math.min(this.#tries++, BACK_OFF_MS.length - 1)] ?? 0;
    const retryMs = Math.round(wait * (0.75 + 0.5 * this.random()));
    this.#retry = setTimeout(() => this.#connect(), retryMs);
    this.on.lost(retryMs);
  }

  #stop() {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#release();
  }

  #release() {
    clearTimeout(this.#deadline);
    const socket = this.#socket;
    this.#socket = null;
    this.#joined = false;
    this.#partial = null;
    if (socket !== null) {
      socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close();
    }
    const waiting = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of waiting) reject(new Error("connection lost"));
  }
}
