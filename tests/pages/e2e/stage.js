// @ts-check
/** The stage of the end-to-end tests: a demo server, a network that can be cut, a browser with a tone for a microphone. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

import { ladderWav, rungs } from "./ladder.js";

export const BINARY = process.env.CASTAWAY_BINARY ?? new URL("../../../target/debug/castaway-media-server", import.meta.url).pathname;
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync) ?? "chromium";
const TAP = readFileSync(new URL("tap-worklet.js", import.meta.url), "utf8");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = process.env.CASTAWAY_SCREENSHOTS;
/** Set while the pages are worked on: their files are taken from the tree instead of the binary. */
const FROM_TREE = process.env.CASTAWAY_PAGES_FROM_TREE !== undefined;

/** @typedef {import("playwright-core").Page} Page */

/** A port that is free now. @returns {Promise<number>} */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}

/** A demo server, on the same ports through every restart. */
export class Server {
  /** @type {import("node:child_process").ChildProcess | null} */ #process = null;
  studio = "";
  listen = "";
  /** The control page, and the token that opens it. */
  control = "";
  token = "";
  /** @type {string[]} */ args = [];

  /** @param {number} port @param {number} healthPort */
  constructor(port, healthPort) {
    this.port = port;
    this.healthPort = healthPort;
  }

  /** @param {...string} args of the demo */
  static async start(...args) {
    const server = new Server(await freePort(), await freePort());
    server.args = args;
    await server.start();
    return server;
  }

