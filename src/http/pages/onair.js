// @ts-check
/**
 * What the studio may claim while it is on air. It follows from the sound: what was encoded, what it held, and what the
 * server acknowledged in the last seconds. Pure: the caller brings the clock, in milliseconds.
 */

/** How long only silence may go out before it is said. */
const SILENCE_MS = 4_000;
/** How long after its end a clip may be encoded and acknowledged. */
const LATE_MS = 4_000;
/** Below this amplitude nobody hears anything: -60 dB. */
const AUDIBLE = 0.001;

/**
 * @typedef {object} Circumstances
 * @property {"microphone" | "file" | null} source what is plugged in
 * @property {boolean} muted by the page's button
 * @property {boolean} paused the browser has suspended or interrupted the audio
 * @property {"open" | "muted" | "gone"} microphone `muted`: by the system
 * @property {"playing" | "paused" | "ended" | "broken"} file
 */

/** @typedef {"heard" | "starting" | "none" | "gone" | "paused" | "muted" | "system" | "file-broken" | "file-ended" | "file-paused" | "stuck" | "unanswered" | "silent"} Verdict */

/** @type {Record<Verdict, {badge: string, state: string, detail: string}>} */
export const WORDS = {
  heard: { badge: "On air", state: "You are live", detail: "Your sound reaches the server." },
  starting: { badge: "Joining", state: "You are on air", detail: "The first words are on their way." },
  none: { badge: "Silent", state: "Nobody hears you", detail: "There is no sound to send. Choose a microphone or an audio file." },
  gone: { badge: "Silent", state: "Nobody hears you", detail: "The microphone was unplugged or taken away. Choose another." },
  paused: { badge: "Silent", state: "Nobody hears you", detail: "The browser has paused the sound, as during a call. Tap anywhere to go on." },
  muted: { badge: "Muted", state: "You are muted", detail: "Silence is sent. Press Mute again to be heard." },
  system: { badge: "Silent", state: "Nobody hears you", detail: "The system has muted the microphone. Unmute it there." },
  "file-broken": { badge: "Silent", state: "Nobody hears you", detail: "The file cannot be played any further. Choose another." },
  "file-ended": { badge: "Silent", state: "The file has ended", detail: "Silence is sent. Play it again, choose another, or end the livestream." },
  "file-paused": { badge: "Silent", state: "The file is paused", detail: "Silence is sent. Press play on the file to go on." },
  stuck: { badge: "Silent", state: "Nobody hears you", detail: "No sound leaves this page. Reload it to go on." },
  unanswered: { badge: "Waiting", state: "The server does not answer", detail: "Go on speaking: it is kept, and sent as soon as it can be." },
  silent: { badge: "Silent", state: "Only silence goes out", detail: "No sound comes in. Check the microphone and its level." },
};

export class OnAir {
  /** @type {{at: number, peak: number}[]} */ #made = [];
  /** @type {{at: number, peak: number}[]} */ #sent = [];

  /** @param {number} now @param {number} clipMs how long a clip is */
  constructor(now, clipMs) {
    this.began = now;
    this.clipMs = clipMs;
  }

  /** A clip was encoded. @param {number} now @param {number} peak amplitude, 0 to 1 */
  made(now, peak) {
    this.#made = [...this.#recent(this.#made, now), { at: now, peak }];
  }

  /** The server has acknowledged a clip. @param {number} now @param {number} peak */
  sent(now, peak) {
    this.#sent = [...this.#recent(this.#sent, now), { at: now, peak }];
  }

  /**
   * @param {number} now
   * @param {Circumstances} it
   * @param {boolean} connected whether clips are sent; otherwise they are kept
   * @returns {Verdict}
   */
  verdict(now, it, connected = true) {
    const obstacle = this.#obstacle(it);
    if (obstacle) return obstacle;
    const young = now - this.began < this.clipMs + LATE_MS;
    const made = this.#recent(this.#made, now);
    const sent = connected ? this.#recent(this.#sent, now) : made;
    if (sent.some(({ peak }) => peak > AUDIBLE)) return "heard";
    if (young) return "starting";
    if (made.length === 0) return "stuck";
    return sent.length === 0 ? "unanswered" : "silent";
  }

  /** What is known to keep the sound away, before any clip tells. @param {Circumstances} it @returns {Verdict | null} */
  #obstacle(it) {
    if (it.source === null) return "none";
    if (it.source === "microphone" && it.microphone === "gone") return "gone";
    if (it.paused) return "paused";
    if (it.muted) return "muted";
    if (it.source === "microphone") return it.microphone === "muted" ? "system" : null;
    return it.file === "playing" ? null : `file-${it.file}`;
  }

  /** @param {{at: number, peak: number}[]} clips @param {number} now */
  #recent(clips, now) {
    return clips.filter(({ at }) => now - at < this.clipMs + SILENCE_MS);
  }
}
