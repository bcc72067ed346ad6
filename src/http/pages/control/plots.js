// @ts-check
/** The last minutes of livestreams as small plots. Memory is bounded: by time, by livestreams, by samples of each. */

/** @typedef {{at: number, listeners: number, rate: number}} Sample at: in milliseconds; rate: bytes a second */

export const WINDOW_MS = 3 * 60_000;
/** Samples that are further apart are not joined: nobody knows what was between them. */
export const GAP_MS = 15_000;
const MOST_LIVESTREAMS = 1_000;
const MOST_SAMPLES = 200;
const [WIDTH, HEIGHT] = [96, 24];
const SVG = "http://www.w3.org/2000/svg";

export class History {
  /** The livestream that was sampled last comes last. @type {Map<string, Sample[]>} */ #samples = new Map();

  /** @param {string} id @param {Sample} sample */
  add(id, sample) {
    const samples = this.#samples.get(id) ?? [];
    // The table and the details are asked for at the same time.
    if (samples.at(-1)?.at === sample.at) samples.pop();
    samples.push(sample);
    while (samples.length > MOST_SAMPLES || (samples[0]?.at ?? sample.at) < sample.at - WINDOW_MS) samples.shift();
    this.#samples.delete(id);
    this.#samples.set(id, samples);
    for (const [oldest, of] of this.#samples) {
      const isOver = (of.at(-1)?.at ?? 0) < sample.at - WINDOW_MS;
      if (!isOver && this.#samples.size <= MOST_LIVESTREAMS) break;
      this.#samples.delete(oldest);
    }
  }

  /** @param {string} id @returns {readonly Sample[]} */
  of(id) {
    return this.#samples.get(id) ?? [];
  }

  /** The number of livestreams. */
  get size() {
    return this.#samples.size;
  }
}

/**
 * The line of a plot, as an SVG path: zero is at the bottom, the highest value at the top, `now` at the right.
 * @param {readonly Sample[]} samples
 * @param {"listeners" | "rate"} field
 * @param {number} now in ms
 */
export function line(samples, field, now) {
  const highest = Math.max(1, ...samples.map((it) => it[field]));
  let path = "";
  let last = Number.NEGATIVE_INFINITY;
  for (const sample of samples) {
    const x = WIDTH * (1 - (now - sample.at) / WINDOW_MS);
    if (x < 0) continue;
    // Inside by the line's width, so that nothing is cut off.
    const y = HEIGHT - 1 - (HEIGHT - 2) * (sample[field] / highest);
    path += `${sample.at - last > GAP_MS ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    last = sample.at;
  }
  return path;
}

/** An empty plot. The numbers beside it say the same to who does not see it. */
export function plot() {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  picture.classList.add("plot");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("vector-effect", "non-scaling-stroke");
  picture.append(path);
  return picture;
}

/**
 * Draws the plot again.
 * @param {SVGElement} picture of `plot`
 * @param {readonly Sample[]} samples
 * @param {"listeners" | "rate"} field
 * @param {number} now in ms
 */
export function draw(picture, samples, field, now) {
  picture.firstElementChild?.setAttribute("d", line(samples, field, now));
}
