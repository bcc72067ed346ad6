// Google is down, or slow: a client is told so, and comes back by itself.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { clip, onEveryTransport } from "./harness/world.js";

const UNAVAILABLE = "Service is temporarily unavailable, try again.";

onEveryTransport("while Google is down", {}, (world) => {
  /** The client is told, loses its transport under it, and is let in by itself once all is well. */
  async function comesBack(client, accepted) {
    assert.equal(await client.next("error"), UNAVAILABLE);
    assert.match(await client.next("disconnect"), /^transport (close|error)$/);
    assert.deepEqual(client.names().slice(0, 3), ["connect", "error", "disconnect"]);
    await world.google.heal();
    assert.equal(await client.next("success", 15_000), accepted);
  }

  for (const how of [{ fault: "status", status: 503 }, { fault: "garbage" }, { fault: "closed" }]) {
    const what = JSON.stringify(how);

    test(`a streamer comes back when Firestore does (${what})`, async () => {
      const livestream = await world.livestream();
      await world.google.trouble("read", how);
      const client = await world.client("streamer", { user: livestream.user, livestream: livestream.id });
      await comesBack(client, `User ${livestream.user} connected as streamer to livestream ${livestream.id}.`);
    });

    test(`a listener comes back when Firestore does (${what})`, async () => {
      const livestream = await world.livestream();
      await world.google.trouble("read", how);
      const client = await world.client("listener", { livestream: livestream.id });
      assert.equal(await client.next("error"), UNAVAILABLE);
      assert.match(await client.next("disconnect"), /^transport (close|error)$/);
    });
  }

  test("streamer is admitted without the account lookup", async () => {
    const livestream = await world.livestream();
    await world.google.trouble("lookup", { fault: "status", status: 503 });
    await world.streamer(livestream);
  });

  test("livestream on air continues and admits listeners", async () => {
    const livestream = await world.onAir(1);
    for (const service of ["read", "write", "lookup", "keys"]) {
      await world.google.trouble(service, { fault: "status", status: 503 });
    }
    await livestream.streamer.upload(clip(1));
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 1);
    await world.listener(livestream);
  });

  test("end is written once Firestore is back", async () => {
    const livestream = await world.onAir(1);
    await world.flag(livestream.id, true);
    await world.google.trouble("write", { fault: "status", status: 503 });
    livestream.streamer.leave();
    await livestream.listener.next("disconnect");
    await world.google.heal();
    await world.flag(livestream.id, false, 30_000);
  });
});

onEveryTransport("while Google's signing keys are out of reach from the start", {}, (world) => {
  test("client is told, and admitted once they return", async () => {
    await world.google.trouble("keys", { fault: "status", status: 503 });
    const cold = await world.another({});
    const livestream = await world.livestream();
    const client = await world.client("streamer", { user: livestream.user, livestream: livestream.id, url: cold.url });
    assert.equal(await client.next("error"), UNAVAILABLE);
    assert.match(await client.next("disconnect"), /^transport (close|error)$/);
    await world.google.heal();
    assert.equal(
      await client.next("success", 30_000),
      `User ${livestream.user} connected as streamer to livestream ${livestream.id}.`,
    );
  });
});
