// @ts-check
/** A livestream that is recorded: both pages say so, and the studio pauses it. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { startDaemon } from "./accounts.js";
import { Network, endLivestream, faults, isIn, openBrowser, openPage, picture, sounds } from "./stage.js";

const PHONE = { width: 390, height: 664 };
const [EMAIL, PASSWORD] = ["ada@example.com", "correct horse"];

/** @type {Awaited<ReturnType<typeof startDaemon>>} */ let daemon;
/** @type {Network} */ let network;
/** @type {import("playwright-core").Browser} */ let browser;

before(async () => {
  daemon = await startDaemon((state) => ({ CASTAWAY_RECORDING__URL: `file://${join(state, "bucket")}` }));
  network = await Network.to(Number(new URL(daemon.url).port));
  await daemon.makeUser(EMAIL, PASSWORD, "talk");
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  network?.close();
  await daemon?.stop();
});

/** @param {string} address */
async function open(address) {
  const page = await openPage(browser, { viewport: PHONE });
  await page.goto(address);
  await page.fill("#sign-in-email", EMAIL);
  await page.fill("#sign-in-password", PASSWORD);
  await page.click("#sign-in [type=submit]");
  await page.waitForSelector("#sign-in", { state: "hidden" });
  return page;
}

/** @param {import("playwright-core").Page} page @param {"on" | "paused" | "pausing"} going */
const goes = (page, going) => page.waitForSelector(`#recording[data-going="${going}"]`, { timeout: 20_000 });

/** Whether a listener is told that it is recorded, once it is or is not. @param {import("playwright-core").Page} page @param {boolean} is */
const isTold = (page, is) => page.waitForSelector("#recorded", { state: is ? "visible" : "hidden", timeout: 10_000 });

/** How many clips the server has acknowledged. @param {import("playwright-core").Page} page */
const sent = async (page) => Number(await page.locator("#sent").innerText());

/** Waits for so many more clips. @param {import("playwright-core").Page} page @param {number} more */
async function sends(page, more) {
  const until = (await sent(page)) + more;
  await page.waitForFunction((count) => Number(document.getElementById("sent")?.textContent) >= count, until, { timeout: 30_000 });
}

/** The manifest, once the recording is finished. */
async function manifest() {
  const bucket = join(daemon.state, "bucket");
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const found = readdirSync(bucket, { recursive: true, encoding: "utf8" }).find((it) => it.endsWith("manifest.json"));
    if (found) return JSON.parse(readFileSync(join(bucket, found), "utf8"));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the recording is not finished");
}

test("both pages say that it is recorded, and the studio pauses it", { timeout: 180_000 }, async () => {
  const studio = await open(`http://127.0.0.1:${network.port}/studio#livestream=talk`);
  const listener = await open(`${daemon.url}/listen/talk`);
  assert.equal(await studio.locator("#recording").isVisible(), false, "off air");
  assert.equal(await listener.locator("#recorded").isVisible(), false, "not listening");
  await studio.locator("#clean").uncheck();
  await studio.click("#live");
  await sounds(studio, "heard");
  await goes(studio, "on");
  assert.match(await studio.locator("#recording-words").innerText(), /is being recorded/);
  await listener.click("#play");
  await isIn(listener, "live");
  await isTold(listener, true);
  assert.match(await listener.locator(".words[role=status]").innerText(), /This livestream is being recorded\./);
  for (const [page, name] of /** @type {const} */ ([[studio, "studio-recorded"], [listener, "listen-recorded"]])) {
    assert.deepEqual(await faults(page), [], name);
    await picture(page, name);
  }
  await sends(studio, 2);

  await studio.click("#recording-pause");
  await goes(studio, "paused");
  await isTold(listener, false);
  assert.match(await studio.locator("#recording-words").innerText(), /paused/);
  assert.deepEqual(await faults(studio), []);
  await picture(studio, "studio-recording-paused");
  await sends(studio, 3);
  await isIn(listener, "live");

  // A pause outlives a lost connection.
  network.cut();
  await isIn(studio, "reconnecting");
  network.mend();
  await isIn(studio, "live");
  await sends(studio, 2);
  await goes(studio, "paused");
  await isTold(listener, false);

  await studio.click("#recording-pause");
  await goes(studio, "on");
  await isTold(listener, true);
  await sends(studio, 2);

  // One that is asked for without a connection holds for the clips that wait.
  network.cut();
  await isIn(studio, "reconnecting");
  await studio.click("#recording-pause");
  await goes(studio, "pausing");
  await studio.waitForFunction(() => Number(document.getElementById("waiting")?.textContent) >= 2);
  network.mend();
  await isIn(studio, "live");
  await goes(studio, "paused");
  await sends(studio, 2);
  await endLivestream(studio);
  await isIn(listener, "ended");
  await isTold(listener, false);
  assert.equal(await studio.locator("#recording").isVisible(), false);

  const { clips, gaps, missing } = await manifest();
  assert.deepEqual(missing, []);
  assert.ok(clips.length >= 4, `${clips.length} clips`);
  const reasons = gaps.map((/** @type {{reason: string}} */ it) => it.reason);
  assert.ok(reasons.includes("pause"), reasons.join());
  const steps = clips.slice(1).map((/** @type {{sequence: number}} */ it, /** @type {number} */ at) => it.sequence - clips[at].sequence);
  assert.equal(steps.filter((/** @type {number} */ step) => step > 1).length, 1, "one pause between clips");
});