  /** Resolves when all addresses are printed. */
  async start() {
    const ports = ["--listen", `127.0.0.1:${this.port}`, "--health-listen", `127.0.0.1:${this.healthPort}`];
    const child = spawn(BINARY, ["demo", ...ports, ...this.args], { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    [this.studio, this.listen, this.control, this.token] = ["", "", "", ""];
    for await (const line of createInterface({ input: child.stdout })) {
      for (const [address] of line.matchAll(/https?:\/\/\S+/g)) {
        if (address.includes("/studio#")) this.studio = address;
        if (address.includes("/listen/")) this.listen = address;
        if (address.endsWith("/control")) this.control = address;
      }
      this.token = line.match(/^ +token: (\S+)$/)?.[1] ?? this.token;
      if (this.studio && this.listen && this.control && this.token) break;
    }
    if (!this.studio || !this.listen || !this.token) throw new Error("the server did not print its addresses");
    child.stdout.resume();
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = "SIGTERM") {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }
}

/** A stretch of network between a browser and the server, which can be cut. */
export class Network {
  #up = true;
  /** The address that the server sees. */
  #address = "127.0.0.1";
  /** @type {Map<import("node:net").Socket, import("node:net").Socket>} */ #pairs = new Map();
  /** @type {Set<import("node:net").Socket>} */ #sockets = new Set();

  /** @param {import("node:net").Server} listener @param {number} port */
  constructor(listener, port) {
    this.listener = listener;
    this.port = port;
  }

  /** @param {number} target the server's port */
  static async to(target) {
    const listener = createServer();
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const address = listener.address();
    const network = new Network(listener, typeof address === "object" && address ? address.port : 0);
    listener.on("connection", (near) => {
      if (!network.#up) return void near.destroy();
      const far = createConnection({ port: target, host: "127.0.0.1", localAddress: network.#address });
      for (const [one, other] of [[near, far], [far, near]]) {
        if (!one || !other) continue;
        network.#sockets.add(one);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          network.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
      network.#pairs.set(far, near);
      far.on("close", () => network.#pairs.delete(far));
    });
    return network;
  }

  /** The server's answers wait, as behind a stalled link; the transport stays. */
  hold() {
    for (const far of this.#pairs.keys()) far.unpipe().pause();
  }

  release() {
    for (const [far, near] of this.#pairs) far.pipe(near);
  }

  cut() {
    this.#up = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#up = true;
  }

  /** As from Wi-Fi to mobile: every connection ends, and the next ones come from another address. @param {string} address */
  move(address) {
    this.cut();
    this.#address = address;
    this.mend();
  }

  close() {
    this.cut();
    this.listener.close();
  }

  /** The same address through this network. @param {string} address */
  through(address) {
    const url = new URL(address);
    url.port = String(this.port);
    return url.href;
  }
}

/** A browser whose microphone hears the ladder. */
export async function openBrowser(/** @type {string[]} */ ...args) {
  const wav = join(mkdtempSync(join(tmpdir(), "castaway-pages-")), "ladder.wav");
  writeFileSync(wav, ladderWav());
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-audio-capture=${wav}`,
      "--autoplay-policy=user-gesture-required",
      // Chromium takes a page that a test hands it for one of another network.
      ...(FROM_TREE ? ["--disable-features=LocalNetworkAccessChecks"] : []),
      ...args,
    ],
  });
}

/**
 * A page of its own, whose complaints are collected. Its decoration stands still unless the test asks for motion: without a
 * graphics card it is the processor that draws it, sixty times a second, and the sound needs the processor.
 * @param {import("playwright-core").Browser} browser
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ permissions: ["microphone"], reducedMotion: "reduce", ...options });
  if (FROM_TREE) await context.route(/:\d+\/(pages\/[^?]*|listen|studio|control)(\?.*)?$/, fromTree);
  const page = await context.newPage();
  /** @type {string[]} */
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (line) => {
    // A network that is cut is reported by the browser itself.
    if (line.type() === "error" && !/WebSocket connection|ERR_/.test(line.text())) complaints.push(line.text());
  });
  return Object.assign(page, { complaints });
}

/** @param {import("playwright-core").Route} route */
async function fromTree(route) {
  const asked = new URL(route.request().url());
  const path = asked.pathname.replace(/^\/pages/, "");
  const folder = path.startsWith("/client/") ? "../../../clients/js" : "../../../src/http/pages";
  const file = new URL(`${folder}${path.replace(/^\/client/, "")}${path.includes(".") ? "" : ".html"}`, import.meta.url);
  asked.hostname = "127.0.0.1";
  const response = await route.fetch({ maxRedirects: 0, url: asked.href }).catch(() => null);
  if (!response) return route.abort(); // the server is being restarted
  const kinds = /** @type {Record<string, string>} */ ({ js: "text/javascript", css: "text/css", svg: "image/svg+xml", png: "image/png", html: "text/html", webmanifest: "application/manifest+json" });
  const type = kinds[file.pathname.split(".").at(-1) ?? ""] ?? "application/octet-stream";
  await route.fulfill({ status: 200, headers: { ...response.headers(), "content-type": type }, body: readFileSync(file) });
}

/**
 * Puts a tap where the page's sound leaves it. The page must have been opened with `tapped`.
 * @param {Page} page before it is opened
 */
export async function tap(page) {
  await page.addInitScript((code) => {
    const heard = /** @type {any[]} */ ([]);
    Object.assign(globalThis, { heard });
    const connect = AudioNode.prototype.connect;
    /** @param {any[]} args */
    AudioNode.prototype.connect = function (...args) {
      if (args[0] === this.context.destination && this.context instanceof AudioContext) {
        const module = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
        void this.context.audioWorklet.addModule(module).then(() => {
          const node = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
          node.port.onmessage = ({ data }) => heard.push(data);
          Reflect.apply(connect, this, [node]);
        });
      }
      return Reflect.apply(connect, this, args);
    };
  }, TAP);
}

/**
 * A page whose audio contexts a test can reach, as `contexts`, and interrupt as iOS does for a call. To be added before the page
 * is opened: `page.addInitScript(reachContexts)`.
 */
export function reachContexts() {
  const contexts = /** @type {AudioContext[]} */ ([]);
  const Context = AudioContext;
  globalThis.AudioContext = class extends Context {
    constructor(/** @type {AudioContextOptions | undefined} */ options = undefined) {
      super(options);
      contexts.push(this);
    }
  };
  /** @param {AudioContext} context @param {"interrupted" | "suspended"} state @param {() => Promise<void>} resume what becomes of its tries */
  const spoil = (context, state, resume) => {
    void context.suspend();
    Object.defineProperty(context, "state", { get: () => state });
    context.resume = resume;
    context.dispatchEvent(new Event("statechange"));
  };
  Object.assign(globalThis, {
    contexts,
    /** It stays interrupted, and cannot be resumed. */
    interrupt: () => spoil(/** @type {AudioContext} */ (contexts.at(-1)), "interrupted", () => Promise.reject(new DOMException("interrupted", "InvalidStateError"))),
    /** It can be resumed, so it is said, and never runs. */
    hang: () => spoil(/** @type {AudioContext} */ (contexts.at(-1)), "suspended", () => new Promise(() => {})),
  });
}

/** The tap is a script that the page's policy forbids; the policy itself is tested where nothing is tapped. */
export const tapped = { bypassCSP: true };

/** The rungs that a tapped page has heard. @param {Page} page @returns {Promise<number[]>} */
export async function heardRungs(page) {
  return rungs(await page.evaluate("heard"));
}

/** Waits until a tapped page has heard so many rungs since `from`. @param {Page} page @param {number} count */
export async function hears(page, count, from = 0, timeoutMs = 25_000) {
  for (const end = Date.now() + timeoutMs; Date.now() < end; ) {
    if ((await heardRungs(page)).length >= from + count) return;
    await page.waitForTimeout(250);
  }
  const told = await page.evaluate(() => document.body.innerText.replace(/\s+/g, " "));
  throw new Error(`only ${(await heardRungs(page)).length - from} of ${count} rungs were heard; the page says: ${told}`);
}

/** Waits until a tapped page is silent: the end is told before the last words are heard. @param {Page} page */
export async function fallsSilent(page) {
  await page.waitForFunction("heard.slice(-10).every(({ level }) => level < 0.001)");
}

/** Waits for a page to be in one of these states. @param {Page} page @param {...string} states */
export async function isIn(page, ...states) {
  await page.waitForSelector(states.map((state) => `body[data-state="${state}"]`).join(), { timeout: 30_000 });
}

/** Ends the livestream, as the studio asks for it. @param {Page} studio */
export async function endLivestream(studio) {
  await studio.click("#live");
  await studio.click("#end-yes");
}

/** Waits until the studio says this of its sound. @param {Page} studio @param {string} verdict */
export async function sounds(studio, verdict) {
  await studio.waitForSelector(`body[data-sound="${verdict}"]`, { timeout: 30_000 });
}

/** What an accessibility check finds. @param {Page} page */
export async function faults(page) {
  await page.evaluate(AXE);
  /** @type {{violations: {id: string, impact: string, nodes: {html: string, failureSummary: string}[]}[]}} */
  const found = await page.evaluate("axe.run()");
  return found.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((it) => `${it.html} ${it.failureSummary}`).join("; ")}`);
}

/** Keeps a picture, if pictures are wanted. @param {Page} page @param {string} name */
export async function picture(page, name) {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}
