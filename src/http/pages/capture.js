// @ts-check
/**
 * Takes the sound out of the audio graph, in frames for the encoder. On the audio thread where the browser has a worklet; pages
 * on plain HTTP have none, and there it is a script processor.
 */

import { Framer } from "./framer.js";

/** @typedef {{peak: number, level: number}} Level */
/** @typedef {{node: AudioNode, to: (encoder: MessagePort | null) => void}} Capture `to` says where the frames go */

/** @param {BaseAudioContext} context @param {(level: Level) => void} level @returns {Promise<Capture>} */
export async function capture(context, level) {
  if (!context.audioWorklet) return scripted(context, level);
  await context.audioWorklet.addModule("/pages/capture-worklet.js");
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => level(data);
  return { node, to: (encoder) => node.port.postMessage({ encoder }, encoder ? [encoder] : []) };
}

/** @param {BaseAudioContext} context @param {(level: Level) => void} level @returns {Capture} */
function scripted(context, level) {
  const node = context.createScriptProcessor(2048, 1, 1); // one channel: the browser mixes
  const framer = new Framer(level);
  node.onaudioprocess = ({ inputBuffer }) => framer.take([inputBuffer.getChannelData(0)]);
  node.connect(context.destination); // it runs only when it leads somewhere; it puts out silence
  return { node, to: (encoder) => framer.to(encoder) };
}
