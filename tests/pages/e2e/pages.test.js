// @ts-check
/** What each page is before and beside a livestream: reachable by everyone, and careful with its token. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import jsQR from "jsqr";
import { PNG } from "pngjs";

import { encodedTone, joined } from "../unit/tones.js";
import { Server, endLivestream, faults, isIn, openBrowser, openPage, picture } from "./stage.js";

const PHONE = { width: 390, height: 844 };
const SMALL = { width: 320, height: 568 };
const DESK = { width: 1280, height: 800 };

/** @type {Server} */ let server;
/** @type {import("playwright-core").Browser} */ let browser;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** The least contrast of a text with the painted sea behind it. @param {import("playwright-core").Page} page */
function contrastOverWaves(page) {
  return page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("waves"));
    const pen = canvas.getContext("2d");
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    /** @param {number[]} colour */
    const light = (colour) => {
      const [r = 0, g = 0, b = 0] = colour.map((it) => (it / 255 <= 0.04045 ? it / 255 / 12.92 : ((it / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let least = 21;
    for (const text of document.querySelectorAll("footer dt, footer dd, footer span")) {
      const at = text.getBoundingClientRect();
      const ink = light((getComputedStyle(text).color.match(/\d+/g) ?? []).slice(0, 3).map(Number));
      for (let x = at.left; x < at.right; x += 4) {
        for (let y = at.top; y < at.bottom; y += 4) {
          const pixel = pen?.getImageData((x - box.left) * scale, (y - box.top) * scale, 1, 1).data ?? [];
          const sea = pixel[3] === 255 ? light([...pixel].slice(0, 3)) : 1;
          least = Math.min(least, (Math.max(ink, sea) + 0.05) / (Math.min(ink, sea) + 0.05));
        }
      }
    }
    return least;
  });
}

test("a phone's first screen holds the state, the button and the meter", async () => {
  for (const viewport of [{ width: 390, height: 664 }, { width: 664, height: 390 }]) {
    const page = await openPage(browser, { viewport });
    await page.goto(server.studio);
    for (const id of ["state", "live", "meter"]) {
      const box = await page.locator(`#${id}`).boundingBox();
      assert.ok(box && box.y >= 0 && box.y + box.height <= viewport.height, `${id} at ${JSON.stringify(box)}`);
    }
    await page.context().close();
  }
});

const address = (/** @type {string} */ path) => new URL(path, server.listen).href;

for (const [size, viewport] of Object.entries({ phone: PHONE, small: SMALL, desk: DESK })) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`every page is accessible and fits, ${size}, ${colorScheme}`, async () => {
      const page = await openPage(browser, { viewport, colorScheme, reducedMotion: "reduce" });
      for (const [name, path, act] of /** @type {[string, string, string?][]} */ ([
        ["index", address("/")],
        ["listen-without-link", address("/listen")],
        ["studio-without-link", address("/studio")],
        ["listen-idle", server.listen],
        ["listen-waiting", server.listen, "#play"],
        ["studio-off", server.studio],
        ["studio-file", server.studio, "#source label:nth-of-type(2)"],
      ])) {
        await page.goto("about:blank");
        await page.goto(path);
        if (act) await page.click(act);
        if (name === "listen-waiting") await isIn(page, "waiting");
        assert.deepEqual(await faults(page), [], name);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
        if (name === "listen-idle") assert.ok((await contrastOverWaves(page)) >= 4.5, `${await contrastOverWaves(page)} over the waves`);
        await picture(page, `${name}-${size}-${colorScheme}`);
      }
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    });
  }
}

test("the states of a livestream are accessible too", async () => {
  const studio = await openPage(browser, { viewport: PHONE, colorScheme: "dark", reducedMotion: "reduce" });
  const listener = await openPage(browser, { viewport: PHONE, reducedMotion: "reduce" });
  await studio.goto(server.studio);
  await listener.goto(server.listen);
  await studio.click("#live");
  await isIn(studio, "live");
  await listener.click("#play");
  await isIn(listener, "live");
  await studio.click("summary");
  await studio.waitForTimeout(2_500);
  assert.deepEqual([await faults(studio), await faults(listener)], [[], []]);
  await picture(studio, "studio-live-phone-dark");
  await picture(listener, "listen-live-phone-light");
  await endLivestream(studio);
  await isIn(listener, "ended");
  await isIn(studio, "ended");
  assert.deepEqual([await faults(studio), await faults(listener)], [[], []]);
  await picture(studio, "studio-ended-phone-dark");
  await studio.context().close();
  await listener.context().close();
});

