// A listener with the feature `clips`: each clip's place, and all that it missed when it comes back.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { sha256 } from "./harness/client.js";
import { clip, onEveryTransport, speech } from "./harness/world.js";

const HISTORY = { CASTAWAY_LIVESTREAM__HISTORY_CLIPS: "6", CASTAWAY_CLUSTER__HISTORY_CLIPS: "6" };

onEveryTransport("a listener with clips", HISTORY, (world) => {
  const number = ({ bytes }) => bytes.readUInt32BE();
  const listener = (livestream, more = {}) => world.listener(livestream, { auth: { features: ["clips"], ...more } });
  const at = ({ epoch, sequence }) => ({ resume: { epoch, sequence } });
  const uploads = async (livestream, from, to) => {
    for (let next = from; next <= to; next += 1) await livestream.streamer.uploadWith(clip(next), { id: `${livestream.id} ${next}` });
  };

  test("is told each clip's place, and old ones are not", async () => {
    const livestream = await world.onAir();
    const bob = await listener(livestream);
    const before = Date.now();
    const { sequence } = await livestream.streamer.uploadWith(speech, { id: "the first" });
    const { bytes, ...about } = await bob.next("clip");
    assert.equal(sha256(bytes), sha256(speech));
    assert.deepEqual({ sequence: about.sequence, id: about.id }, { sequence, id: "the first" });
    assert.ok(about.durationMs > 500 && about.sentAt >= before - 50 && about.sentAt <= Date.now() + 50, JSON.stringify(about));
    assert.equal(sha256(await livestream.listener.next("audio")), sha256(speech));
    assert.deepEqual(livestream.listener.names(), ["connect", "success", "audio"]);
  });

  test("misses nothing when it comes back, twice in a row", async () => {
    const livestream = await world.onAir(0);
    await uploads(livestream, 1, 1);
    let bob = await listener(livestream);
    let last = await bob.next("clip");
    for (let round = 0; round < 2; round += 1) {
      bob.socket.io.engine.close();
      bob.socket.io.reconnection(false);
      await bob.next("disconnect");
      const first = number(last) + 1;
      await uploads(livestream, first, first + 3);
      bob = await listener(livestream, at(last));
      const resumed = await bob.next("resumed");
      assert.equal(resumed.recovered, true);
      await uploads(livestream, first + 4, first + 5);
      const heard = await bob.take("clip", 6);
      assert.deepEqual(heard.map(number), [0, 1, 2, 3, 4, 5].map((later) => first + later));
      assert.deepEqual([resumed.from, resumed.to], [heard[0].sequence, heard[3].sequence]);
      last = heard.at(-1);
    }
    assert.deepEqual(bob.names().slice(0, 3), ["connect", "success", "resumed"]);
  });

  test("gets the latest alone after too long", async () => {
    const livestream = await world.onAir(0);
    await uploads(livestream, 1, 1);
    const first = await (await listener(livestream)).next("clip");
    await uploads(livestream, 2, 12);
    const bob = await listener(livestream, at(first));
    assert.deepEqual(await bob.next("resumed"), { recovered: false, missed: 10 });
    assert.equal(number(await bob.next("clip")), 12);
    const stranger = await listener(livestream, { resume: { epoch: 1, sequence: "x" } });
    assert.deepEqual(await stranger.next("resumed"), { recovered: false, missed: null });
    assert.equal(number(await stranger.next("clip")), 12);
  });

  test("keeps its place through a takeover", async () => {
    const livestream = await world.onAir(0);
    await uploads(livestream, 1, 2);
    const first = await (await listener(livestream)).next("clip");
    livestream.streamer = await world.streamer(livestream);
    await uploads(livestream, 3, 4);
    const bob = await listener(livestream, at(first));
    assert.equal((await bob.next("resumed")).recovered, true);
    assert.deepEqual((await bob.take("clip", 2)).map(number), [3, 4]);
  });
});
