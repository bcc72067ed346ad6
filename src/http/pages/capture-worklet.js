// @ts-check
/** The framer on the audio thread. */

import { Framer } from "./framer.js";

class Capture extends AudioWorkletProcessor {
  #framer = new Framer((level) => this.port.postMessage(level));

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#framer.to(data.encoder);
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    this.#framer.take(channels ?? []);
    return true;
  }
}

registerProcessor("capture", Capture);
