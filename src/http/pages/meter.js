// @ts-check
/** The level meter: the sound's loudness and its latest peak, in decibels, and a word of advice. */

import { element, say } from "./ui.js";

const FLOOR = -60;
/** How long a peak stays. */
const HOLD_MS = 1_200;
/** How often the words may change. */
const WORDS_MS = 1_500;
/** Without sound for so long, the source has stopped: what was shown is no longer so. */
const REST_MS = 600;

/** @param {number} amplitude */
const decibels = (amplitude) => Math.max(FLOOR, Math.min(0, 20 * Math.log10(amplitude || 1e-9)));
/** @param {number} db */
const share = (db) => ((db - FLOOR) / -FLOOR).toFixed(3);

export class Meter {
  #muted = false;
  #meter = element("meter", HTMLElement);
  #bar = element("meter-bar", HTMLElement);
  #peak = element("meter-peak", HTMLElement);
  #words = element("meter-words", HTMLElement);
  #shown = FLOOR;
  #held = { db: FLOOR, at: 0 };
  #loudest = FLOOR;
  #told = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} Undefined: no sound comes. */ #resting;

  /** Whether the silence is wanted. @param {boolean} muted */
  set muted(muted) {
    this.#muted = muted;
    if (muted || this.#resting === undefined) this.#tell();
    else this.#told = 0;
  }

  /** @param {{peak: number, level: number}} sound */
  take({ peak, level }) {
    const now = performance.now();
    const loud = decibels(level);
    const top = decibels(peak);
    this.#shown = Math.max(loud, this.#shown - 0.9);
    if (top >= this.#held.db || now - this.#held.at > HOLD_MS) this.#held = { db: top, at: now };
    this.#loudest = Math.max(this.#loudest, top);
    this.#bar.style.setProperty("--share", share(this.#shown));
    this.#peak.style.setProperty("--share", share(this.#held.db));
    if (now - this.#told > WORDS_MS) this.#tell();
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.#rest(), REST_MS);
  }

  #rest() {
    this.#resting = undefined;
    this.#shown = this.#loudest = FLOOR;
    this.#held = { db: FLOOR, at: 0 };
    this.#bar.style.setProperty("--share", share(FLOOR));
    this.#peak.style.setProperty("--share", share(FLOOR));
    this.#tell();
  }

  #tell() {
    this.#told = performance.now();
    const loudest = Math.round(this.#loudest);
    this.#loudest = FLOOR;
    const words =
      this.#muted ? "Muted: nobody hears you."
      : loudest <= -55 ? "No sound."
      : loudest < -30 ? "Very quiet: come closer."
      : loudest < -18 ? "A little quiet."
      : loudest < -1 ? "A good level."
      : "Too loud: step back a little.";
    this.#meter.setAttribute("aria-valuenow", String(loudest));
    this.#meter.setAttribute("aria-valuetext", words);
    say(this.#words, words);
  }
}
