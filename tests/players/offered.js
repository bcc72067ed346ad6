// The addresses that a listening page offers for other players, as a line of JSON: what its button copies, and the link to
// HLS.
//
//   node offered.js ADDRESS

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync) ?? "chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
const page = await context.newPage();
await page.goto(process.argv[2]);
await page.getByText("Open in another player").click();
await page.locator("#player-copy").click();
await page.waitForTimeout(100);
const stream = await page.evaluate(() => navigator.clipboard.readText());
const hls = await page.locator("#player-hls").evaluate((link) => link.href);
console.log(JSON.stringify({ stream, hls }));
await browser.close();
