// What is uploaded is heard: byte for byte, in order, by that livestream's listeners and by nobody else.

import assert from "node:assert/strict";
import { sha256 } from "./harness/client.js";
import { test } from "./harness/cluster.js";
import { settings } from "./harness/settings.js";
import { clip, onEveryTransport, speech } from "./harness/world.js";

const NO_CLIP = "Upload must be a single binary clip.";
const MANY = 200;

// Calls to Google are counted, so the sweep over what is on air makes none meanwhile.
onEveryTransport("an upload", { ...settings.bursts, CASTAWAY_LIVESTREAM__RECHECK_INTERVAL: "1h" }, (world) => {
  const received = (livestream) => `Packet received from user ${livestream.user}`;

  test("real audio reaches every listener byte for byte", async () => {
    const livestream = await world.onAir(3);
    livestream.streamer.emit("upload", speech);
    assert.equal(await livestream.streamer.next("success"), received(livestream));
    for (const listener of livestream.listeners) {
      assert.equal(sha256(await listener.next("audio")), sha256(speech));
    }
  });

  test("large clip reaches every listener byte for byte", async () => {
    const livestream = await world.onAir(2);
    const large = clip(7, (2 << 20) - 16);
    livestream.streamer.emit("upload", large);
    for (const listener of livestream.listeners) assert.equal(sha256(await listener.next("audio")), sha256(large));
  });

  test("empty clip is refused and heard by nobody", async () => {
    const livestream = await world.onAir();
    const refused = { ok: false, error: "Upload must be a single binary clip." };
    assert.deepEqual(await livestream.streamer.upload(Buffer.alloc(0)), refused);
    assert.equal((await livestream.streamer.upload(clip(1))).ok, true);
    assert.equal(sha256(await livestream.listener.next("audio")), sha256(clip(1)));
  });

  test(`${MANY} at once are heard in order`, async () => {
    const livestream = await world.onAir(2);
    for (let number = 0; number < MANY; number += 1) livestream.streamer.emit("upload", clip(number));
    for (const listener of livestream.listeners) {
      const heard = await listener.take("audio", MANY);
      assert.deepEqual(heard.map((bytes) => bytes.readUInt32BE()), [...Array(MANY).keys()]);
      heard.forEach((bytes, number) => assert.equal(sha256(bytes), sha256(clip(number))));
    }
    for (const text of await livestream.streamer.take("success", MANY)) assert.equal(text, received(livestream));
  });

  test("two livestreams never mix", async () => {
    const [one, two] = [await world.onAir(2), await world.onAir(2)];
    for (let number = 0; number < 50; number += 1) {
      one.streamer.emit("upload", clip(number));
      two.streamer.emit("upload", clip(1_000 + number));
    }
    for (const [livestream, first] of [[one, 0], [two, 1_000]]) {
      for (const listener of livestream.listeners) {
        const heard = (await listener.take("audio", 50)).map((bytes) => bytes.readUInt32BE());
        assert.deepEqual(heard, [...Array(50).keys()].map((number) => first + number));
        assert.equal(listener.unread("audio"), 0);
      }
    }
  });

  test("clips emitted right after connect are heard", async () => {
    const livestream = await world.onAir();
    await world.google.trouble("read", { fault: "slow", ms: 400 });
    const onConnect = (client) => {
      for (let number = 0; number < 20; number += 1) client.emit("upload", clip(number));
    };
    await world.streamer(livestream, { onConnect });
    const heard = (await livestream.listener.take("audio", 20)).map((bytes) => bytes.readUInt32BE());
    assert.deepEqual(heard, [...Array(20).keys()]);
  });

  test("all but one binary clip is refused", async () => {
    const livestream = await world.onAir();
    const shapes = [
      [{ file: "x" }],
      [null],
      ["text"],
      [1],
      [[]],
      [],
      [{ file: clip(1) }],
      [clip(1), "and more"],
    ];
    for (const shape of shapes) {
      livestream.streamer.emit("upload", ...shape);
      assert.equal(await livestream.streamer.next("error"), NO_CLIP, JSON.stringify(shape));
    }
    livestream.streamer.emit("upload", clip(42));
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 42);
    assert.equal(livestream.listener.unread("audio"), 0);
    assert.equal(livestream.streamer.unread("disconnect"), 0);
  });

  test("several clips in one are relayed to nobody", async () => {
    const livestream = await world.onAir();
    for (const shape of [[[clip(1), clip(2)]], [clip(1), clip(2)], [{ one: clip(1), two: clip(2) }]]) {
      livestream.streamer.emit("upload", ...shape);
      await Promise.any([livestream.streamer.next("error"), livestream.streamer.next("success")]);
    }
    assert.equal((await livestream.streamer.upload(clip(42))).ok, true);
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 42);
    assert.equal(livestream.listener.unread("audio") + livestream.listener.unread("disconnect"), 0);
  });

  test("callback gets the sequence and the listeners", async () => {
    const livestream = await world.onAir(2);
    await world.counted(livestream, 2);
    const first = await livestream.streamer.upload(clip(1));
    const second = await livestream.streamer.upload(clip(2));
    assert.deepEqual(first, { ok: true, sequence: first.sequence, listeners: 2 });
    assert.deepEqual(second, { ok: true, sequence: first.sequence + 1, listeners: 2 });
    assert.deepEqual(await livestream.streamer.take("success", 2), [received(livestream), received(livestream)]);
  });

  test("callback of a refused upload gets the error", async () => {
    const livestream = await world.onAir();
    for (const shape of [{ file: "x" }, null, "text"]) {
      assert.deepEqual(await livestream.streamer.upload(shape), { ok: false, error: NO_CLIP });
    }
  });

  test("repeated clip is acknowledged and heard once", async () => {
    const livestream = await world.onAir(2);
    await world.counted(livestream, 2);
    const options = { id: "first", capturedAt: Date.now() };
    const first = await livestream.streamer.uploadWith(clip(1), options);
    assert.deepEqual(first, { ok: true, sequence: first.sequence, listeners: 2 });
    const again = { ok: true, sequence: first.sequence, duplicate: true };
    assert.deepEqual(await livestream.streamer.uploadWith(clip(1), options), again);
    const both = [clip(2), clip(2)].map((bytes) => livestream.streamer.uploadWith(bytes, { id: "second" }));
    const sequences = (await Promise.all(both)).map(({ ok, sequence, duplicate }) => [ok, sequence, duplicate]);
    assert.deepEqual(sequences, [
      [true, first.sequence + 1, undefined],
      [true, first.sequence + 1, true],
    ]);
    assert.equal((await livestream.streamer.upload(clip(3))).sequence, first.sequence + 2);
    for (const listener of livestream.listeners) {
      const heard = (await listener.take("audio", 3)).map((bytes) => bytes.readUInt32BE());
      assert.deepEqual(heard, [1, 2, 3]);
    }
    assert.equal((await livestream.streamer.uploadWith(clip(4), { id: "" })).ok, false);
  });

  test("late joiner hears the latest clip once", async () => {
    const livestream = await world.onAir();
    for (let number = 0; number < 5; number += 1) await livestream.streamer.upload(clip(number));
    const sending = (async () => {
      for (let number = 5; number < 60; number += 1) await livestream.streamer.upload(clip(number));
    })();
    const late = await Promise.all([1, 2, 3, 4].map(() => world.listener(livestream)));
    await sending;
    await livestream.streamer.upload(clip(60));
    for (const listener of late) {
      const heard = [];
      while (heard.at(-1) !== 60) heard.push((await listener.next("audio")).readUInt32BE());
      assert.ok(heard[0] >= 4, "the latest clip comes first");
      assert.deepEqual(heard, [...Array(heard.length).keys()].map((number) => heard[0] + number));
      assert.equal(listener.unread("audio"), 0);
    }
  });

  test("late joiner hears the latest clip at once", async () => {
    const livestream = await world.onAir();
    await livestream.streamer.upload(clip(1));
    await livestream.streamer.upload(speech);
    const late = await world.listener(livestream);
    assert.equal(sha256(await late.next("audio")), sha256(speech));
    assert.deepEqual(late.names(), ["connect", "success", "audio"]);
  });

  test("listener's upload goes nowhere", async () => {
    const livestream = await world.onAir(2);
    livestream.listener.emit("upload", clip(66));
    await livestream.streamer.upload(clip(1));
    assert.equal((await livestream.listeners[1].next("audio")).readUInt32BE(), 1);
    assert.equal(livestream.listeners[1].unread("audio"), 0);
  });

  test("unknown events are ignored, `error` too", async () => {
    const livestream = await world.onAir();
    const names = ["error", "audio", "success", "state", "message", "__proto__", ""];
    for (const client of [livestream.streamer, livestream.listener]) {
      for (const name of names) {
        client.emit(name, { name });
        client.emit(name, clip(1));
        client.emit(name);
      }
    }
    await livestream.streamer.upload(clip(5));
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 5);
    assert.equal(livestream.listener.unread("audio"), 0);
    assert.equal(livestream.streamer.unread("disconnect") + livestream.listener.unread("disconnect"), 0);
  });

  test("tokens and documents cost no call per join", async () => {
    const livestream = await world.onAir(1);
    const before = await world.google.calls();
    await Promise.all([...Array(20)].map(() => world.listener(livestream)));
    const after = await world.google.calls();
    assert.equal(after.lookup, before.lookup);
    assert.ok(after.read - before.read <= 1);
    assert.ok(after.keys - before.keys <= 1);
  });
});
