// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { Cutter, Joiner, afterTag, frameAt, frames, markOf, markedClip } from "../../../src/http/pages/mp3.js";
import { encodedTone, joined } from "./tones.js";

const tone = encodedTone(5);
const whole = joined(tone);

/** Clips of a second of one stream. @param {string} stream */
function show(stream) {
  const cutter = new Cutter(1);
  const sounds = tone.flatMap((piece) => cutter.push(piece));
  return sounds.map((sound, number) => markedClip({ stream, number, cutAt: 1_700_000_000_000 + number }, sound));
}

test("the encoder's stream is whole frames of one size, none leaning on an earlier frame's bits", () => {
  const row = frames(whole);
  const end = row.at(-1);
  assert.equal((end?.at ?? 0) + (end?.length ?? 0), whole.length);
  assert.ok(row.length >= (5 * 48_000) / 1152);
  for (const frame of row) {
    assert.deepEqual([frame.length, frame.samples, frame.rate], [384, 1152, 48_000]);
    const mainDataBegin = ((whole[frame.at + 4] ?? 0) << 1) | ((whole[frame.at + 5] ?? 0) >> 7);
    assert.equal(mainDataBegin, 0, `the frame at ${frame.at} needs the bit reservoir`);
  }
});

test("frames are found at every rate that the encoder may run at", () => {
  for (const rate of [44_100, 48_000, 32_000, 24_000, 22_050, 16_000]) {
    const bytes = joined(encodedTone(0.5, rate, 64));
    const row = frames(bytes);
    assert.equal(row.reduce((sum, frame) => sum + frame.length, 0), bytes.length, `${rate}`);
    assert.ok(row.every((frame) => frame.rate === rate), `${rate}`);
  }
});

test("what is no frame is none", () => {
  for (const bytes of [[], [0xff], [0xff, 0xfb, 0x94], [0xff, 0xff, 0xff, 0xff], [0xff, 0xeb, 0x94, 0], [0x49, 0x44, 0x33, 3], [0xff, 0xfb, 0x04, 0]]) {
    assert.equal(frameAt(new Uint8Array(bytes), 0), null, String(bytes));
  }
  assert.deepEqual(frames(whole.subarray(0, 383)), []);
  assert.equal(frames(whole.subarray(0, 384 * 3 + 100)).length, 3);
});

test("a cut stream is the stream again when its clips are joined, whatever pieces it came in", () => {
  for (const size of [1, 100, 384, 1000, 50_000]) {
    const cutter = new Cutter(1);
    const clips = [];
    for (let at = 0; at < whole.length; at += size) clips.push(...cutter.push(whole.subarray(at, at + size)));
    assert.ok(clips.every((clip) => clip.length === 42 * 384), `pieces of ${size}`);
    const rest = cutter.finish();
    assert.deepEqual(joined([...clips, ...(rest ? [rest] : [])]), whole, `pieces of ${size}`);
  }
});

test("a clip is never shorter than what was asked for, but for the last", () => {
  const cutter = new Cutter(2);
  const clips = cutter.push(whole);
  assert.ok(clips.every((clip) => frames(clip).length * 1152 >= 2 * 48_000));
  assert.equal(cutter.finish()?.length, whole.length - joined(clips).length);
  assert.equal(cutter.finish(), null);
});

test("a clip's mark is read back, and its sound begins with a frame", () => {
  const mark = { stream: "k3j9x0", number: 4_000_000, cutAt: 1_763_900_000_123 };
  const clip = markedClip(mark, whole);
  assert.deepEqual(markOf(clip), mark);
  assert.deepEqual(clip.subarray(afterTag(clip)), whole);
});

test("the mark is an ID3v2.3 tag as every player knows it, and holds no false frame", () => {
  const clip = markedClip({ stream: "abc", number: 7, cutAt: 1_700_000_000_000 }, whole.subarray(0, 384));
  const tag = clip.subarray(0, afterTag(clip));
  assert.equal(Buffer.from(tag).toString("latin1"), "ID3\x03\0\0\0\0\0\x2bPRIV\0\0\0\x21\0\0castaway.clip\0abc 7 1700000000000");
  assert.ok(!tag.includes(0xff));
});

test("clips of other makers have no mark", () => {
  const foreign = [whole, new Uint8Array(0), new Uint8Array([0x49, 0x44, 0x33, 3, 0, 0, 0x7f, 0x7f, 0x7f, 0x7f]), new TextEncoder().encode("\0\0\0\x20ftypM4A ")];
  for (const bytes of foreign) assert.equal(markOf(bytes), null);
});

test("neighbours are joined by the last frame of the first, whose samples are skipped", () => {
  const [first, second] = show("s");
  assert.ok(first && second);
  const joiner = new Joiner();
  const one = joiner.join(first);
  assert.deepEqual([one?.skip, one?.samples, one?.rate, one?.lost], [0, 42 * 1152, 48_000, 0]);
  assert.equal(one?.bytes.length, 42 * 384);
  const two = joiner.join(second);
  assert.deepEqual([two?.skip, two?.samples, two?.lost], [1152, 42 * 1152, 0]);
  assert.deepEqual(two?.bytes, whole.subarray(41 * 384, 84 * 384));
});

test("a clip that was heard already is left out", () => {
  const [first, second] = show("s");
  const joiner = new Joiner();
  assert.ok(first && second && joiner.join(first) && joiner.join(second));
  assert.equal(joiner.join(second), null);
  assert.equal(joiner.join(first), null);
});

test("clips that are missing are counted, and what follows stands for itself", () => {
  const [first, , , fourth] = show("s");
  const joiner = new Joiner();
  assert.ok(first && fourth && joiner.join(first));
  const after = joiner.join(fourth);
  assert.deepEqual([after?.lost, after?.skip], [2, 0]);
});

test("another stream, or another maker's clip, is never joined to what was before", () => {
  const [first, second] = show("s");
  const [, other] = show("t");
  assert.ok(first && second && other);
  const joiner = new Joiner();
  joiner.join(first);
  assert.deepEqual([joiner.join(other)?.skip, joiner.join(second)?.skip], [0, 0]);
  const foreign = joiner.join(whole);
  assert.deepEqual([foreign?.bytes, foreign?.rate, foreign?.skip], [whole, null, 0]);
  assert.equal(joiner.join(second)?.skip, 0);
});
