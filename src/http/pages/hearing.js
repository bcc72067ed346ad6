// @ts-check
/**
 * What the listening page may claim. It follows from what was played, not from what is connected. Pure: the caller brings the
 * clock, in milliseconds.
 */

/** How long no clip may come from a streamer who is on air before it is said. */
const LATE_MS = 1_000;

/**
 * @typedef {"live" | "paused" | "undecodable" | "quiet"} Verdict `quiet`: the streamer is on air, and no sound is in hand
 */

export class Hearing {
  #broken = 0;
  /** When the sound in hand ran out, or null while there is some. @type {number | null} */ #dry = null;

  /** A clip was placed on the audio clock. */
  played() {
    this.#broken = 0;
    this.#dry = null;
  }

  /** A clip could not be decoded. */
  broken() {
    this.#broken++;
  }

  /** Forgets what was. */
  reset() {
    this.#broken = 0;
    this.#dry = null;
  }

  /**
   * @param {number} now
   * @param {{running: boolean, inHand: number}} it `running`: the browser's audio clock; `inHand` in seconds
   * @returns {Verdict}
   */
  verdict(now, { running, inHand }) {
    if (!running) return "paused";
    if (inHand > 0) {
      this.#dry = null;
      return "live";
    }
    if (this.#broken > 0) return "undecodable";
    this.#dry ??= now;
    return now - this.#dry < LATE_MS ? "live" : "quiet";
  }
}
