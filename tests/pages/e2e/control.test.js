// @ts-check
/** The control page against a real server with a livestream on air. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { WebSocket } from "ws";

import { Listener, Streamer } from "../../../clients/js/index.js";
import { Network, Server, faults, isIn, openBrowser, openPage, picture, sounds } from "./stage.js";

const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 900 };
/** A clip of the livestream, and how often one is sent. */
const CLIP = new Uint8Array(4_000);
const CLIP_MS = 250;

Object.assign(globalThis, { WebSocket });

/** @typedef {Awaited<ReturnType<typeof openPage>>} Page */

/** @type {Server} */ let server;
/** @type {import("playwright-core").Browser} */ let browser;
/** @type {Page[]} */ let pages = [];
/** Stops what sends and hears without a page. */
let offAir = () => {};

before(async () => {
  server = await Server.start();
  browser = await openBrowser("--autoplay-policy=no-user-gesture-required");
});

afterEach(async () => {
  offAir();
  offAir = () => {};
  for (const page of pages) await page.context().close();
  pages = [];
  // What a test has left.
  await api("POST", "/livestreams/demo/end");
  await api("DELETE", "/drain");
  for (const { kind, id } of (await api("GET", "/bans")).answer.bans) await api("DELETE", `/bans/${kind}/${encodeURIComponent(id)}`);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Asks the API itself. @param {string} method @param {string} path */
async function api(method, path) {
  const answer = await fetch(`http://127.0.0.1:${server.healthPort}/api/v1${path}`, { method, headers: { authorization: ["Bearer", server.token].join(" ") } });
  const text = await answer.text();
  return { status: answer.status, answer: text ? JSON.parse(text) : null };
}

/** @param {import("playwright-core").BrowserContextOptions} [options] */
async function newPage(options) {
  const page = await openPage(browser, options);
  pages.push(page);
  return page;
}

/** The control page, opened with the token. @param {import("playwright-core").BrowserContextOptions} [options] */
async function control(options, address = server.control) {
  const page = await newPage(options);
  await page.goto(address);
  await page.fill("#token", server.token);
  await page.keyboard.press("Enter");
  await isIn(page, "open");
  return page;
}

/** A livestream on air with one listener, both without a page: the control page alone is looked at. */
async function onAir() {
  const token = (/** @type {string} */ address) => new URLSearchParams(new URL(address).hash.slice(1)).get("token") ?? "";
  const options = (/** @type {string} */ address) => ({ url: new URL(address).origin, livestream: "demo", token: token(address) });
  const streamer = new Streamer(options(server.studio));
  const timer = setInterval(() => streamer.send(CLIP, CLIP_MS / 1000), CLIP_MS);
  /** @type {Listener | undefined} */ let listener;
  offAir = () => {
    clearInterval(timer);
    for (const client of [listener, streamer]) client?.close();
  };
  await new Promise((resolve) => (listener = new Listener({ ...options(server.listen), onClip: resolve })));
}

/** The same in the studio and on the listening page, for what these say. */
async function onAirOnPages() {
  const [studio, listener] = [await newPage(), await newPage()];
  await studio.goto(server.studio);
  await studio.click("#live");
  await isIn(studio, "live");
  await sounds(studio, "heard");
  await listener.goto(server.listen);
  await listener.click("#play");
  await isIn(listener, "live");
  return { studio, listener };
}

/** Waits until the element says this. @param {Page} page @param {string} selector @param {RegExp} words */
async function says(page, selector, words) {
  /** @type {string[]} */ let texts = [];
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    texts = await page.locator(selector).allInnerTexts();
    if (texts.some((text) => words.test(text))) return;
    await page.waitForTimeout(50);
  }
  assert.fail(`${selector} says ${JSON.stringify(texts)}, not ${words}`);
}

/** The id of the element that has the focus. @param {Page} page */
const focused = (page) => page.evaluate(() => document.activeElement?.id);

/** Opens the livestream on the page. @param {Page} page */
async function showDetails(page) {
  await page.click("#livestreams-rows button");
  await says(page, "#fact-state", /live/);
  await page.locator("#sockets-rows tr").nth(1).waitFor();
}

/** What an accessibility check finds, and how much the page is too wide. @param {Page} page @param {string} name */
async function isSound(page, name) {
  assert.deepEqual(await faults(page), [], name);
  assert.equal(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth)), 0, `${name} is too wide`);
  await picture(page, `control-${name}`);
}

