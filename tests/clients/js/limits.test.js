// Limits: how fast, how large, how many.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { clip, inAWorld, onEveryTransport } from "./harness/world.js";
import { eventually } from "./harness/server.js";

// One clip in two seconds, and uploads that do not wait for each other: a busy machine must not earn credit meanwhile.
const SLOW = { CASTAWAY_UPLOAD__CLIPS_PER_MINUTE: "30", CASTAWAY_UPLOAD__CLIPS_BURST: "3" };
const RATE = /^Upload rate limit exceeded, retry in (\d+) ms\.$/;

onEveryTransport("the rate limit in clips", SLOW, (world) => {
  test("names the time until a retry is heard", async () => {
    const livestream = await world.onAir();
    for (const number of [1, 2, 3, 4]) livestream.streamer.emit("upload", clip(number));
    const [, wait] = (await livestream.streamer.next("error")).match(RATE);
    assert.ok(Number(wait) > 0 && Number(wait) <= 2_000, wait);
    await new Promise((resolve) => setTimeout(resolve, Number(wait) + 10));
    assert.equal((await livestream.streamer.upload(clip(5))).ok, true);
    const heard = (await livestream.listener.take("audio", 4)).map((bytes) => bytes.readUInt32BE());
    assert.deepEqual(heard, [1, 2, 3, 5]);
  });

  test("answers a callback with error and retryAfterMs", async () => {
    const livestream = await world.onAir();
    const answers = await Promise.all([1, 2, 3, 4].map((number) => livestream.streamer.upload(clip(number))));
    assert.deepEqual(answers.map(({ ok }) => ok), [true, true, true, false]);
    const answer = answers[3];
    const [, wait] = answer.error.match(RATE);
    assert.deepEqual(answer, { ok: false, error: answer.error, retryAfterMs: Number(wait) });
  });

  test("is one streamer's own", async () => {
    const [one, two] = [await world.onAir(), await world.onAir()];
    await Promise.all([1, 2, 3, 4].map((number) => one.streamer.upload(clip(number))));
    assert.equal((await two.streamer.upload(clip(1))).ok, true);
  });

  test("is not forgotten by coming back", async () => {
    const livestream = await world.onAir();
    await Promise.all([1, 2, 3, 4].map((number) => livestream.streamer.upload(clip(number))));
    const again = await world.streamer(livestream);
    assert.equal((await again.upload(clip(4))).ok, false);
  });
});

const THIN = {
  CASTAWAY_UPLOAD__BYTES_PER_SECOND: "100000",
  CASTAWAY_UPLOAD__BYTES_BURST: "200000",
  CASTAWAY_UPLOAD__MAX_CLIP_BYTES: "200000",
};

onEveryTransport("the rate limit in bytes", THIN, (world) => {
  test("names the time until a retry is heard", async () => {
    const livestream = await world.onAir();
    const uploads = [clip(1, 180_000), clip(2, 150_000)].map((it) => livestream.streamer.upload(it));
    const [taken, refused] = await Promise.all(uploads);
    assert.equal(taken.ok, true);
    assert.match(refused.error, RATE);
    await new Promise((resolve) => setTimeout(resolve, refused.retryAfterMs + 10));
    assert.equal((await livestream.streamer.upload(clip(3, 50_000))).ok, true);
    const heard = (await livestream.listener.take("audio", 2)).map((bytes) => bytes.readUInt32BE());
    assert.deepEqual(heard, [1, 3]);
  });
});

const SMALL = { CASTAWAY_UPLOAD__MAX_CLIP_BYTES: "1048576" };

onEveryTransport("the size limit", SMALL, (world) => {
  test("is named to whom exceeds it, who stays", async () => {
    const livestream = await world.onAir();
    livestream.streamer.emit("upload", clip(1, 1_048_577));
    assert.match(await livestream.streamer.next("error"), /1048576|1 MiB/);
    const answer = await livestream.streamer.upload(clip(2, 1_500_000));
    assert.equal(answer.ok, false);
    assert.match(answer.error, /1048576|1 MiB/);
    assert.equal((await livestream.streamer.upload(clip(3, 1_048_576))).ok, true);
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 3);
    assert.equal(livestream.listener.unread("audio") + livestream.streamer.unread("disconnect"), 0);
  });

  test("has a ceiling above it, which closes transports", async () => {
    const livestream = await world.onAir();
    livestream.streamer.emit("upload", clip(1, 5_000_000));
    assert.match(await livestream.streamer.next("disconnect"), /^transport (close|error)$/);
    await livestream.streamer.next("success");
    await livestream.streamer.upload(clip(2));
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 2);
    assert.equal(livestream.listener.unread("disconnect"), 0);
  });
});

inAWorld("the limit of connections from one address", { CASTAWAY_SERVER__MAX_CONNECTIONS_PER_ADDRESS: "3" }, (world) => {
  test("refuses one more until another has left", async () => {
    const livestream = await world.onAir(2);
    const more = await world.client("listener", { livestream: livestream.id });
    await more.next("connect_error");
    assert.equal((await livestream.streamer.upload(clip(1))).ok, true);
    livestream.listeners[0].close();
    await more.next("success");
    assert.equal((await livestream.listeners[1].next("audio")).readUInt32BE(), 1);
  });
});

inAWorld("the limit of connections in all", { CASTAWAY_SERVER__MAX_CONNECTIONS: "3" }, (world) => {
  test("refuses one more, and health is still answered", async () => {
    const livestream = await world.onAir(2);
    const more = await world.client("listener", { livestream: livestream.id });
    await more.next("connect_error");
    assert.equal((await fetch(`${world.server.health}/healthz`)).ok, true);
    livestream.listeners[0].close();
    await more.next("success");
  });
});

inAWorld("the limit of listeners", { CASTAWAY_LIVESTREAM__MAX_LISTENERS: "2" }, (world) => {
  test("refuses one more in words until one leaves", async () => {
    const livestream = await world.onAir(2);
    const more = await world.client("listener", { livestream: livestream.id });
    assert.equal(typeof (await more.next("error")), "string");
    await more.next("disconnect");
    // It would come back by itself.
    more.close();
    livestream.listeners[0].leave();
    const listeners = async () => (await livestream.streamer.upload(clip(1))).listeners === 1;
    await eventually(listeners, "one listener is left");
    await world.listener(livestream);
  });
});

inAWorld("the limit of livestreams", { CASTAWAY_LIVESTREAM__MAX_LIVE: "1" }, (world) => {
  test("refuses one more until the other is over", async () => {
    const livestream = await world.onAir(1);
    const other = await world.livestream();
    const client = await world.client("streamer", { user: other.user, livestream: other.id });
    assert.equal(typeof (await client.next("error")), "string");
    await client.next("disconnect");
    client.close();
    livestream.streamer.leave();
    await livestream.listener.next("disconnect");
    await world.streamer(other);
  });
});
