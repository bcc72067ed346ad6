// @ts-check
/** What the studio says of its sound, and what it does with the microphone. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { encoded, ladderWav } from "./ladder.js";
import { Network, Server, endLivestream, heardRungs, hears, isIn, openBrowser, openPage, picture, reachContexts, sounds, tap, tapped } from "./stage.js";

const PHONE = { width: 390, height: 664 };

/** @type {Server} */ let server;
/** @type {Network} */ let network;
/** @type {import("playwright-core").Browser} */ let browser;
/** @type {Awaited<ReturnType<typeof openPage>>} */ let studio;

before(async () => {
  server = await Server.start();
  network = await Network.to(server.port);
  browser = await openBrowser(`--host-resolver-rules=MAP plain.test 127.0.0.1`);
});

after(async () => {
  await browser?.close();
  network?.close();
  await server?.stop();
});

const text = (/** @type {string} */ id) => studio.locator(`#${id}`).innerText();

/** A studio whose audio context and microphone track the test can reach. @param {string} [address] */
async function open(address = network.through(server.studio)) {
  await studio?.context().close();
  studio = await openPage(browser, { viewport: PHONE });
  await studio.addInitScript(reachContexts);
  await studio.addInitScript(() => {
    Object.assign(globalThis, { tracks: [] });
    const devices = navigator.mediaDevices;
    const ask = devices?.getUserMedia.bind(devices);
    if (devices) {
      devices.getUserMedia = async (wish) => {
        const stream = await ask(wish);
        /** @type {any} */ (globalThis).tracks.push(...stream.getTracks());
        return stream;
      };
    }
  });
  await studio.goto(address);
}

async function goLive() {
  await open();
  await studio.locator("#clean").uncheck(); // a tone is no voice
  await studio.click("#live");
  await sounds(studio, "heard");
  assert.match(await text("state"), /You are live/);
}

/** @param {string} name @param {Buffer} buffer */
const choose = (name, buffer) => studio.setInputFiles("#file-input", { name, mimeType: "audio/*", buffer });

/** Waits until the meter says it. @param {string} pattern */
const meterSays = (pattern) =>
  studio.waitForFunction((it) => new RegExp(it).test(document.getElementById("meter-words")?.textContent ?? ""), pattern);

const openTracks = () => studio.evaluate("tracks.filter((it) => it.readyState === 'live').length");

/** Waits until every microphone is closed. @returns {Promise<number>} how many there were */
async function closedTracks() {
  await studio.waitForFunction(() => /** @type {any} */ (globalThis).tracks.every((/** @type {any} */ it) => it.readyState === "ended"));
  return studio.evaluate("tracks.length");
}

test("an audio context that the browser suspends is told, and a tap goes on", async () => {
  await goLive();
  await studio.evaluate("contexts[0].suspend()");
  await sounds(studio, "paused");
  assert.match(await text("state"), /Nobody hears you/);
  assert.doesNotMatch(await text("badge"), /On air/);
  await meterSays("^No sound\\.$");
  await picture(studio, "studio-paused");
  await studio.click("#air-title");
  await sounds(studio, "heard");

  // As on iOS: what was interrupted may never run again, and a tap makes another.
  const listener = await openPage(browser, tapped);
  await tap(listener);
  await listener.goto(server.listen);
  await listener.click("#play");
  await isIn(listener, "live");
  await studio.evaluate("interrupt()");
  await sounds(studio, "paused");
  await studio.click("#air-title");
  await sounds(studio, "heard");
  assert.equal(await studio.evaluate("contexts.length"), 2);
  assert.equal(await openTracks(), 1);
  const since = (await heardRungs(listener)).length;
  await hears(listener, 8, since);
  assert.equal(await listener.getAttribute("body", "data-broken"), null);
  assert.equal(await listener.getAttribute("body", "data-lost"), null);
  await listener.context().close();
});

test("a muted studio is not said to be heard", async () => {
  await goLive();
  await studio.click("#mute");
  await sounds(studio, "muted");
  assert.match(await text("state"), /muted/);
  await meterSays("^Muted");
  await picture(studio, "studio-muted");
  await studio.click("#mute");
  await sounds(studio, "heard");
  await meterSays("^(?!Muted)");
});

test("a studio muted before its first sound is muted", async () => {
  await open();
  await studio.click("#mute");
  await studio.click("#live");
  await sounds(studio, "muted");
  await studio.waitForFunction(() => Number(document.getElementById("meter")?.getAttribute("aria-valuenow")) === -60);
});

