// @ts-check
/** MP3 as the studio makes it, for the tests. */

import { readFileSync } from "node:fs";
import vm from "node:vm";

const code = readFileSync(new URL("../../../src/http/pages/lamejs/lame.min.js", import.meta.url), "utf8");

/**
 * A tone, encoded as the studio's worker does it.
 * @param {number} seconds @param {number} [rate] @param {number} [kbps]
 */
export function encodedTone(seconds, rate = 48_000, kbps = 128) {
  const scope = vm.createContext({ Int8Array, Float32Array, Int32Array });
  vm.runInContext(code, scope);
  const encoder = new scope.lamejs.Mp3Encoder(1, rate, kbps);
  const pieces = [];
  const samples = new Float32Array(1152);
  for (let at = 0; at < seconds * rate; at += samples.length) {
    for (let i = 0; i < samples.length; i++) samples[i] = 12_000 * Math.sin((2 * Math.PI * 440 * (at + i)) / rate);
    pieces.push(new Uint8Array(encoder.encodeBuffer(samples)));
  }
  pieces.push(new Uint8Array(encoder.flush()));
  return pieces;
}

/** @param {Uint8Array[]} pieces */
export function joined(pieces) {
  return new Uint8Array(Buffer.concat(pieces));
}
