// @ts-check
/** What the tests ask of a browser's tab, whichever browser it has. */

import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** How long a browser may take for one command. */
export const COMMAND_MS = 60_000;

/**
 * @typedef {object} Browser
 * @property {string} name with its version
 * @property {(size: {width: number, height: number}) => Promise<Tab>} tab
 * @property {() => Promise<void>} close
 */

export class Tab {
  /** Opens an address, and waits until it is loaded. @param {string} _url @returns {Promise<void>} */
  async go(_url) {}

  /** The value of an expression in the page; promises are waited for. @param {string} _code @returns {Promise<any>} */
  async run(_code) {}

  /** Clicks as a person does: the browser takes it for a gesture. @param {string} _selector @returns {Promise<void>} */
  async click(_selector) {}

  /** What is seen, as PNG. @returns {Promise<Buffer>} */
  async picture() {
    return Buffer.alloc(0);
  }

  /** @returns {Promise<void>} */
  async close() {}

  /** Where an element's middle is, in the window. @param {string} selector @returns {Promise<[number, number]>} */
  async centre(selector) {
    const at = await this.run(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element?.scrollIntoView({ block: "center", behavior: "instant" });
      const { x, y, width, height } = element?.getBoundingClientRect() ?? {};
      return width ? [Math.round(x + width / 2), Math.round(y + height / 2)] : null;
    })()`);
    if (!at) throw new Error(`${selector} is not to be seen`);
    return at;
  }

  /** @param {string} selector @returns {Promise<string>} */
  text(selector) {
    return this.run(`document.querySelector(${JSON.stringify(selector)}).innerText`);
  }

  /** Waits until an expression holds. @param {string} code */
  async until(code, timeoutMs = 30_000) {
    for (const end = Date.now() + timeoutMs; Date.now() < end; ) {
      if (await this.run(code)) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error(`${code} does not become true; the page says: ${(await this.text("body")).replace(/\s+/g, " ")}`);
  }
}

/** The first of these programs that is installed. @param {...string} names @returns {string | null} */
export function found(...names) {
  const folders = (process.env.PATH ?? "").split(":");
  for (const path of names.flatMap((name) => (name.startsWith("/") ? [name] : folders.map((folder) => join(folder, name))))) {
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next one
    }
  }
  return null;
}

/** @template T @param {number} ms @param {string} what @param {Promise<T>} promise @returns {Promise<T>} */
export async function within(ms, what, promise) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let late;
  const timeout = new Promise((_, reject) => (late = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms)));
  try {
    return await /** @type {Promise<T>} */ (Promise.race([promise, timeout]));
  } finally {
    clearTimeout(late);
  }
}
