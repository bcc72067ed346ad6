// @ts-check
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Outbox } from "../../../clients/js/outbox.js";

/** @type {{clip: number, id: string, answer: (it: any) => void, lose: () => void}[]} */
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

/** @param {number} _timeout @param {string} name @param {Uint8Array} bytes @param {{id: string}} options @returns {Promise<any>} */
const way = (_timeout, name, bytes, { id }) =>
  new Promise((answer, reject) => {
    assert.equal(name, "upload");
    asked.push({ clip: bytes[0] ?? -1, id, answer, lose: () => reject(new Error("lost")) });
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

test("it tells when nothing waits, or when the time is over", async () => {
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

test("a clip has one id however often it is sent, and no other clip has it", async () => {
  const box = outbox();
  box.open(way);
  box.push(clip(0));
  box.push({ ...clip(1), id: "mine" });
  box.shut();
  asked[0]?.lose();
  await settle();
  box.open(way);
  asked[1]?.answer({ ok: true, sequence: 1, duplicate: true });
  await settle();
  const ids = asked.map((it) => it.id);
  assert.equal(ids[0], ids[1]);
  assert.match(ids[0] ?? "", /^[0-9a-f]{32}$/);
  assert.equal(ids[2], "mine");
  assert.deepEqual(settled, ["0 sent"]);
});

test("a clip that the server cannot take now is sent again, and nothing overtakes it", async () => {
  const box = outbox();
  box.open(way);
  box.push(clip(0));
  box.push(clip(1));
  asked[0]?.answer({ ok: false, error: "Service is temporarily unavailable, try again." });
  await settle();
  assert.deepEqual([settled, asked.length], [["0 waiting"], 1]);
  mock.timers.tick(1_000);
  await settle();
  asked[1]?.answer({ ok: true });
  await settle();
  assert.deepEqual(asked.map((it) => it.clip), [0, 0, 1]);
});

/** Numbers that look random, the same in every run. @param {number} seed */
const randomly = (seed) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  return seed / 2_147_483_648;
};

test("whatever is lost on the way, each clip is relayed once and in order", async () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = randomly(seed);
    /** @type {Map<string, number>} */
    const known = new Map();
    /** @type {number[]} */
    const relayed = [];
    const box = outbox(1_000);
    /** A server that knows ids, on a link that loses clips and answers. @returns {(...args: any[]) => Promise<any>} */
    const link = () => async (_timeout, _name, bytes, { id }) => {
      await settle();
      const luck = random();
      if (luck < 0.2) throw new Error("the clip is lost");
      if (luck < 0.3) return { ok: false, error: "too fast", retryAfterMs: 50 };
      const isKnown = known.has(id);
      if (!isKnown) {
        relayed.push(bytes[0]);
        known.set(id, relayed.length);
      }
      if (luck < 0.5) throw new Error("the answer is lost");
      return { ok: true, sequence: known.get(id), ...(isKnown ? { duplicate: true } : { listeners: 1 }) };
    };
    let sent = 0;
    for (let round = 0; sent < 30 || box.length > 0; round++) {
      assert.ok(round < 5_000, `seed ${seed}: it ends`);
      if (sent < 30 && random() < 0.4) box.push(clip(sent++));
      if (random() < 0.3) box.open(link());
      mock.timers.tick(50);
      await settle();
    }
    assert.deepEqual(relayed, [...Array(30).keys()], `seed ${seed}`);
  }
  assert.equal(settled.filter((it) => it.endsWith("sent")).length, 50 * 30);
});

/** A way on which wishes about the recording are answered at once, and clips as above. @param {unknown[]} said */
const wishing = (said) => {
  /** @type {import("../../../clients/js/outbox.js").Ask} */
  const ask = (timeout, name, ...args) => {
    if (name !== "recording") return way(timeout, name, args[0], args[1]).finally(() => said.push(args[0][0]));
    said.push(args[0]);
    return Promise.resolve({ ok: true, recording: args[0] !== false, paused: args[0] === false });
  };
  return ask;
};

test("a pause of the recording overtakes what waits, and is said again on a new way", async () => {
  const [said, later] = /** @type {[unknown[], unknown[]]} */ ([[], []]);
  const box = outbox();
  box.open(wishing(said));
  box.push(clip(0));
  box.push(clip(1));
  assert.deepEqual(await box.record(false), { ok: true, recording: false, paused: true });
  assert.deepEqual(said, [false]);
  box.shut();
  asked[0]?.lose();
  await settle();
  await assert.rejects(box.record(false), /not connected/);
  box.open(wishing(later));
  await box.record();
  await settle();
  for (const at of [1, 2]) {
    asked[at]?.answer({ ok: true });
    await settle();
  }
  assert.deepEqual(later, [false, null, 0, 1]);
});

test("the end of a pause keeps its place among the clips", async () => {
  const said = /** @type {unknown[]} */ ([]);
  const box = outbox();
  box.open(wishing(said));
  await box.record(false);
  box.push(clip(0));
  box.push(clip(1));
  const ended = box.record(true);
  box.push(clip(2));
  assert.equal(box.length, 3);
  for (const at of [0, 1, 2]) {
    asked[at]?.answer({ ok: true });
    await settle();
  }
  assert.deepEqual(await ended, { ok: true, recording: true, paused: false });
  assert.deepEqual(said, [false, 0, 1, true, 2]);
  box.open(wishing(said));
  box.push(clip(3));
  await settle();
  assert.equal(asked.at(-1)?.clip, 3, "no pause is said again");
});

test("a later wish about the recording counts, and a pause from before is known", async () => {
  const said = /** @type {unknown[]} */ ([]);
  const box = outbox();
  box.open(wishing(said));
  box.push(clip(0));
  const ended = box.record(true);
  const replaced = assert.rejects(ended, /another wish/);
  await box.record(false);
  await replaced;
  asked[0]?.answer({ ok: true });
  await settle();
  assert.deepEqual(said, [false, 0]);
  const fresh = outbox();
  fresh.open(async (_timeout, name, wish) => ({ ok: true, recording: false, paused: name === "recording" && wish === null }));
  await fresh.record();
  const later = /** @type {unknown[]} */ ([]);
  fresh.open(wishing(later));
  fresh.push(clip(1));
  await settle();
  assert.deepEqual(later, [false]);
});
