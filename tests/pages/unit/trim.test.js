// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { padding, shortened } from "../../../src/http/pages/trim.js";

const RATE = 48_000;
/** @param {number} samples @param {number} hz */
const tone = (samples, hz) => Float32Array.from({ length: samples }, (_, at) => 0.4 * Math.sin((2 * Math.PI * hz * at) / RATE + 1));

/** @param {...(number | Float32Array)} parts a number is so many samples of silence */
const sound = (...parts) => Float32Array.from(parts.flatMap((it) => (typeof it === "number" ? new Array(it).fill(0) : [...it])));

test("padding of a frame or two is found at both ends", () => {
  assert.deepEqual(padding([sound(1024, tone(4_000, 440), 431)], RATE), { lead: 1024, tail: 431 });
});

test("a silence of 50 milliseconds or more is meant", () => {
  assert.deepEqual(padding([sound(2_400, tone(4_000, 440), 5_000)], RATE), { lead: 0, tail: 0 });
  assert.deepEqual(padding([sound(9_000)], RATE), { lead: 0, tail: 0 });
});

test("silence in one channel alone is no padding", () => {
  assert.deepEqual(padding([sound(1024, tone(4_000, 440)), tone(5_024, 300)], RATE), { lead: 0, tail: 0 });
});

for (const share of [0.01, 0.04]) {
  test(`a clip is made ${share * 100} % shorter, its pitch and its ends kept`, () => {
    const whole = tone(RATE, 333);
    const [short = whole, other] = shortened([whole, whole.map((it) => -it)], RATE, RATE * share);
    const removed = whole.length - short.length;
    assert.ok(removed >= RATE * share * 0.6 && removed <= RATE * share, `${removed}`);
    assert.equal(other?.length, short.length);
    assert.deepEqual(short.slice(0, 2_000), whole.slice(0, 2_000));
    assert.deepEqual(short.slice(-2_000), whole.slice(-2_000));
    const steepest = Math.max(...Array.from(short.slice(1), (it, at) => Math.abs(it - (short[at] ?? 0))));
    assert.ok(steepest < ((0.4 * 2 * Math.PI * 333) / RATE) * 1.1, `a click of ${steepest}`);
    const crossings = short.filter((it, at) => it >= 0 && (short[at - 1] ?? 0) < 0).length;
    assert.ok(Math.abs((crossings * RATE) / short.length - 333) < 2, `${(crossings * RATE) / short.length} Hz`);
  });
}

test("a clip too short for a splice stays as it is", () => {
  for (const length of [0, 1, 500, 2_000]) assert.equal(shortened([tone(length, 440)], RATE, length * 0.04)[0]?.length, length);
});
