// @ts-check
/** One livestream, from its beginning to its end, as a streamer and the listeners live it. The tests go on from each other. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TYPE, decode } from "../../../clients/js/wire.js";
import { ROUND_SECONDS, breaks, ladderM4a, ladderWav } from "./ladder.js";
import { Network, Server, endLivestream, fallsSilent, heardRungs, hears, isIn, openBrowser, openPage, picture, tap, tapped } from "./stage.js";

/** @type {Server} */ let server;
/** @type {Network} */ let network;
/** @type {import("playwright-core").Browser} */ let browser;
/** @type {Awaited<ReturnType<typeof openPage>>} */ let studio;
/** @type {Awaited<ReturnType<typeof openPage>>} */ let first;
/** @type {Awaited<ReturnType<typeof openPage>>} */ let late;
/** @typedef {{id: string, capturedAt: number}} Upload */
/** The studio's connections: what it said of its clips, in the order in which they were sent, and those without an ack. */
/** @type {{sent: Upload[], unanswered: Map<number, Upload>}[]} */ const uploads = [];

const text = (/** @type {import("playwright-core").Page} */ page, /** @type {string} */ id) => page.locator(`#${id}`).innerText();

/** Notes what the studio uploads. @param {import("playwright-core").WebSocket} socket */
function noteUploads(socket) {
  const sent = /** @type {Upload[]} */ ([]);
  const unanswered = /** @type {Map<number, Upload>} */ (new Map());
  uploads.push({ sent, unanswered });
  socket.on("framesent", ({ payload }) => {
    const packet = typeof payload === "string" ? decode(payload) : null;
    if (packet?.type !== TYPE.binaryEvent || packet.data[0] !== "upload") return;
    sent.push(packet.data[2]);
    unanswered.set(Number(packet.id), packet.data[2]);
  });
  socket.on("framereceived", ({ payload }) => {
    const packet = typeof payload === "string" ? decode(payload) : null;
    if (packet?.type === TYPE.ack) unanswered.delete(Number(packet.id));
  });
}

/** Waits until it holds. @param {() => boolean} holds @param {string} what */
async function until(holds, what) {
  for (const end = Date.now() + 30_000; !holds(); ) {
    assert.ok(Date.now() < end, what);
    await studio.waitForTimeout(50);
  }
}

/** A listener who has pressed play. */
async function listener() {
  const page = await openPage(browser, tapped);
  await tap(page);
  await page.goto(server.listen);
  await page.click("#play");
  return page;
}

before(async () => {
  server = await Server.start();
  network = await Network.to(server.port);
  browser = await openBrowser();
  studio = await openPage(browser);
  studio.on("websocket", noteUploads);
});

after(async () => {
  await browser?.close();
  network?.close();
  await server?.stop();
});

test("a listener who is early waits, and hears the livestream when it begins", async () => {
  first = await listener();
  await isIn(first, "waiting");
  assert.match(await text(first, "state"), /Waiting for the streamer/);
  await studio.goto(network.through(server.studio));
  await studio.locator("#clean").uncheck(); // a tone is no voice
  await studio.click("#live");
  await isIn(studio, "live");
  await hears(first, 6);
  await isIn(first, "live");
});

test("a listener who joins in the middle of a livestream hears it within moments", async () => {
  late = await listener();
  const pressed = Date.now();
  await hears(late, 1);
  const waited = Date.now() - pressed;
  assert.ok(waited < 5_000, `the first sound came after ${waited} ms`);
});

test("what the studio sends is what both listeners hear, in its order", async () => {
  await hears(first, 48);
  await hears(late, 24);
  for (const page of [first, late]) assert.deepEqual(breaks(await heardRungs(page)), []);
  await studio.waitForFunction(() => document.getElementById("listeners")?.textContent === "2");
  assert.match(await text(first, "listeners"), /^2$/);
  assert.match(await text(first, "behind"), /^[123]\.\d s$/);
  await picture(studio, "studio-live");
  await picture(first, "listen-live");
});

