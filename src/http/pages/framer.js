// @ts-check
/** Mixes what comes in to one channel, measures it, and hands it to the encoder in whole frames. */

const FRAME = 1152;

export class Framer {
  #frame = new Float32Array(FRAME);
  #filled = 0;
  #peak = 0;
  #square = 0;
  /** @type {MessagePort | null} */ #encoder = null;

  /** @param {(level: {peak: number, level: number}) => void} level told after each frame */
  constructor(level) {
    this.level = level;
  }

  /** Where frames go from now on. @param {MessagePort | null} encoder */
  to(encoder) {
    this.#encoder = encoder;
    this.#filled = 0;
  }

  /** @param {Float32Array[]} channels @param {number} [length] in samples, where there may be no channel */
  take(channels, length = channels[0]?.length ?? 128) {
    const count = channels.length;
    for (let at = 0; at < length; at++) {
      let sample = 0;
      for (let channel = 0; channel < count; channel++) sample += channels[channel]?.[at] ?? 0;
      sample /= count || 1;
      this.#peak = Math.max(this.#peak, Math.abs(sample));
      this.#square += sample * sample;
      this.#frame[this.#filled++] = sample;
      if (this.#filled === FRAME) this.#handOn();
    }
  }

  #handOn() {
    this.level({ peak: this.#peak, level: Math.sqrt(this.#square / FRAME) });
    this.#encoder?.postMessage(this.#frame);
    [this.#filled, this.#peak, this.#square] = [0, 0, 0];
  }
}
