// @ts-check
/** Where the studio's sound comes from, a microphone or a file, and its way to the encoder. */

import { capture } from "./capture.js";
import { runsAgain } from "./interruption.js";
import { Cutter, markedClip } from "./mp3.js";

const KBPS = 128;
/** What the encoder takes without resampling. */
const RATES = [48_000, 44_100];
/** How long the encoder may take for what it still has. */
const FINISH_MS = 5_000;
/** How long the browser may take to open a file. */
const OPEN_MS = 15_000;

/** Whether this page may ask for a microphone at all. */
export const hasMicrophone = () => window.isSecureContext && navigator.mediaDevices !== undefined;

/** Why the microphone could not be had, in words. @param {unknown} error */
export function microphoneTrouble(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The browser was not allowed to use the microphone. Allow it beside the address, and try again.";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "No microphone was found. Plug one in, or choose an audio file.";
  if (name === "NotReadableError") return "The microphone is in use by another program.";
  return "The microphone could not be opened.";
}

export class Source {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {Promise<AudioContext> | null} */ #graph = null;
  /** @type {import("./capture.js").Capture | null} */ #capture = null;
  /** @type {GainNode | null} */ #gain = null;
  /** @type {AudioNode | null} */ #input = null;
  /** @type {MediaStream | null} */ #microphone = null;
  /** @type {MediaElementAudioSourceNode | null} */ #file = null;
  /** @type {HTMLAudioElement | null} */ #player = null;
  /** @type {{worker: Worker, cutter: Cutter, stream: string, number: number} | null} */ #recording = null;
  #muted = false;
  /** Whether a new audio graph is being made. */
  #replacing = false;
  /** How often a source was asked for: one that is had when another was asked for since is let go of. */
  #asked = 0;
  /** The loudest amplitude since the last clip. */
  #peak = 0;

  /**
   * @param {object} on
   * @param {(level: {peak: number, level: number}) => void} on.level about forty times a second
   * @param {(clip: {number: number, bytes: Uint8Array, seconds: number, peak: number}) => void} on.clip `peak`: its
   *   loudest amplitude, 0 to 1
   * @param {() => void} on.changed something in `circumstances` did
   * @param {() => void} on.parted the file's player belongs to an audio graph that is gone: another is needed
   */
  constructor(on) {
    this.on = on;
  }

  get ready() {
    return this.#input !== null;
  }

  /** What there is to say about the sound before any clip tells. @returns {import("./onair.js").Circumstances} */
  get circumstances() {
    const track = this.#microphone?.getAudioTracks()[0];
    const player = this.#player;
    return {
      source: this.#input === null ? null : track ? "microphone" : "file",
      muted: this.#muted,
      paused: this.#context !== null && this.#context.state !== "running",
      microphone: !track || track.readyState === "ended" ? "gone" : track.muted ? "muted" : "open",
      file: player?.error ? "broken" : player?.ended ? "ended" : player?.paused === false ? "playing" : "paused",
    };
  }

