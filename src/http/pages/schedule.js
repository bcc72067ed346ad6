// @ts-check
/**
 * When each clip is heard. Clips follow each other without a gap; a margin of sound is kept in hand against late clips. It
 * grows when a clip comes too late, and shrinks slowly while none does. Too much in hand is made up for by shorter clips.
 * Pure: the caller brings the clock, in seconds of its own.
 */

/** The margin, in seconds. */
export const MARGIN = Object.freeze({ first: 0.6, least: 0.5, most: 4, growth: 1.5, shrinkPerMinute: 0.2 });
/** How long a clip takes to start. */
const AT_ONCE = 0.05;
/** More than this is never in hand: as much as a studio keeps during an outage. */
export const MOST_IN_HAND = 60;
/** What is in hand is judged by the least of this many seconds. */
const WINDOW = 8;

/**
 * @typedef {object} Place
 * @property {number} at when to start it
 * @property {number} offset how much of its beginning to leave out
 * @property {number} speed 1, but for the fraction of a sample that lets its end fall on one
 * @property {boolean} fresh there is silence before it
 * @property {boolean} skip what was placed before it and is not heard yet is to be dropped
 * @property {boolean} late it came too late, and there was a gap
 */

export class Schedule {
  /** When the last clip ends, or null when nothing was placed. @type {number | null} */
  end = null;
  /** Seconds of sound to keep in hand. @type {number} */
  margin = MARGIN.first;
  /** Seconds in hand beyond the margin when the latest clip came: how far the listener is behind live. */
  lead = 0;
  /** What was in hand when clips came, over the last seconds. @type {{now: number, slack: number}[]} */
  #slacks = [];
  #shrunk = 0;
  /** Whether the next clip is heard whole, however old it is. */
  #whole = false;

  /** @param {number} [sampleRate] of the output: every start and end falls on one of its samples */
  constructor(sampleRate = 48_000) {
    this.sampleRate = sampleRate;
  }

  /** Starts again, as after a change of livestream, keeping what was learnt about the network. */
  reset() {
    this.end = null;
    this.lead = 0;
    this.#slacks = [];
    this.#whole = false;
  }

  /** Starts again after an outage: the next clip is the first one that was missed, so nothing of it is left out. */
  goOn() {
    this.reset();
    this.#whole = true;
  }

  /** Seconds of sound in hand. @param {number} now */
  inHand(now) {
    return this.end === null ? 0 : Math.max(0, this.end - now);
  }

  /** Seconds in hand beyond the margin, at the worst of the last seconds: what a listener is further behind than need be. */
  get surplus() {
    return this.#slacks.length === 0 ? 0 : Math.min(...this.#slacks.map((it) => it.slack)) - this.margin;
  }

  /** How much shorter the next clip should be, as a share of it: never enough to be noticed. */
  get catchUp() {
    if (this.surplus > 2) return 0.04;
    return this.surplus > 0.2 ? 0.01 : 0;
  }

  /**
   * @param {number} now
   * @param {number} duration of the clip
   * @param {number | null} age how long ago the clip was cut, if that is known
   * @returns {Place}
   */
  place(now, duration, age = null) {
    const slack = this.end === null ? -1 : this.end - now;
    if (this.end === null || slack < 0.01) {
      const late = this.end !== null;
      if (late) this.margin = Math.min(MARGIN.most, this.margin * MARGIN.growth);
      this.#slacks = [];
      this.lead = 0;
      this.#shrunk = now;
      return this.#begin(now, duration, late ? 0 : age, late);
    }
    this.#slacks = [...this.#slacks.filter((it) => now - it.now < WINDOW), { now, slack }];
    this.margin = Math.max(MARGIN.least, this.margin - ((now - this.#shrunk) / 60) * MARGIN.shrinkPerMinute);
    this.#shrunk = now;
    if (slack > MOST_IN_HAND) {
      this.reset();
      return { ...this.#begin(now, duration, age, false), skip: true };
    }
    this.lead = slack - this.margin;
    const at = this.end;
    this.end = this.#onSample(at + duration);
    return { at, offset: 0, speed: duration / (this.end - at), fresh: false, skip: false, late: false };
  }

  /**
   * The first sound, or the first after a gap. The next clip comes `duration - age` from now: what is in hand then should be
   * the margin, so an old clip starts inside, and a new one waits. One of unknown age is taken for new. Of a clip that was
   * missed nothing is left out: those that were missed after it are in hand soon.
   * @param {number} now @param {number} duration @param {number | null} age @param {boolean} late
   * @returns {Place}
   */
  #begin(now, duration, age, late) {
    const ahead = this.margin - (age ?? 0);
    const at = this.#onSample(now + Math.max(AT_ONCE, ahead));
    const old = this.#whole ? 0 : Math.min(Math.max(0, AT_ONCE - ahead), Math.max(0, duration - this.margin));
    const offset = this.#onSample(old);
    this.#whole = false;
    this.end = this.#onSample(at + duration - offset);
    return { at, offset, speed: 1, fresh: true, skip: false, late };
  }

  /** @param {number} seconds */
  #onSample(seconds) {
    return Math.round(seconds * this.sampleRate) / this.sampleRate;
  }
}
