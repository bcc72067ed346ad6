/** What the pages find in an audio worklet and in a classic worker, where the compiler's own list for documents ends. */

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
declare function importScripts(...addresses: string[]): void;
declare function postMessage(message: unknown): void;
declare const currentTime: number;
declare const sampleRate: number;
declare const lamejs: {
  Mp3Encoder: new (
    channels: number,
    rate: number,
    kbps: number,
  ) => { encodeBuffer(left: Float32Array): Int8Array; flush(): Int8Array };
};
