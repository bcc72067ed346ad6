// @ts-check
/**
 * A client of the Castaway media server. A `Streamer` sends clips and keeps each until the server has acknowledged it; a
 * `Listener` gets every clip once and in order, those too that it missed while it was away. Both come back by themselves
 * until the server refuses them for good.
 */

import { Connection, endpoint } from "./connection.js";
import { Outbox } from "./outbox.js";
import { Place } from "./place.js";

export { Connection, Outbox, Place, endpoint };

/** How long to wait before asking again for a livestream that is not on air: at first, and at most. */
const ASK_AGAIN_MS = { first: 1_000, most: 15_000 };

/**
 * The livestream as this client knows it. `offline`: the client's own connection is lost. `away`: the streamer's is.
 * @typedef {"connecting" | "waiting" | "live" | "away" | "offline" | "ended" | "refused"} State
 */

/**
 * A warning of the server's. `silence`: it is on air, and no clip has come for so many seconds. It is over with the next clip.
 * @typedef {{kind: "silence", seconds: number}} Warning
 */

/**
 * @typedef {object} Options
 * @property {string | URL} url of the server, `https://media.example`
 * @property {string} livestream its id
 * @property {string | ((why: {expired: boolean}) => string | Promise<string>)} token an ID token, or how to get one; asked for
 *   at each connect. `expired`: the server has refused the last one
 * @property {(state: State, reason: string) => void} [onState] `reason`: the server's words where it refused
 * @property {(count: number) => void} [onListeners] on all nodes
 * @property {(recording: boolean) => void} [onRecording] whether the livestream is recorded; once it is known, and at each change
 * @property {(warning: Warning) => void} [onWarning] the livestream goes on, and something is wrong with it
 * @property {(url: string) => WebSocket} [open] how a WebSocket is made, where there is none in the language
 */

class Client {
  /** @type {State} */ state = "connecting";
  /** @type {Connection | null} */ #connection = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #again;
  #shown = "";
  #refusal = "";
  /** @type {boolean | null} */ #recording = null;
  #asked = 0;
  #joining = false;
  #closed = false;

  /** @param {"/streamer" | "/listener"} namespace @param {Options} options */
  constructor(namespace, options) {
    this.namespace = namespace;
    this.options = options;
    this.#connect();
  }

  /** @protected @param {Connection} _connection the server has admitted this client */
  admitted(_connection) {}

  /** @protected the connection is lost */
  parted() {}

  /** @protected @param {string} _name @param {any} _value */
  event(_name, _value) {}

  /**
   * @protected what belongs into `auth` besides the token and the livestream
   * @returns {{features?: string[]} & Record<string, unknown>}
   */
  wishes() {
    return {};
  }

  /** Shows the server a fresh token, for the next time that the connection is lost. @param {string} token */
  async refresh(token) {
    this.#shown = token;
    return this.ask("token", token);
  }

  /** @protected @param {string} name @param {unknown} argument @returns {Promise<any>} */
  ask(name, argument) {
    return this.#connection?.ask(10_000, name, argument) ?? Promise.reject(new Error("not connected"));
  }

  /** Tries at once, as when the device says that the network is back. */
  hurry() {
    this.#connection?.hurry();
  }

  /** Leaves for good. A streamer's leaving ends the livestream for everybody. */
  close() {
    this.#closed = true;
    clearTimeout(this.#again);
    this.#connection?.close();
    this.#connection = null;
    this.parted();
    this.#tell("ended");
  }

  /** @param {boolean} [expired] */
  async #token(expired = false) {
    const { token } = this.options;
    this.#shown = typeof token === "string" ? token : await token({ expired });
    return this.#shown;
  }

