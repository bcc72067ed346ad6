// @ts-check
/**
 * Every state of the studio and the listening page in four layouts, by day and by night: accessible, readable and not cut off.
 * Each is kept as a picture in CASTAWAY_SCREENSHOTS, if that is set, for people to look at.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startDaemon } from "../e2e/accounts.js";
import { encoded, ladderWav } from "../e2e/ladder.js";
import { Network, Server, endLivestream, faults, isIn, openBrowser, openPage, picture, reachContexts, sounds } from "../e2e/stage.js";

const LAYOUTS = {
  phone: { width: 390, height: 664 },
  landscape: { width: 844, height: 390 },
  tablet: { width: 820, height: 1180 },
  desktop: { width: 1280, height: 800 },
};

/** @type {Server} */ let server;
/** @type {Network} */ let near;
/** @type {Network} */ let far;
/** @type {Awaited<ReturnType<typeof startDaemon>>} */ let daemon;
/** @type {import("playwright-core").Browser} */ let browser;

before(async () => {
  server = await Server.start();
  near = await Network.to(server.port);
  far = await Network.to(server.port);
  daemon = await startDaemon((state) => ({ CASTAWAY_RECORDING__URL: `file://${state}/bucket` }));
  await daemon.makeUser("ada@example.com", "secret", "talk");
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  near?.close();
  far?.close();
  await server?.stop();
  await daemon?.stop();
});

/** Text that its box cuts off, and boxes that leave the window. @param {import("playwright-core").Page} page @returns {Promise<string[]>} */
const cutOff = (page) =>
  page.evaluate(() => {
    const seen = [...document.querySelectorAll("header *, main *, footer *")].filter((it) => it.checkVisibility() && !it.closest("svg, .unseen, select, audio, .level"));
    return seen
      .filter((it) => {
        const { left, right } = it.getBoundingClientRect();
        const clipped = getComputedStyle(it).overflowX !== "visible" && !(it instanceof HTMLInputElement) && it.scrollWidth > it.clientWidth + 1;
        return clipped || (right - left > 0 && (left < -1 || right > innerWidth + 1));
      })
      .map((it) => it.outerHTML.slice(0, 120));
  });

/** @param {import("playwright-core").Page} page @param {string} name */
async function look(page, name) {
  for (const [layout, size] of Object.entries(LAYOUTS)) {
    for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const at = `${name}, ${layout}, ${colorScheme}`;
      await page.evaluate("scrollTo(0, 0)");
      assert.deepEqual(await faults(page), [], at);
      assert.deepEqual(await cutOff(page), [], at);
      await picture(page, `${name}--${layout}-${colorScheme}`);
    }
  }
  await page.setViewportSize(LAYOUTS.phone);
}

/** @param {string} address */
async function open(address) {
  const page = await openPage(browser, { viewport: LAYOUTS.phone });
  await page.addInitScript(reachContexts);
  await page.goto(address);
  return page;
}

test("pages beside a livestream", async () => {
  const page = await open(new URL("/", server.studio).href);
  await look(page, "index");
  for (const [name, path] of /** @type {const} */ ([["listen-no-link", "/listen"], ["studio-no-link", "/studio"], ["listen-refused", "/listen/demo#pass=wrong"], ["studio-refused", "/studio#livestream=demo&token=wrong"]])) {
    await page.goto(new URL(path, server.studio).href);
    if (name.endsWith("refused")) {
      await page.click(name.startsWith("listen") ? "#play" : "#live");
      await isIn(page, "refused");
    }
    await look(page, name);
  }
  await page.context().close();
});

test("pages with accounts", async () => {
  const page = await open(`${daemon.url}/listen/talk`);
  await look(page, "listen-sign-in");
  await page.goto(`${daemon.url}/studio#livestream=talk`);
  await page.fill("#sign-in-email", "ada@example.com");
  await page.fill("#sign-in-password", "wrong");
  await page.click("#sign-in [type=submit]");
  await page.waitForSelector("#sign-in-problem:not([hidden])");
  await look(page, "studio-sign-in-wrong");
  await page.fill("#sign-in-password", "secret");
  await page.click("#sign-in [type=submit]");
  await page.waitForSelector("#account:not([hidden])");
  await look(page, "studio-signed-in");
  await page.goto(`${daemon.url}/listen/talk`);
  await look(page, "listen-signed-in");
  await page.context().close();
});

