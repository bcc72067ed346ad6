// @ts-check
/**
 * Asks again and again, one round after the other, and never two at once. A server that fails or is slow is asked less
 * often, and a page that nobody sees asks nothing.
 */

/**
 * The time until the next round, in milliseconds.
 * @param {number} failures rounds without success, in a row
 * @param {number} tookMs the last round
 * @param {{everyMs: number, mostMs: number}} times
 * @param {number} random 0 to 1
 */
export function pause(failures, tookMs, { everyMs, mostMs }, random) {
  const wanted = failures === 0 ? Math.max(everyMs, 3 * tookMs) : everyMs * 2 ** Math.min(failures, 10);
  const most = Math.min(wanted, mostMs);
  // Many pages that lost one server do not come back at once.
  return failures === 0 ? most : most * (0.75 + 0.25 * random);
}

export class Poll {
  #round;
  #times;
  #isHidden;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #isRunning = false;
  #isStopped = true;
  /** Whether a round was wanted while one was under way. */
  #again = false;
  #failures = 0;
  /** When the next round begins, in milliseconds since 1970; null: not known yet. @type {number | null} */
  nextAt = null;

  /**
   * @param {() => Promise<void>} round rejects without success, with `retryAfterMs` if that is known
   * @param {{everyMs: number, mostMs: number}} times
   * @param {() => boolean} isHidden whether nobody sees the page
   */
  constructor(round, times, isHidden) {
    this.#round = round;
    this.#times = times;
    this.#isHidden = isHidden;
  }

  start() {
    this.#isStopped = false;
    this.hurry();
  }

  stop() {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.nextAt = null;
  }

  /** Asks at once, or right after the round that is under way. */
  hurry() {
    clearTimeout(this.#timer);
    this.nextAt = null;
    if (this.#isStopped || this.#isHidden()) return;
    if (this.#isRunning) this.#again = true;
    else void this.#run();
  }

  async #run() {
    this.#isRunning = true;
    this.#again = false;
    const began = Date.now();
    let atLeast = 0;
    try {
      await this.#round();
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      atLeast = Number(Object(error).retryAfterMs) || 0;
    }
    this.#isRunning = false;
    if (this.#isStopped || this.#isHidden()) return;
    if (this.#again) return void this.#run();
    const wait = Math.max(atLeast, pause(this.#failures, Date.now() - began, this.#times, Math.random()));
    this.nextAt = Date.now() + wait;
    this.#timer = setTimeout(() => this.hurry(), wait);
  }
}
