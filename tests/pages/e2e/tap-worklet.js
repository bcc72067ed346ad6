// @ts-check
/** On a listener's audio thread: how loud and how high what is heard is, window by window. */

const WINDOW = 1024;

class Tap extends AudioWorkletProcessor {
  #count = 0;
  #square = 0;
  #before = 0;
  /** How many samples of silence end here, and the longest such run of the window. */
  #quiet = 0;
  #longest = 0;
  /** Where the sound crossed zero upwards. @type {number[]} */ #crossings = [];

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    const samples = channels?.[0];
    for (let at = 0; at < (samples?.length ?? 128); at++) {
      const sample = samples?.[at] ?? 0;
      if (this.#before < 0 && sample >= 0) this.#crossings.push(this.#count - sample / (sample - this.#before));
      this.#before = sample;
      this.#square += sample * sample;
      this.#quiet = Math.abs(sample) < 0.001 ? this.#quiet + 1 : 0;
      this.#longest = Math.max(this.#longest, this.#quiet);
      if (++this.#count === WINDOW) this.#tell();
    }
    return true;
  }

  #tell() {
    const [first = 0, last = 0] = [this.#crossings[0], this.#crossings.at(-1)];
    const hz = last > first ? ((this.#crossings.length - 1) * sampleRate) / (last - first) : 0;
    this.port.postMessage({ hz, level: Math.sqrt(this.#square / WINDOW), time: currentTime, quiet: this.#longest });
    [this.#count, this.#square, this.#crossings, this.#longest] = [0, 0, [], 0];
  }
}

registerProcessor("tap", Tap);
