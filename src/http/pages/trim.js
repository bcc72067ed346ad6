// @ts-check
/** What of a decoded clip is heard, and how it is made a little shorter without a change of its pitch. Pure. */

/** Below this amplitude an encoder's padding lies: -60 dB. */
const SILENT = 0.001;
/** Padding is shorter than this; a longer silence is meant. */
const PADDING_SECONDS = 0.05;

/**
 * The encoder's padding around the sound: silence of less than 50 ms at either end.
 * @param {Float32Array[]} channels @param {number} rate
 * @returns {{lead: number, tail: number}} in samples
 */
export function padding(channels, rate) {
  const length = channels[0]?.length ?? 0;
  const most = Math.min(length, Math.round(PADDING_SECONDS * rate));
  const quiet = (/** @type {number} */ at) => channels.every((it) => Math.abs(it[at] ?? 0) < SILENT);
  let [lead, tail] = [0, 0];
  while (lead < most && quiet(lead)) lead++;
  while (tail < most && quiet(length - 1 - tail)) tail++;
  return { lead: lead < most ? lead : 0, tail: tail < most ? tail : 0 };
}

/** How much one splice takes out at least and at most, and over how long it fades, in seconds. */
const SPLICE = { least: 0.005, most: 0.02, fade: 0.01 };

/**
 * Takes out up to `remove` samples, a few milliseconds at a time, where the sound is most like itself: the pitch stays, and so
 * do both ends.
 * @param {Float32Array[]} channels @param {number} rate @param {number} remove in samples
 * @returns {Float32Array<ArrayBuffer>[]}
 */
export function shortened(channels, rate, remove) {
  const length = channels[0]?.length ?? 0;
  const [least, most, fade] = [SPLICE.least, SPLICE.most, SPLICE.fade].map((it) => Math.round(it * rate));
  if (!least || !most || !fade) return channels.map((it) => it.slice());
  const count = Math.min(Math.ceil((remove * 1.5) / most) + 1, Math.floor(length / (2 * (most + fade))));
  /** @type {{at: number, lag: number}[]} */
  const splices = [];
  let left = remove;
  for (let number = 0; number < count && left >= least; number++) {
    const at = Math.round(((number + 0.5) / count) * length) - fade;
    if (at < 0 || at + fade + most > length) continue;
    const lag = bestLag(channels[0] ?? new Float32Array(0), at, { least, most: Math.min(most, left), fade });
    splices.push({ at, lag });
    left -= lag;
  }
  return channels.map((samples) => spliced(samples, splices, fade));
}

/** @param {Float32Array} samples @param {number} at @param {{least: number, most: number, fade: number}} range */
function bestLag(samples, at, { least, most, fade }) {
  let [best, found] = [-Infinity, least];
  for (let lag = least; lag <= most; lag++) {
    let [both, energy] = [0, 1e-9];
    for (let i = 0; i < fade; i += 3) {
      const other = samples[at + lag + i] ?? 0;
      both += (samples[at + i] ?? 0) * other;
      energy += other * other;
    }
    const likeness = both / Math.sqrt(energy);
    if (likeness > best) [best, found] = [likeness, lag];
  }
  return found;
}

/** @param {Float32Array} samples @param {{at: number, lag: number}[]} splices @param {number} fade */
function spliced(samples, splices, fade) {
  const out = new Float32Array(samples.length - splices.reduce((sum, it) => sum + it.lag, 0));
  let [from, to] = [0, 0];
  for (const { at, lag } of splices) {
    out.set(samples.subarray(from, at), to);
    to += at - from;
    for (let i = 0; i < fade; i++, to++) {
      const share = i / fade;
      out[to] = (samples[at + i] ?? 0) * (1 - share) + (samples[at + lag + i] ?? 0) * share;
    }
    from = at + lag + fade;
  }
  out.set(samples.subarray(from), to);
  return out;
}