test("the token opens the page for this tab alone", async () => {
  const page = await newPage();
  /** @type {string[]} */ const asked = [];
  page.on("request", (request) => asked.push(`${request.url()} ${request.postData() ?? ""}`));
  await page.goto(server.control);
  await page.fill("#token", "0123456789abcdef0123456789abcdef");
  await page.click("#enter");
  await says(page, "#refusal", /token is wrong.*castaway\.api\.token/);
  assert.equal(await page.locator("#room").isVisible(), false);
  await page.fill("#token", "Unmöglich");
  await page.click("#enter");
  await says(page, "#refusal", /token is wrong/);
  await page.fill("#token", server.token);
  await page.click("#enter");
  await isIn(page, "open");
  assert.equal(await page.inputValue("#token"), "");
  await page.reload();
  await isIn(page, "open");
  assert.deepEqual(await page.evaluate(() => [Object.values(sessionStorage), localStorage.length, document.cookie]), [[server.token], 0, ""]);
  assert.equal(page.url(), server.control);
  assert.deepEqual(asked.filter((it) => it.includes(server.token)), []);
  const other = await page.context().newPage();
  await other.goto(server.control);
  await isIn(/** @type {any} */ (other), "closed");
  await page.click("#leave");
  await isIn(page, "closed");
  assert.deepEqual(await page.evaluate(() => [sessionStorage.length, document.querySelectorAll("#room tbody tr").length]), [0, 0]);
  assert.equal(await focused(page), "token");
  // Two wrong ones; the browser itself reports the answer 401 to each that was sent.
  assert.deepEqual(page.complaints.filter((it) => !it.includes("401")), []);
});

test("livestreams are shown with their plots, live", async () => {
  const page = await control();
  await says(page, "#livestreams-none", /Nobody is on air/);
  await onAir();
  const row = page.locator("#livestreams-rows tr");
  await says(page, "#livestreams-rows tr", /demo\s+live\s+host/);
  await says(page, '#livestreams-rows [data-field="listeners"]', /^\s*1\s*$/);
  await says(page, '#livestreams-rows [data-field="rate"]', /[1-9]\d* kbit\/s/);
  assert.match(await page.innerText("#livestreams-age"), /^updated \d s ago$/);
  await page.waitForFunction(() => (document.querySelector('[data-field="listeners"] path')?.getAttribute("d") ?? "").split("L").length > 2);
  assert.equal(await row.count(), 1);
  await api("POST", "/livestreams/demo/end");
  await says(page, "#livestreams-none", /Nobody is on air/);
  assert.deepEqual(page.complaints, []);
});

test("a livestream's sockets are shown and disconnected", async () => {
  const { listener } = await onAirOnPages();
  const page = await control();
  await showDetails(page);
  assert.equal(await focused(page), "details-title");
  assert.match(await page.innerText("#sockets-rows"), /host\s+streamer[^]*guest\s+listener/);
  await page.fill("#sockets-search", "guest");
  assert.equal(await page.locator("#sockets-rows tr").count(), 1);
  await page.getByRole("button", { name: "Disconnect… guest" }).click();
  await says(page, "#question-title", /Disconnect the listener guest\?/);
  await page.fill("#kick-text", "Mind the gap.");
  await page.click("#question-yes");
  await says(page, "#said", /Disconnected: guest\./);
  await isIn(listener, "refused");
  await says(listener, "main", /Mind the gap\./);
  await page.fill("#sockets-search", "");
  await says(page, "#sockets-count", /^1$/);
  await page.click("#details-close");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "demo");
});

test("a kicked streamer is told why", async () => {
  const { studio } = await onAirOnPages();
  const page = await control();
  await showDetails(page);
  await page.click("#kick");
  await page.fill("#kick-text", "Too loud.");
  await page.keyboard.press("Enter");
  await says(page, "#said", /Disconnected: host\./);
  assert.equal(await focused(page), "kick");
  await isIn(studio, "refused");
  await says(studio, "main", /Too loud\./);
  await says(page, "#livestreams-rows tr", /reconnecting/);
  assert.equal(await page.getAttribute("#kick", "aria-disabled"), "true");
});

