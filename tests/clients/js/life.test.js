// A livestream's life: takeover, grace, the end, and what Firestore says of it.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { clip, onEveryTransport, refused } from "./harness/world.js";

onEveryTransport("a livestream", { CASTAWAY_LIVESTREAM__GRACE: "2500ms" }, (world) => {
  const number = async (listener) => (await listener.next("audio")).readUInt32BE();

  test("ends at once with its streamer's DISCONNECT", async () => {
    const livestream = await world.onAir(3);
    await world.flag(livestream.id, true);
    livestream.streamer.leave();
    for (const listener of livestream.listeners) {
      assert.equal(await listener.next("disconnect", 1_500), "io server disconnect");
      assert.ok(!listener.names().includes("error"));
    }
    await world.flag(livestream.id, false, 1_500);
    const late = await world.client("listener", { livestream: livestream.id });
    await refused(late, `Livestream ${livestream.id} has not started.`);
  });

  test("starts again after its end", async () => {
    const livestream = await world.onAir();
    livestream.streamer.leave();
    await livestream.listener.next("disconnect");
    const again = await world.streamer(livestream);
    const listener = await world.listener(livestream);
    await again.upload(clip(9));
    assert.equal(await number(listener), 9);
    assert.deepEqual(listener.names(), ["connect", "success", "audio"], "nothing of the livestream before");
    await world.flag(livestream.id, true);
  });

  test("continues when its streamer's network is back", async () => {
    const livestream = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(livestream, { url: wire.url });
    const listener = await world.listener(livestream);
    await streamer.upload(clip(1));
    wire.cut({ stay: true });
    await streamer.next("disconnect");
    const meanwhile = await world.listener(livestream);
    assert.equal(await number(meanwhile), 1);
    wire.mend();
    assert.equal(
      await streamer.next("success"),
      `Packet received from user ${livestream.user}`,
    );
    assert.equal(
      await streamer.next("success"),
      `User ${livestream.user} connected as streamer to livestream ${livestream.id}.`,
    );
    await streamer.upload(clip(2));
    assert.deepEqual([await number(listener), await number(listener)], [1, 2]);
    assert.equal(await number(meanwhile), 2);
    assert.equal(listener.unread("disconnect") + meanwhile.unread("disconnect"), 0);
    await world.flag(livestream.id, true);
  });

  test("survives its grace once the streamer is back", async () => {
    const livestream = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(livestream, { url: wire.url });
    const listener = await world.listener(livestream);
    // Until it is noticed: between two polls there may be no connection to lose.
    wire.cut({ stay: true });
    await streamer.next("disconnect");
    wire.mend();
    await streamer.next("success");
    const short = await world.livestream();
    const other = await world.wire();
    await world.streamer(short, { url: other.url });
    const fence = await world.listener(short);
    other.cut({ stay: true });
    await fence.next("disconnect");
    await streamer.upload(clip(3));
    assert.equal(await number(listener), 3);
    assert.equal((await world.google.document(livestream.id)).streamerConnected, true);
  });

  test("ends for all after its grace period", async () => {
    const livestream = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(livestream, { url: wire.url });
    const listener = await world.listener(livestream);
    await world.flag(livestream.id, true);
    const cut = Date.now();
    wire.cut({ stay: true });
    await streamer.next("disconnect");
    assert.equal(await listener.next("disconnect"), "io server disconnect");
    assert.ok(Date.now() - cut >= 2_400, "not before the grace is over");
    await world.flag(livestream.id, false);
  });

  test("notices a streamer that falls silent", async () => {
    const livestream = await world.livestream();
    const wire = await world.wire();
    await world.streamer(livestream, { url: wire.url });
    const listener = await world.listener(livestream);
    await world.flag(livestream.id, true);
    wire.freeze();
    assert.equal(await listener.next("disconnect"), "io server disconnect");
    await world.flag(livestream.id, false);
  });

  test("is taken over by the user's newest socket", async () => {
    const livestream = await world.onAir(1);
    await livestream.streamer.upload(clip(1));
    const newest = await world.streamer(livestream);
    const text = await livestream.streamer.next("error");
    assert.equal(typeof text, "string");
    assert.equal(await livestream.streamer.next("disconnect"), "io server disconnect");
    await newest.upload(clip(2));
    assert.deepEqual([await number(livestream.listener), await number(livestream.listener)], [1, 2]);
    const late = await world.listener(livestream);
    assert.equal(await number(late), 2);
    assert.equal(livestream.listener.unread("disconnect"), 0);
    await world.flag(livestream.id, true);
  });

  test("outlives the socket that it was taken from", async () => {
    const livestream = await world.livestream();
    const wire = await world.wire();
    const old = await world.streamer(livestream, { url: wire.url });
    const listener = await world.listener(livestream);
    wire.freeze();
    const newest = await world.streamer(livestream);
    old.close();
    const fence = await world.livestream();
    const silent = await world.wire();
    await world.streamer(fence, { url: silent.url });
    const fenced = await world.listener(fence);
    silent.freeze();
    await fenced.next("disconnect");
    await newest.upload(clip(4));
    assert.equal(await number(listener), 4);
    assert.equal((await world.google.document(livestream.id)).streamerConnected, true);
    await world.listener(livestream);
  });

  test("takes no upload of a replaced streamer", async () => {
    const livestream = await world.onAir(1);
    const newest = await world.streamer(livestream);
    await livestream.streamer.next("error");
    livestream.streamer.emit("upload", clip(66));
    await newest.upload(clip(1));
    assert.equal(await number(livestream.listener), 1);
    await livestream.streamer.next("disconnect");
    await newest.upload(clip(2));
    assert.equal(await number(livestream.listener), 2);
  });

  test("ends by its own user only", async () => {
    const livestream = await world.onAir(1);
    const stranger = await world.client("streamer", { livestream: livestream.id });
    await refused(stranger, "User is not authorized to livestream in this room.");
    livestream.listener.leave();
    const listener = await world.listener(livestream);
    await livestream.streamer.upload(clip(1));
    assert.equal(await number(listener), 1);
  });

  test("keeps no flag of a socket closed early", async () => {
    const livestream = await world.livestream();
    await world.google.trouble("read", { fault: "slow", ms: 600 });
    const calls = (await world.google.calls()).read;
    const client = await world.client("streamer", { user: livestream.user, livestream: livestream.id });
    while ((await world.google.calls()).read === calls) await new Promise(setImmediate);
    client.leave();
    client.socket.io.engine?.close();
    await world.google.heal();
    const other = await world.onAir(1);
    other.streamer.leave();
    await other.listener.next("disconnect");
    await world.flag(livestream.id, false, 3_000);
    const late = await world.client("listener", { livestream: livestream.id });
    await refused(late, `Livestream ${livestream.id} has not started.`);
  });

  test("success never waits for Firestore's write", async () => {
    await world.google.trouble("write", { fault: "slow", ms: 2_500 });
    const livestream = await world.livestream();
    const began = Date.now();
    await world.streamer(livestream);
    await world.listener(livestream);
    assert.ok(Date.now() - began < 2_000);
    await world.google.heal();
    await world.flag(livestream.id, true);
  });

  test("other fields of the document are never touched", async () => {
    const livestream = await world.livestream();
    const before = await world.google.document(livestream.id);
    const streamer = await world.streamer(livestream);
    await world.flag(livestream.id, true);
    streamer.leave();
    await world.flag(livestream.id, false);
    assert.deepEqual(await world.google.document(livestream.id), { ...before, streamerConnected: false });
  });
});
