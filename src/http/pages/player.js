// @ts-check
/** Plays clips back to back on the audio clock. */

import { Joiner } from "./mp3.js";
import { Schedule } from "./schedule.js";

/** A clip that is older than its own length and this, by the clocks, tells of wrong clocks rather than of age. */
const CLOCKS_DIFFER_SECONDS = 2;
/** How a sound begins that has silence before it: no click. */
const FADE_SECONDS = 0.008;

export class Player {
  #joiner = new Joiner();
  /** @type {Schedule} */ #schedule;
  /** @type {Promise<void>} */ #turn = Promise.resolve();
  /** @type {{source: AudioBufferSourceNode, until: number}[]} */ #playing = [];
  /** @type {{buffer: AudioBuffer, skip: number, duration: number, came: number} | null} */ #latest = null;
  #generation = 0;
  /** How long after it was said the sound is heard, in seconds; null until known. @type {number | null} */
  behind = null;

  /**
   * @param {AudioContext} context
   * @param {object} on
   * @param {() => void} on.sound a clip was placed
   * @param {(what: "late" | "lost" | "broken") => void} on.trouble
   */
  constructor(context, on) {
    this.context = context;
    this.on = on;
    this.#schedule = new Schedule(context.sampleRate);
    this.volume = new GainNode(context);
    this.analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.6 });
    this.analyser.connect(this.volume);
    this.volume.connect(context.destination);
  }

  /** Seconds of sound in hand. */
  get inHand() {
    return this.#schedule.inHand(this.context.currentTime);
  }

  /** Seconds that the listener is further behind than need be. */
  get surplus() {
    return this.#schedule.surplus;
  }

  /** Takes the next clip; clips are heard in the order they are given. @param {Uint8Array} clip */
  take(clip) {
    const generation = this.#generation;
    const [came, wall] = [this.context.currentTime, Date.now()];
    this.#turn = this.#turn.then(async () => {
      if (generation !== this.#generation) return;
      const joined = this.#joiner.join(clip);
      if (!joined) return;
      if (joined.lost > 0) this.on.trouble("lost");
      const buffer = await decode(this.context, joined.bytes, joined.rate);
      if (generation !== this.#generation) return;
      if (!buffer) return this.on.trouble("broken");
      // A decoder that trims its own delay has cut it off the frame that we skip.
      const rate = buffer.sampleRate;
      const expected = joined.skip + joined.samples;
      const trimmed = Math.min(joined.skip, Math.max(0, expected - buffer.length));
      const skip = joined.rate ? (joined.skip - trimmed) / rate : 0;
      const duration = buffer.duration - skip;
      const age = joined.mark ? (wall - joined.mark.cutAt) / 1000 : null;
      const known = age !== null && age > -0.25 && age < duration + CLOCKS_DIFFER_SECONDS ? Math.max(0, age) : null;
      this.#latest = { buffer, skip, duration, came };
      this.#play(buffer, skip, duration, known === null ? null : known + this.context.currentTime - came);
    });
  }

  /** After an outage that was not the network's unsteadiness: begins anew if the sound has run out, with no lesson drawn. */
  returned() {
    if (this.inHand === 0) this.#schedule.reset();
  }

  /** Forgets what is in hand, and goes on with the latest clip. */
  jump() {
    this.#generation++;
    this.#silence();
    this.#schedule.reset();
    const latest = this.#latest;
    if (latest) this.#play(latest.buffer, latest.skip, latest.duration, this.context.currentTime - latest.came);
  }

  /** Stops, and forgets everything. */
  stop() {
    this.#generation++;
    this.#silence();
    this.#schedule.reset();
    this.#joiner.reset();
    this.#latest = null;
    this.behind = null;
  }

  #silence() {
    for (const { source } of this.#playing.splice(0)) {
      source.stop();
      source.disconnect();
    }
  }

  /** @param {AudioBuffer} buffer @param {number} skip @param {number} duration @param {number | null} age */
  #play(buffer, skip, duration, age) {
    const now = this.context.currentTime;
    const place = this.#schedule.place(now, duration, age);
    const source = new AudioBufferSourceNode(this.context, { buffer, playbackRate: place.speed });
    let to = /** @type {AudioNode} */ (this.analyser);
    if (place.fresh) {
      const fade = new GainNode(this.context, { gain: 0 });
      fade.gain.setValueAtTime(0, place.at);
      fade.gain.linearRampToValueAtTime(1, place.at + FADE_SECONDS);
      fade.connect(this.analyser);
      to = fade;
    }
    source.connect(to);
    source.start(place.at, skip + place.offset, duration - place.offset);
    this.#playing = [...this.#playing.filter((it) => it.until > now), { source, until: place.at + duration }];
    const heard = place.at - now + (age ?? 0) + duration - place.offset;
    this.behind = this.behind === null || place.fresh ? heard : this.behind * 0.7 + heard * 0.3;
    if (place.late) this.on.trouble("late");
    this.on.sound();
  }
}

/**
 * Decodes a clip; ours at their own rate, so that no resampler works across a seam.
 * @param {AudioContext} context @param {Uint8Array} bytes @param {number | null} rate
 * @returns {Promise<AudioBuffer | null>}
 */
async function decode(context, bytes, rate) {
  const decoder = rate && rate !== context.sampleRate ? new OfflineAudioContext(1, 1, rate) : context;
  try {
    return await decoder.decodeAudioData(/** @type {ArrayBuffer} */ (bytes.slice().buffer));
  } catch {
    return null;
  }
}