test("a livestream that is recorded", async () => {
  const listener = await open(`${daemon.url}/listen/talk`);
  const studio = await open(`${daemon.url}/studio#livestream=talk`);
  for (const page of [listener, studio]) {
    await page.fill("#sign-in-email", "ada@example.com");
    await page.fill("#sign-in-password", "secret");
    await page.click("#sign-in [type=submit]");
    await page.waitForSelector("#sign-in", { state: "hidden" });
  }
  await studio.locator("#clean").uncheck();
  await studio.click("#live");
  await studio.waitForSelector("#recording[data-going=on]");
  await sounds(studio, "heard");
  await look(studio, "studio-recorded");
  await listener.click("#play");
  await isIn(listener, "live");
  await listener.waitForSelector("#recorded");
  await look(listener, "listen-recorded");
  await studio.click("#recording-pause");
  await studio.waitForSelector("#recording[data-going=paused]");
  await look(studio, "studio-recording-paused");
  await endLivestream(studio);
  await studio.context().close();
  await listener.context().close();
});

test("a listener's states", async () => {
  const named = { user: "ada", livestream: "tea", about: { title: "Tea & talk: an afternoon with a rather long title", artistName: "Ada Lovelace", description: "What we drink, and why. ".repeat(8) } };
  const made = await fetch(new URL("/demo/token", server.studio), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(named) });
  const { token } = /** @type {{token: string}} */ (await made.json());
  const studio = await open(near.through(new URL(`/studio#livestream=tea&token=${token}`, server.studio).href));
  const page = await open(far.through(new URL(`/listen/tea#token=${token}`, server.studio).href));
  await page.click("#description summary");
  await look(page, "listen-idle");
  await page.click("#play");
  await isIn(page, "waiting");
  await look(page, "listen-waiting");
  await studio.locator("#clean").uncheck();
  await studio.click("#live");
  await isIn(page, "live");
  await page.click("#other-player summary");
  await look(page, "listen-live");
  await page.click("#other-player summary");
  await page.evaluate("interrupt()");
  await isIn(page, "paused");
  await look(page, "listen-paused");
  await page.click("#play");
  await isIn(page, "live");
  near.cut();
  await isIn(page, "away");
  await look(page, "listen-away");
  near.mend();
  await isIn(page, "live");
  far.cut();
  await isIn(page, "reconnecting");
  await look(page, "listen-reconnecting");
  far.mend();
  await isIn(page, "live");
  await endLivestream(studio);
  await isIn(page, "ended");
  await look(page, "listen-ended");
  await studio.context().close();
  await page.context().close();
});

test("a studio's states", async () => {
  const page = await open(near.through(server.studio));
  await look(page, "studio-off");
  await page.click("#source label:nth-of-type(2)");
  await page.setInputFiles("#file-input", { name: "a-file-with-a-rather-long-name-that-nobody-can-play.aiff", mimeType: "audio/*", buffer: encoded("aiff") });
  await page.waitForSelector("#refusal:not([hidden])");
  await look(page, "studio-file-broken");
  await page.setInputFiles("#file-input", { name: "ladder.wav", mimeType: "audio/*", buffer: ladderWav(60) });
  await page.waitForSelector("#live[aria-disabled=false]");
  await page.click("#live");
  await sounds(page, "heard");
  await page.click("#qr summary");
  await page.waitForSelector("#qr-code svg");
  await page.click(".clips summary");
  await look(page, "studio-live");
  await page.click("#mute");
  await sounds(page, "muted");
  await look(page, "studio-muted");
  await page.click("#mute");
  await page.evaluate("document.getElementById('file-player').pause()");
  await sounds(page, "file-paused");
  await look(page, "studio-file-paused");
  await page.evaluate("interrupt()");
  await sounds(page, "paused");
  await look(page, "studio-paused");
  await page.click("#air-title");
  await page.evaluate("document.getElementById('file-player').play()");
  await sounds(page, "heard");
  near.hold();
  await sounds(page, "unanswered");
  await look(page, "studio-unanswered");
  near.release();
  await sounds(page, "heard");
  near.cut();
  await isIn(page, "reconnecting");
  await look(page, "studio-reconnecting");
  near.mend();
  await isIn(page, "live");
  await page.click("#live");
  await look(page, "studio-end-asked");
  await page.click("#end-yes");
  await isIn(page, "ended");
  await look(page, "studio-ended");
  await page.context().close();
});
