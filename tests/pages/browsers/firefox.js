// @ts-check
/** Debian's Firefox, driven by its own WebDriver BiDi. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

import { COMMAND_MS, Tab, found, within } from "./tab.js";

/** How long the first start of a profile may take on a machine that is busy. */
const START_MS = 120_000;

/** Sound only after a gesture, as people have it; and a microphone that hears a tone, without a question. */
const PREFERENCES = {
  "media.autoplay.blocking_policy": 1,
  "media.autoplay.default": 1,
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "app.update.enabled": false,
  "dom.disable_beforeunload": true,
};

/** @returns {Promise<import("./tab.js").Browser | null>} null if there is no Firefox */
export async function openFirefox() {
  const binary = found("firefox-esr", "firefox");
  if (!binary) return null;
  const profile = mkdtempSync(join(tmpdir(), "castaway-firefox-"));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`);
  writeFileSync(join(profile, "user.js"), lines.join("\n"));
  const child = spawn(binary, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const session = await within(START_MS, "Firefox starts", begin(child));
  const { capabilities } = await session.ask("session.new", { capabilities: {} }, START_MS);
  return {
    name: `Firefox ${capabilities.browserVersion}`,
    tab: async (size) => FirefoxTab.open(session, size),
    async close() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** @param {import("node:child_process").ChildProcess} child */
async function begin(child) {
  if (!child.stderr) throw new Error("Firefox has no standard error");
  for await (const line of createInterface({ input: child.stderr })) {
    const address = line.match(/WebDriver BiDi listening on (ws:\S+)/)?.[1];
    if (!address) continue;
    child.stderr.resume();
    const socket = new WebSocket(`${address}/session`);
    await once(socket, "open");
    return new Session(socket);
  }
  throw new Error("Firefox ended before it could be driven");
}

/** Commands and their answers. */
class Session {
  /** @type {Map<number, {resolve: (result: any) => void, reject: (why: Error) => void}>} */ #asked = new Map();
  #next = 0;

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.socket = socket;
    socket.on("message", (text) => {
      const { id, result, error, message } = JSON.parse(String(text));
      const asked = this.#asked.get(id);
      this.#asked.delete(id);
      if (error) asked?.reject(new Error(`${error}: ${message}`));
      else asked?.resolve(result);
    });
  }

  /** @param {string} method @param {Record<string, unknown>} params @returns {Promise<any>} */
  ask(method, params, timeoutMs = COMMAND_MS) {
    const id = ++this.#next;
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params }));
    return within(timeoutMs, method, answer);
  }
}

class FirefoxTab extends Tab {
  /** @param {Session} session @param {string} context */
  constructor(session, context) {
    super();
    this.session = session;
    this.context = context;
  }

  /** A tab whose storage is its own. @param {Session} session @param {{width: number, height: number}} viewport */
  static async open(session, viewport) {
    const { userContext } = await session.ask("browser.createUserContext", {});
    const { context } = await session.ask("browsingContext.create", { type: "tab", userContext });
    await session.ask("browsingContext.setViewport", { context, viewport });
    return new FirefoxTab(session, context);
  }

  /** @override @param {string} url */
  async go(url) {
    await this.session.ask("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  /** @override @param {string} code */
  async run(code) {
    const expression = `(async () => JSON.stringify(await (${code})))()`;
    const target = { context: this.context };
    const { result, exceptionDetails } = await this.session.ask("script.evaluate", { expression, target, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${code}: ${exceptionDetails.text}`);
    return result.value === undefined ? undefined : JSON.parse(result.value);
  }

  /** @override @param {string} selector */
  async click(selector) {
    const [x, y] = await this.centre(selector);
    const actions = [{ type: "pointerMove", x, y }, { type: "pointerDown", button: 0 }, { type: "pointerUp", button: 0 }];
    await this.session.ask("input.performActions", { context: this.context, actions: [{ type: "pointer", id: "mouse", actions }] });
  }

  /** @override */
  async picture() {
    const { data } = await this.session.ask("browsingContext.captureScreenshot", { context: this.context });
    return Buffer.from(data, "base64");
  }

  /** @override */
  async close() {
    await this.session.ask("browsingContext.close", { context: this.context });
  }
}
