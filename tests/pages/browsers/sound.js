// @ts-check
/** Sound in a tab of any browser: what is heard, and a livestream that needs no browser. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";

import { Listener, Streamer } from "../../../clients/js/index.js";
import { rungs } from "../e2e/ladder.js";

Object.assign(globalThis, { WebSocket });

/** The tap of the other tests, on the main thread: a page's policy forbids a worklet that is not the server's. */
const TAP = `(() => {
  globalThis.heard = [];
  let made;
  const currentTime = 0;
  const sampleRate = 48000;
  class AudioWorkletProcessor { port = { postMessage: (told) => heard.push(told) }; }
  const registerProcessor = (_name, kind) => { made = kind; };
  ${readFileSync(new URL("../e2e/tap-worklet.js", import.meta.url), "utf8")}
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (...args) {
    if (args[0] === this.context.destination && this.context instanceof AudioContext) {
      globalThis.context = this.context;
      const tap = new made();
      const node = this.context.createScriptProcessor(4096, 1, 1);
      node.onaudioprocess = ({ inputBuffer }) => tap.process([[inputBuffer.getChannelData(0)]]);
      Reflect.apply(connect, this, [node]);
      Reflect.apply(connect, node, [this.context.destination]);
    }
    return Reflect.apply(connect, this, args);
  };
  return true;
})()`;

/** Puts a tap where the page's sound leaves it. Before the page makes sound. @param {import("./tab.js").Tab} tab */
export const tapSound = (tab) => tab.run(TAP);

/** The rungs that a tapped page has heard. @param {import("./tab.js").Tab} tab @returns {Promise<number[]>} */
export async function heardRungs(tab) {
  return rungs(await tab.run("heard"));
}

/** Waits until a tapped page has heard so many rungs. @param {import("./tab.js").Tab} tab @param {number} count */
export async function hears(tab, count, timeoutMs = 45_000) {
  for (const end = Date.now() + timeoutMs; Date.now() < end; ) {
    if ((await heardRungs(tab)).length >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`only ${(await heardRungs(tab)).length} of ${count} rungs were heard; the page says: ${await tab.text("body")}`);
}

/** What a link to a page says. @param {string} address */
function credentials(address) {
  const said = new URLSearchParams(new URL(address).hash.slice(1));
  return { livestream: "demo", token: said.get("token") ?? "" };
}

/**
 * A livestream of an app, which sends these clips of a second round and round.
 * @param {string} studio the studio's address @param {Buffer[]} row
 */
export function stream(studio, row) {
  const streamer = new Streamer({ url: studio, ...credentials(studio) });
  let number = 0;
  const send = () => streamer.send(row[number++ % row.length] ?? Buffer.alloc(0), 1);
  send();
  const clock = setInterval(send, 1_000);
  return {
    hurry: () => streamer.hurry(),
    async end() {
      clearInterval(clock);
      await streamer.end();
    },
  };
}

/** @param {Buffer} wav */
export function asMp3(wav) {
  const { stdout } = spawnSync("ffmpeg", ["-v", "error", "-f", "wav", "-i", "-", "-b:a", "64k", "-f", "mp3", "-"], { input: wav, maxBuffer: 1 << 28 });
  return stdout;
}

/** A listener that needs no browser. @param {string} address of the server @param {string} listen the listening page's address */
export function hear(address, listen) {
  /** @type {Uint8Array[]} */ const clips = [];
  const listener = new Listener({ url: address, ...credentials(listen), onClip: (clip) => void clips.push(clip) });
  return {
    clips,
    close: () => listener.close(),
    /** The longest silence in what the clips since `from` hold, in milliseconds, but for the encoder's delay. */
    longestSilence(from = 0) {
      const { stdout } = spawnSync("ffmpeg", ["-v", "error", "-f", "mp3", "-i", "-", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"], {
        input: Buffer.concat(clips.slice(from)),
        maxBuffer: 1 << 28,
      });
      const samples = new Float32Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + (stdout.length & ~3)));
      let [longest, quiet] = [0, 0];
      for (const sample of samples.subarray(4_800)) {
        quiet = Math.abs(sample) < 0.001 ? quiet + 1 : 0;
        longest = Math.max(longest, quiet);
      }
      if (samples.length < 48_000) throw new Error(`only ${samples.length} samples could be decoded`);
      return longest / 48;
    },
  };
}
