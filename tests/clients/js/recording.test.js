// Recordings as clients see them: who is told of one, and who pauses it.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { after } from "node:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clustered, test } from "./harness/cluster.js";
import { eventually } from "./harness/server.js";
import { inAWorld, onEveryTransport, speech } from "./harness/world.js";

const bucket = mkdtempSync(join(tmpdir(), "castaway-bucket-"));
after(() => rmSync(bucket, { recursive: true, force: true }));

const RECORDED = { CASTAWAY_RECORDING__URL: `file://${bucket}` };
const going = (recording, paused) => ({ ok: true, recording, paused });

/** Waits until the latest `state` says that the livestream is recorded, or not. */
const told = (client, recorded) =>
  eventually(() => {
    const states = client.journal.filter(({ name }) => name === "state");
    return states.length > 0 && (states.at(-1).value.recording === true) === recorded;
  }, `told that it is ${recorded ? "" : "not "}recorded`);

/** The manifest of a livestream's recording, once it is finished. */
async function manifest(id) {
  const find = () => readdirSync(bucket, { recursive: true }).find((it) => it.startsWith(`${id}/`) && it.endsWith("manifest.json"));
  const found = await eventually(find, "the recording is finished", 20_000);
  return JSON.parse(readFileSync(join(bucket, found), "utf8"));
}

const sequences = ({ clips }) => clips.map(({ sequence }) => sequence);

onEveryTransport("a livestream that is recorded", RECORDED, (world) => {
  test("is paused and goes on, and all are told", async () => {
    const { id, streamer, listener } = await world.onAir(1);
    await told(listener, true);
    assert.deepEqual(await streamer.ask("recording", null), going(true, false));
    assert.equal((await streamer.upload(speech)).ok, true);
    assert.deepEqual(await streamer.ask("recording", false), going(false, true));
    await Promise.all([told(listener, false), told(streamer, false)]);
    assert.equal((await streamer.upload(speech)).ok, true);
    assert.equal((await listener.take("audio", 2)).length, 2);
    assert.deepEqual(await streamer.ask("recording", true), going(true, false));
    await Promise.all([told(listener, true), told(streamer, true)]);
    assert.equal((await streamer.upload(speech)).sequence, 3);
    assert.equal((await streamer.ask("recording", "yes")).ok, false);
    streamer.leave();
    const written = await manifest(id);
    assert.deepEqual(sequences(written), [1, 3]);
    assert.deepEqual(written.missing, []);
  });

  test("stays paused over a reconnect, other nodes and the loss of one", async () => {
    const livestream = await world.onAir(1);
    const { id, streamer, listener } = livestream;
    assert.equal((await streamer.upload(speech)).ok, true);
    assert.deepEqual(await streamer.ask("recording", false), going(false, true));
    // The same user's newer connection; on a cluster to another node, which is lost then.
    const other = clustered ? await world.another(RECORDED) : world.server;
    let again = await world.streamer(livestream, { url: other.url });
    assert.deepEqual(await again.ask("recording", null), going(false, true));
    assert.equal((await again.upload(speech)).ok, true);
    if (clustered) {
      await other.stop("SIGKILL");
      again = await world.streamer(livestream, { url: world.listenersNode.url });
      assert.deepEqual(await again.ask("recording", null), going(false, true));
    }
    assert.equal((await again.upload(speech)).ok, true);
    await told(listener, false);
    assert.deepEqual(await again.ask("recording", true), going(true, false));
    const { sequence } = await again.upload(speech);
    await told(listener, true);
    again.leave();
    const written = await manifest(id);
    assert.deepEqual(sequences(written), [1, sequence]);
    assert.deepEqual(written.missing, []);
  });
});

inAWorld("where the document decides", { ...RECORDED, CASTAWAY_RECORDING__POLICY: "document" }, (world) => {
  test("only what asks for it is recorded", async () => {
    const { id, user, streamer, listener } = await world.onAir(1);
    assert.deepEqual(await streamer.ask("recording", null), going(false, false));
    assert.match((await streamer.ask("recording", true)).error, /^This livestream is not recorded, set record to true/);
    await told(listener, false);
    await world.google.livestream(id, user, { record: true });
    assert.deepEqual(await streamer.ask("recording", true), going(true, false));
    await told(listener, true);
  });
});

inAWorld("where nothing is recorded", {}, (world) => {
  test("a wish is answered in words, and no state says more than before", async () => {
    const { streamer, listener } = await world.onAir(1);
    assert.match((await streamer.ask("recording", null)).error, /^Livestreams are not recorded on this server/);
    const states = [streamer, listener].flatMap((it) => it.journal.filter(({ name }) => name === "state"));
    for (const { value } of states) assert.deepEqual(Object.keys(value), ["state", "listeners"]);
  });
});