  /** Goes on after the browser has paused the sound; from a click where the browser wants one. */
  async resume() {
    if (this.#context && this.#context.state !== "running") await this.#context.resume().catch(() => {});
  }

  /**
   * The same from a gesture, with a new audio graph where the browser does not let the one before go on. The clips go on as one
   * stream.
   */
  async goOn() {
    const context = this.#context;
    if (!context || context.state === "running" || this.#replacing) return;
    this.#replacing = true;
    if (!(await runsAgain(context))) await this.#replace(context).catch(() => {});
    this.#replacing = false;
    this.on.changed();
  }

  /** @param {AudioContext} before */
  async #replace(before) {
    const [microphone, had] = [this.#microphone, this.#input !== null];
    const graph = this.#make(before.sampleRate);
    const context = await graph;
    this.#graph = graph;
    this.#file = null;
    this.#input = null;
    void before.close().catch(() => {});
    if (this.#recording) this.#feed(this.#recording.worker);
    if (microphone && microphone === this.#microphone) this.#plug(context.createMediaStreamSource(microphone));
    else if (had && !this.#microphone) this.on.parted();
  }

  /** @param {{deviceId: string, clean: boolean}} wish `clean`: the browser's voice processing */
  async useMicrophone({ deviceId, clean }) {
    const asked = ++this.#asked;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
        echoCancellation: clean,
        noiseSuppression: clean,
        autoGainControl: clean,
      },
    });
    const letGo = () => stream.getTracks().forEach((track) => track.stop());
    const context = await this.#open().catch((error) => {
      letGo();
      throw error;
    });
    if (asked !== this.#asked) return letGo();
    this.#unplug();
    this.#microphone = stream;
    for (const name of ["ended", "mute", "unmute"]) {
      stream.getAudioTracks()[0]?.addEventListener(name, () => this.#microphone === stream && this.on.changed());
    }
    this.#plug(context.createMediaStreamSource(stream));
  }

  /** @param {HTMLAudioElement} player plays the file; it stays audible here */
  async useFile(player) {
    const asked = ++this.#asked;
    await playable(player);
    const context = await this.#open();
    if (asked !== this.#asked) return;
    this.#unplug();
    this.#player = player;
    if (!this.#file) {
      this.#file = context.createMediaElementSource(player);
      this.#file.connect(context.destination);
      for (const name of ["play", "pause", "ended", "error"]) player.addEventListener(name, () => this.on.changed());
    }
    this.#plug(this.#file);
  }

  /** Lets go of the microphone or the file, also of one that is being opened. */
  drop() {
    this.#asked++;
    this.#unplug();
  }

  #unplug() {
    if (this.#input && this.#gain) this.#input.disconnect(this.#gain);
    this.#input = null;
    for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.#microphone = null;
    this.on.changed();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.#muted = muted;
    this.on.changed();
    if (this.#gain && this.#context) this.#gain.gain.setTargetAtTime(muted ? 0 : 1, this.#context.currentTime, 0.01);
  }

  /** Begins a stream of clips. @param {number} seconds the least length of a clip */
  async record(seconds) {
    const context = await this.#open();
    const worker = new Worker("/pages/encoder-worker.js");
    const stream = Array.from(crypto.getRandomValues(new Uint8Array(6)), (it) => it.toString(36).padStart(2, "0")).join("");
    const recording = { worker, cutter: new Cutter(seconds), stream, number: 0 };
    this.#recording = recording;
    worker.onmessage = ({ data }) => {
      if (data.bytes) for (const sound of recording.cutter.push(data.bytes)) this.#clip(recording, sound, seconds);
    };
    worker.postMessage({ start: { rate: context.sampleRate, kbps: KBPS } });
    this.#peak = 0;
    this.#feed(worker);
  }

  /** Leads the sound to the encoder. @param {Worker} worker */
  #feed(worker) {
    const { port1, port2 } = new MessageChannel();
    worker.postMessage({ sound: port1 }, [port1]);
    this.#capture?.to(port2);
  }

  /** Ends the stream; its last clip is handed on before this returns. */
  async finish() {
    const recording = this.#recording;
    if (!recording) return;
    this.#capture?.to(null);
    const { worker, cutter } = recording;
    await new Promise((resolve) => {
      const take = worker.onmessage;
      worker.onmessage = (event) => (event.data.finished ? resolve(null) : take?.call(worker, event));
      worker.onerror = resolve;
      setTimeout(resolve, FINISH_MS);
      worker.postMessage({ finish: true });
    });
    worker.terminate();
    const rest = cutter.finish();
    if (rest) this.#clip(recording, rest, 0);
    this.#recording = null;
  }

  /** @param {{stream: string, number: number}} recording @param {Uint8Array} sound @param {number} seconds */
  #clip(recording, sound, seconds) {
    const number = recording.number++;
    const bytes = markedClip({ stream: recording.stream, number, cutAt: Date.now() }, sound);
    const peak = this.#peak;
    this.#peak = 0;
    this.on.clip({ number, bytes, seconds, peak });
  }

  /** @param {AudioNode} input */
  #plug(input) {
    if (this.#gain) input.connect(this.#gain);
    this.#input = input;
  }

  /** The audio graph, made once, at the first use: browsers want a click before. */
  async #open() {
    this.#graph ??= this.#make();
    const context = await this.#graph.catch((error) => {
      this.#graph = null; // the next may have more luck
      throw error;
    });
    // Without a click the browser may never answer; the page then says that the sound is paused.
    await Promise.race([this.resume(), new Promise((resolve) => setTimeout(resolve, 500))]);
    return context;
  }

  /** @param {number} [rate] of the stream that goes on */
  async #make(rate) {
    const context = await rightContext(rate);
    this.#capture = await capture(context, (level) => {
      this.#peak = Math.max(this.#peak, level.peak);
      this.on.level(level);
    });
    this.#gain = new GainNode(context, { gain: this.#muted ? 0 : 1 });
    this.#gain.connect(this.#capture.node);
    context.addEventListener("statechange", () => this.on.changed());
    this.#context = context;
    return context;
  }
}

/** Waits until the file is known to be playable. @param {HTMLAudioElement} player */
async function playable(player) {
  if (player.error) throw player.error;
  if (player.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the file could not be read in time")), OPEN_MS);
    player.addEventListener("loadeddata", resolve, { once: true });
    player.addEventListener("error", () => reject(player.error), { once: true });
    player.addEventListener("loadeddata", () => clearTimeout(late), { once: true });
  });
}

/**
 * The device's own rate where the encoder takes it, since some browsers refuse a microphone at any other.
 * @param {number} [rate] the only one that will do
 */
async function rightContext(rate) {
  if (rate) return new AudioContext({ latencyHint: "interactive", sampleRate: rate });
  const context = new AudioContext({ latencyHint: "interactive" });
  if (RATES.includes(context.sampleRate)) return context;
  await context.close();
  return new AudioContext({ latencyHint: "interactive", sampleRate: RATES[0] });
}
