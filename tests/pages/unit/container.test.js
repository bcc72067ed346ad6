// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, isBounded } from "../../../src/http/pages/container.js";
import { encoded } from "../e2e/ladder.js";

/** @type {[string, string[], boolean][]} kind, ffmpeg's arguments, whether padding is left */
const KINDS = [
  ["wav", [], false],
  ["flac", [], false],
  ["ogg", ["-c:a", "libopus"], false],
  ["ogg", ["-c:a", "libvorbis"], false],
  ["m4a", ["-c:a", "aac"], false],
  ["m4a", ["-c:a", "aac", "-use_editlist", "0"], true],
  ["aac", ["-c:a", "aac"], true],
  ["mp3", ["-c:a", "libmp3lame"], false],
  ["mp3", ["-c:a", "libmp3lame", "-write_xing", "0"], true],
];

for (const [kind, how, padded] of KINDS) {
  test(`the length of a clip is known: ${[kind, ...how].join(" ")}`, () => {
    const told = describe(encoded(kind, ...how));
    assert.ok(told.seconds !== null && told.seconds > 3.45 && told.seconds < 3.7, `${told.seconds}`);
    assert.equal(told.padded, padded);
  });
}

test("a FLAC file whose header lies is measured by its frames", () => {
  const clip = encoded("flac", "-af", "volume=0,aloop=loop=-1:size=168000", "-t", "600");
  for (const at of [21, 22, 23, 24, 25]) clip[at] = (clip[at] ?? 0) & (at === 21 ? 0xf0 : 0);
  const told = describe(clip);
  assert.ok((told.seconds ?? 0) >= 600, `${told.seconds}`);
  assert.equal(isBounded(clip, told), false);
});

test("an M4A file whose header lies is measured by its samples", () => {
  const clip = encoded("m4a", "-c:a", "aac", "-af", "aloop=loop=-1:size=168000", "-t", "300");
  const at = clip.indexOf("mdhd");
  clip.writeUInt32BE(48_000, at + 20);
  assert.ok((describe(clip).seconds ?? 0) > 299);
});

test("what is unknown is bounded by its bytes", () => {
  const clip = new Uint8Array(2_000_000);
  assert.equal(describe(clip).seconds, null);
  assert.equal(isBounded(clip, describe(clip)), false);
  assert.equal(isBounded(clip.subarray(0, 100_000), describe(clip)), true);
});

test("a clip that is cut off anywhere is described without an error", () => {
  for (const [kind, how] of KINDS) {
    const clip = encoded(kind, ...how);
    for (let length = 0; length < 300; length++) describe(clip.subarray(0, length));
  }
});
