// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Failure, failureOf, silenceOf } from "../../../src/http/pages/control/api.js";
import { GAP_MS, History, WINDOW_MS, line } from "../../../src/http/pages/control/plots.js";
import { Poll, pause } from "../../../src/http/pages/control/poll.js";
import { MOST_ROWS, found } from "../../../src/http/pages/control/table.js";
import { banEnd, freshness, missingWords, nodeState, pageWords, rate, sinceWords, size, span, untilWords } from "../../../src/http/pages/control/words.js";

const NOW = Date.parse("2026-11-29T12:00:00Z");
const TIMES = { everyMs: 2_000, mostMs: 30_000 };

test("time spans have their two largest units", () => {
  assert.deepEqual([-5, 0, 59.9, 60, 3_600, 3_725, 90_000].map(span), ["0 s", "0 s", "59 s", "1 min", "1 h 0 min", "1 h 2 min", "1 d 1 h"]);
  assert.equal(sinceWords(null, NOW), "–");
  assert.equal(sinceWords("2026-11-29T11:58:00Z", NOW), "2 min");
  assert.equal(sinceWords("2026-11-29T12:00:09Z", NOW), "0 s");
});

test("amounts are rounded to what is read at a glance", () => {
  assert.deepEqual([0, 16_000, 1_249_000, 12_500_000].map(rate), ["0 kbit/s", "128 kbit/s", "9,992 kbit/s", "100.0 Mbit/s"]);
  assert.deepEqual([0, 999, 1_500, 123_456, 5e9, 5e15].map(size), ["0 B", "999 B", "1.5 kB", "123 kB", "5.0 GB", "5000 TB"]);
  assert.deepEqual([pageWords(0, 0, 0), pageWords(9_950, 50, 10_000)], ["none", "9,951–10,000 of 10,000"]);
});

test("what is shown says how old it is", () => {
  assert.deepEqual(freshness(null, NOW, 6_000), { words: "not asked yet", isStale: false });
  assert.deepEqual(freshness(NOW - 3_000, NOW, 6_000), { words: "updated 3 s ago", isStale: false });
  assert.deepEqual(freshness(NOW - 61_000, NOW, 6_000), { words: "stale: updated 1 min ago", isStale: true });
});

test("a node's state says what is left of a drain", () => {
  const silent = { name: "b-2", answers: false, version: null, ready: null, draining: null, degraded: null, livestreams: null, streamers: null, listeners: null, seconds_left: null };
  const node = { ...silent, answers: true, ready: true, draining: false, degraded: [], streamers: 1, listeners: 42 };
  assert.equal(nodeState(silent), "does not answer");
  assert.equal(nodeState(node), "ready");
  assert.equal(nodeState({ ...node, degraded: ["Redis is away"] }), "ready; degraded: Redis is away");
  assert.equal(nodeState({ ...node, ready: false }), "not ready");
  assert.equal(nodeState({ ...node, ready: false, draining: true, seconds_left: 35 }), "drains: 1 streamer and 42 listeners left, 35 s to go");
});

test("nodes that an answer lacks are named", () => {
  assert.equal(missingWords([], "sockets"), "");
  assert.equal(missingWords(["b-2"], "sockets"), "No answer from b-2: its sockets are missing here.");
  assert.equal(missingWords(["b-2", "c-3"], "sockets"), "No answer from b-2, c-3: their sockets are missing here.");
});

test("the end of a ban counts from the server's time", () => {
  assert.equal(banEnd("forever", "", NOW), null);
  assert.equal(banEnd("hour", "", NOW), "2026-11-29T13:00:00Z");
  assert.equal(banEnd("month", "", NOW), "2026-12-29T12:00:00Z");
  assert.equal(banEnd("time", "2026-12-01T18:30Z", NOW), "2026-12-01T18:30:00Z");
  assert.throws(() => banEnd("time", "", NOW), /Say when/);
  assert.throws(() => banEnd("time", "2026-11-29T11:00Z", NOW), /future/);
  assert.equal(untilWords(null), "until it is removed");
});

test("failures say what helps", () => {
  const wrong = failureOf(401, "send the header", 0);
  assert.ok(wrong.isOfToken && wrong.message.includes("castaway.api.token"), wrong.message);
  const limited = failureOf(429, "too many", 31);
  assert.deepEqual([limited.retryAfterMs, limited.isOfToken], [31_000, false]);
  assert.match(limited.message, /again in 31 s/);
  assert.equal(failureOf(409, "the livestream has no streamer now", 0).message, "The livestream has no streamer now.");
  assert.equal(failureOf(503, "the node b-2 does not answer", 0).message, "The server could not do this. The node b-2 does not answer.");
  assert.match(failureOf(502, "", 0).message, /status 502/);
});

