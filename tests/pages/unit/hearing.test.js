// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { Hearing } from "../../../src/http/pages/hearing.js";

test("sound in hand on a running clock is heard", () => {
  const hearing = new Hearing();
  hearing.played();
  assert.equal(hearing.verdict(0, { running: true, inHand: 0.5 }), "live");
});

test("a clock that stands is told, whatever is in hand", () => {
  assert.equal(new Hearing().verdict(0, { running: false, inHand: 9 }), "paused");
});

test("sound that stays away is told after a second", () => {
  const hearing = new Hearing();
  hearing.played();
  assert.equal(hearing.verdict(100, { running: true, inHand: 0 }), "live");
  assert.equal(hearing.verdict(1_100, { running: true, inHand: 0 }), "quiet");
  hearing.played();
  assert.equal(hearing.verdict(1_200, { running: true, inHand: 1 }), "live");
});

test("clips that cannot be decoded are told once nothing is in hand", () => {
  const hearing = new Hearing();
  hearing.broken();
  assert.equal(hearing.verdict(0, { running: true, inHand: 1 }), "live");
  assert.equal(hearing.verdict(0, { running: true, inHand: 0 }), "undecodable");
  hearing.played();
  assert.equal(hearing.verdict(0, { running: true, inHand: 1 }), "live");
});
