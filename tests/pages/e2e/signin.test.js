// @ts-check
/** Accounts on the pages: a streamer and a listener sign in with e-mail and password, and stay signed in. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startDaemon } from "./accounts.js";
import { endLivestream, faults, isIn, openBrowser, openPage, picture, sounds } from "./stage.js";

const PHONE = { width: 390, height: 664 };
const [EMAIL, PASSWORD] = ["ada@example.com", "correct horse"];

/** @type {Awaited<ReturnType<typeof startDaemon>>} */ let daemon;
/** @type {import("playwright-core").Browser} */ let browser;
let ada = "";

before(async () => {
  daemon = await startDaemon();
  ada = await daemon.makeUser(EMAIL, PASSWORD, "talk");
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/** @param {import("playwright-core").Page} page @param {string} password */
async function signIn(page, password) {
  await page.fill("#sign-in-email", EMAIL);
  await page.fill("#sign-in-password", password);
  await page.click("#sign-in [type=submit]");
}

/** Whether an element is to be seen, once it is or is not. @param {import("playwright-core").Page} page @param {string} id @param {boolean} seen */
const isSeen = (page, id, seen) => page.waitForSelector(`#${id}`, { state: seen ? "visible" : "hidden", timeout: 10_000 });

/** Waits for what the page sends to match. @param {string[]} sent @param {RegExp} wanted */
async function sends(sent, wanted) {
  for (const end = Date.now() + 15_000; Date.now() < end; ) {
    const found = sent.find((it) => wanted.test(it));
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nothing like ${wanted} was sent`);
}

/** What the page sends over its WebSockets. @param {import("playwright-core").Page} page */
function sentBy(page) {
  /** @type {string[]} */ const sent = [];
  page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(String(payload))));
  return sent;
}

test("a streamer and a listener sign in, stay so, and sign out", async () => {
  const listener = await openPage(browser, { viewport: PHONE });
  const sent = sentBy(listener);
  await listener.goto(`${daemon.url}/listen/talk`);
  await isSeen(listener, "sign-in", true);
  await isSeen(listener, "stage", false);
  await isSeen(listener, "no-link", false);
  assert.deepEqual(await faults(listener), []);
  await picture(listener, "listen-sign-in");

  await signIn(listener, "wrong");
  await listener.waitForFunction(() => /is wrong/.test(document.getElementById("sign-in-problem")?.textContent ?? ""));
  assert.deepEqual(await faults(listener), []);
  await picture(listener, "listen-sign-in-wrong");
  await listener.click("#sign-in-reset");
  await listener.waitForFunction(() => /on its way/.test(document.getElementById("sign-in-note")?.textContent ?? ""));
  // The browser itself tells of the answer 400, and of nothing that the policy forbids.
  assert.deepEqual(listener.complaints.filter((it) => !/status of 400/.test(it)), []);
  listener.complaints.length = 0;

  // Its tokens end soon, and are renewed before.
  await listener.route(/signInWithPassword|v1\/token/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), expiresIn: "8", expires_in: "8" } });
  });
  await signIn(listener, PASSWORD);
  await isSeen(listener, "sign-in", false);
  assert.equal(await listener.locator("#account-name").innerText(), EMAIL);
  assert.equal(await listener.inputValue("#sign-in-password"), "");
  await listener.click("#play");
  await isIn(listener, "waiting");
  assert.deepEqual(await faults(listener), []);
  await picture(listener, "listen-signed-in");

  // Another page of this device is signed in too.
  const studio = Object.assign(await listener.context().newPage());
  await studio.setViewportSize(PHONE);
  await studio.goto(`${daemon.url}/studio#livestream=talk`);
  await isSeen(studio, "account", true);
  await picture(studio, "studio-signed-in");
  await studio.locator("#clean").uncheck();
  await studio.click("#live");
  await sounds(studio, "heard");
  assert.ok(await studio.locator("#account").isHidden(), "nobody signs out while on air");
  await isIn(listener, "live");
  await sends(sent, /^42\/listener,\["token",/);

  await endLivestream(studio);
  await isIn(studio, "ended");
  await isIn(listener, "ended");
  await studio.reload();
  await studio.click("#sign-out");
  await isSeen(studio, "sign-in", true);
  await isSeen(studio, "desk", false);
  assert.deepEqual(await faults(studio), []);
  await picture(studio, "studio-sign-in");
  await isSeen(listener, "sign-in", true);
  assert.equal(await listener.evaluate("localStorage.length"), 0);
  assert.deepEqual(listener.complaints, []);
  await listener.context().close();
});

test("an account that was disabled is signed out, and told why", async () => {
  const studio = await openPage(browser, { viewport: PHONE });
  await studio.goto(`${daemon.url}/studio#livestream=talk`);
  await signIn(studio, PASSWORD);
  await isSeen(studio, "desk", true);
  await daemon.disable(ada);
  await studio.reload();
  await studio.click("#live");
  await isSeen(studio, "sign-in", true);
  assert.match(await studio.locator("#sign-in-problem").innerText(), /has been disabled/);
  await isIn(studio, "off");
  await signIn(studio, PASSWORD);
  await studio.waitForFunction(() => /has been disabled/.test(document.getElementById("sign-in-problem")?.textContent ?? ""));
  await studio.context().close();
});

test("a link with a token asks nobody to sign in", async () => {
  const page = await openPage(browser);
  await page.goto(`${daemon.url}/listen/talk#pass=anything`);
  assert.ok(await page.locator("#sign-in").isHidden());
  assert.ok(await page.locator("#account").isHidden());
  assert.ok(await page.locator("#play").isVisible());
  await page.goto(`${daemon.url}/listen`);
  assert.ok(await page.locator("#no-link").isVisible());
  assert.ok(await page.locator("#sign-in").isHidden());
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});
