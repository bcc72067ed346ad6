// @ts-check
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Outbox } from "../../../clients/js/outbox.js";

/** @type {{clip: number, answer: (it: any) => void, lose: () => void}[]} */
let asked = [];
/** @type {string[]} */
let settled = [];

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  [asked, settled] = [[], []];
});

const outbox = (keepSeconds = 60) =>
  new Outbox({ keepSeconds, now: () => 0, settled: ({ number }, { kind }) => settled.push(`${number} ${kind}`) });

/** @param {number} _timeout @param {string} name @param {Uint8Array} bytes @returns {Promise<any>} */
const way = (_timeout, name, bytes) =>
  new Promise((answer, reject) => {
    assert.equal(name, "upload");
    asked.push({ clip: bytes[0] ?? -1, answer, lose: () => reject(new Error("lost")) });
  });

/** @param {number} number */
const clip = (number) => ({ number, bytes: new Uint8Array([number]), seconds: 1 });

/** Lets every promise that can go on do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("clips go one at a time, each after the answer for the one before", async () => {
  const box = outbox();
  box.open(way);
  for (const number of [0, 1, 2]) box.push(clip(number));
  assert.deepEqual(asked.map((it) => it.clip), [0]);
  asked[0]?.answer({ ok: true, listeners: 2 });
  await settle();
  assert.deepEqual(asked.map((it) => it.clip), [0, 1]);
  assert.deepEqual([settled, box.length], [["0 sent"], 2]);
});

test("what was not answered for when the network went is sent again, in order", async () => {
  const box = outbox();
  box.open(way);
  box.push(clip(0));
  box.push(clip(1));
  box.shut();
  asked[0]?.lose();
  await settle();
  box.push(clip(2));
  assert.equal(asked.length, 1);
  box.open(way);
  for (const at of [1, 2, 3]) {
    asked[at]?.answer({ ok: true });
    await settle();
  }
  assert.deepEqual(asked.map((it) => it.clip), [0, 0, 1, 2]);
  assert.deepEqual(settled, ["0 sent", "1 sent", "2 sent"]);
});

test("a clip over the rate waits as long as the server says, and nothing overtakes it", async () => {
  const box = outbox();
  box.open(way);
  box.push(clip(0));
  box.push(clip(1));
  asked[0]?.answer({ ok: false, error: "too fast", retryAfterMs: 800 });
  await settle();
  mock.timers.tick(799);
  await settle();
  assert.equal(asked.length, 1);
  mock.timers.tick(1);
  await settle();
  assert.deepEqual(asked.map((it) => it.clip), [0, 0]);
  assert.deepEqual(settled, ["0 waiting"]);
});

test("a clip that is refused for good is given up, and the next one goes", async () => {
  const box = outbox();
  box.open(way);
  box.push(clip(0));
  box.push(clip(1));
  asked[0]?.answer({ ok: false, error: "too large" });
  await settle();
  assert.deepEqual([settled, asked.map((it) => it.clip)], [["0 refused"], [0, 1]]);
});

test("when too much waits the oldest are given up, but not the one that is under way", async () => {
  const box = outbox(3);
  box.open(way);
  for (const number of [0, 1, 2, 3, 4]) box.push(clip(number));
  assert.deepEqual([settled, box.length], [["1 lost", "2 lost"], 3]);
  box.shut();
  asked[0]?.lose();
  await settle();
  box.push(clip(5));
  assert.deepEqual(settled.at(-1), "0 lost");
});

test("it tells when nothing waits any more, or when the patience is over", async () => {
  const box = outbox();
  await box.drained(1000);
  box.open(way);
  box.push(clip(0));
  let done = 0;
  void box.drained(1000).then(() => done++);
  await settle();
  assert.equal(done, 0);
  asked[0]?.answer({ ok: true });
  await settle();
  assert.equal(done, 1);
  box.push(clip(1));
  void box.drained(1000).then(() => done++);
  mock.timers.tick(1000);
  await settle();
  assert.equal(done, 2);
});