test("a microphone that the system mutes or takes away is told", async () => {
  await goLive();
  await studio.evaluate(`{
    Object.defineProperty(tracks[0], "muted", { value: true, configurable: true });
    tracks[0].dispatchEvent(new Event("mute"));
  }`);
  await sounds(studio, "system");
  await picture(studio, "studio-system-muted");
  await studio.evaluate("delete tracks[0].muted, tracks[0].dispatchEvent(new Event('unmute'))");
  await sounds(studio, "heard");
  await studio.evaluate("tracks[0].stop(), tracks[0].dispatchEvent(new Event('ended'))");
  await sounds(studio, "gone");
  await picture(studio, "studio-unplugged");
});

test("silence from an open microphone is told", async () => {
  await goLive();
  await studio.evaluate("tracks[0].enabled = false");
  await sounds(studio, "silent");
  assert.match(await text("detail"), /microphone/);
  await studio.evaluate("tracks[0].enabled = true");
  await sounds(studio, "heard");
});

test("a file that has ended is told, and can be played again", async () => {
  await open();
  await studio.click("#source label:nth-of-type(2)");
  // Long enough to be heard before its end, however slow the machine is.
  await choose("ladder.wav", ladderWav(10));
  await studio.click("#live");
  await sounds(studio, "heard");
  await studio.evaluate("{ const it = document.getElementById('file-player'); it.currentTime = it.duration - 1 }");
  await sounds(studio, "file-ended");
  await picture(studio, "studio-file-ended");
  await studio.evaluate("document.getElementById('file-player').play()");
  await sounds(studio, "heard");

  // A media element cannot leave an audio context that is lost: the file goes on in another, where it was.
  await studio.evaluate("document.getElementById('file-player').pause()");
  await studio.evaluate("{ const it = document.getElementById('file-player'); it.currentTime = 2 }");
  await studio.evaluate("interrupt()");
  await sounds(studio, "paused");
  await studio.click("#air-title");
  await sounds(studio, "heard");
  assert.ok(Number(await studio.evaluate("document.getElementById('file-player').currentTime")) >= 2);
  await studio.evaluate("document.getElementById('file-player').pause()");
  await sounds(studio, "file-paused");
});

test("a livestream that begins while its file is being opened is heard", async () => {
  await open();
  await studio.click("#source label:nth-of-type(2)");
  const wav = ladderWav(10).toString("base64");
  await studio.evaluate(`{
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob("${wav}"), (it) => it.charCodeAt(0))], "ladder.wav", { type: "audio/wav" }));
    document.getElementById("file-input").files = files.files;
    document.getElementById("file-input").dispatchEvent(new Event("change"));
    document.getElementById("live").click();
  }`);
  await sounds(studio, "heard");
  assert.equal(await studio.evaluate("contexts.length"), 1);
});

test("a file that cannot be decoded disables going live", async () => {
  await open();
  await studio.click("#source label:nth-of-type(2)");
  const whole = encoded("m4a", "-c:a", "aac");
  for (const [name, bytes] of /** @type {[string, Buffer][]} */ ([
    ["alac.m4a", encoded("m4a", "-c:a", "alac")],
    ["sound.aiff", encoded("aiff")],
    ["truncated.m4a", whole.subarray(0, whole.length / 2)],
  ])) {
    await choose(name, bytes);
    await studio.waitForFunction(() => /cannot play that file/.test(document.getElementById("refusal")?.textContent ?? ""));
    assert.equal(await studio.getAttribute("#live", "aria-disabled"), "true", name);
    await studio.locator("#live").dispatchEvent("click");
    await studio.waitForTimeout(300);
    assert.equal(await studio.getAttribute("body", "data-state"), "off", name);
    assert.ok(await studio.locator("#refusal").isVisible(), name);
  }
  await picture(studio, "studio-file-broken");
  await choose("ladder.wav", ladderWav());
  await studio.waitForSelector("#live[aria-disabled=false]");
  assert.ok(await studio.locator("#refusal").isHidden());
});

test("the microphone is open only before and during the livestream", async () => {
  await goLive();
  assert.equal(await openTracks(), 1);
  await studio.click("#live");
  await studio.click("#end-no");
  assert.equal(await studio.getAttribute("body", "data-state"), "live");
  await endLivestream(studio);
  await isIn(studio, "ended");
  assert.equal(await openTracks(), 0);
});

