// @ts-check
/** Where the studio's sound comes from, a microphone or a file, and its way to the encoder. */

import { Cutter, markedClip } from "./mp3.js";

const KBPS = 128;
/** What the encoder takes without resampling. */
const RATES = [48_000, 44_100];

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
  /** @type {AudioWorkletNode | null} */ #capture = null;
  /** @type {GainNode | null} */ #gain = null;
  /** @type {AudioNode | null} */ #input = null;
  /** @type {MediaStream | null} */ #microphone = null;
  /** @type {MediaElementAudioSourceNode | null} */ #file = null;
  /** @type {{worker: Worker, cutter: Cutter, stream: string, number: number} | null} */ #recording = null;

  /**
   * @param {object} on
   * @param {(level: {peak: number, level: number}) => void} on.level about forty times a second
   * @param {(clip: {number: number, bytes: Uint8Array, seconds: number}) => void} on.clip
   * @param {() => void} on.microphoneGone
   */
  constructor(on) {
    this.on = on;
  }

  get ready() {
    return this.#input !== null;
  }

  /** @param {{deviceId: string, clean: boolean}} wish `clean`: the browser's voice processing */
  async useMicrophone({ deviceId, clean }) {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
        echoCancellation: clean,
        noiseSuppression: clean,
        autoGainControl: clean,
      },
    });
    const context = await this.#open();
    this.drop();
    this.#microphone = stream;
    stream.getAudioTracks()[0]?.addEventListener("ended", () => this.#microphone === stream && this.on.microphoneGone());
    this.#plug(context.createMediaStreamSource(stream));
  }

  /** @param {HTMLAudioElement} player plays the file; it stays audible here */
  async useFile(player) {
    const context = await this.#open();
    this.drop();
    if (!this.#file) {
      this.#file = context.createMediaElementSource(player);
      this.#file.connect(context.destination);
    }
    this.#plug(this.#file);
  }

  /** Lets go of the microphone or the file. */
  drop() {
    if (this.#input && this.#gain) this.#input.disconnect(this.#gain);
    this.#input = null;
    for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.#microphone = null;
  }

  /** @param {boolean} muted */
  mute(muted) {
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
    const { port1, port2 } = new MessageChannel();
    worker.postMessage({ start: { rate: context.sampleRate, kbps: KBPS, sound: port1 } }, [port1]);
    this.#capture?.port.postMessage({ encoder: port2 }, [port2]);
  }

  /** Ends the stream; its last clip is handed on before this returns. */
  async finish() {
    const recording = this.#recording;
    if (!recording) return;
    this.#capture?.port.postMessage({ encoder: null });
    const { worker, cutter } = recording;
    await new Promise((resolve) => {
      const take = worker.onmessage;
      worker.onmessage = (event) => (event.data.finished ? resolve(null) : take?.call(worker, event));
      worker.onerror = resolve;
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
    this.on.clip({ number, bytes, seconds });
  }

  /** @param {AudioNode} input */
  #plug(input) {
    if (this.#gain) input.connect(this.#gain);
    this.#input = input;
  }

  /** The audio graph, made at the first use: browsers want a click before. */
  async #open() {
    if (!this.#context) {
      const context = await rightContext();
      await context.audioWorklet.addModule("/pages/capture-worklet.js");
      const options = { numberOfOutputs: 0 };
      const capture = new AudioWorkletNode(context, "capture", options);
      capture.port.onmessage = ({ data }) => this.on.level(data);
      this.#gain = new GainNode(context);
      this.#gain.connect(capture);
      this.#capture = capture;
      this.#context = context;
    }
    await this.#context.resume();
    return this.#context;
  }
}

/** The device's own rate where the encoder takes it, since some browsers refuse a microphone at any other. */
async function rightContext() {
  const context = new AudioContext({ latencyHint: "interactive" });
  if (RATES.includes(context.sampleRate)) return context;
  await context.close();
  return new AudioContext({ latencyHint: "interactive", sampleRate: RATES[0] });
}
