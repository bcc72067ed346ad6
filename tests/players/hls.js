// hls.js in Chromium: plays an address in real time until the end, a fatal error, or SIGTERM. Prints a line of JSON for each
// fragment as it is heard, for each error, and at the end what was decoded.
//
//   node hls.js ADDRESS

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const library = createRequire(import.meta.url).resolve("hls.js/dist/hls.min.js");
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync) ?? "chromium";

/** @param {Record<string, unknown>} line */
const say = (line) => console.log(JSON.stringify(line));

const browser = await chromium.launch({
  executablePath,
  // The page is of no address: Chromium takes it for one of another network.
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-features=LocalNetworkAccessChecks"],
});
const page = await browser.newPage();
page.on("pageerror", (error) => say({ fatal: String(error) }));
await page.exposeFunction("say", say);
/** @type {Promise<void>} */
const ended = new Promise((resolve) => page.exposeFunction("end", resolve));
process.on("SIGTERM", () => void page.evaluate("end()"));
await page.addScriptTag({ path: library });

await page.evaluate((address) => {
  const audio = document.body.appendChild(document.createElement("audio"));
  // As docs/players.md has it: by itself hls.js gives up when a server cannot be reached.
  const shouldRetry = (policy, count, _timeout, answer) =>
    count < policy.maxNumRetry && ![401, 403].includes(answer?.code);
  const retry = { maxNumRetry: 30, retryDelayMs: 1000, maxRetryDelayMs: 2000, shouldRetry };
  const policy = { default: { maxTimeToFirstByteMs: 15000, maxLoadTimeMs: 20000, errorRetry: retry, timeoutRetry: retry } };
  const policies = { manifestLoadPolicy: policy, playlistLoadPolicy: policy, fragLoadPolicy: policy };
  const hls = new Hls({ lowLatencyMode: true, startPosition: 0, ignorePlaylistParsingErrors: true, ...policies });
  hls.on(Hls.Events.FRAG_CHANGED, (_, { frag }) => say({ heard: frag.sn, discontinuities: frag.cc }));
  hls.on(Hls.Events.ERROR, (_, { fatal, details, error }) => {
    say({ [fatal ? "fatal" : "error"]: details, said: error?.message, at: audio.currentTime });
    if (fatal) end();
  });
  audio.addEventListener("ended", () => end());
  hls.loadSource(address);
  hls.attachMedia(audio);
  void audio.play();
}, process.argv[2]);

await ended;
say(await page.evaluate(() => {
  const audio = document.querySelector("audio");
  return { seconds: audio.currentTime, decoded: audio.webkitAudioDecodedByteCount };
}));
await browser.close();