test("the keyboard alone goes live, listens and stops", async () => {
  const studio = await openPage(browser);
  const listener = await openPage(browser);
  await studio.goto(server.studio);
  await listener.goto(server.listen);
  for (const [page, id] of /** @type {const} */ ([[studio, "live"], [listener, "play"]])) {
    for (let steps = 0; steps < 20; steps++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((wanted) => document.activeElement?.id === wanted, id)) break;
    }
    await page.keyboard.press("Enter");
    await isIn(page, "live");
  }
  await listener.keyboard.press("Enter");
  await isIn(listener, "idle");
  await studio.keyboard.press("Enter");
  await studio.waitForSelector("#end-dialog[open]");
  // A second Enter by mistake ends nothing: the focus is on staying.
  assert.equal(await studio.evaluate("document.activeElement.id"), "end-no");
  await studio.keyboard.press("Shift+Tab");
  await studio.keyboard.press("Enter");
  await isIn(studio, "ended");
  await studio.context().close();
  await listener.context().close();
});

test("who is muted is told so, and sends silence", async () => {
  const studio = await openPage(browser);
  await studio.goto(server.studio);
  await studio.click("#live");
  await isIn(studio, "live");
  await studio.waitForFunction(() => /level|quiet/.test(document.getElementById("meter-words")?.textContent ?? ""));
  await studio.click("#mute");
  await studio.waitForFunction(() => /Muted/.test(document.getElementById("meter-words")?.textContent ?? ""));
  await studio.waitForFunction(() => Number(document.getElementById("meter")?.getAttribute("aria-valuenow")) === -60);
  await studio.click("#mute");
  await studio.waitForFunction(() => /level|quiet/.test(document.getElementById("meter-words")?.textContent ?? ""));
  await endLivestream(studio);
  await isIn(studio, "ended");
  await studio.context().close();
});