test("an act without an answer may have been done", () => {
  const late = Object.assign(new Error("late"), { name: "TimeoutError" });
  assert.match(silenceOf(late, false).message, /did not answer within 15 s/);
  assert.match(silenceOf(new TypeError("Failed to fetch"), false).message, /^The server cannot be reached\.$/);
  assert.match(silenceOf(late, true).message, /may have been done/);
  assert.equal(silenceOf(late, true).status, 0);
});

test("a failing or slow server is asked less often", () => {
  assert.equal(pause(0, 100, TIMES, 1), 2_000);
  assert.equal(pause(0, 3_000, TIMES, 1), 9_000);
  assert.deepEqual([1, 2, 3, 9].map((failures) => pause(failures, 0, TIMES, 1)), [4_000, 8_000, 16_000, 30_000]);
  assert.equal(pause(1, 0, TIMES, 0), 3_000);
});

/** Lets what has been resolved go on. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("rounds never overlap, and stop while hidden", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: NOW });
  let [rounds, isHidden] = [0, false];
  /** @type {() => void} */ let finish = () => {};
  const poll = new Poll(() => {
    rounds += 1;
    return new Promise((resolve) => {
      finish = resolve;
    });
  }, TIMES, () => isHidden);
  poll.start();
  poll.hurry();
  mock.timers.tick(10_000);
  assert.equal(rounds, 1);
  finish();
  await settle();
  assert.equal(rounds, 2, "the one that was wanted meanwhile");
  finish();
  await settle();
  assert.equal(poll.nextAt, NOW + 12_000);
  mock.timers.tick(2_000);
  assert.equal(rounds, 3);
  isHidden = true;
  finish();
  await settle();
  mock.timers.tick(60_000);
  assert.equal(rounds, 3);
  isHidden = false;
  poll.hurry();
  assert.equal(rounds, 4);
  poll.stop();
  finish();
  await settle();
  mock.timers.tick(60_000);
  assert.equal(rounds, 4);
  mock.timers.reset();
});

test("the server's own time to wait is kept", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: NOW });
  let rounds = 0;
  const poll = new Poll(async () => {
    rounds += 1;
    throw new Failure("no", 429, 45_000);
  }, TIMES, () => false);
  poll.start();
  await settle();
  mock.timers.tick(44_999);
  assert.equal(rounds, 1);
  mock.timers.tick(1);
  assert.equal(rounds, 2);
  poll.stop();
  mock.timers.reset();
});

test("plots keep the last minutes of a bounded number", () => {
  const history = new History();
  for (let at = 0; at <= 10 * 60_000; at += 100) history.add("a", { at, listeners: 1, rate: 1 });
  assert.equal(history.of("a").length, 200);
  history.add("a", { at: 60 * 60_000, listeners: 1, rate: 1 });
  assert.equal(history.of("a").length, 1);
  for (let id = 0; id < 3_000; id++) history.add(`b-${id}`, { at: 60 * 60_000, listeners: 1, rate: 1 });
  assert.equal(history.size, 1_000);
  history.add("c", { at: 60 * 60_000 + WINDOW_MS + 1, listeners: 1, rate: 1 });
  assert.equal(history.size, 1);
});

test("a plot shows gaps, zero at the bottom and now at the right", () => {
  const samples = [0, 10, 20].map((listeners, index) => ({ at: NOW - WINDOW_MS + index * GAP_MS, listeners, rate: 0 }));
  assert.equal(line(samples, "listeners", NOW), "M0.0 23.0L8.0 12.0L16.0 1.0");
  assert.equal(line(samples, "rate", NOW), "M0.0 23.0L8.0 23.0L16.0 23.0");
  assert.equal(line([...samples, { at: NOW, listeners: 20, rate: 0 }], "listeners", NOW), "M0.0 23.0L8.0 12.0L16.0 1.0M96.0 1.0");
  assert.equal(line(samples, "listeners", NOW + 2 * WINDOW_MS), "");
  assert.equal(line([], "listeners", NOW), "");
});

test("long lists are searched and cut off", () => {
  const users = Array.from({ length: 10_000 }, (_, index) => `user-${index}`);
  const all = found(users, "", (it) => it);
  assert.equal(all.shown.length, MOST_ROWS);
  assert.equal(all.words, "100 of 10,000 are shown: search for the others.");
  assert.deepEqual(found(users, " USER-9999 ", (it) => it), { shown: ["user-9999"], words: "" });
  assert.equal(found(users, "nobody", (it) => it).words, "Nothing contains this text.");
  assert.deepEqual(found([], "", String), { shown: [], words: "" });
});
