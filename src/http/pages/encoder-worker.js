// @ts-check
/**
 * Encodes one continuous stream to mono MP3 of a constant bit rate. The encoder keeps no bit reservoir, so every frame holds
 * all of its own data, and the stream may be cut between any two. A classic worker, since the encoder is a classic script.
 */

importScripts("/pages/lamejs/lame.min.js");

/** @type {{encodeBuffer(left: Float32Array): Int8Array, flush(): Int8Array} | null} */
let encoder = null;

/** @param {Int8Array} bytes */
function handOn(bytes) {
  if (bytes.length > 0) postMessage({ bytes: new Uint8Array(bytes.buffer, 0, bytes.length) });
}

onmessage = ({ data }) => {
  if (data.start) {
    const { rate, kbps } = data.start;
    encoder = new lamejs.Mp3Encoder(1, rate, kbps);
  } else if (data.sound) {
    /** @param {MessageEvent<Float32Array>} event */
    data.sound.onmessage = ({ data: samples }) => {
      if (encoder) handOn(encoder.encodeBuffer(samples.map((it) => Math.max(-1, Math.min(1, it)) * 32_767)));
    };
  } else if (data.finish) {
    if (encoder) handOn(encoder.flush());
    encoder = null;
    postMessage({ finished: true });
  }
};
