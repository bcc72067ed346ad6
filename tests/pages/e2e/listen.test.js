// @ts-check
/** What the listening page says of its sound, and how clips of other clients are joined, at the level of samples. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { KINDS, breaks, clips, encoded, ladderWav } from "./ladder.js";
import { Server, heardRungs, hears, isIn, openBrowser, openPage, picture, reachContexts, tap, tapped } from "./stage.js";

/** @type {Server} */ let server;
/** @type {import("playwright-core").Browser} */ let browser;
/** @type {Awaited<ReturnType<typeof openPage>>} */ let listener;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function listen() {
  await listener?.context().close();
  listener = await openPage(browser, { ...tapped, viewport: { width: 390, height: 664 } });
  await tap(listener);
  await listener.addInitScript(reachContexts);
  await listener.addInitScript(() => {
    Object.assign(globalThis, { decoded: 0 });
    const decode = BaseAudioContext.prototype.decodeAudioData;
    BaseAudioContext.prototype.decodeAudioData = function (/** @type {any[]} */ ...args) {
      /** @type {any} */ (globalThis).decoded++;
      return Reflect.apply(decode, this, args);
    };
  });
  await listener.goto(server.listen);
  await listener.click("#play");
}

/**
 * A livestream of another client, which sends these clips round and round.
 * @param {Buffer[]} row @param {number} seconds
 */
async function stream(row, seconds = 1) {
  const other = await openPage(browser);
  await other.goto(new URL("/", server.studio).href);
  await other.evaluate(
    async ({ hash, row, seconds }) => {
      const from = "/pages/client/connection.js";
      const { Connection, endpoint } = await import(from);
      const said = new URLSearchParams(hash.slice(1));
      const clips = row.map((it) => Uint8Array.from(atob(it), (letter) => letter.charCodeAt(0)));
      let number = 0;
      const connection = new Connection({
        url: endpoint(location),
        namespace: "/streamer",
        auth: () => ({ idToken: said.get("token"), livestreamId: said.get("livestream") }),
        on: { left() {}, lost() {}, event() {} },
      });
      let began = performance.now();
      const next = () => {
        connection.emit("upload", clips[number++ % clips.length]);
        setTimeout(next, began + number * seconds * 1000 - performance.now());
      };
      while (!connection.joined) await new Promise((resolve) => setTimeout(resolve, 20));
      next();
      const burst = (/** @type {number} */ count) => {
        for (const until = number + count; number < until; ) connection.emit("upload", clips[number++ % clips.length]);
        began -= count * seconds * 1000;
      };
      Object.assign(globalThis, { burst, end: () => connection.close() });
    },
    { hash: new URL(server.studio).hash, row: row.map((it) => it.toString("base64")), seconds },
  );
  return {
    /** As after an outage: so many clips at once. @param {number} count */
    burst: (count) => other.evaluate((count) => /** @type {any} */ (globalThis).burst(count), count),
    async end() {
      await other.evaluate("end()");
      await other.context().close();
      await isIn(listener, "ended");
    },
  };
}

/** What the page says of its delay, once it does. @returns {Promise<number>} seconds */
async function behindNow() {
  await listener.waitForFunction(() => document.getElementById("behind")?.textContent?.endsWith(" s"));
  return Number.parseFloat(await listener.locator("#behind").innerText());
}

/** The longest silence since the first sound, in milliseconds. */
async function longestSilence() {
  const quiet = await listener.evaluate(() => {
    const heard = /** @type {{level: number, quiet: number}[]} */ (/** @type {any} */ (globalThis).heard);
    const first = heard.findIndex(({ level }) => level > 0.05);
    return Math.max(...heard.slice(first + 2).map((it) => it.quiet));
  });
  return quiet / 48;
}

