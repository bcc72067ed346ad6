// @ts-check
/**
 * A listener's place in a livestream: what it asks the server for at each connect, and which clips it has already.
 * Pure: no network.
 */

/** So many ids of clips are remembered: more than the server sends again at once. */
const IDS = 64;

/**
 * What the server says of a clip.
 * @typedef {object} About
 * @property {number} epoch of the numbering: sequences are compared in one epoch only
 * @property {number} sequence
 * @property {number} sentAt when the server accepted it, in milliseconds since 1970
 * @property {number} [durationMs] as its container states it
 * @property {string} [id] the streamer's own
 */

/**
 * What became of a return. Not recovered: `missed` clips are lost, null if their number is unknown.
 * @typedef {{recovered: true, from: number | null, to: number | null} | {recovered: false, missed: number | null}} Resumed
 */

/** @typedef {{from: number, to: number}} Gap the sequences of the first and the last clip that were lost */

export class Place {
  /** @type {{epoch: number, sequence: number} | null} */ #last = null;
  /** The latest ids, oldest first. @type {Set<string>} */ #ids = new Set();

  /** What belongs into `auth`. @returns {{features: string[], resume?: {epoch: number, sequence: number}}} */
  get wishes() {
    return this.#last ? { features: ["clips"], resume: this.#last } : { features: ["clips"] };
  }

  /** Whether a clip is new. @param {About} about */
  take({ epoch, sequence, id }) {
    if (this.#last?.epoch === epoch && sequence <= this.#last.sequence) return false;
    this.#last = { epoch, sequence };
    if (id === undefined) return true;
    const known = this.#ids.delete(id);
    this.#ids.add(id);
    for (const oldest of this.#ids) {
      if (this.#ids.size <= IDS) break;
      this.#ids.delete(oldest);
    }
    return !known;
  }
}
