// @ts-check
/** On the audio thread: mixes what comes in to one channel, measures it, and hands it to the encoder in whole frames. */

const FRAME = 1152;

class Capture extends AudioWorkletProcessor {
  #frame = new Float32Array(FRAME);
  #filled = 0;
  #peak = 0;
  #square = 0;
  /** @type {MessagePort | null} */ #encoder = null;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.#encoder = data.encoder;
      this.#filled = 0;
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    const count = channels?.length ?? 0;
    const length = channels?.[0]?.length ?? 128;
    for (let at = 0; at < length; at++) {
      let sample = 0;
      for (let channel = 0; channel < count; channel++) sample += channels?.[channel]?.[at] ?? 0;
      sample /= count || 1;
      this.#peak = Math.max(this.#peak, Math.abs(sample));
      this.#square += sample * sample;
      this.#frame[this.#filled++] = sample;
      if (this.#filled === FRAME) this.#handOn();
    }
    return true;
  }

  #handOn() {
    this.port.postMessage({ peak: this.#peak, level: Math.sqrt(this.#square / FRAME) });
    this.#encoder?.postMessage(this.#frame);
    [this.#filled, this.#peak, this.#square] = [0, 0, 0];
  }
}

registerProcessor("capture", Capture);
