// @ts-check
/**
 * What a clip's container tells before its sound is decoded: how long it is at most, and whether its encoder has put padding
 * around the sound that the decoder leaves there. Lengths are counted from frames where a header could lie.
 */

import { afterTag, frames } from "./mp3.js";

/** A clip may become so much sound: an hour of silence fits into two megabytes, and into gigabytes when it is decoded. */
export const MOST_SECONDS = 120;
/** A clip of unknown kind may have so many bytes. */
const MOST_UNKNOWN_BYTES = 1024 * 1024;

/** @typedef {{seconds: number | null, padded: boolean}} Described `seconds` null: unknown */

/** @param {Uint8Array} bytes */
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Whether the four characters stand at `at`. @param {Uint8Array} bytes @param {number} at @param {string} word */
const says = (bytes, at, word) => [...word].every((it, index) => bytes[at + index] === it.charCodeAt(0));

/** @param {Uint8Array} clip @returns {Described} */
export function describe(clip) {
  const bytes = clip.subarray(afterTag(clip));
  if (says(bytes, 0, "fLaC")) return { seconds: flacSeconds(bytes), padded: false };
  if (says(bytes, 0, "RIFF")) return { seconds: wavSeconds(bytes), padded: false };
  if (says(bytes, 0, "OggS")) return { seconds: oggSeconds(bytes), padded: false };
  if (says(bytes, 4, "ftyp")) return mp4(bytes);
  if (bytes[0] === 0xff && ((bytes[1] ?? 0) & 0xf6) === 0xf0) return { seconds: adtsSeconds(bytes), padded: true };
  const row = frames(bytes);
  const first = row[0];
  if (!first) return { seconds: null, padded: false };
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, Math.min(first.length, 200)));
  return { seconds: row.reduce((sum, it) => sum + it.samples / it.rate, 0), padded: !/Xing|Info/.test(head) };
}

/** Whether a clip may be decoded at all. @param {Uint8Array} clip @param {Described} described */
export function isBounded(clip, { seconds }) {
  return seconds === null ? clip.length <= MOST_UNKNOWN_BYTES : seconds <= MOST_SECONDS;
}

/** @param {Uint8Array} bytes */
function flacSeconds(bytes) {
  const view = viewOf(bytes);
  if (bytes.length < 42) return null;
  const rate = view.getUint32(18) >>> 12;
  const told = (view.getUint8(21) & 15) * 2 ** 32 + view.getUint32(22);
  return rate === 0 ? null : Math.max(told, flacSamples(bytes)) / rate;
}

/** The samples of the frames: each opens with a sync code, its block size, and a checksum of eight bits. @param {Uint8Array} bytes */
function flacSamples(bytes) {
  let samples = 0;
  for (let at = 42; at + 6 < bytes.length; at++) {
    if (bytes[at] !== 0xff || ((bytes[at + 1] ?? 0) & 0xfe) !== 0xf8) continue;
    const size = (bytes[at + 2] ?? 0) >> 4;
    const rate = (bytes[at + 2] ?? 0) & 15;
    let end = at + 4 + Math.max(1, Math.clz32(~((bytes[at + 4] ?? 0) << 24)));
    const extra = end;
    if (size === 6) end += 1;
    if (size === 7) end += 2;
    if (rate === 12) end += 1;
    if (rate === 13 || rate === 14) end += 2;
    if (size === 0 || crc8(bytes, at, end) !== bytes[end]) continue;
    const [high = 0, low = 0] = [bytes[extra], bytes[extra + 1]];
    samples += size === 1 ? 192 : size < 6 ? 576 << (size - 2) : size === 6 ? high + 1 : size === 7 ? high * 256 + low + 1 : 256 << (size - 8);
  }
  return samples;
}

/** @param {Uint8Array} bytes @param {number} from @param {number} to */
function crc8(bytes, from, to) {
  let crc = 0;
  for (let at = from; at < to; at++) {
    crc ^= bytes[at] ?? 0;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 7) & 0xff : (crc << 1) & 0xff;
  }
  return crc;
}

/** @param {Uint8Array} bytes */
function wavSeconds(bytes) {
  const view = viewOf(bytes);
  for (let at = 12; at + 24 <= bytes.length; at += 8 + view.getUint32(at + 4, true)) {
    if (!says(bytes, at, "fmt ")) continue;
    const perSecond = (view.getUint16(at + 10, true) * view.getUint32(at + 12, true) * view.getUint16(at + 22, true)) / 8;
    return perSecond > 0 ? bytes.length / perSecond : null;
  }
  return null;
}

/** The last page's position; in samples of 48 kHz for Opus, else of a rate that we take for the lowest. @param {Uint8Array} bytes */
function oggSeconds(bytes) {
  const view = viewOf(bytes);
  const opus = says(bytes, 28, "OpusHead");
  const rate = opus ? 48_000 : says(bytes, 29, "vorbis") && bytes.length > 44 ? view.getUint32(40, true) : 8_000;
  let most = 0;
  for (let at = 0; at + 27 <= bytes.length; at++) {
    if (!says(bytes, at, "OggS")) continue;
    const [low, high] = [view.getUint32(at + 6, true), view.getUint32(at + 10, true)];
    if (high !== 0xffff_ffff) most = Math.max(most, high * 2 ** 32 + low);
  }
  return rate > 0 ? most / rate : null;
}

/** @param {Uint8Array} bytes */
function adtsSeconds(bytes) {
  const rates = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
  let seconds = 0;
  for (let at = 0; at + 7 <= bytes.length && bytes[at] === 0xff; ) {
    const length = (((bytes[at + 3] ?? 0) & 3) << 11) | ((bytes[at + 4] ?? 0) << 3) | ((bytes[at + 5] ?? 0) >> 5);
    const rate = rates[((bytes[at + 2] ?? 0) >> 2) & 15];
    if (length < 7 || !rate) break;
    seconds += (1024 * (((bytes[at + 6] ?? 0) & 3) + 1)) / rate;
    at += length;
  }
  return seconds;
}

const PARENTS = ["moov", "trak", "mdia", "minf", "stbl", "edts"];

/** @param {Uint8Array} bytes @returns {Described} */
function mp4(bytes) {
  const view = viewOf(bytes);
  const found = { scale: 0, told: 0, counted: 0, edited: false, fragmented: false };
  /** @param {number} from @param {number} to */
  const walk = (from, to) => {
    for (let at = from; at + 8 <= to; ) {
      const length = view.getUint32(at) || to - at;
      const word = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      const end = Math.min(to, at + length);
      if (length < 8) return;
      if (PARENTS.includes(word)) walk(at + 8, end);
      if (word === "elst") found.edited = true;
      if (word === "moof") found.fragmented = true;
      if (word === "mdhd" && end - at >= 32) {
        const long = bytes[at + 8] === 1;
        found.scale = view.getUint32(at + (long ? 28 : 20));
        found.told = long ? Number(view.getBigUint64(at + 32)) : view.getUint32(at + 24);
      }
      if (word === "stts") {
        for (let entry = at + 16; entry + 8 <= end; entry += 8) found.counted += view.getUint32(entry) * view.getUint32(entry + 4);
      }
      if (word === "stsz" && end - at >= 20) found.counted = Math.max(found.counted, view.getUint32(at + 16) * 1024);
      at += length;
    }
  };
  walk(0, bytes.length);
  const known = found.scale > 0 && !found.fragmented;
  return { seconds: known ? Math.max(found.told, found.counted) / found.scale : null, padded: known && !found.edited };
}