test("an end is asked about, and ends it for everybody", async () => {
  const { studio, listener } = await onAirOnPages();
  const page = await control();
  await showDetails(page);
  await page.click("#end");
  await says(page, "#question-title", /End demo for everybody\?/);
  await page.click("#question-no");
  assert.equal(await focused(page), "end");
  await isIn(studio, "live");
  await page.click("#end");
  await page.click("#question-yes");
  await says(page, "#said", /demo is over/);
  await isIn(listener, "ended");
  await isIn(studio, "refused", "ended");
  await says(page, "#details-words", /is over/);
  assert.equal(await page.getAttribute("#end", "aria-disabled"), "true");
  // Its streamer can still be banned.
  assert.equal(await page.getAttribute("#ban-streamer", "aria-disabled"), "false");
});

test("an act that is refused says why and stays", async () => {
  await onAir();
  const page = await control();
  await showDetails(page);
  await page.click("#end");
  await api("POST", "/livestreams/demo/end");
  await page.click("#question-yes");
  await says(page, "#question-error", /No such livestream\./);
  assert.equal(await page.locator("#question").isVisible(), true);
});

test("a question asked again at once is answered", async () => {
  await onAir();
  const page = await control();
  await showDetails(page);
  await page.click("#end");
  // The browser tells that a dialog is closed after what happens meanwhile.
  await page.evaluate(() => {
    const press = (/** @type {string} */ id) => document.getElementById(id)?.click();
    press("question-no");
    press("end");
  });
  await page.click("#question-yes");
  await says(page, "#said", /demo is over/);
  assert.equal(await focused(page), "end");
});

test("a ban has its reason and end, until it is removed", async () => {
  const { studio } = await onAirOnPages();
  const page = await control();
  await showDetails(page);
  await page.click("#ban-streamer");
  assert.equal(await focused(page), "ban-reason");
  await page.fill("#ban-reason", "noise & <b>worse</b>");
  await page.selectOption("#ban-end", "hour");
  const asked = Date.now();
  await page.click("#question-yes");
  await says(page, "#said", /Banned: the user host, until /);
  const done = Date.now();
  await isIn(studio, "refused");
  const { answer } = await api("GET", "/bans/user/host");
  assert.equal(answer.reason, "noise & <b>worse</b>");
  const from = Date.parse(answer.until) - 3_600_000;
  assert.ok(asked - 60_000 < from && from < done + 60_000, answer.until);
  await says(page, "#bans-rows", /host\s+user\s+until[^]*noise & <b>worse<\/b>/);
  // It asks again before it is refused again: until then it shows the refusal of before.
  const asks = studio.waitForEvent("websocket");
  await studio.click("#live");
  await asks;
  await isIn(studio, "refused");
  await says(studio, "main", /Banned by the operator/);
  await page.getByRole("button", { name: "Remove… the ban of the user host" }).click();
  await page.click("#question-yes");
  await says(page, "#said", /No longer banned: the user host/);
  await says(page, "#bans-none", /Nobody is banned/);
  await studio.click("#live");
  await isIn(studio, "live");
});

test("a ban by hand checks what is entered", async () => {
  const page = await control();
  await page.click("#ban");
  await page.click("#question-yes");
  await says(page, "#question-error", /Enter the id/);
  await page.selectOption("#ban-kind", "livestream");
  await page.fill("#ban-id", "some/where");
  await page.click("#question-yes");
  await says(page, "#question-error", /No livestream can have this id/);
  await page.fill("#ban-id", "some where?&%");
  await page.selectOption("#ban-end", "time");
  await page.click("#question-yes");
  await says(page, "#question-error", /Say when the ban ends/);
  await page.fill("#ban-time", "2020-01-01T10:00");
  await page.click("#question-yes");
  await says(page, "#question-error", /must be in the future/);
  await page.fill("#ban-time", "2199-01-01T10:00");
  await page.click("#question-yes");
  await says(page, "#said", /Banned: the livestream some where\?&%/);
  assert.equal((await api("GET", "/bans")).answer.bans[0].id, "some where?&%");
  await page.getByRole("button", { name: /^Remove…/ }).click();
  await page.click("#question-yes");
  await says(page, "#bans-none", /Nobody is banned/);
});

