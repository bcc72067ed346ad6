// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { MARGIN, MOST_IN_HAND, Schedule } from "../../../src/http/pages/schedule.js";

/** @param {number} a @param {number} b */
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-4, `${a} is not ${b}`);

test("a clip that was cut just now waits for the margin, so that it is in hand when the next one comes", () => {
  const schedule = new Schedule();
  const place = schedule.place(10, 1, 0);
  assert.deepEqual([place.offset, place.speed, place.fresh, place.late], [0, 1, true, false]);
  near(place.at, 10 + MARGIN.first);
  near(schedule.inHand(11), MARGIN.first);
});

test("who joins late starts inside the latest clip, and has the same margin when the next one comes", () => {
  for (const age of [0, 0.3, 0.6, 0.9, 3, 4.9]) {
    const schedule = new Schedule();
    const place = schedule.place(0, 5, age);
    assert.ok(place.at <= Math.max(0.05, MARGIN.first - age) + 1e-4);
    near(schedule.inHand(5 - age), MARGIN.first);
  }
});

test("a clip that is older than itself still gives the margin to hear", () => {
  const place = new Schedule().place(0, 1, 2.5);
  near(place.offset, 1 - MARGIN.first);
});

test("a clip of unknown age waits for the margin, whole", () => {
  const schedule = new Schedule();
  const place = schedule.place(3, 5, null);
  near(place.at, 3 + MARGIN.first);
  assert.equal(place.offset, 0);
  assert.equal(schedule.place(8.4, 5, null).late, false, "the next one may be a little late");
});

test("after an outage the missed clips are heard whole, at once", () => {
  for (const age of [0, 0.3, 0.9, 2.5, null]) {
    const schedule = new Schedule();
    schedule.place(0, 1, 0);
    schedule.goOn();
    const first = schedule.place(10, 1, age);
    assert.equal(first.offset, 0, `of a clip that is ${age} s old nothing is left out`);
    near(first.at, 10 + Math.max(0.05, MARGIN.first - (age ?? 0)));
    assert.deepEqual([first.late, schedule.margin], [false, MARGIN.first]);
    near(schedule.place(10.01, 1, age).at, first.at + 1);
    schedule.reset();
    assert.ok(schedule.place(20, 1, 0.9).offset > 0, "once");
  }
});

test("clips follow each other without a gap and without overlap", () => {
  const schedule = new Schedule();
  let end = 0;
  for (let number = 0; number < 200; number++) {
    const place = schedule.place(number + 0.2 * Math.sin(number * 7), 1, 0.05);
    assert.equal(place.late, false);
    if (number > 0) near(place.at, end);
    end = place.at + (1 - place.offset) / place.speed;
    near(end, schedule.end ?? NaN);
  }
});

test("a late clip raises the margin, never above the most", () => {
  const schedule = new Schedule();
  schedule.place(0, 1, 0);
  const place = schedule.place(3, 1, 0);
  assert.deepEqual([place.late, place.fresh, schedule.margin], [true, true, MARGIN.first * MARGIN.growth]);
  near(place.at, 3 + schedule.margin);
  for (let now = 10; now < 200; now += 10) schedule.place(now, 1, 0);
  assert.equal(schedule.margin, MARGIN.most);
});

test("the margin comes down slowly, never below the least", () => {
  const schedule = new Schedule();
  schedule.place(0, 1, 0);
  schedule.place(5, 1, 0);
  const raised = schedule.margin;
  for (let number = 0; number < 61; number++) schedule.place(5 + number, 1, 0);
  assert.ok(schedule.margin < raised - 0.15 && schedule.margin > raised - 0.25, `${schedule.margin}`);
  for (let number = 61; number < 600; number++) schedule.place(5 + number, 1, 0);
  assert.equal(schedule.margin, MARGIN.least);
});

test("too much in hand is made up for by shorter clips, until the margin is reached", () => {
  const schedule = new Schedule();
  for (let number = 0; number < 8; number++) schedule.place(0, 1, 0); // eight clips at once, as after an outage
  let most = 0;
  let number = 1;
  const next = () => {
    most = Math.max(most, schedule.catchUp);
    return schedule.place(number, 1 - schedule.catchUp, 0);
  };
  for (; number < 400 && schedule.inHand(number) > MARGIN.first + 0.3; number++) next();
  near(most, 0.04);
  assert.ok(number < 350, "eight seconds are made up for within minutes");
  for (let more = 0; more < 30; more++, number++) assert.equal(next().late, false);
  near(schedule.catchUp, 0);
});

test("clips that are longer than their cadence do not pile up", () => {
  const schedule = new Schedule();
  for (let number = 0; number < 2_000; number++) schedule.place(number, 1.04 * (1 - schedule.catchUp), null);
  assert.ok(schedule.inHand(2_000) < 4, `${schedule.inHand(2_000)}`);
});

test("what no catching up can make up for is skipped", () => {
  const schedule = new Schedule();
  let skips = 0;
  for (let number = 0; number < 2_000; number++) {
    if (schedule.place(number, 1.2, null).skip) skips++;
    assert.ok(schedule.inHand(number) <= MOST_IN_HAND + 2);
  }
  assert.ok(skips > 3, `${skips}`);
});

test("long clips are no needless delay, sound that has piled up is", () => {
  const steady = new Schedule();
  for (let number = 0; number < 10; number++) steady.place(number * 5, 5, 0);
  assert.ok(steady.surplus < 0.2, `${steady.surplus}`);
  const piled = new Schedule();
  for (let number = 0; number < 10; number++) piled.place(0, 1, 0); // ten at once
  piled.place(9, 1, 0);
  assert.ok(piled.surplus > 0.8, `${piled.surplus}`);
});

test("an unsteady network alone makes no clip shorter", () => {
  const schedule = new Schedule();
  for (let number = 0; number < 60; number++) {
    schedule.place(number + (number % 2 ? 0.4 : 0), 1, 0);
    assert.equal(schedule.catchUp, 0);
  }
});

test("beginning again keeps what was learnt about the network", () => {
  const schedule = new Schedule();
  schedule.place(0, 1, 0);
  schedule.place(9, 1, 0);
  const { margin } = schedule;
  schedule.reset();
  const place = schedule.place(20, 1, 0);
  assert.deepEqual([place.late, schedule.margin], [false, margin]);
});

test("every clip starts on a sample of the output, whatever its own rate", () => {
  const schedule = new Schedule(48_000);
  const length = (42 * 1152) / 44_100;
  for (let number = 0; number < 50; number++) {
    const { at, speed } = schedule.place(number * length, length, 0.05);
    assert.ok(Math.abs(at * 48_000 - Math.round(at * 48_000)) < 1e-6);
    assert.ok(Math.abs(speed - 1) < 2e-5);
  }
});

test("what is in hand beyond the margin is known with the next clip, and forgotten with a jump", () => {
  const schedule = new Schedule();
  schedule.place(0, 1);
  assert.equal(schedule.lead, 0);
  for (let clip = 0; clip < 4; clip++) schedule.place(0.1, 1);
  assert.ok(Math.abs(schedule.lead - 3.9) < 0.01, `${schedule.lead}`);
  schedule.reset();
  assert.equal(schedule.lead, 0);
});
