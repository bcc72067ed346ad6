// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { livestreamState } from "../../../src/http/pages/control/words.js";
import { WORDS, going } from "../../../src/http/pages/recording.js";

test("the studio shows what the server has answered about the recording", () => {
  assert.equal(going({ ok: false, error: "Livestreams are not recorded on this server." }), "none");
  assert.equal(going({ ok: false, error: "Unknown event recording." }), "none");
  assert.equal(going({ ok: true, recording: true, paused: false }), "on");
  assert.equal(going({ ok: true, recording: false, paused: true }), "paused");
  assert.equal(going({ ok: true, recording: false, paused: false }), "off");
  // It holds on this node, though not yet on others.
  assert.equal(going({ ok: false, recording: false, paused: true, error: "…" }), "paused");
});

test("only what is recorded is called that", () => {
  const claims = Object.entries(WORDS).filter(([, { words }]) => /is being recorded/.test(words));
  assert.deepEqual(claims.map(([name]) => name), ["on"]);
});

test("the control page says of a livestream whether it is recorded", () => {
  assert.equal(livestreamState({ state: "live", recording: "on" }), "live, recorded");
  assert.equal(livestreamState({ state: "live", recording: "paused" }), "live, recording paused");
  assert.equal(livestreamState({ state: "reconnecting", recording: "off" }), "reconnecting");
});
