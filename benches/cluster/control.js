// @ts-check
/**
 * The control page in Chromium, driven by lines on standard input: a JSON array of a word and its arguments each. Answers
 * with a line each: how many milliseconds it took until the page showed it, and the page's processor time in seconds.
 *
 *     node control.js ADDRESS TOKEN
 */

import { createInterface } from "node:readline";
import { isIn, openBrowser, openPage } from "../../tests/pages/e2e/stage.js";

const [address = "", token = ""] = process.argv.slice(2);
/** @typedef {Awaited<ReturnType<typeof openPage>>} Page */
/** @typedef {Awaited<ReturnType<ReturnType<Page["context"]>["newCDPSession"]>>} Session */
/** @type {Awaited<ReturnType<typeof openBrowser>> | undefined} */ let browser;
/** @type {Page} */ let page;
/** @type {Session | undefined} */ let session;

/** Waits until the page says that an act is done. @param {RegExp} words */
const says = (words) => page.locator("#said", { hasText: words }).waitFor();

/** Confirms the question. */
const confirm = () => page.locator("dialog[open] button[type=submit]").click();

/** Each resolves with the time since which it is measured; void: since it was wanted. */
const ACTS = /** @type {Record<string, (name: string) => Promise<number | void>>} */ ({
  async start() {
    browser = await openBrowser();
    page = await openPage(browser);
    session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    await page.goto(address);
  },
  async open() {
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await isIn(page, "open");
    await page.selectOption("#sort", "listeners");
    await page.locator("#livestreams-rows tr").nth(49).waitFor();
  },
  async show(name) {
    await page.getByRole("button", { name, exact: true }).first().click();
    await page.locator("#sockets-rows tr").nth(99).waitFor();
  },
  async end(name) {
    await page.selectOption("#sort", "id");
    const row = page.locator("#livestreams-rows").getByRole("button", { name, exact: true });
    while ((await row.count()) === 0) {
      await page.click("#later");
      await page.waitForTimeout(100);
    }
    await row.click();
    const began = performance.now();
    await page.click("#end:not([aria-disabled=true])");
    await confirm();
    await says(/is over/);
    return began;
  },
  async kick(name) {
    await page.selectOption("#sort", "listeners");
    await page.getByRole("button", { name, exact: true }).first().click();
    await page.locator("#sockets-rows tr").nth(99).waitFor();
    const began = performance.now();
    await page.locator("#sockets-rows").getByRole("button", { name: /^Disconnect/ }).nth(1).click();
    await confirm();
    await says(/Disconnected/);
    return began;
  },
  async cost() {},
});

for await (const line of createInterface({ input: process.stdin })) {
  const [word = "", name = ""] = JSON.parse(line);
  const wanted = performance.now();
  const began = (await ACTS[word]?.(name)) ?? wanted;
  const took = performance.now() - began;
  const { metrics } = session ? await session.send("Performance.getMetrics") : { metrics: [] };
  const processor = metrics.find((metric) => metric.name === "TaskDuration")?.value ?? 0;
  console.log(JSON.stringify({ took, processor }));
}
await browser?.close();
