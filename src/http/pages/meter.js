// @ts-check
/** The level meter: the sound's loudness and its latest peak, in decibels, and a word of advice. */

import { element, say } from "./ui.js";

const FLOOR = -60;
/** How long a peak stays. */
const HOLD_MS = 1_200;

/** @param {number} amplitude */
const decibels = (amplitude) => Math.max(FLOOR, Math.min(0, 20 * Math.log10(amplitude || 1e-9)));
/** @param {number} db */
const share = (db) => ((db - FLOOR) / -FLOOR).toFixed(3);

export class Meter {
  /** Whether the silence is wanted. */
  muted = false;
  #meter = element("meter", HTMLElement);
  #bar = element("meter-bar", HTMLElement);
  #peak = element("meter-peak", HTMLElement);
  #words = element("meter-words", HTMLElement);
  #shown = FLOOR;
  #held = { db: FLOOR, at: 0 };
  #loudest = FLOOR;
  #told = 0;

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
    if (now - this.#told > 1_500) {
      this.#told = now;
      this.#tell();
    }
  }

  #tell() {
    const loudest = Math.round(this.#loudest);
    this.#loudest = FLOOR;
    const words =
      this.muted ? "Muted: nobody hears you."
      : loudest <= -55 ? "No sound yet."
      : loudest < -30 ? "Very quiet: come closer."
      : loudest < -18 ? "A little quiet."
      : loudest < -1 ? "A good level."
      : "Too loud: step back a little.";
    this.#meter.setAttribute("aria-valuenow", String(loudest));
    this.#meter.setAttribute("aria-valuetext", words);
    say(this.#words, words);
  }
}
