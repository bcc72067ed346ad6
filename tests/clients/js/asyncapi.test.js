// docs/asyncapi.yaml is valid, and complete: the harness holds every event and every ack of all suites to it.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";
import { document, events, mayBeAnswered, mayBeSent, maySay, namespaces, resolve, text } from "./harness/asyncapi.js";
import { inAWorld } from "./harness/world.js";

/** The names and texts on the wire: of all, and of a listener's clips. */
const wire = ["socket/wire.rs", "transport/clip_message.rs"]
  .map((file) => readFileSync(new URL(`../../../src/${file}`, import.meta.url), "utf8"))
  .join("");
/** Of the metrics alone. */
const NO_EVENT = ["ack"];
/** The answer to an event that the file does not name. */
const NO_MESSAGE = ["Unknown event 7."];

test("the file is valid", async () => {
  const { diagnostics } = await new Parser().parse(text);
  const faults = diagnostics.filter(({ severity }) => severity <= DiagnosticSeverity.Warning);
  assert.deepEqual(faults.map(({ message, path }) => `${path.join(".")}: ${message}`), []);
});

test("the file names all events of the server", () => {
  const names = [...wire.matchAll(/const [A-Z_]+: &str =\s+"(\/?[a-z]+)";/g)].map(([, name]) => name);
  const isNamespace = (name) => name.startsWith("/");
  assert.ok(names.length >= 10, "the constants are written in another way");
  assert.deepEqual(new Set(names.filter(isNamespace)), namespaces);
  assert.deepEqual(new Set(names.filter((name) => !isNamespace(name) && !NO_EVENT.includes(name))), events);
});

test("the file names all texts of the server", () => {
  const literals = [...wire.matchAll(/"([A-Za-z]\w* [^"\n]*)"/g)].map(([, literal]) => literal);
  // `as {}` is of both roles; each other `{…}` holds a name or a number.
  const texts = literals
    .filter((literal) => /\.$|^Packet received/.test(literal))
    .flatMap((literal) => ["as streamer", "as listener"].map((role) => literal.replace("as {}", role)))
    .map((literal) => literal.replaceAll(/\{\w*\}/g, "7"));
  assert.ok(new Set(texts).size >= 25, "the texts are written in another way");
  assert.deepEqual(new Set(texts.filter((it) => !maySay(it))), new Set(NO_MESSAGE));
});

test("what is not in the file is refused", () => {
  const refused = [
    ["/listener", "weather", "sunny"],
    ["/listener", "upload", Buffer.from("clip")],
    ["/streamer", "audio", Buffer.from("clip")],
    ["/stranger", "state", { state: "live", listeners: 1 }],
    ["/listener", "audio", "clip"],
    ["/listener", "clip", { epoch: 1, sequence: 1, sentAt: 1, bytes: "clip" }],
    ["/listener", "clip", { epoch: 1, sequence: 1, bytes: Buffer.from("clip") }],
    ["/listener", "resumed", { recovered: true, missed: 1 }],
    ["/listener", "audio", Buffer.alloc(0)],
    ["/listener", "state", { state: "asleep", listeners: 1 }],
    ["/listener", "state", { state: "live", listeners: 1, mood: "good" }],
    ["/listener", "error", "Something went wrong."],
    ["/streamer", "success", "User a connected as listener to livestream b."],
  ];
  for (const event of refused) assert.throws(() => mayBeSent(...event), /docs\/asyncapi\.yaml/, JSON.stringify(event));
  assert.throws(() => mayBeAnswered("/streamer", "upload", { ok: true }), /docs\/asyncapi\.yaml/);
  assert.throws(() => mayBeAnswered("/streamer", "weather", { ok: true }), /docs\/asyncapi\.yaml/);
  mayBeSent("/listener", "audio", Buffer.from("clip"));
  mayBeAnswered("/streamer", "upload", { ok: true, sequence: 1, listeners: 0 });
});

test("every channel's events are sent or received", () => {
  for (const { address, messages } of Object.values(document.channels)) {
    const inOperations = Object.values(document.operations)
      .filter(({ channel }) => resolve(channel).address === address)
      .flatMap(({ messages, reply }) => [...messages, ...(reply?.messages ?? [])]);
    assert.deepEqual(new Set(inOperations.map(resolve)), new Set(Object.values(messages).map(resolve)), address);
  }
});

const PASSES = {
  CASTAWAY_LISTENER__PASSES: "streamers",
  CASTAWAY_PASSES__PER_MINUTE: "2",
  // The same for all nodes of a cluster.
  CASTAWAY_PASSES__KEY: generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }),
};

inAWorld("an ask", PASSES, (world) => {
  test("for a pass fits the file", async () => {
    const livestream = await world.onAir(0);
    const { ok, pass } = await livestream.streamer.ask("invite", { expiresIn: 60 });
    assert.equal(ok, true);
    const guest = await world.client("listener", { livestream: livestream.id, token: pass });
    await guest.next("success");
    assert.deepEqual(await guest.ask("token", pass), { ok: true });
    assert.equal((await guest.ask("token", "no token")).ok, false);
    assert.equal((await livestream.streamer.ask("invite", { expiresIn: 0.5 })).ok, false);
    assert.equal((await livestream.streamer.ask("invite", {})).ok, true);
    assert.ok((await livestream.streamer.ask("invite", {})).retryAfterMs > 0);
    livestream.streamer.leave();
    await guest.next("disconnect");
    const late = await world.client("listener", { livestream: livestream.id, token: pass });
    assert.match(await late.next("error"), /^Listening pass has ended/);
  });
});
