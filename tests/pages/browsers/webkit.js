// @ts-check
/** WebKitGTK's MiniBrowser, driven by WebKitWebDriver, on a screen that nobody sees. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";

import { freePort } from "../e2e/stage.js";
import { COMMAND_MS, Tab, found, within } from "./tab.js";

/** The key under which WebDriver hands out elements. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

/** @returns {Promise<import("./tab.js").Browser | null>} null if there is no WebKitGTK that can be driven */
export async function openWebKit() {
  const [driver, screen, browser] = [found("WebKitWebDriver"), found("Xvfb"), miniBrowser()];
  if (!driver || !screen || !browser) return null;
  const xvfb = spawn(screen, ["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"], { stdio: ["ignore", "pipe", "ignore"] });
  const display = await within(COMMAND_MS, "Xvfb starts", firstLine(xvfb));
  const port = await freePort();
  const environment = { ...process.env, DISPLAY: `:${display}` };
  const child = spawn(driver, [`--port=${port}`], { stdio: "ignore", env: environment });
  const base = `http://127.0.0.1:${port}`;
  await within(COMMAND_MS, "WebKitWebDriver starts", answering(base));
  const options = { binary: browser, args: ["--automation"] };
  const { sessionId, capabilities } = await ask(`${base}/session`, {
    capabilities: { alwaysMatch: { browserName: "MiniBrowser", "webkitgtk:browserOptions": options } },
  });
  const session = `${base}/session/${sessionId}`;
  return {
    name: `WebKitGTK ${capabilities.browserVersion}`,
    async tab(size) {
      await ask(`${session}/window/rect`, size);
      return new WebKitTab(session);
    },
    async close() {
      await ask(session, null, "DELETE").catch(() => {});
      for (const it of [child, xvfb]) {
        it.kill();
        if (it.exitCode === null && it.signalCode === null) await once(it, "exit");
      }
    },
  };
}

/** Debian keeps it out of the way of people. */
function miniBrowser() {
  const folders = readdirSync("/usr/lib", { withFileTypes: true }).filter((it) => it.isDirectory() && it.name.includes("linux-gnu"));
  return found(...folders.flatMap(({ name }) => ["4.1", "6.0", "4.0"].map((api) => `/usr/lib/${name}/webkit${api === "6.0" ? "" : "2"}gtk-${api}/MiniBrowser`)));
}

/** @param {import("node:child_process").ChildProcess} child @returns {Promise<string>} */
async function firstLine(child) {
  if (child.stdout) for await (const line of createInterface({ input: child.stdout })) return line.trim();
  throw new Error("a program ended before it was ready");
}

/** @param {string} base */
async function answering(base) {
  while (!(await fetch(`${base}/status`).catch(() => null))?.ok) await new Promise((resolve) => setTimeout(resolve, 100));
}

/** @param {string} url @param {unknown} body @returns {Promise<any>} */
async function ask(url, body, method = body === null ? "GET" : "POST") {
  const answer = await fetch(url, { method, ...(body === null ? {} : { body: JSON.stringify(body) }), signal: AbortSignal.timeout(COMMAND_MS) });
  const { value } = /** @type {any} */ (await answer.json());
  if (!answer.ok) throw new Error(`${url}: ${value?.error}: ${value?.message}`);
  return value;
}

class WebKitTab extends Tab {
  /** @param {string} session */
  constructor(session) {
    super();
    this.session = session;
  }

  /** @override @param {string} url */
  async go(url) {
    // There is one window, and an address that differs from its last by the fragment alone loads nothing.
    await ask(`${this.session}/url`, { url: "about:blank" });
    await ask(`${this.session}/url`, { url });
  }

  /** @override @param {string} code */
  async run(code) {
    const script = `const done = arguments[0]; (async () => (${code}))().then((it) => done(JSON.stringify(it) ?? null), (why) => done("!" + why))`;
    const text = await ask(`${this.session}/execute/async`, { script, args: [] });
    if (text?.startsWith("!")) throw new Error(`${code}: ${text.slice(1)}`);
    return text === null ? undefined : JSON.parse(text);
  }

  /** @override @param {string} selector */
  async click(selector) {
    const element = await ask(`${this.session}/element`, { using: "css selector", value: selector });
    await ask(`${this.session}/element/${element[ELEMENT]}/click`, {});
  }

  /** @override */
  async picture() {
    return Buffer.from(await ask(`${this.session}/screenshot`, null), "base64");
  }
}
