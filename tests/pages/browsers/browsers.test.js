// @ts-check
/**
 * Both pages before, during and after a livestream, in browsers other than Chromium. The other side is a program, so that one
 * browser at a time has the machine. A browser that is not installed is skipped.
 */

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { KINDS, breaks, clips, ladderWav, mixedClips } from "../e2e/ladder.js";
import { Network, Server } from "../e2e/stage.js";
import { openFirefox } from "./firefox.js";
import { openLoudspeaker } from "./loudspeaker.js";
import { asMp3, hear, heardRungs, hears, stream, tapSound } from "./sound.js";
import { openWebKit } from "./webkit.js";

const PHONE = { width: 390, height: 664 };

/** @type {Server} */ let server;
/** @type {Network} */ let network;
/** @type {Awaited<ReturnType<typeof openLoudspeaker>>} */ let loudspeaker;

before(async () => {
  loudspeaker = await openLoudspeaker();
  server = await Server.start();
  network = await Network.to(server.port);
});

after(async () => {
  network?.close();
  await server?.stop();
  await loudspeaker?.close();
});

/** @param {import("./tab.js").Tab} tab @param {string} name */
async function picture(tab, name) {
  const folder = process.env.CASTAWAY_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.png`), await tab.picture());
}

/** @param {import("./tab.js").Tab} tab @param {string} state */
const isIn = (tab, state) => tab.until(`document.body.dataset.state === ${JSON.stringify(state)}`);

/** A listening page that has been asked to play, and is tapped. @param {import("./tab.js").Browser} browser */
async function listen(browser) {
  const tab = await browser.tab(PHONE);
  await tab.go(server.listen);
  await tapSound(tab);
  await tab.click("#play");
  return tab;
}

/** Waits until the studio says this of its sound. @param {import("./tab.js").Tab} tab @param {string} verdict */
const sounds = (tab, verdict) => tab.until(`document.body.dataset.sound === ${JSON.stringify(verdict)}`);

/** Waits for so many more clips. @param {ReturnType<typeof hear>} listener @param {number} count */
async function clipsCome(listener, count) {
  const wanted = listener.clips.length + count;
  for (const end = Date.now() + 45_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 200))) {
    if (listener.clips.length >= wanted) return;
  }
  throw new Error(`${wanted - listener.clips.length} of ${count} clips did not come`);
}

/** Ends the livestream as people do, and sees that it ended. @param {import("./tab.js").Tab} tab */
async function endLivestream(tab) {
  await tab.click("#live");
  await tab.click("#end-yes");
  await isIn(tab, "ended");
}

for (const [name, open] of Object.entries({ Firefox: openFirefox, WebKitGTK: openWebKit })) {
  describe(name, () => {
    /** @type {import("./tab.js").Browser | null} */ let browser = null;

    before(async () => {
      browser = loudspeaker && (await open());
      console.log(browser ? `browsers: ${browser.name}` : `browsers: ${name} is not tried: it, its driver or PulseAudio is not installed`);
    });

    after(() => browser?.close());

    test("a listening page says what is heard, from before the livestream to its end", async (context) => {
      if (!browser) return context.skip(`${name} is not installed`);
      const tab = await listen(browser);
      await isIn(tab, "waiting");
      const livestream = stream(network.through(server.studio), clips("mp3"));
      await isIn(tab, "live");
      await hears(tab, 16);
      assert.deepEqual(breaks(await heardRungs(tab)), []);
      assert.match(await tab.text("#behind"), /^[1-5]\.\d s$/);
      await picture(tab, `${name}-listen-live`);

      network.cut();
      await isIn(tab, "away");
      network.mend();
      livestream.hurry();
      await isIn(tab, "live");
      const since = (await heardRungs(tab)).length;
      await hears(tab, since + 8);
      assert.deepEqual(breaks(await heardRungs(tab)), [], "nothing is lost while the streamer is away");

      await tab.run("context.suspend().then(() => true)");
      await isIn(tab, "paused");
      await tab.click("#play");
      await isIn(tab, "live");
      const from = (await heardRungs(tab)).length;
      await hears(tab, from + 8);
      await livestream.end();
      await isIn(tab, "ended");
      await picture(tab, `${name}-listen-ended`);
      await tab.close();
    });

    test("a studio with a file is heard, through a lost connection and a pause, to the file's end", async (context) => {
      if (!browser) return context.skip(`${name} is not installed`);
      // As a file WebKitGTK plays no WAV.
      const [kind, bytes] = name === "WebKitGTK" ? ["mp3", asMp3(ladderWav(60))] : ["wav", ladderWav(60)];
      const tab = await browser.tab(PHONE);
      await tab.go(network.through(server.studio));
      await tab.click("#source label:nth-of-type(2)");
      await tab.run(`(() => {
        const files = new DataTransfer();
        files.items.add(new File([Uint8Array.from(atob("${bytes.toString("base64")}"), (it) => it.charCodeAt(0))], "ladder.${kind}", { type: "audio/${kind}" }));
        const input = document.getElementById("file-input");
        input.files = files.files;
        input.dispatchEvent(new Event("change"));
        return true;
      })()`);
      await tab.until("!document.getElementById('file-player').hidden");
      await tab.click("#live");
      await sounds(tab, "heard");
      const listener = hear(server.studio, server.listen);
      await clipsCome(listener, 8);
      // The file starts a moment after the clips do.
      assert.ok(listener.longestSilence(2) < 50, `${listener.longestSilence(2)} ms of silence`);
      await picture(tab, `${name}-studio-file`);

      network.cut();
      await isIn(tab, "reconnecting");
      network.mend();
      await isIn(tab, "live");
      await clipsCome(listener, 6);
      assert.ok(listener.longestSilence(2) < 50, `${listener.longestSilence(2)} ms of silence after an outage`);

      await tab.run("(() => { const it = document.getElementById('file-player'); it.currentTime = it.duration - 1; return true })()");
      await sounds(tab, "file-ended");
      await endLivestream(tab);
      listener.close();
      await tab.close();
    });

    test("a studio with a microphone is heard, and lets go of it at the end", async (context) => {
      if (!browser) return context.skip(`${name} is not installed`);
      if (name === "WebKitGTK") return context.skip("WebKitGTK has no microphone without a question that nobody answers");
      const tab = await browser.tab(PHONE);
      await tab.go(network.through(server.studio));
      await tab.run(`(() => {
        globalThis.tracks = [];
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => {
          const stream = await ask(wish);
          tracks.push(...stream.getTracks());
          return stream;
        };
        return true;
      })()`);
      await tab.click("#clean"); // a tone is no voice
      await tab.click("#live");
      await sounds(tab, "heard");
      const listener = hear(server.studio, server.listen);
      await clipsCome(listener, 6);
      assert.ok(listener.longestSilence() < 50, `${listener.longestSilence()} ms of silence`);
      await picture(tab, `${name}-studio-microphone`);
      await tab.click("#mute");
      await sounds(tab, "muted");
      await tab.click("#mute");
      await sounds(tab, "heard");
      await endLivestream(tab);
      assert.deepEqual(await tab.run("tracks.map((it) => it.readyState)"), ["ended"]);
      listener.close();
      await tab.close();
    });

    test("clips of every kind are decoded and joined", async (context) => {
      if (!browser) return context.skip(`${name} is not installed`);
      // It crashes now and then while it is driven, so what it is asked is short.
      if (name === "WebKitGTK") return context.skip("not in WebKitGTK");
      // One after the other in one livestream, a second of each.
      const row = mixedClips(KINDS);
      const tab = await listen(browser);
      const livestream = stream(server.studio, row);
      await hears(tab, 4 * (KINDS.length + 2));
      assert.deepEqual(breaks(await heardRungs(tab)), []);
      assert.deepEqual(await tab.run("Object.keys(document.body.dataset).filter((it) => ['broken', 'lost', 'missed'].includes(it))"), []);
      await livestream.end();
      await isIn(tab, "ended");
      await tab.close();
    });
  });
}
