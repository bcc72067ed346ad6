// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { OnAir, WORDS } from "../../../src/http/pages/onair.js";

/** @type {import("../../../src/http/pages/onair.js").Circumstances} */
const SPEAKING = { source: "microphone", muted: false, paused: false, microphone: "open", file: "paused" };
/** @type {import("../../../src/http/pages/onair.js").Circumstances} */
const PLAYING = { ...SPEAKING, source: "file", file: "playing" };

/** On air for `seconds`, a clip each. @param {number} seconds @param {number} peak @param {number} [answered] */
function after(seconds, peak, answered = seconds) {
  const air = new OnAir(0, 1_000);
  for (let second = 1; second <= seconds; second++) {
    air.made(second * 1_000, peak);
    if (second <= answered) air.sent(second * 1_000 + 50, peak);
  }
  return air;
}

test("clips that were acknowledged and held sound are heard", () => {
  assert.equal(after(10, 0.2).verdict(10_100, SPEAKING), "heard");
  assert.equal(after(10, 0.2).verdict(10_100, PLAYING), "heard");
});

test("the first seconds claim nothing", () => {
  assert.equal(new OnAir(0, 1_000).verdict(4_900, SPEAKING), "starting");
  assert.equal(new OnAir(0, 1_000).verdict(5_100, SPEAKING), "stuck");
});

test("a known obstacle is told at once", () => {
  const air = after(10, 0.2);
  for (const [change, verdict] of /** @type {const} */ ([
    [{ source: null }, "none"],
    [{ microphone: "gone" }, "gone"],
    [{ paused: true }, "paused"],
    [{ muted: true }, "muted"],
    [{ microphone: "muted" }, "system"],
    [{ source: "file", file: "ended" }, "file-ended"],
    [{ source: "file", file: "paused" }, "file-paused"],
    [{ source: "file", file: "broken" }, "file-broken"],
  ])) {
    assert.equal(air.verdict(10_100, { ...SPEAKING, ...change }), verdict);
    assert.notEqual(WORDS[verdict].badge, "On air");
  }
});

test("silence is told within seconds, whatever its reason", () => {
  const air = after(10, 0.2);
  for (let second = 11; second <= 16; second++) {
    air.made(second * 1_000, 0);
    air.sent(second * 1_000, 0);
    if (second === 13) assert.equal(air.verdict(13_000, SPEAKING), "heard", "a pause between sentences");
  }
  assert.equal(air.verdict(16_000, SPEAKING), "silent");
});

test("clips that nobody acknowledges are not heard", () => {
  assert.equal(after(20, 0.2, 10).verdict(20_000, SPEAKING), "unanswered");
});

test("an encoder that has stopped is told", () => {
  assert.equal(after(10, 0.2).verdict(16_000, SPEAKING), "stuck");
});

test("without a connection it is the clips that are kept that count", () => {
  assert.equal(after(20, 0.2, 10).verdict(20_000, SPEAKING, false), "heard");
  assert.equal(after(20, 0, 10).verdict(20_000, SPEAKING, false), "silent");
});

test("a pause between two clips of five seconds is no silence", () => {
  const air = new OnAir(0, 5_000);
  for (const second of [5, 10, 15]) {
    air.made(second * 1_000, 0.1);
    air.sent(second * 1_000, 0.1);
  }
  assert.equal(air.verdict(20_500, SPEAKING), "heard");
});
