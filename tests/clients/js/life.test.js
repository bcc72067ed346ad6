// A livestream's life: takeover, grace, the end, and what Firestore says of it.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { clip, onEveryTransport, refused } from "./harness/world.js";

onEveryTransport("a livestream", { CASTAWAY_LIVESTREAM__GRACE: "2500ms" }, (world) => {
  const number = async (listener) => (await listener.next("audio")).readUInt32BE();

  test("ends at once with its streamer's DISCONNECT", async () => {
    const show = await world.show(3);
    await world.flag(show.id, true);
    show.streamer.leave();
    for (const listener of show.listeners) {
      assert.equal(await listener.next("disconnect", 1_500), "io server disconnect");
      assert.ok(!listener.names().includes("error"));
    }
    await world.flag(show.id, false, 1_500);
    const late = await world.client("listener", { livestream: show.id });
    await refused(late, `Livestream ${show.id} has not started.`);
  });

  test("starts again after its end", async () => {
    const show = await world.show();
    show.streamer.leave();
    await show.listener.next("disconnect");
    const again = await world.streamer(show);
    const listener = await world.listener(show);
    await again.upload(clip(9));
    assert.equal(await number(listener), 9);
    assert.deepEqual(listener.names(), ["connect", "success", "audio"], "nothing of the livestream before");
    await world.flag(show.id, true);
  });

  test("continues when its streamer's network is back", async () => {
    const show = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(show, { url: wire.url });
    const listener = await world.listener(show);
    await streamer.upload(clip(1));
    wire.cut({ stay: true });
    await streamer.next("disconnect");
    const meanwhile = await world.listener(show);
    assert.equal(await number(meanwhile), 1);
    wire.mend();
    assert.equal(
      await streamer.next("success"),
      `Packet received from user ${show.user}`,
    );
    assert.equal(
      await streamer.next("success"),
      `User ${show.user} connected as streamer to livestream ${show.id}.`,
    );
    await streamer.upload(clip(2));
    assert.deepEqual([await number(listener), await number(listener)], [1, 2]);
    assert.equal(await number(meanwhile), 2);
    assert.equal(listener.unread("disconnect") + meanwhile.unread("disconnect"), 0);
    await world.flag(show.id, true);
  });

  test("survives its grace once the streamer is back", async () => {
    const show = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(show, { url: wire.url });
    const listener = await world.listener(show);
    wire.cut();
    await streamer.next("disconnect");
    await streamer.next("success");
    const short = await world.livestream();
    const other = await world.wire();
    await world.streamer(short, { url: other.url });
    const fence = await world.listener(short);
    other.cut({ stay: true });
    await fence.next("disconnect");
    await streamer.upload(clip(3));
    assert.equal(await number(listener), 3);
    assert.equal((await world.google.document(show.id)).streamerConnected, true);
  });

  test("ends for all after its grace period", async () => {
    const show = await world.livestream();
    const wire = await world.wire();
    const streamer = await world.streamer(show, { url: wire.url });
    const listener = await world.listener(show);
    await world.flag(show.id, true);
    const cut = Date.now();
    wire.cut({ stay: true });
    await streamer.next("disconnect");
    assert.equal(await listener.next("disconnect"), "io server disconnect");
    assert.ok(Date.now() - cut >= 2_400, "not before the grace is over");
    await world.flag(show.id, false);
  });

  test("notices a streamer that falls silent", async () => {
    const show = await world.livestream();
    const wire = await world.wire();
    await world.streamer(show, { url: wire.url });
    const listener = await world.listener(show);
    await world.flag(show.id, true);
    wire.freeze();
    assert.equal(await listener.next("disconnect"), "io server disconnect");
    await world.flag(show.id, false);
  });

  test("is taken over by the user's newest socket", async () => {
    const show = await world.show(1);
    await show.streamer.upload(clip(1));
    const newest = await world.streamer(show);
    const text = await show.streamer.next("error");
    assert.equal(typeof text, "string");
    assert.equal(await show.streamer.next("disconnect"), "io server disconnect");
    await newest.upload(clip(2));
    assert.deepEqual([await number(show.listener), await number(show.listener)], [1, 2]);
    const late = await world.listener(show);
    assert.equal(await number(late), 2);
    assert.equal(show.listener.unread("disconnect"), 0);
    await world.flag(show.id, true);
  });

  test("outlives the socket that it was taken from", async () => {
    const show = await world.livestream();
    const wire = await world.wire();
    const old = await world.streamer(show, { url: wire.url });
    const listener = await world.listener(show);
    wire.freeze();
    const newest = await world.streamer(show);
    old.close();
    const fence = await world.livestream();
    const silent = await world.wire();
    await world.streamer(fence, { url: silent.url });
    const fenced = await world.listener(fence);
    silent.freeze();
    await fenced.next("disconnect");
    await newest.upload(clip(4));
    assert.equal(await number(listener), 4);
    assert.equal((await world.google.document(show.id)).streamerConnected, true);
    await world.listener(show);
  });

  test("takes no upload of a replaced streamer", async () => {
    const show = await world.show(1);
    const newest = await world.streamer(show);
    await show.streamer.next("error");
    show.streamer.emit("upload", clip(66));
    await newest.upload(clip(1));
    assert.equal(await number(show.listener), 1);
    await show.streamer.next("disconnect");
    await newest.upload(clip(2));
    assert.equal(await number(show.listener), 2);
  });

  test("ends by its own user only", async () => {
    const show = await world.show(1);
    const stranger = await world.client("streamer", { livestream: show.id });
    await refused(stranger, "User is not authorized to livestream in this room.");
    show.listener.leave();
    const listener = await world.listener(show);
    await show.streamer.upload(clip(1));
    assert.equal(await number(listener), 1);
  });

  test("keeps no flag of a socket closed early", async () => {
    const show = await world.livestream();
    await world.google.trouble("read", { fault: "slow", ms: 600 });
    const calls = (await world.google.calls()).read;
    const client = await world.client("streamer", { user: show.user, livestream: show.id });
    while ((await world.google.calls()).read === calls) await new Promise(setImmediate);
    client.leave();
    client.socket.io.engine?.close();
    await world.google.heal();
    const other = await world.show(1);
    other.streamer.leave();
    await other.listener.next("disconnect");
    await world.flag(show.id, false, 3_000);
    const late = await world.client("listener", { livestream: show.id });
    await refused(late, `Livestream ${show.id} has not started.`);
  });

  test("success never waits for Firestore's write", async () => {
    await world.google.trouble("write", { fault: "slow", ms: 2_500 });
    const show = await world.livestream();
    const began = Date.now();
    await world.streamer(show);
    await world.listener(show);
    assert.ok(Date.now() - began < 2_000);
    await world.google.heal();
    await world.flag(show.id, true);
  });

  test("other fields of the document are never touched", async () => {
    const show = await world.livestream();
    const before = await world.google.document(show.id);
    const streamer = await world.streamer(show);
    await world.flag(show.id, true);
    streamer.leave();
    await world.flag(show.id, false);
    assert.deepEqual(await world.google.document(show.id), { ...before, streamerConnected: false });
  });
});