test("the token leaves the address bar, survives a reload, and is in no request's line", async () => {
  const page = await openPage(browser);
  /** @type {string[]} */
  const lines = [];
  page.on("request", (request) => lines.push(request.url(), request.headers().referer ?? ""));
  page.on("websocket", (socket) => lines.push(socket.url()));
  const token = new URLSearchParams(new URL(server.listen).hash.slice(1)).get("token") ?? "";
  assert.ok(token.length > 20);
  await page.goto(server.listen);
  assert.ok(!page.url().includes("token"), page.url());
  await page.reload();
  await page.click("#play");
  await isIn(page, "waiting");
  assert.ok(lines.length > 5);
  // The fragment of the page itself is the browser's own affair: it is never sent.
  assert.deepEqual(lines.filter((line) => line.replace(/#.*/, "").includes(token)), []);
  await page.context().close();
});

test("the policy is in force: a script that slips into a page does not run", async () => {
  const page = await openPage(browser);
  for (const path of ["/", "/listen", "/studio"]) {
    await page.goto(address(path));
    const ran = await page.evaluate(async () => {
      const script = document.createElement("script");
      script.textContent = "globalThis.slipped = true";
      document.body.append(script);
      const elsewhere = await fetch("data:text/plain,x").then(() => true, () => false);
      return "slipped" in globalThis || elsewhere;
    });
    assert.equal(ran, false, path);
  }
  await page.context().close();
});

test("who is refused is told why, in the server's words", async () => {
  for (const [path, button] of [["/listen", "#play"], ["/studio", "#live"]]) {
    const page = await openPage(browser);
    await page.goto(address(`${path}#livestream=demo&token=wrong`));
    await page.click(button ?? "");
    await isIn(page, "refused");
    assert.match(await page.locator("#detail").innerText(), /Id token is invalid/);
    await picture(page, `refused${path?.replace("/", "-")}`);
    await page.context().close();
  }
});

test("where there is no microphone, that is said, and a file is sent instead", async () => {
  const studio = await openPage(browser);
  await studio.addInitScript(() => Object.defineProperty(window, "isSecureContext", { get: () => false }));
  await studio.goto(server.studio);
  assert.ok(await studio.locator("#insecure").isVisible());
  assert.ok(await studio.locator("#microphone").isHidden());
  await picture(studio, "studio-insecure");
  await studio.setInputFiles("#file-input", { name: "tone.mp3", mimeType: "audio/mpeg", buffer: Buffer.from(joined(encodedTone(20))) });
  await studio.click("#live");
  await isIn(studio, "live");
  await studio.waitForFunction(() => Number(document.getElementById("sent")?.textContent) >= 3);
  assert.match(await studio.locator("#meter-words").innerText(), /level|quiet/);
  await endLivestream(studio);
  await isIn(studio, "ended");
  assert.deepEqual(studio.complaints, []);
  await studio.context().close();
});

test("clips of one stream are decoded without a seam, sample by sample", async () => {
  const page = await openPage(browser);
  await page.goto(address("/listen"));
  const worst = await page.evaluate(async (bytes) => {
    const from = "/pages/mp3.js";
    const { Cutter, Joiner, markedClip } = await import(from);
    const whole = new Uint8Array(bytes);
    const decode = (/** @type {Uint8Array<ArrayBuffer>} */ it) => new OfflineAudioContext(1, 1, 48_000).decodeAudioData(it.slice().buffer);
    const wanted = (await decode(whole)).getChannelData(0);
    const joiner = new Joiner();
    let [at, worst] = [0, 0];
    for (const [number, sound] of new Cutter(1).push(whole).entries()) {
      const { bytes: clip, skip, samples } = joiner.join(markedClip({ stream: "s", number, cutAt: 0 }, sound));
      const got = (await decode(clip)).getChannelData(0);
      if (got.length !== skip + samples) return `a clip has ${got.length} samples instead of ${skip + samples}`;
      for (let i = skip; i < got.length; i++) worst = Math.max(worst, Math.abs((got[i] ?? 9) - (wanted[at++] ?? 9)));
    }
    return at > 4 * 48_000 ? worst : "too few samples";
  }, [...joined(encodedTone(5))]);
  assert.equal(worst, 0);
  await page.context().close();
});

/** What a camera reads of a picture. @param {Buffer} png */
function qrText(png) {
  const { data, width, height } = PNG.sync.read(png);
  return jsQR(new Uint8ClampedArray(data), width, height)?.data;
}

test("the studio's link admits a listener without a token, until the livestream ends", async () => {
  const studio = await openPage(browser);
  await studio.goto(server.studio);
  assert.match(await studio.locator("#share-note").innerText(), /when you go live/);
  await studio.click("#live");
  await studio.waitForFunction(() => /** @type {HTMLInputElement} */ (document.getElementById("share")).value);
  await picture(studio, "studio-share");
  const link = await studio.inputValue("#share");
  const said = new URLSearchParams(new URL(link).hash.slice(1));
  assert.deepEqual([...said.keys()], ["pass"]);
  assert.equal(new URL(link).pathname, "/listen/demo");
  await studio.click("#qr summary");
  await studio.waitForSelector("#qr-code svg");
  await picture(studio, "studio-qr");
  assert.equal(qrText(await studio.locator("#qr-code svg").screenshot()), link);
  const listener = await openPage(browser);
  await listener.goto(link);
  assert.ok(!listener.url().includes("pass"), listener.url());
  await listener.click("#play");
  await isIn(listener, "live");
  await endLivestream(studio);
  await isIn(listener, "ended");
  await isIn(studio, "ended");
  assert.equal(await studio.inputValue("#share"), "");
  await listener.waitForFunction(() => /link has ended with the livestream/.test(document.getElementById("detail")?.textContent ?? ""));
  assert.equal(await listener.getAttribute("body", "data-state"), "ended");
  // The livestream begins again, and the old link stays dead.
  await studio.click("#live");
  await isIn(studio, "live");
  await listener.reload();
  await listener.click("#play");
  await isIn(listener, "refused");
  assert.match(await listener.locator("#detail").innerText(), /has ended, ask the streamer for a new link/);
  await picture(listener, "listen-pass-ended");
  await endLivestream(studio);
  await isIn(studio, "ended");
  assert.deepEqual([studio.complaints, listener.complaints], [[], []]);
  await studio.context().close();
  await listener.context().close();
});

test("the listening page says what is played, also once a link of old is reloaded", async () => {
  const about = { title: "Tea & <i>talk</i>", artistName: "Ada", description: "Hot. ".repeat(150), coverUrl: "https://127.0.0.1:9/cover.png" };
  const body = JSON.stringify({ user: "ada", livestream: "adas livestream", about });
  const answer = await fetch(address("/demo/token"), { method: "POST", headers: { "content-type": "application/json" }, body });
  const { token } = await answer.json();
  const page = await openPage(browser, { viewport: PHONE, reducedMotion: "reduce" });
  await page.goto(address(`/listen#${new URLSearchParams({ livestream: "adas livestream", token })}`));
  await page.waitForURL("**/listen/adas%20livestream");
  assert.equal(await page.locator("#title").innerText(), "adas livestream");
  await page.reload();
  assert.equal(await page.locator("#title").innerText(), about.title);
  assert.equal(await page.locator("#artist").innerText(), "Ada");
  assert.equal(await page.title(), `${about.title} · Castaway`);
  // Nobody answers at the cover's address.
  await page.waitForFunction(() => !document.getElementById("cover"));
  await page.click("#description summary");
  assert.deepEqual(await faults(page), []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} pixels too wide`);
  await picture(page, "listen-about");
  await page.click("#play");
  await isIn(page, "waiting");
  await page.context().close();
});

test("no page asks for a token", async () => {
  const page = await openPage(browser);
  for (const path of ["/listen", "/listen#livestream=demo", "/studio", "/studio#livestream=demo"]) {
    await page.goto("about:blank");
    await page.goto(address(path));
    assert.ok(await page.locator("#no-link").isVisible(), path);
    assert.equal(await page.locator("form, input[type=password]").count(), 0, path);
  }
  await page.context().close();
});