test("a clip that is dropped on its way is noticed by these tests", async () => {
  const unlucky = await openPage(browser, tapped);
  await tap(unlucky);
  let clips = 0;
  await unlucky.routeWebSocket(/socket\.io/, (socket) => {
    const far = socket.connectToServer();
    far.onMessage((message) => {
      if (typeof message === "string" || ++clips !== 5) socket.send(message);
      else socket.send(Buffer.alloc(1)); // stands in for the fifth clip
    });
  });
  await unlucky.goto(server.listen);
  await unlucky.click("#play");
  await hears(unlucky, 30);
  assert.equal(breaks(await heardRungs(unlucky)).length, 1);
  await unlucky.context().close();
});

test("the lock screen shows the livestream, and its buttons stop it and start it again", async () => {
  const pocket = await openPage(browser, tapped);
  await tap(pocket);
  await pocket.addInitScript(() => {
    const pressed = /** @type {Record<string, () => void>} */ ({});
    Object.assign(globalThis, { press: (/** @type {string} */ action) => pressed[action]?.() });
    const set = navigator.mediaSession.setActionHandler.bind(navigator.mediaSession);
    navigator.mediaSession.setActionHandler = (action, handler) => {
      if (handler) pressed[action] = () => handler({ action });
      set(action, handler);
    };
  });
  const locked = () =>
    pocket.evaluate(() => ({
      title: navigator.mediaSession.metadata?.title,
      words: navigator.mediaSession.metadata?.artist,
      playing: navigator.mediaSession.playbackState,
    }));
  await pocket.goto(server.listen);
  await pocket.click("#play");
  await hears(pocket, 3);
  await isIn(pocket, "live");
  const { title, words, playing } = await locked();
  assert.deepEqual([title, playing], ["demo", "playing"]);
  assert.match(words ?? "", /live/i);
  await pocket.evaluate("press('pause')");
  await isIn(pocket, "idle");
  assert.equal((await locked()).playing, "none");
  const from = (await heardRungs(pocket)).length;
  await pocket.evaluate("press('play')");
  await hears(pocket, 6, from);
  await isIn(pocket, "live");
  await pocket.context().close();
});

test("the streamer's network goes and comes back within the grace: nothing that was said is lost", async () => {
  const from = (await heardRungs(first)).length;
  network.cut();
  await isIn(studio, "reconnecting");
  await isIn(first, "away");
  assert.match(await text(first, "state"), /streamer is coming back/);
  await picture(studio, "studio-reconnecting");
  await picture(first, "listen-away");
  await studio.waitForTimeout(4_000);
  network.mend();
  await isIn(studio, "live");
  await isIn(first, "live");
  await hears(first, 36, from);
  for (const page of [first, late]) assert.deepEqual(breaks(await heardRungs(page)), []);
});

test("clips of the studio without an ack are sent again, in order, and heard once", async () => {
  const from = [(await heardRungs(first)).length, (await heardRungs(late)).length];
  const before = uploads.at(-1);
  network.hold(); // the clip on its way arrives, its ack does not, and the clips after it wait
  await until(() => before?.unanswered.size === 1, "a clip is without an ack");
  await studio.waitForTimeout(3_000);
  const [unanswered] = before?.unanswered.values() ?? [];
  network.cut();
  await isIn(studio, "reconnecting");
  network.mend();
  await isIn(studio, "live");
  await until(() => Number(uploads.at(-1)?.sent.length) >= 5, "they are sent");
  const sent = uploads.at(-1)?.sent ?? [];
  assert.deepEqual(sent[0], unanswered);
  const recorded = sent.map(({ capturedAt }) => capturedAt);
  assert.deepEqual(recorded, [...new Set(recorded)].sort((one, other) => one - other));
  await hears(first, 24, from[0]);
  for (const [index, page] of [first, late].entries()) {
    assert.deepEqual(breaks((await heardRungs(page)).slice(from[index])), []);
  }
});