test("a drain shows what is left, and is undone", async () => {
  await onAir();
  const page = await control();
  const ready = async () => (await fetch(`http://127.0.0.1:${server.healthPort}/readyz`)).status;
  await page.getByRole("button", { name: /^Drain…/ }).click();
  await says(page, "#question-hint", /No other node is ready/);
  await page.click("#question-yes");
  await says(page, "#said", /drains: 1 streamer and 1 listener are left/);
  await says(page, "#nodes-rows", /drains: 1 streamer and \d listeners? left, \d+ s to go/);
  assert.equal(await ready(), 503);
  await page.getByRole("button", { name: /^Undo the drain/ }).click();
  await page.click("#question-yes");
  await says(page, "#said", /admits clients/);
  await says(page, "#nodes-rows td", /^ready$/);
  assert.equal(await ready(), 200);
});

test("a server that is gone leaves the last known, called stale", async () => {
  await onAir();
  const network = await Network.to(server.healthPort);
  const page = await control({}, network.through(server.control));
  await showDetails(page);
  network.cut();
  await says(page, "#trouble", /cannot be reached.*last known/);
  await says(page, "#livestreams-age", /^stale: updated \d+ s ago/);
  assert.match(await page.innerText("#livestreams-rows"), /demo\s+live/);
  await page.click("#end");
  await page.click("#question-yes");
  await says(page, "#question-error", /cannot be reached.*may have been done/);
  await page.keyboard.press("Escape");
  assert.equal(await focused(page), "end");
  await isSound(page, "stale");
  network.mend();
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await says(page, "#livestreams-age", /^updated \d s ago/);
  assert.equal(await page.locator("#trouble").isVisible(), false);
  network.close();
});