for (const [kind, ...how] of KINDS) {
  test(`clips of another client have no silence at their seams: ${[kind, ...how].join(" ")}`, async () => {
    const row = clips(kind ?? "", ...how);
    // A machine that is busy sends a clip too late now and then: that is not a seam of the encoding.
    for (let more = 3, smooth = false; !smooth; more--) {
      await listen();
      await isIn(listener, "waiting", "ended");
      const livestream = await stream(row);
      try {
        await hears(listener, 32);
        const silence = await longestSilence();
        const late = await listener.getAttribute("body", "data-late");
        smooth = late === null;
        if (!smooth && more > 0) continue;
        assert.ok(silence < 5, `${silence} ms of silence, ${late} clips late`);
        assert.deepEqual(breaks(await heardRungs(listener)), []);
      } finally {
        await livestream.end();
      }
    }
  });
}

test("a page whose sound the browser pauses says so, and goes on live", async () => {
  await listen();
  const livestream = await stream(clips("wav"));
  await isIn(listener, "live");
  await hears(listener, 8);
  await listener.evaluate("contexts[0].suspend()");
  await isIn(listener, "paused");
  await picture(listener, "listen-paused");
  await listener.waitForTimeout(8_000);
  await listener.click("#play");
  await isIn(listener, "live");
  const from = (await heardRungs(listener)).length;
  await hears(listener, 8, from);
  const behind = Number.parseFloat(await listener.locator("#behind").innerText());
  assert.ok(behind < 4, `${behind} s behind`);

  // As on iOS: what was interrupted may never run again, and a tap makes another.
  for (const [count, act] of [[2, "interrupt()"], [3, "hang()"]]) {
    await listener.evaluate(String(act));
    await isIn(listener, "paused");
    await listener.click("#play");
    await isIn(listener, "live");
    const since = (await heardRungs(listener)).length;
    await hears(listener, 8, since);
    assert.deepEqual(breaks((await heardRungs(listener)).slice(since)), []);
    assert.equal(await listener.evaluate("contexts.length"), count);
    assert.equal(await listener.evaluate("contexts.filter((it) => !Object.hasOwn(it, 'state')).length"), 1);
  }
  await livestream.end();
});

test("a listener who is behind live is offered to jump, and is live at once", async () => {
  await listen();
  const livestream = await stream(clips("wav"));
  await isIn(listener, "live");
  assert.ok(await listener.locator("#jump").isHidden());
  await livestream.burst(12);
  await listener.waitForSelector("#jump:not([hidden])");
  await picture(listener, "listen-behind");
  await listener.waitForFunction(() => Number.parseFloat(document.getElementById("behind")?.textContent ?? "") > 8);
  await listener.click("#jump");
  assert.ok(await listener.locator("#jump").isHidden());
  assert.ok((await behindNow()) < 3, `${await behindNow()} s behind`);
  const from = (await heardRungs(listener)).length;
  await hears(listener, 8, from);
  // One place where it jumped, and no clip is left out after it.
  assert.ok(breaks((await heardRungs(listener)).slice(from)).length <= 1);
  assert.equal(await listener.getAttribute("body", "data-lost"), null);
  await livestream.end();
});

test("a livestream that cannot be decoded is not said to be heard", async () => {
  await listen();
  const livestream = await stream([Buffer.from("no sound at all, whatever the browser")]);
  await isIn(listener, "undecodable");
  await picture(listener, "listen-undecodable");
  await livestream.end();
});

test("a streamer whose clips stay away is told", async () => {
  await listen();
  const livestream = await stream([ladderWav()], 600);
  await isIn(listener, "live");
  await isIn(listener, "quiet");
  await picture(listener, "listen-quiet");
  await livestream.end();
});

test("an hour in two megabytes is never decoded", async () => {
  const bomb = encoded("flac", "-af", "volume=0,aloop=loop=-1:size=168000", "-t", "3600", "-c:a", "flac", "-compression_level", "0", "-frame_size", "1792");
  // As large as a clip may be.
  assert.ok(bomb.length > 1_500_000 && bomb.length < 2_000_000, `${bomb.length}`);
  await listen();
  const livestream = await stream([bomb]);
  await isIn(listener, "undecodable");
  assert.equal(await listener.evaluate("decoded"), 0);
  await livestream.end();
});