test("a listener that changes its network twice hears everything, once", async () => {
  const path = await Network.to(server.port);
  const phone = await openPage(browser, tapped);
  await tap(phone);
  await phone.goto(path.through(server.listen));
  await phone.click("#play");
  await hears(phone, 8);
  const settled = (await heardRungs(phone)).length;
  for (const address of ["127.0.0.2", "127.0.0.3"]) {
    const from = (await heardRungs(phone)).length;
    path.hold(); // what is sent from now on is lost with the connection
    await phone.waitForTimeout(1_500);
    path.move(address);
    await hears(phone, 24, from);
  }
  assert.deepEqual(breaks((await heardRungs(phone)).slice(settled)), []);
  assert.deepEqual(phone.complaints, []);
  await phone.context().close();
  path.close();
});

test("the server is restarted in the middle of a livestream, and the sound returns", async () => {
  await server.stop();
  await isIn(first, "reconnecting", "away", "ended");
  await picture(first, "listen-reconnecting");
  await server.start();
  // The demo's tokens are of its run: an app that embeds the pages hands them a fresh one in the same way.
  for (const [page, address] of [[studio, server.studio], [first, server.listen], [late, server.listen]]) {
    if (typeof page === "object") await page.evaluate((hash) => void (location.hash = hash), new URL(String(address)).hash);
  }
  await isIn(studio, "live");
  for (const page of [first, late]) {
    await isIn(page, "live");
    const from = (await heardRungs(page)).length;
    await hears(page, 12, from);
    // What the studio sent while a listener was still away is lost to that listener, at one place.
    assert.ok(breaks((await heardRungs(page)).slice(from)).length <= 1);
  }
});

test("a second studio takes the livestream over, and the first one is told", async () => {
  const other = await openPage(browser);
  await other.goto(server.studio);
  await other.locator("#clean").uncheck();
  await other.click("#live");
  await isIn(other, "live");
  await isIn(studio, "refused");
  assert.match(await text(studio, "detail"), /taken over/);
  await picture(studio, "studio-taken-over");
  const from = (await heardRungs(first)).length;
  await hears(first, 8, from);
  await endLivestream(other);
  await isIn(other, "ended");
  assert.deepEqual(other.complaints, []);
});

test("the end of the livestream is told to who listens", async () => {
  for (const page of [first, late]) {
    await isIn(page, "ended");
    assert.match(await text(page, "state"), /has ended/);
  }
  await picture(first, "listen-ended");
});

for (const [format, make] of Object.entries({ wav: ladderWav, "m4a, as the app records": ladderM4a })) {
  test(`a livestream by another client, in clips that stand for themselves (${format}), is heard in its order`, async () => {
    await fallsSilent(first);
    const other = await openPage(browser);
    await other.goto(new URL("/", server.studio).href);
    await other.evaluate(
      async ({ hash, clip: bytes, seconds }) => {
        const from = "/pages/client/connection.js";
        const { Connection, endpoint } = await import(from);
        const said = new URLSearchParams(hash.slice(1));
        const clip = new Uint8Array(bytes);
        const connection = new Connection({
          url: endpoint(location),
          namespace: "/streamer",
          auth: () => ({ idToken: said.get("token"), livestreamId: said.get("livestream") }),
          on: { left() {}, lost() {}, event() {} },
        });
        setInterval(() => connection.emit("upload", clip), seconds * 1000);
      },
      { hash: new URL(server.studio).hash, clip: [...make()], seconds: ROUND_SECONDS },
    );
    const from = (await heardRungs(first)).length;
    await hears(first, 30, from, 40_000);
    assert.deepEqual(breaks((await heardRungs(first)).slice(from)), []);
    await isIn(first, "live");
    await other.context().close();
  });
}

test("no page complained in all that time", () => {
  for (const page of [studio, first, late]) assert.deepEqual(page.complaints, []);
});
