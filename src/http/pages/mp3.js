// @ts-check
/**
 * MP3 as a row of frames: walking it, cutting it into clips, and the tag that tells whether two clips belong together.
 *
 * The studio encodes one continuous stream and cuts it between frames. Each clip opens with an ID3v2.3 tag, which every
 * player skips; its private frame names the stream, the clip's place in it and the moment it was cut. Clips of one
 * stream with neighbouring numbers are continuous; anything else stands for itself.
 */

const BITRATES = {
  v1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  v2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
};
const RATES = [44_100, 48_000, 32_000];

/** @typedef {{at: number, length: number, samples: number, rate: number}} Frame `at` and `length` are in bytes */

/**
 * Reads the header of the frame that begins at `at`.
 * @param {Uint8Array} bytes @param {number} at
 * @returns {Frame | null} null when there is no whole layer III header
 */
export function frameAt(bytes, at) {
  if (at + 4 > bytes.length || bytes[at] !== 0xff) return null;
  const [b1, b2] = [bytes[at + 1] ?? 0, bytes[at + 2] ?? 0];
  const version = (b1 >> 3) & 3; // 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
  if ((b1 & 0xe6) !== 0xe2 || version === 1) return null;
  const kbps = (version === 3 ? BITRATES.v1 : BITRATES.v2)[b2 >> 4];
  const base = RATES[(b2 >> 2) & 3];
  if (!kbps || !base) return null;
  const rate = base >> (version === 3 ? 0 : version === 2 ? 1 : 2);
  const samples = version === 3 ? 1152 : 576;
  const length = Math.floor(((samples / 8) * kbps * 1000) / rate) + ((b2 >> 1) & 1);
  return { at, length, samples, rate };
}

/**
 * The whole frames from `from` on, one after the other; ends at the first byte that begins none.
 * @param {Uint8Array} bytes @param {number} [from]
 * @returns {Frame[]}
 */
export function frames(bytes, from = 0) {
  const found = [];
  for (let frame = frameAt(bytes, from); frame && frame.at + frame.length <= bytes.length; ) {
    found.push(frame);
    frame = frameAt(bytes, frame.at + frame.length);
  }
  return found;
}

/**
 * Where the sound begins: behind an ID3v2 tag, if there is one.
 * @param {Uint8Array} bytes
 */
export function afterTag(bytes) {
  if (bytes.length < 10 || bytes[0] !== 0x49 || bytes[1] !== 0x44 || bytes[2] !== 0x33) return 0;
  const size = bytes.subarray(6, 10).reduce((sum, byte) => sum * 128 + (byte & 0x7f), 0);
  return Math.min(bytes.length, 10 + size);
}

const OWNER = "castaway.clip";

/** @typedef {{stream: string, number: number, cutAt: number}} Mark `cutAt` in milliseconds since 1970, by the streamer's clock */

/**
 * A clip: the tag, then the frames.
 * @param {Mark} mark `stream` is a word
 * @param {Uint8Array} sound whole frames
 */
export function markedClip({ stream, number, cutAt }, sound) {
  const owned = new TextEncoder().encode(`${OWNER}\0${stream} ${number} ${Math.round(cutAt)}`);
  const clip = new Uint8Array(20 + owned.length + sound.length);
  clip.set([0x49, 0x44, 0x33, 3, 0, 0]); // "ID3", version 2.3.0, no flags
  clip[9] = 10 + owned.length; // below 128, so it needs no more than its last seven bits
  clip.set([0x50, 0x52, 0x49, 0x56], 10); // "PRIV"
  clip[17] = owned.length;
  clip.set(owned, 20);
  clip.set(sound, 20 + owned.length);
  return clip;
}

/**
 * @param {Uint8Array} clip
 * @returns {Mark | null} null for a clip of another maker
 */
export function markOf(clip) {
  const text = new TextDecoder("latin1").decode(clip.subarray(0, Math.min(afterTag(clip), 128)));
  const found = /PRIV.{6}castaway\.clip\0(\w{1,32}) (\d{1,15}) (\d{1,15})$/s.exec(text);
  return found && { stream: found[1] ?? "", number: Number(found[2]), cutAt: Number(found[3]) };
}

/** Cuts a continuous stream, which arrives in pieces of any size, into runs of whole frames. */
export class Cutter {
  #pending = new Uint8Array(0);

  /** @param {number} seconds the least length of a clip */
  constructor(seconds) {
    this.seconds = seconds;
  }

  /**
   * @param {Uint8Array} piece
   * @returns {Uint8Array[]} the clips that are complete now
   */
  push(piece) {
    const all = new Uint8Array(this.#pending.length + piece.length);
    all.set(this.#pending);
    all.set(piece, this.#pending.length);
    const clips = [];
    let [from, length] = [0, 0];
    for (const frame of frames(all)) {
      length += frame.samples / frame.rate;
      if (length < this.seconds - 1e-9) continue;
      clips.push(all.slice(from, frame.at + frame.length));
      [from, length] = [frame.at + frame.length, 0];
    }
    this.#pending = all.slice(from);
    return clips;
  }

  /** What is left: the last clip, or null. */
  finish() {
    const last = frames(this.#pending).at(-1);
    const clip = last ? this.#pending.slice(0, last.at + last.length) : null;
    this.#pending = new Uint8Array(0);
    return clip;
  }
}

/**
 * Joins clips for a decoder. A frame's sound leans on the frame before it, so a continuous clip is decoded with the last
 * frame of its predecessor in front, whose own samples are then skipped: the seam is exact.
 */
export class Joiner {
  /** @type {{mark: Mark, tail: Uint8Array} | null} */ #last = null;

  /** Forgets the predecessor. */
  reset() {
    this.#last = null;
  }

  /**
   * @param {Uint8Array} clip
   * @returns {null | {bytes: Uint8Array, mark: Mark | null, rate: number | null, skip: number, samples: number, lost: number}}
   *   null for a clip that was heard already; `rate` null for what is not MP3 of ours: decode it whole. `skip` samples come
   *   first, `samples` follow; `lost` clips are missing before it
   */
  join(clip) {
    const mark = markOf(clip);
    const from = afterTag(clip);
    const row = mark ? frames(clip, from) : [];
    const [first, last] = [row[0], row.at(-1)];
    if (!mark || !first || !last) {
      this.#last = null;
      return { bytes: clip, mark: null, rate: null, skip: 0, samples: 0, lost: 0 };
    }
    const before = this.#last?.mark.stream === mark.stream ? this.#last : null;
    if (before && mark.number <= before.mark.number) return null;
    const lost = before ? mark.number - before.mark.number - 1 : 0;
    const tail = before && lost === 0 ? before.tail : new Uint8Array(0);
    const sound = clip.subarray(from, last.at + last.length);
    const bytes = new Uint8Array(tail.length + sound.length);
    bytes.set(tail);
    bytes.set(sound, tail.length);
    this.#last = { mark, tail: clip.slice(last.at, last.at + last.length) };
    const samples = row.reduce((sum, frame) => sum + frame.samples, 0);
    return { bytes, mark, rate: first.rate, skip: tail.length > 0 ? first.samples : 0, samples, lost };
  }
}