test("a token that is no longer valid closes the page", async () => {
  const page = await control();
  await page.click("#ban");
  await page.route("**/api/v1/**", (route) => route.fulfill({ status: 401, contentType: "application/problem+json", body: "{}" }));
  await isIn(page, "closed");
  await says(page, "#refusal", /no longer valid/);
  assert.equal(await page.locator("#question").isVisible(), false);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("too many failures say when the server listens again", async () => {
  const page = await newPage();
  await page.route("**/api/v1/**", (route) => route.fulfill({ status: 429, headers: { "retry-after": "37" }, contentType: "application/problem+json", body: '{"detail":"no"}' }));
  await page.goto(server.control);
  await page.fill("#token", server.token);
  await page.click("#enter");
  await says(page, "#refusal", /listens again in 37 s/);
});

test("nodes that do not answer are named", async () => {
  const page = await control();
  await page.route("**/api/v1/livestreams?*", (route) => route.fulfill({ json: { livestreams: [], total: 0, unanswered: ["b-2"] } }));
  await page.route("**/api/v1/nodes", (route) => {
    const silent = { name: "b-2", answers: false, version: null, ready: null, draining: null, degraded: null, livestreams: null, streamers: null, listeners: null, seconds_left: null };
    return route.fulfill({ json: { nodes: [silent] } });
  });
  await says(page, "#unanswered", /No answer from b-2/);
  await says(page, "#nodes-rows", /b-2\s+does not answer/);
  assert.equal(await page.locator("#nodes-rows button").getAttribute("aria-disabled"), "true");
});

test("ten thousand of everything stay a page each", async () => {
  const page = await control();
  const many = Array.from({ length: 10_000 }, (_, index) => index);
  const livestream = (/** @type {number} */ index) => ({ id: `livestream-${index}`, state: "live", streamer: "ada", node: "a-1", since: "2026-11-29T11:58:00Z", sequence: 1, listeners: 10_000 - index, clips: 1, bytes_in: 1, bytes_out: 1, clips_dropped: 0, bytes_per_second: 16_000 });
  await page.route("**/api/v1/livestreams?*", (route) => {
    const asked = new URL(route.request().url()).searchParams;
    const [offset, limit] = [Number(asked.get("offset")), Number(asked.get("limit"))];
    return route.fulfill({ json: { livestreams: many.slice(offset, offset + limit).map(livestream), total: 10_000, unanswered: [] } });
  });
  const sockets = many.map((index) => ({ id: `s${index}`, role: "listener", user: `user-${index}`, node: "a-1", transport: "websocket", since: "2026-11-29T11:58:00Z", clips_dropped: 0, lag_ms: 0 }));
  await page.route("**/api/v1/livestreams/livestream-50", (route) => route.fulfill({ json: { ...livestream(50), sockets, unanswered: [] } }));
  const bans = many.map((index) => ({ kind: "user", id: `user-${index}`, until: null, reason: "" }));
  await page.route("**/api/v1/bans", (route) => route.fulfill({ json: { bans } }));
  await says(page, "#page-words", /^1–50 of 10,000$/);
  assert.equal(await page.locator("#livestreams-rows tr").count(), 50);
  await page.click("#later");
  await says(page, "#page-words", /^51–100 of 10,000$/);
  await page.click("#livestreams-rows button");
  await says(page, "#sockets-words", /100 of 10,000 are shown/);
  assert.equal(await page.locator("#sockets-rows tr").count(), 100);
  await page.fill("#sockets-search", "user-9999");
  assert.equal(await page.locator("#sockets-rows tr").count(), 1);
  await says(page, "#bans-words", /100 of 10,000 are shown/);
  assert.equal(await page.locator("#bans-rows tr").count(), 100);
});

test("a page that nobody sees asks nothing", async () => {
  const page = await control();
  let asked = 0;
  page.on("request", () => (asked += 1));
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.waitForFunction(() => /^stale/.test(document.getElementById("livestreams-age")?.textContent ?? ""));
  assert.ok(asked <= 3, `${asked} requests`);
  await page.evaluate(() => {
    Reflect.deleteProperty(document, "hidden");
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await says(page, "#livestreams-age", /^updated \d s ago/);
});

test("the keyboard alone ends a livestream", async () => {
  const { studio } = await onAirOnPages();
  const page = await newPage();
  await page.goto(server.control);
  assert.equal(await focused(page), "token");
  await page.keyboard.type(server.token);
  await page.keyboard.press("Enter");
  await isIn(page, "open");
  assert.equal(await focused(page), "livestreams-title");
  await page.locator("#livestreams-rows button").waitFor();
  /** Goes on with the Tab key to an element. @param {string} selector */
  const tabTo = async (selector) => {
    for (let steps = 0; steps < 30; steps++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
    }
    assert.fail(`the Tab key does not reach ${selector}`);
  };
  await tabTo("#livestreams-rows button");
  await page.keyboard.press("Enter");
  await says(page, "#fact-state", /live/);
  await tabTo("#end");
  await page.keyboard.press("Enter");
  assert.equal(await focused(page), "question-no", "the harmless answer");
  await page.keyboard.press("Escape");
  assert.equal(await focused(page), "end");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(page), "question-yes");
  await page.keyboard.press("Enter");
  // The outcome stays for some seconds only.
  await says(page, "#said", /is over/);
  await isIn(studio, "refused", "ended");
  assert.ok(await page.evaluate(() => document.activeElement !== document.body));
});

test("every state is accessible and fits, phone and desk, light and dark", async () => {
  const page = await newPage();
  /** @param {string} state */
  const isSoundEverywhere = async (state) => {
    for (const [size, viewport] of Object.entries({ phone: PHONE, desk: DESK })) {
      await page.setViewportSize(viewport);
      for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
        await page.emulateMedia({ colorScheme });
        await isSound(page, `${state}-${size}-${colorScheme}`);
      }
    }
  };
  await page.goto(server.control);
  await isSoundEverywhere("closed");
  await page.fill("#token", "Unmöglich");
  await page.click("#enter");
  await says(page, "#refusal", /wrong/);
  await isSoundEverywhere("refused");
  await page.fill("#token", server.token);
  await page.click("#enter");
  await isIn(page, "open");
  await says(page, "#bans-none", /Nobody/);
  await isSoundEverywhere("empty");
  await onAir();
  await showDetails(page);
  await isSoundEverywhere("live");
  for (const act of ["#end", "#kick", "#ban-livestream", "#ban"]) {
    await page.click(act);
    await isSoundEverywhere(`question${act.replace("#", "-")}`);
    if (act === "#ban") await page.click("#question-yes");
    else await page.keyboard.press("Escape");
  }
  await says(page, "#question-error", /Enter the id/);
  await isSoundEverywhere("question-error");
  await page.fill("#ban-id", "eve");
  await page.fill("#ban-reason", "noise");
  await page.click("#question-yes");
  await says(page, "#bans-rows", /eve/);
  await page.getByRole("button", { name: /^Drain…/ }).click();
  await page.click("#question-yes");
  await says(page, "#nodes-rows", /drains/);
  await isSoundEverywhere("draining");
  assert.deepEqual(page.complaints, []);
});
