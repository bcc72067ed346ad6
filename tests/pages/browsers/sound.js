// @ts-check
/** Sound in a tab of any browser: what is heard, and a livestream that needs no browser. */

import { readFileSync } from "node:fs";
import { WebSocket } from "ws";

import { Streamer } from "../../../clients/js/index.js";
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
