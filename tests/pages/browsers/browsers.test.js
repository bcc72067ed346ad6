// @ts-check
/**
 * The listening page before, during and after a livestream, in browsers other than Chromium. The streamer is a program, so
 * that one browser at a time has the machine. A browser that is not installed is skipped.
 */

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { KINDS, breaks, clips, mixedClips } from "../e2e/ladder.js";
import { Network, Server } from "../e2e/stage.js";
import { openFirefox } from "./firefox.js";
import { openLoudspeaker } from "./loudspeaker.js";
import { heardRungs, hears, stream, tapSound } from "./sound.js";
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
