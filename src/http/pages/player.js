// @ts-check
/** Plays clips back to back on the audio clock. */

import { describe, isBounded } from "./container.js";
import { Joiner } from "./mp3.js";
import { Schedule } from "./schedule.js";
import { padding, shortened } from "./trim.js";

/** A clip that is older than its own length and this, by the clocks, tells of wrong clocks rather than of age. */
const CLOCKS_DIFFER_SECONDS = 2;
/** How a sound begins that has silence before it: no click. */
const FADE_SECONDS = 0.008;
/** After a longer pause of the browser's clock what is in hand is stale. */
const STALE_SECONDS = 1;

/** The wall's clock, in seconds: the browser's audio clock stands while it is paused. */
const wallClock = () => performance.now() / 1000;

export class Player {
  #joiner = new Joiner();
  /** @type {Schedule} */ #schedule;
  /** @type {Promise<void>} */ #turn = Promise.resolve();
  /** @type {{source: AudioBufferSourceNode, until: number}[]} */ #playing = [];
  /** @type {{buffer: AudioBuffer, skip: number, duration: number, came: number} | null} */ #latest = null;
  /** What came while the browser's clock stood, and since when it does. @type {{since: number, clips: {clip: Uint8Array, came: number}[]} | null} */
  #paused = null;
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
    context.addEventListener("statechange", () => this.#follow());
    this.#follow();
  }

  /** Whether the browser lets the sound be heard. */
  get running() {
    return this.context.state === "running";
  }

  /** Seconds of sound in hand. */
  get inHand() {
    return this.#schedule.inHand(this.context.currentTime);
  }

  /** Seconds that the listener is further behind than need be, as of the latest clip. */
  get lead() {
    return this.#schedule.lead;
  }

  /** Takes the next clip; clips are heard in the order they are given. @param {Uint8Array} clip */
  take(clip, came = wallClock()) {
    if (this.#paused) {
      if (came - this.#paused.since > STALE_SECONDS) this.#paused.clips = [];
      this.#paused.clips.push({ clip, came });
      return;
    }
    const generation = this.#generation;
    const wall = Date.now() - (wallClock() - came) * 1000;
    this.#turn = this.#turn.then(async () => {
      if (generation !== this.#generation) return;
      const joined = this.#joiner.join(clip);
      if (!joined) return;
      if (joined.lost > 0) this.on.trouble("lost");
      const described = joined.rate ? null : describe(clip);
      const buffer = !described || isBounded(clip, described) ? await decode(this.context, joined.bytes, joined.rate) : null;
      if (generation !== this.#generation) return;
      if (!buffer) return this.on.trouble("broken");
      const { skip, duration } = described ? foreign(buffer, described.padded) : ours(buffer, joined);
      const age = joined.mark ? (wall - joined.mark.cutAt) / 1000 : null;
      const known = age !== null && age > -0.25 && age < duration + CLOCKS_DIFFER_SECONDS ? Math.max(0, age) : null;
      this.#latest = { buffer, skip, duration, came };
      this.#play(buffer, skip, duration, known === null ? null : known + wallClock() - came);
    });
  }

  /** Drops what went stale while the browser's clock stood, and goes on with what came last. */
  #follow() {
    if (!this.running) {
      this.#paused ??= { since: wallClock(), clips: [] };
      return;
    }
    const paused = this.#paused;
    this.#paused = null;
    if (!paused) return;
    if (wallClock() - paused.since > STALE_SECONDS) {
      this.#forget();
      this.#joiner.reset();
    }
    for (const { clip, came } of paused.clips) this.take(clip, came);
  }

  /**
   * After an outage that was not the network's unsteadiness: begins again if the sound has run out, with no lesson drawn.
   * @param {boolean} whole nothing was missed: the next clip is heard from its beginning
   */
  returned(whole) {
    if (this.inHand > 0) return;
    if (whole) this.#schedule.goOn();
    else this.#schedule.reset();
  }

  /** Drops what is in hand, and goes on with the latest clip. Clips that are being decoded follow it. */
  jump() {
    this.#silence();
    this.#schedule.reset();
    const latest = this.#latest;
    if (latest) this.#play(latest.buffer, latest.skip, latest.duration, wallClock() - latest.came);
  }

  /** Stops, and forgets everything. */
  stop() {
    this.#forget();
    this.#joiner.reset();
    this.#latest = null;
    this.behind = null;
    if (this.#paused) this.#paused.clips = [];
  }

  #forget() {
    this.#generation++;
    this.#silence();
    this.#schedule.reset();
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
    if (this.#schedule.catchUp > 0) {
      buffer = shorter(this.context, buffer, skip, duration, this.#schedule.catchUp);
      [skip, duration] = [0, buffer.duration];
    }
    const place = this.#schedule.place(now, duration, age);
    if (place.skip) this.#silence();
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
 * What of a clip of our own stream is heard. A decoder that trims its own delay has cut it off the frame that we skip.
 * @param {AudioBuffer} buffer @param {{skip: number, samples: number}} joined
 */
function ours(buffer, { skip, samples }) {
  const trimmed = Math.min(skip, Math.max(0, skip + samples - buffer.length));
  const from = (skip - trimmed) / buffer.sampleRate;
  return { skip: from, duration: buffer.duration - from };
}

/** What of another client's clip is heard. @param {AudioBuffer} buffer @param {boolean} padded */
function foreign(buffer, padded) {
  const { lead, tail } = padded ? padding(channelsOf(buffer), buffer.sampleRate) : { lead: 0, tail: 0 };
  return { skip: lead / buffer.sampleRate, duration: (buffer.length - lead - tail) / buffer.sampleRate };
}

/** @param {AudioBuffer} buffer */
const channelsOf = (buffer) => Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));

/**
 * The part of a buffer that is heard, made shorter.
 * @param {BaseAudioContext} context @param {AudioBuffer} buffer @param {number} skip @param {number} duration @param {number} share
 */
function shorter(context, buffer, skip, duration, share) {
  const rate = buffer.sampleRate;
  const [from, length] = [Math.round(skip * rate), Math.round(duration * rate)];
  const parts = channelsOf(buffer).map((it) => it.subarray(from, from + length));
  const channels = shortened(parts, rate, Math.round(length * share));
  const made = context.createBuffer(channels.length, Math.max(1, channels[0]?.length ?? 1), rate);
  channels.forEach((samples, channel) => made.copyToChannel(samples, channel));
  return made;
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
