// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { Place } from "../../../clients/js/place.js";

const about = (/** @type {number} */ epoch, /** @type {number} */ sequence, /** @type {string | undefined} */ id = undefined) => ({
  epoch,
  sequence,
  sentAt: 0,
  ...(id === undefined ? {} : { id }),
});

test("it asks to go on after the latest clip", () => {
  const place = new Place();
  assert.deepEqual(place.wishes, { features: ["clips"] });
  assert.ok(place.take(about(7, 1)));
  assert.ok(place.take(about(7, 4)));
  assert.deepEqual(place.wishes, { features: ["clips"], resume: { epoch: 7, sequence: 4 } });
});

test("a clip is new once, and sequences are compared in their epoch only", () => {
  const place = new Place();
  assert.ok(place.take(about(9, 5)));
  assert.ok(!place.take(about(9, 5)));
  assert.ok(!place.take(about(9, 4)));
  assert.ok(place.take(about(8, 1)), "another epoch, be it a smaller number");
  assert.ok(place.take(about(8, 2)));
});

test("a clip with a known id is not new under another number", () => {
  const place = new Place();
  assert.ok(place.take(about(1, 1, "a")));
  assert.ok(place.take(about(1, 2, "b")));
  assert.ok(!place.take(about(2, 2, "a")));
  assert.deepEqual(place.wishes.resume, { epoch: 2, sequence: 2 }, "its place counts all the same");
  for (let number = 3; number < 67; number += 1) assert.ok(place.take(about(2, number, `${number}`)));
  assert.ok(place.take(about(2, 67, "a")), "forgotten by then");
});