  /** @param {string} [token] */
  #connect(token) {
    this.#refusal = "";
    let first = token;
    this.#connection = new Connection({
      url: endpoint(new URL(this.options.url)),
      namespace: this.namespace,
      auth: async () => {
        const idToken = first ?? (await this.#token());
        first = undefined;
        const { features = [], ...wishes } = this.wishes();
        if (this.options.onWarning) features.push("warnings");
        return { ...wishes, features, idToken, livestreamId: this.options.livestream };
      },
      open: this.options.open,
      on: {
        joined: () => (this.#joining = true),
        event: (name, value) => this.#take(name, value),
        left: () => void this.#left(),
        lost: () => {
          this.parted();
          if (this.state !== "waiting" && this.state !== "connecting") this.#tell("offline");
        },
      },
    });
  }

  /** @param {string} name @param {any} value */
  #take(name, value) {
    if (name === "success" && this.#joining) {
      this.#joining = false;
      this.#asked = 0;
      this.#tell("live");
      if (this.#connection) this.admitted(this.#connection);
    } else if (name === "state") {
      this.options.onListeners?.(value?.listeners ?? 0);
      const recording = value?.recording === true;
      if (recording !== this.#recording) this.options.onRecording?.((this.#recording = recording));
      if (value?.state === "reconnecting") this.#tell("away");
      else if (value?.state) this.#tell(value.state);
    } else if (name === "error") {
      this.#refusal = String(value);
    } else if (name === "warning") {
      this.options.onWarning?.(value);
    }
    this.event(name, value);
  }

  /** The server has ended it. A token that has expired is replaced, and a livestream that has not begun is waited for. */
  async #left() {
    this.parted();
    const [refusal, shown] = [this.#refusal, this.#shown];
    if (/has expired/.test(refusal)) {
      const fresh = await this.#token(true).catch(() => shown);
      if (!this.#closed && fresh !== shown) return this.#connect(fresh);
    }
    if (/has not started/.test(refusal)) {
      this.#tell("waiting");
      const wait = Math.min(ASK_AGAIN_MS.most, ASK_AGAIN_MS.first * 1.3 ** this.#asked++);
      if (!this.#closed) this.#again = setTimeout(() => this.#connect(), wait * (0.8 + 0.4 * Math.random()));
      return;
    }
    this.#tell(refusal ? "refused" : "ended");
  }

  /** @param {State} state */
  #tell(state) {
    if (this.state === state) return;
    this.state = state;
    this.options.onState?.(state, this.#refusal);
  }
}

/** Sends clips: one at a time, in order, each until the server has acknowledged it. */
export class Streamer extends Client {
  #outbox;
  #number = 0;

  /**
   * @param {Options & {onClip?: (clip: import("./outbox.js").Clip, outcome: import("./outbox.js").Outcome) => void,
   *   keepSeconds?: number}} options `onClip` says what became of each clip; `keepSeconds` is how much sound is kept during
   *   an outage, 60 by default
   */
  constructor(options) {
    const outbox = new Outbox({ settled: (clip, outcome) => options.onClip?.(clip, outcome), keepSeconds: options.keepSeconds });
    super("/streamer", options);
    this.#outbox = outbox;
  }

  /** How many clips wait. */
  get waiting() {
    return this.#outbox.length;
  }

  /** @param {Uint8Array} bytes a whole clip @param {number} seconds its length */
  send(bytes, seconds) {
    this.#outbox.push({ number: this.#number++, bytes, seconds });
  }

  /**
   * Asks for a listening pass: a token for listeners without an account, until the livestream ends. Fails while there is no
   * connection.
   * @param {number} [expiresIn] seconds; as long as the server allows where it is left out
   * @returns {Promise<{ok: boolean, pass?: string, expiresAt?: number, error?: string, retryAfterMs?: number}>} `expiresAt`:
   *   seconds since 1970
   */
  invite(expiresIn) {
    return this.ask("invite", expiresIn === undefined ? {} : { expiresIn });
  }

  /**
   * Asks how the recording of the livestream is going, or with an argument pauses it (false) and goes on (true). A pause holds
   * for clips that wait here too, and through lost connections; its end for clips that are sent later.
   * @param {boolean} [wish]
   * @returns {Promise<import("./outbox.js").RecordingAnswer>} fails while there is no connection; a pause is said with the next
   *   one all the same
   */
  record(wish) {
    return this.#outbox.record(wish);
  }

  /** Waits for what was sent, at most `timeoutMs`, and ends the livestream for everybody. */
  async end(timeoutMs = 5_000) {
    await this.#outbox.drained(timeoutMs);
    this.close();
  }

  /** @protected @override @param {Connection} connection */
  admitted(connection) {
    this.#outbox.open((timeoutMs, name, ...args) => connection.ask(timeoutMs, name, ...args));
  }

  /** @protected @override */
  parted() {
    this.#outbox.shut();
  }
}

/**
 * @typedef {object} Listening
 * @property {(clip: Uint8Array, about: import("./place.js").About | null) => void} onClip `about`: null from a server that
 *   does not say
 * @property {(resumed: import("./place.js").Resumed) => void} [onResumed] it was away: whether it misses something
 * @property {(gap: import("./place.js").Gap) => void} [onGap] it was too slow for these clips
 */

/** Gets every clip of a livestream, once and in order; waits where it has not begun. */
export class Listener extends Client {
  #place = new Place();

  /** @param {Options & Listening} options */
  constructor(options) {
    super("/listener", options);
    this.on = options;
  }

  /** @protected @override */
  wishes() {
    return this.#place.wishes;
  }

  /** @protected @override @param {string} name @param {any} value */
  event(name, value) {
    if (name === "clip" && value?.bytes instanceof Uint8Array) {
      const { bytes, ...about } = value;
      if (this.#place.take(about)) this.on.onClip(bytes, about);
    } else if (name === "audio" && value instanceof Uint8Array) {
      this.on.onClip(value, null);
    } else if (name === "resumed") {
      this.on.onResumed?.(value);
    } else if (name === "gap") {
      this.on.onGap?.(value);
    }
  }
}
