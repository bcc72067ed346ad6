// @ts-check
/**
 * Clips on their way to the server: one at a time, in order, each until the server has answered for it. Each has an id, so
 * that the server relays a clip once though its answer was lost and it is sent again. While the network is away they wait
 * here; when too many wait, the oldest are given up, since a livestream is about now.
 */

/** How long an answer may take before the transport is taken for dead. */
const ANSWER_MS = 10_000;
/** When to send a clip again that the server cannot take now. */
const AGAIN_MS = 1_000;

/**
 * @typedef {object} Clip
 * @property {number} number
 * @property {Uint8Array} bytes
 * @property {number} seconds
 * @property {number} [peak] its loudest amplitude, 0 to 1
 * @property {string} [id] unique in the livestream, at most 64 characters; made up where it is left out
 * @property {number} [capturedAt] when its recording began, in milliseconds since 1970
 */

/**
 * What became of a clip: `sent` with the server's answer, `refused` with its reason, `lost` when it was given up here,
 * `waiting` when it is tried again in `retryMs`.
 * @typedef {{kind: "sent", ms: number, listeners: number | null} | {kind: "refused", error: string}
 *   | {kind: "waiting", error: string, retryMs: number} | {kind: "lost"}} Outcome
 */

/** Also where a page is not served securely, which has no `crypto.randomUUID`. */
const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Outbox {
  /** @type {Clip[]} */ #waiting = [];
  /** @type {((timeoutMs: number, name: string, ...args: any[]) => Promise<any>) | null} */ #ask = null;
  #busy = false;
  /** @type {(() => void)[]} */ #emptied = [];

  /**
   * @param {object} options
   * @param {(clip: Clip, outcome: Outcome) => void} options.settled
   * @param {number} [options.keepSeconds] how much sound may wait
   * @param {() => number} [options.now] in milliseconds
   */
  constructor({ settled, keepSeconds = 60, now = () => performance.now() }) {
    this.settled = settled;
    this.keepSeconds = keepSeconds;
    this.now = now;
  }

  get length() {
    return this.#waiting.length;
  }

  /** The way to the server is open. @param {(timeoutMs: number, name: string, ...args: any[]) => Promise<any>} ask */
  open(ask) {
    this.#ask = ask;
    void this.#run();
  }

  /** The way is closed; clips wait. */
  shut() {
    this.#ask = null;
  }

  /** Forgets what waits. */
  clear() {
    this.#waiting = [];
  }

  /** @param {Clip} clip */
  push(clip) {
    this.#waiting.push(clip);
    clip.id ??= randomId();
    clip.capturedAt ??= Date.now() - clip.seconds * 1_000;
    let seconds = this.#waiting.reduce((sum, it) => sum + it.seconds, 0);
    const spared = this.#busy ? 1 : 0; // the one that is under way may have arrived
    while (seconds > this.keepSeconds && this.#waiting.length > spared + 1) {
      const [given] = this.#waiting.splice(spared, 1);
      if (!given) break;
      seconds -= given.seconds;
      this.settled(given, { kind: "lost" });
    }
    void this.#run();
  }

  /** Resolves when nothing waits, or after `ms`. @param {number} ms @returns {Promise<void>} */
  drained(ms) {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#emptied.push(resolve);
      setTimeout(resolve, ms);
    });
  }

  async #run() {
    if (this.#busy) return;
    this.#busy = true;
    for (let ask = this.#ask, clip = this.#waiting[0]; ask && clip; ask = this.#ask, clip = this.#waiting[0]) {
      const began = this.now();
      let answer;
      try {
        answer = await ask(ANSWER_MS, "upload", clip.bytes, { id: clip.id, capturedAt: clip.capturedAt });
      } catch {
        if (this.#ask === ask) this.#ask = null;
        continue; // `open` comes back with the next way
      }
      const isAway = /temporarily unavailable/.test(answer?.error);
      if (answer?.ok === false && (isAway || answer.retryAfterMs !== undefined)) {
        const retryMs = Math.min(30_000, Math.max(50, Number(answer.retryAfterMs ?? AGAIN_MS)));
        this.settled(clip, { kind: "waiting", error: String(answer.error), retryMs });
        await new Promise((resolve) => setTimeout(resolve, retryMs));
        continue;
      }
      if (this.#waiting[0] === clip) this.#waiting.shift();
      if (answer?.ok === false) this.settled(clip, { kind: "refused", error: String(answer.error) });
      else this.settled(clip, { kind: "sent", ms: this.now() - began, listeners: answer?.listeners ?? null });
    }
    this.#busy = false;
    if (this.#waiting.length === 0) for (const resolve of this.#emptied.splice(0)) resolve();
  }
}
