// @ts-check
/**
 * Clips on their way to the server: one at a time, in order, each until the server has answered for it. Each has an id, so
 * that the server relays a clip once though its answer was lost and it is sent again. While the network is away they wait
 * here; when too many wait, the oldest are given up, since a livestream is about now.
 *
 * A pause of the recording overtakes queued clips, and is said again on each new way to the server, before any clip. Its end keeps
 * its place among the clips.
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

/**
 * `recording`: clips are recorded now. `paused`: not, by the streamer's own wish.
 * @typedef {{ok: boolean, recording?: boolean, paused?: boolean, error?: string, retryAfterMs?: number}} RecordingAnswer
 */

/** @typedef {(timeoutMs: number, name: string, ...args: any[]) => Promise<any>} Ask */

/** An end of a pause, between clips. @typedef {{resolve: (answer: RecordingAnswer) => void, reject: (why: Error) => void}} Turn */

/** Also where a page is not served securely, which has no `crypto.randomUUID`. */
const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Outbox {
  /** @type {(Clip | Turn)[]} */ #waiting = [];
  /** @type {Ask | null} */ #ask = null;
  /** Whether the streamer has paused the recording, and the way on which the server was told so. */
  #paused = false;
  /** @type {Ask | null} */ #told = null;
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

  /** How many clips wait. */
  get length() {
    return this.#waiting.filter((it) => "bytes" in it).length;
  }

  /** The way to the server is open. @param {Ask} ask */
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
    this.#giveUpTurns();
    this.#waiting = [];
    this.#paused = false;
  }

  /** See `Streamer.record`. @param {boolean | null} [wish] @returns {Promise<RecordingAnswer>} */
  record(wish = null) {
    if (wish !== null) this.#giveUpTurns();
    if (wish === true) {
      return new Promise((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        void this.#run();
      });
    }
    if (wish === false) this.#paused = true;
    const ask = this.#ask;
    if (ask === null) return Promise.reject(new Error("not connected"));
    const said = this.#paused && this.#told !== ask ? false : wish;
    if (said === false) this.#told = ask;
    return ask(ANSWER_MS, "recording", said).then((answer) => {
      if (answer?.paused) this.#paused = true; // perhaps before this page was loaded
      return answer;
    });
  }

  /** A later wish counts. */
  #giveUpTurns() {
    for (const it of this.#waiting) if (!("bytes" in it)) it.reject(new Error("another wish came"));
    this.#waiting = this.#waiting.filter((it) => "bytes" in it);
  }

  /** @param {Clip} clip */
  push(clip) {
    this.#waiting.push(clip);
    clip.id ??= randomId();
    clip.capturedAt ??= Date.now() - clip.seconds * 1_000;
    const clips = this.#waiting.filter((it) => "bytes" in it);
    let seconds = clips.reduce((sum, it) => sum + it.seconds, 0);
    const spared = this.#busy && this.#waiting[0] === clips[0] ? 1 : 0; // the one that is under way may have arrived
    while (seconds > this.keepSeconds && clips.length > spared + 1) {
      const [given] = clips.splice(spared, 1);
      if (!given) break;
      this.#waiting = this.#waiting.filter((it) => it !== given);
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
        if (this.#paused && this.#told !== ask) {
          this.#told = ask;
          await ask(ANSWER_MS, "recording", false);
          continue; // the queue may have changed
        }
        if (!("bytes" in clip)) {
          const said = await ask(ANSWER_MS, "recording", true);
          if (this.#waiting[0] !== clip) continue;
          this.#paused = said?.paused ?? this.#paused;
          this.#waiting.shift();
          clip.resolve(said);
          continue;
        }
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
