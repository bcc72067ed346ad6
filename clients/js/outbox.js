// @ts-check
/**
 * Clips on their way to the server: one at a time, in order, each until the server has answered for it. While the network
 * is away they wait here; when too many wait, the oldest are given up, since a livestream is about now.
 */

/** How long an answer may take before the transport is taken for dead. */
const ANSWER_MS = 10_000;

/**
 * @typedef {object} Clip
 * @property {number} number
 * @property {Uint8Array} bytes
 * @property {number} seconds
 * @property {number} [peak] its loudest amplitude, 0 to 1
 */

/**
 * What became of a clip: `sent` with the server's answer, `refused` with its reason, `lost` when it was given up here,
 * `waiting` when it is tried again in `retryMs`.
 * @typedef {{kind: "sent", ms: number, listeners: number | null} | {kind: "refused", error: string}
 *   | {kind: "waiting", error: string, retryMs: number} | {kind: "lost"}} Outcome
 */

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
        answer = await ask(ANSWER_MS, "upload", clip.bytes);
      } catch {
        if (this.#ask === ask) this.#ask = null;
        continue; // `open` comes back with the next way
      }
      if (answer?.ok === false && answer.retryAfterMs !== undefined) {
        const retryMs = Math.min(30_000, Math.max(50, Number(answer.retryAfterMs)));
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