test("the microphone is closed after a takeover and a refusal", async () => {
  await goLive();
  const other = await openPage(browser);
  await other.goto(server.studio);
  await other.click("#live");
  await isIn(studio, "refused");
  assert.equal(await closedTracks(), 1);
  await other.context().close();
  await open(new URL("/studio#livestream=demo&token=wrong", server.studio).href);
  await studio.click("#live");
  await isIn(studio, "refused");
  assert.equal(await closedTracks(), 1);
});

test("a studio reloaded in the middle of a livestream takes it up again", async () => {
  await goLive();
  await studio.waitForFunction(() => Number(document.getElementById("sent")?.textContent) >= 3);
  studio.on("dialog", (dialog) => void dialog.accept());
  await studio.reload();
  await isIn(studio, "live");
  await studio.click("h1"); // the browser may want a gesture before it records again
  await sounds(studio, "heard");
  assert.match(await text("elapsed"), /0:(0[3-9]|[1-5]\d)/);
  await endLivestream(studio);
  await isIn(studio, "ended");
  await studio.reload();
  await studio.waitForTimeout(500);
  assert.equal(await studio.getAttribute("body", "data-state"), "off");
});

test("the screen stays awake while reconnecting", async () => {
  await open();
  await studio.evaluate(() => {
    Object.assign(globalThis, { asked: 0 });
    Object.defineProperty(navigator, "wakeLock", {
      value: {
        async request() {
          /** @type {any} */ (globalThis).asked++;
          return { released: true, release: async () => {} };
        },
      },
    });
  });
  await studio.click("#live");
  await isIn(studio, "live");
  await studio.waitForFunction(() => /** @type {any} */ (globalThis).asked === 1);
  network.cut();
  await isIn(studio, "reconnecting");
  await studio.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
  await studio.waitForFunction(() => /** @type {any} */ (globalThis).asked === 2);
  network.mend();
  await isIn(studio, "live");
});

test("an end that the server cannot be told of is not called done", async () => {
  await goLive();
  network.cut();
  await isIn(studio, "reconnecting");
  await endLivestream(studio);
  await isIn(studio, "ended");
  assert.match(await text("detail"), /could not be told/);
  network.mend();
});

test("words that nobody acknowledges are not called heard", async () => {
  await goLive();
  // The transport is open, and the server's answers are lost.
  network.hold();
  await sounds(studio, "unanswered");
  await picture(studio, "studio-unanswered");
  network.release();
  await sounds(studio, "heard");
});

test("plain HTTP streams a file, and copies nothing it cannot copy", async () => {
  const plain = new URL(server.studio);
  plain.hostname = "plain.test";
  await open(plain.href);
  assert.equal(await studio.evaluate("isSecureContext"), false);
  assert.ok(await studio.locator("#insecure").isVisible());
  await choose("ladder.wav", ladderWav(10));
  await studio.click("#live");
  await sounds(studio, "heard");
  await studio.waitForFunction(() => Number(document.getElementById("sent")?.textContent) >= 2);
  await studio.waitForFunction(() => /** @type {HTMLInputElement} */ (document.getElementById("share")).value);
  await studio.evaluate("document.execCommand = () => false");
  await studio.click("#copy");
  await studio.waitForFunction(() => document.getElementById("copy")?.textContent === "Copy it by hand");
  // The browser says of every page over plain HTTP that it takes no such header there.
  const others = studio.complaints.filter((it) => !it.startsWith("The Cross-Origin-Opener-Policy header has been ignored"));
  assert.deepEqual(others, []);
});

test("a phone's browser lends its microphone to a demo with TLS of its own", async () => {
  const secure = await Server.start("--https");
  try {
    const address = new URL(secure.studio);
    assert.equal(address.protocol, "https:");
    address.hostname = "plain.test";
    await studio?.context().close();
    studio = await openPage(browser, { viewport: PHONE, ignoreHTTPSErrors: true });
    await studio.goto(address.href);
    assert.equal(await studio.evaluate("isSecureContext"), true);
    await studio.locator("#clean").uncheck();
    await studio.click("#live");
    await sounds(studio, "heard");
    await endLivestream(studio);
    await isIn(studio, "ended");
    assert.deepEqual(studio.complaints, []);
  } finally {
    await secure.stop();
  }
});
